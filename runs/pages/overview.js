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

const HEAT = "#ff6a00"; // on a frame, whatever the scheme
const UNIT = data.compute_unit;
const cost = (gmacs) => (gmacs * UNIT.per_gmac).toPrecision(4);
const interval = ([low, high]) => `(${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`;
const last = (values) => values[values.length - 1];

const STEP = stepWord(data);

// Where the edges of the patches cut the frame into cells, and which patches cover each cell.
const edges = (sides) => [...new Set([0, data.frame_px, ...data.boxes_px.flatMap((px) => sides.map((i) => px[i]))])].sort((a, b) => a - b);
const cellsOfPatches = (xs, ys) => ys.slice(1).flatMap((bottom, row) => xs.slice(1).map((right, column) => {
  const [left, top] = [xs[column], ys[row]];
  const covering = data.boxes_px.flatMap((px, k) => (px[0] <= left && px[2] >= right && px[1] <= top && px[3] >= bottom ? [k] : []));
  return { left, top, right, bottom, covering };
}));
// Boxes anywhere are counted in cells of one size.
const cellsOfBoxes = (n) => Array.from({ length: n * n }, (_, k) => {
  const [row, column, side] = [Math.floor(k / n), k % n, data.frame_px / n];
  return { left: column * side, top: row * side, right: (column + 1) * side, bottom: (row + 1) * side };
});
const cells = data.gates ? [] : data.grid ? cellsOfPatches(edges([0, 2]), edges([1, 3])) : cellsOfBoxes(Math.sqrt(policies[0].coverage.length));
// The share of the looks whose patch or box covers each cell.
const covered = ({ heat, coverage, gates }) => gates?.flat() ?? coverage ?? cells.map(({ covering }) => covering.reduce((sum, k) => sum + heat[k], 0));

// Which frames each block keeps, on average over some videos.
function gateMap(i, seen, said, ...caption) {
  const say = (share) => `kept in ${percent(share)} of the videos`;
  const grid = gateGrid({ names: data.gates[i], shares: seen.gates, colour: COLOURS[i], label: said, say, width: 280 });
  return html("figure", {}, grid, html("figcaption", {}, ...caption));
}

function map(i, seen, high, said, ...caption) {
  if (data.gates) return gateMap(i, seen, said, ...caption);
  const S = data.frame_px;
  const root = svg("svg", { viewBox: `0 0 ${S} ${S}`, role: "img", "aria-label": said }, svg("image", { href: data.mean_frame, width: S, height: S }));
  const strength = (share) => (high ? (0.85 * share) / high : 0);
  covered(seen).forEach((share, i) => {
    const { left, top, right, bottom } = cells[i];
    root.append(svg("rect", {
      x: left, y: top, width: right - left, height: bottom - top, fill: HEAT, opacity: strength(share).toFixed(3), "shape-rendering": "crispEdges",
    }, svg("title", {}, `${left} to ${right} px across, ${top} to ${bottom} px down: in ${percent(share)} of the looks`)));
  });
  const scale = scaleBar(0, high, strength, HEAT, (share) => percent(share, 0));
  return html("figure", {}, root, scale, html("figcaption", {}, ...caption));
}

const heads = (first) => html("thead", {}, html("tr", {}, html("th", { scope: "col" }, first), ...names.map((name, i) => html("th", { scope: "col", class: i ? "second" : "first" }, name))));
const body = (rows) => html("tbody", {}, ...rows.map(([what, value]) => html("tr", {}, html("td", {}, what), ...policies.map((p, i) => html("td", {}, ...[value(p, i)].flat())))));

function drawTables() {
  $("table").append(heads(`${n_videos} videos`), body([
    [`accuracy after all ${data.cubes ? "cubes" : "frames"}`, (p) => [percent(last(p.accuracy_by_step)), html("small", {}, interval(last(p.accuracy_intervals_by_step)))]],
    [data.gates ? "focal branches run" : `${data.cubes ? "cubes" : "frames"} looked at`, (p) => percent(p.kept_share)],
    [`cost per video, ${UNIT.name}`, (p) => cost(last(p.gmacs_by_step))],
    ...(data.gates ? [] : [["from one look to the next", (p) => pixels(p.path_px)]]),
    ...(data.grid ? [
      [`entropy of π, of ${most.toFixed(2)} bits`, (p, i) => (data.policies[i].learned ? mean(p.entropy_bits_by_step).toFixed(2) : "–")],
      ["entropy of use, bits", (p) => mean(p.used_bits_by_step).toFixed(2)],
    ] : []),
  ]));
  const ofGates = [["glance", "all but the focal branches"], ["local", "focal branches run"]];
  const networks = data.gates ? ofGates : [["glance", data.cubes ? "f_G, the glance" : "f_G on every frame"], ["policy", "π, and π′ where there is one"], ["local", `f_L on the ${data.cubes ? "cubes" : "patches"} looked at`], ["classifier", "f_C"]];
  $("cost").append(heads(UNIT.name), body([
    ...networks.map(([name, what]) => [what, (p) => cost(p.gmacs_by_network[`${name}_gmacs`])]),
    ["together", (p) => cost(last(p.gmacs_by_step))],
  ]));
}

