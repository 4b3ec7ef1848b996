// Heat maps over the picture of a frame. The constants are those of the player.
"use strict";

// What a heat map shows of a frame: a value for each candidate, and how strongly values are drawn.
function heatOf(i, t) {
  if (!data.grid || !state.heat || (state.heat === 1 && !data.policies[i].learned)) return null;
  const episode = video().episodes[i], K = data.grid ** 2;
  const values = (state.heat === 1 ? episode.probabilities[t] : episode.alternatives[t]).slice(0, K);
  const low = state.heat === 1 ? 0 : Math.min(...values), high = Math.max(...values);
  const strength = (value) => {
    const share = high > low ? (value - low) / (high - low) : 0;
    return 0.78 * (state.heat === 1 ? Math.sqrt(share) : share); // most probabilities are small
  };
  return { values, low, high, strength };
}

// Cells around the centres of the candidates, as strong as their values.
function heatCells({ values, strength }) {
  const n = data.grid;
  const side = (S - data.patch_px) / (n - 1);
  return data.boxes_px.map((px, k) => {
    const [x, y] = [(px[0] + px[2] - side) / 2, (px[1] + px[3] - side) / 2];
    return svg("rect", { class: "cell", x, y, width: side, height: side, fill: HEAT, opacity: strength(values[k]).toFixed(3) },
      svg("title", {}, `row ${Math.floor(k / n) + 1}, column ${(k % n) + 1}: ${(100 * values[k]).toFixed(1)} %`));
  });
}

function heatScale({ low, high, strength }) {
  return scaleBar(low, high, strength, HEAT, (v) => `${(100 * v).toFixed(1)} %`);
}
