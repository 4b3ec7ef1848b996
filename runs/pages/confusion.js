// The confusion matrix: a table of counts, or for many classes a picture of them.
"use strict";

const MOST_COUNTED = 25; // classes whose counts can be read in a table
const MOST_MISTAKES = 12;

// Counts and the number of videos of each true class, of [true, predicted, count].
function confusionRows(pairs, n) {
  const counts = Array.from({ length: n }, () => new Array(n).fill(0));
  for (const [i, j, count] of pairs) counts[i][j] = count;
  return { counts, totals: counts.map((row) => row.reduce((sum, count) => sum + count, 0)) };
}

function shade(colour, share) {
  return `color-mix(in srgb, ${colour} ${(75 * share).toFixed(1)}%, transparent)`;
}

function confusionTable(pairs, classes, colourOf) {
  const { counts, totals } = confusionRows(pairs, classes.length);
  const head = html("tr", {}, html("th", { scope: "col" }, "true \\ predicted"), ...classes.map((name) => html("th", { scope: "col" }, name)));
  const rows = counts.map((row, i) => html("tr", {}, html("th", { scope: "row" }, classes[i]), ...row.map((count, j) => {
    const share = totals[i] ? count / totals[i] : 0;
    const cell = html("td", { title: `${classes[i]} taken for ${classes[j]}: ${count} of ${totals[i]}` }, count ? String(count) : "");
    cell.style.background = shade(colourOf(i, j), share);
    return cell;
  })));
  return html("table", { class: "matrix" }, html("thead", {}, head), html("tbody", {}, ...rows));
}

function confusionPicture(pairs, classes, colourOf, label) {
  const n = classes.length, { totals } = confusionRows(pairs, n);
  const root = svg("svg", { class: "matrix", viewBox: `0 0 ${n} ${n}`, role: "img", "aria-label": label });
  for (const [i, j, count] of pairs) {
    root.append(svg("rect", { x: j, y: i, width: 1, height: 1, fill: colourOf(i, j), opacity: (0.2 + (0.8 * count) / totals[i]).toFixed(3) },
      svg("title", {}, `${classes[i]} taken for ${classes[j]}: ${count} of ${totals[i]}`)));
  }
  return root;
}

function mistakes(pairs, classes) {
  const { totals } = confusionRows(pairs, classes.length);
  const wrong = pairs.filter(([i, j]) => i !== j).sort((a, b) => b[2] - a[2]).slice(0, MOST_MISTAKES);
  return wrong.map(([i, j, count]) => html("li", {}, `${classes[i]} taken for ${classes[j]}: ${count} of ${totals[i]}`));
}