function drawClasses(i) {
  document.querySelectorAll("[data-policy]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.policy) === i)));
  $("classes").replaceChildren(...policies[i].classes.map((of) => map(
    i, of, Math.max(...covered(of)), `Where ${names[i]} looks in class ${of.name}`,
    html("b", {}, of.name), html("br", {}), `${of.videos} video${of.videos === 1 ? "" : "s"}`, html("br", {}), `${percent(of.accuracy, 0)} right ${interval(of.accuracy_interval)}`,
    ...(data.gates ? [] : [html("br", {}), `path ${pixels(policies[i].path_px_by_class[of.name])}`]),
  )));
}

function drawConfusion(i) {
  document.querySelectorAll("[data-confused]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.confused) === i)));
  const pairs = policies[i].confusion, colourOf = (a, b) => (a === b ? "var(--first)" : "var(--bad)");
  const label = `Confusion matrix of ${names[i]}: true classes from top to bottom, predicted ones from left to right`;
  $("matrix").replaceChildren(data.classes.length > MOST_COUNTED ? confusionPicture(pairs, data.classes, colourOf, label) : confusionTable(pairs, data.classes, colourOf));
  const wrong = mistakes(pairs, data.classes);
  $("mistakes").replaceChildren(...(wrong.length ? wrong : [html("li", {}, "none")]));
}

// How often each frame has a cube, and the first one.
function drawTimes(lines) {
  const taken = lines("taken_by_frame").map((line) => ({ ...line, name: `${line.name}: any cube`, dash: "" }));
  const first = lines("first_by_frame").map((line) => ({ ...line, name: `${line.name}: the first cube`, dash: "2 4" }));
  const series = [...taken, ...first];
  const high = Math.min(1, 1.1 * Math.max(...series.flatMap((line) => line.values)));
  chart($("skipped"), { label: "Share of the videos with a cube in a frame, by frame", series, steps: data.segments.length, low: 0, high });
  legend($("skippedkey"), series);
}

function drawCurves() {
  const lines = (key, which = policies.map((_, i) => i)) => which.map((i) => ({ name: names[i], colour: COLOURS[i], dash: i ? "7 4" : "", values: policies[i][key] }));
  const learned = policies.map((_, i) => i).filter((i) => data.policies[i].learned);
  const even = { name: "all patches alike", colour: "var(--third)", dash: "2 4" };
  const curve = (id, label, series, high, rule) => {
    chart($(id), { label, series, steps: data.steps, word: STEP, low: 0, high, rule });
    legend($(`${id}key`), rule ? [...series, even] : series);
  };
  if (data.cubes) drawTimes(lines);
  else curve("skipped", `Share of frames skipped, by ${STEP}`, lines("skipped_by_step"), 1);
  if (data.grid) curve("entropy", "Entropy of the probabilities, by frame", lines("entropy_bits_by_step", learned), most * 1.05, most);
  if (data.grid) curve("used", "Entropy of use, by frame", lines("used_bits_by_step"), most * 1.05, most);
  const right = lines("accuracy_by_step").map((line, i) => ({ ...line, bounds: policies[i].accuracy_intervals_by_step }));
  curve("accuracy", `Accuracy, by ${STEP}`, right, 1);
  const spent = right.map((line, i) => ({ ...line, at: policies[i].gmacs_by_step.map((gmacs) => gmacs * UNIT.per_gmac) }));
  const axis = { title: `${UNIT.name} per video, so far`, high: 1.05 * Math.max(...spent.flatMap((line) => line.at)) };
  chart($("spent"), { label: "Accuracy against cost", series: spent, steps: data.steps, low: 0, high: 1, axis });
  legend($("spentkey"), spent);
}

document.querySelectorAll("[data-name]").forEach((place) => { place.textContent = names[place.dataset.name]; });
document.querySelectorAll("[data-policy]").forEach((b) => {
  b.textContent = names[b.dataset.policy];
  b.hidden = Boolean(data.gates) && !data.policies[b.dataset.policy].learned; // it keeps all
  b.addEventListener("click", () => drawClasses(Number(b.dataset.policy)));
});
document.querySelectorAll("[data-confused]").forEach((b) => {
  b.textContent = names[b.dataset.confused];
  b.addEventListener("click", () => drawConfusion(Number(b.dataset.confused)));
});
$("heatsaid").textContent = data.gates ? "In which share of the videos a block keeps a frame, or its mean weight where gates weight frames; at the right over all frames." : `How many of the looks cover a place, over the mean of the frames of ${data.n_mean} videos${data.cubes ? "" : "; skipped frames do not count"}. These two have one scale.`;
$("confusionsaid").textContent = `Videos of each true class (row) by the class predicted after all ${data.cubes ? "cubes" : "frames"} (column)${data.several_labels ? "; of several labels the one that was predicted, else the first" : ""}. The stronger the colour, the larger the share of the row.`;
$("about").textContent = `Split ${data.split}, ${n_videos} videos of ${data.segments.length} frames${data.cubes ? `: a glance at them, then ${data.cubes} cubes` : ""}. ${random_path_px === null ? "" : `Looking at random, one look is ${random_path_px.toFixed(1)} px from the next on average.`}${data.several_labels ? " A video with several labels is right with any of them, and counts for the class of its first." : ""}${data.approximate ? ` ${data.approximate}.` : ""}`;
const highest = Math.max(...policies.flatMap(covered));
document.querySelectorAll(".maps").forEach((e) => e.classList.toggle("ofgates", Boolean(data.gates)));
const mapped = policies.map((_, i) => i).filter((i) => !data.gates || data.policies[i].learned);
$("all").append(...mapped.map((i) => [i, policies[i]]).map(([i, p]) => map(
  i, p, highest, data.gates ? `Which frames each block of ${names[i]} keeps` : `Where ${names[i]} looks in all videos`, html("b", { class: i ? "second" : "first" }, names[i]),
  data.gates ? `, ${percent(p.kept_share)} of the focal branches run` : `, at most ${percent(Math.max(...covered(p)))} of the looks cover one place`,
)));
showParts(data);
drawTables();
drawClasses(0);
drawConfusion(0);
drawCurves();
new ResizeObserver(drawCurves).observe(document.querySelector(".charts"));
