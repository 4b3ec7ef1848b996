// Averages over a split: a table, heat maps and curves by frame.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const { policies, n_videos, random_path_px } = data.overview;
const names = data.policies.map((policy) => policy.name);
const COLOURS = ["var(--first)", "var(--second)"];
const most = Math.log2(data.grid ** 2);
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const pixels = (px) => (px === null ? "–" : `${px.toFixed(1)} px`);

function map(heat, high, i, said, ...caption) {
  const n = data.grid;
  const root = svg("svg", { viewBox: `0 0 ${n} ${n}`, role: "img", "aria-label": said });
  heat.forEach((share, k) => {
    root.append(svg("rect", {
      x: k % n, y: Math.floor(k / n), width: 1.01, height: 1.01, fill: COLOURS[i], opacity: high ? (share / high).toFixed(3) : 0,
    }, svg("title", {}, `row ${Math.floor(k / n) + 1}, column ${(k % n) + 1}: ${percent(share)} of the looks`)));
  });
  return html("figure", {}, root, html("figcaption", {}, ...caption));
}

function drawTable() {
  const last = (values) => values[values.length - 1];
  const rows = [
    ["accuracy after all frames", (p) => percent(last(p.accuracy_by_step))],
    ["frames looked at", (p) => percent(p.kept_share)],
    ["cost per video, GMACs", (p) => last(p.gmacs_by_step).toPrecision(3)],
    ["from one look to the next", (p) => pixels(p.path_px)],
    [`entropy of π, of ${most.toFixed(2)} bits`, (p, i) => (data.policies[i].learned ? mean(p.entropy_bits_by_step).toFixed(2) : "–")],
    ["entropy of use, bits", (p) => mean(p.used_bits_by_step).toFixed(2)],
  ];
  $("table").append(
    html("thead", {}, html("tr", {}, html("th", {}, `${n_videos} videos`), ...names.map((name, i) => html("th", { class: i ? "second" : "first" }, name)))),
    html("tbody", {}, ...rows.map(([what, value]) => html("tr", {}, html("td", {}, what), ...policies.map((p, i) => html("td", {}, value(p, i)))))),
  );
}

function drawClasses(i) {
  document.querySelectorAll("[data-policy]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.policy) === i)));
  $("classes").replaceChildren(...policies[i].classes.map((of) => map(
    of.heat, Math.max(...of.heat), i, `Where ${names[i]} looks in class ${of.name}`,
    html("b", {}, of.name), html("br", {}), `${of.videos} videos`, html("br", {}), `${percent(of.accuracy, 0)} right`, html("br", {}), `path ${pixels(policies[i].path_px_by_class[of.name])}`,
  )));
}

function drawCurves() {
  const lines = (key, which = policies.map((_, i) => i)) => which.map((i) => ({ name: names[i], colour: COLOURS[i], dash: i ? "7 4" : "", values: policies[i][key] }));
  const learned = policies.map((_, i) => i).filter((i) => data.policies[i].learned);
  const even = { name: "all patches alike", colour: "var(--third)", dash: "2 4" };
  const curve = (id, label, series, high, rule) => {
    chart($(id), { label, series, steps: data.steps, low: 0, high, rule });
    legend($(`${id}key`), rule ? [...series, even] : series);
  };
  curve("skipped", "Share of frames skipped, by frame", lines("skipped_by_step"), 1);
  curve("entropy", "Entropy of the probabilities, by frame", lines("entropy_bits_by_step", learned), most * 1.05, most);
  curve("used", "Entropy of use, by frame", lines("used_bits_by_step"), most * 1.05, most);
  curve("accuracy", "Accuracy, by frame", lines("accuracy_by_step"), 1);
}

document.querySelectorAll("[data-name]").forEach((place) => { place.textContent = names[place.dataset.name]; });
document.querySelectorAll("[data-policy]").forEach((b) => {
  b.textContent = names[b.dataset.policy];
  b.addEventListener("click", () => drawClasses(Number(b.dataset.policy)));
});
$("about").textContent = `Split ${data.split}, ${n_videos} videos of ${data.steps} frames. Looking at random, one look is ${random_path_px.toFixed(1)} px from the next on average.${data.several_labels ? " A video with several labels is right with any of them, and counts for the class of its first." : ""}`;
const highest = Math.max(...policies.flatMap((p) => p.heat));
$("all").append(...policies.map((p, i) => map(p.heat, highest, i, `Where ${names[i]} looks in all videos`, html("b", { class: i ? "second" : "first" }, names[i]), `, largest share ${percent(Math.max(...p.heat))}`)));
drawTable();
drawClasses(0);
drawCurves();
new ResizeObserver(drawCurves).observe(document.querySelector(".charts"));
