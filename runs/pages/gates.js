// Networks with gates: which frames each block keeps for its full branch.
"use strict";

const meanOf = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const inPercent = (share) => `${(100 * share).toFixed(0)} %`;

// Draw a grid with a row for each gate and a column for each frame, as strong as the share that is
// kept; at the right stands that of all frames.
// names: of the gates; shares: by frame, then by gate, in [0, 1]; say: of a share, in words;
// t: present frame, if any; pick: called with a frame.
function gateGrid({ names, shares, colour, label, say, width, t, pick }) {
  const left = 108, right = width - 46, row = 18, bottom = row * names.length;
  const slot = (right - left) / shares.length;
  const ofGates = names.map((_, g) => meanOf(shares.map((frame) => frame[g])));
  const told = names.map((name, g) => `${name}: ${inPercent(ofGates[g])}`).join(", ");
  const root = svg("svg", { class: "chart gates", viewBox: `0 0 ${width} ${bottom + 34}`, role: "img", "aria-label": `${label}. ${told}` });
  names.forEach((name, g) => {
    root.append(svg("text", { x: 0, y: row * g + 13 }, name), svg("text", { class: "of", x: width, y: row * g + 13, "text-anchor": "end" }, inPercent(ofGates[g])));
    shares.forEach((frame, at) => {
      const cell = svg("rect", {
        class: "gate", "data-frame": at, "data-gate": g, x: left + slot * at + 1, y: row * g + 1, width: slot - 2, height: row - 2,
        fill: colour, "fill-opacity": frame[g].toFixed(3), stroke: "var(--line)",
      }, svg("title", {}, `${name}, frame ${at + 1}: ${say(frame[g])}`));
      if (pick) cell.addEventListener("click", () => pick(at));
      root.append(cell);
    });
  });
  const every = Math.ceil(26 / slot);
  for (let at = 0; at < shares.length; at += every) {
    root.append(svg("text", { x: left + slot * (at + 0.5), y: bottom + 14, "text-anchor": "middle" }, `${at + 1}`));
  }
  root.append(svg("text", { x: (left + right) / 2, y: bottom + 30, "text-anchor": "middle" }, "frame"));
  if (t !== undefined) root.append(svg("rect", { class: "now", x: left + slot * t, y: 0, width: slot, height: bottom, fill: "none" }));
  return root;
}

// The rest is for the player, whose constants it takes.
const blocksOf = (i, t) => video().episodes[i].ran[t].filter(Boolean).length;
const keptBy = (i, t) => `${blocksOf(i, t)} of ${data.gates[i].length}`;
const branches = (i) => data.steps * data.gates[i].length;
const sayKept = (share) => (share === 1 ? "kept" : share === 0 ? "not kept" : `weight ${share.toFixed(2)}`);

function gateFacts(i) {
  const { positions, ran } = video().episodes[i];
  return [
    ["blocks that keep it", keptBy(i, state.t)],
    ["branches run in all", `${ran.flat().filter(Boolean).length} of ${branches(i)}`],
    ...(positions ? [["positions kept", inPercent(meanOf(positions.flat()))]] : []),
    ["cost if all are run", `${cost(data.full_gmacs[i])} ${data.compute_unit.name}`],
  ];
}

// A grid for each network that is shown; where every frame is kept it says nothing beside another.
function drawGates(place) {
  const learned = shown().filter((i) => data.policies[i].learned);
  const width = Math.max(260, place.clientWidth - 8);
  place.replaceChildren(...(learned.length ? learned : shown()).map((i) => {
    const { masks } = video().episodes[i], label = `Which frames each block of ${names[i]} keeps`;
    const grid = gateGrid({ names: data.gates[i], shares: masks, colour: COLOURS[i], label, say: sayKept, width, t: state.t, pick: (t) => go({ t }) });
    return html("figure", {}, html("figcaption", {}, html("b", { class: i ? "second" : "first" }, names[i]), `: ${inPercent(meanOf(masks.flat()))} kept, over all blocks and frames`), grid);
  }));
}
