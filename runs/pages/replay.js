// A player of episodes: one state, drawn anew after every change.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const S = data.frame_px;
const COLOURS = ["var(--first)", "var(--second)"];
const ON_FRAME = ["#2df06f", "#e08cff"]; // boxes stand on pictures, whatever the scheme
const names = data.policies.map((policy) => policy.name);
const state = { video: 0, t: 0, view: "b", heat: 0, timer: null };

const shown = () => (state.view === "b" ? [0, 1] : [state.view - 1]);
const video = () => data.videos[state.video];
const percent = (p) => `${(100 * p).toFixed(0)} %`;
const signed = (r) => `${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(3)}`;

function boxes(v, t, policies, stroke) {
  const found = [];
  const truth = v.true_boxes[t];
  const edge = (px, attributes) => svg("rect", {
    x: px[0], y: px[1], width: px[2] - px[0], height: px[3] - px[1], fill: "none", "vector-effect": "non-scaling-stroke", ...attributes,
  });
  if (truth) {
    const faint = truth.visible ? 1 : 0.5;
    found.push(
      edge(truth.px, { stroke: "#000", "stroke-width": stroke + 1, opacity: 0.55 * faint }),
      edge(truth.px, { class: "truth", stroke: "#fff", "stroke-width": stroke, "stroke-dasharray": "2 3", opacity: faint }),
    );
  }
  const looking = policies.filter((i) => v.episodes[i].looked[t]);
  const at = (i) => v.episodes[i].boxes_px[t];
  // The second is dashed: where both are the same box, the first shows between the dashes.
  return found.concat(
    looking.map((i) => edge(at(i), { stroke: "#000", "stroke-width": stroke + 2, opacity: 0.5 })),
    looking.map((i) => edge(at(i), {
      class: `chosen policy${i + 1}`, stroke: ON_FRAME[i], "stroke-width": stroke, "stroke-dasharray": i ? "7 5" : "none",
    })),
  );
}

// Cells around the centres of the candidates, as strong as their values.
function heatCells(episode, t) {
  const n = data.grid, K = n * n;
  const values = (state.heat === 1 ? episode.probabilities[t] : episode.alternatives[t]).slice(0, K);
  const low = state.heat === 1 ? 0 : Math.min(...values), high = Math.max(...values);
  const side = (S - data.patch_px) / (n - 1);
  return data.boxes_px.map((px, k) => {
    const share = high > low ? (values[k] - low) / (high - low) : 0;
    const strength = state.heat === 1 ? Math.sqrt(share) : share; // most probabilities are small
    const [x, y] = [(px[0] + px[2] - side) / 2, (px[1] + px[3] - side) / 2];
    return svg("rect", { class: "cell", x, y, width: side, height: side, fill: "#ff6a00", opacity: (0.78 * strength).toFixed(3) },
      svg("title", {}, `row ${Math.floor(k / n) + 1}, column ${(k % n) + 1}: ${(100 * values[k]).toFixed(1)} %`));
  });
}

function picture(i) {
  const v = video(), t = state.t, episode = v.episodes[i], looked = episode.looked[t];
  const what = looked ? `looked at ${episode.boxes_px[t].join(", ")} px` : "skipped";
  const root = svg("svg", { class: "picture", viewBox: `0 0 ${S} ${S}`, role: "img", "aria-label": `${names[i]}, frame ${t + 1}: ${what}` });
  root.append(svg("image", { href: v.frames[t], width: S, height: S, opacity: looked ? 1 : 0.4 }));
  if (state.heat === 2 || (state.heat && data.policies[i].learned)) root.append(...heatCells(episode, t));
  root.append(...boxes(v, t, [i], 3.5));
  if (!looked) {
    root.append(svg("text", { class: "said", x: S / 2, y: S / 2, "font-size": S / 10, "stroke-width": S / 60, "text-anchor": "middle" }, "skipped"));
  }
  return root;
}

function bits(probabilities) {
  return probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);
}

function facts(i) {
  const t = state.t, episode = video().episodes[i], right = episode.correct[t];
  const looks = episode.looked.slice(0, t + 1).filter(Boolean).length;
  const rows = [
    ["prediction", html("span", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${episode.predictions[t]}, ${percent(episode.certainties[t])}`)],
    ["on the true label", percent(episode.confidences[t])],
    ["reward r", signed(episode.location_rewards[t])],
    ...(episode.skip_rewards ? [["reward r′", signed(episode.skip_rewards[t])]] : []),
    ["frames looked at", `${looks} of ${t + 1} so far`],
    ["cost so far", `${episode.gmacs[t].toPrecision(3)} of ${episode.gmacs[data.steps - 1].toPrecision(3)} GMACs`],
  ];
  if (data.policies[i].learned) rows.push(["π's entropy", `${bits(episode.probabilities[t]).toFixed(2)} of ${Math.log2(data.grid ** 2).toFixed(2)} bits`]);
  if (episode.keep) rows.push(["π′ says look", `${episode.keep[t].toPrecision(2)}, looks from ${data.policies[i].threshold.toPrecision(2)}`]);
  return html("dl", {}, ...rows.flatMap(([term, said]) => [html("dt", {}, term), html("dd", {}, said)]));
}

function side(i) {
  return html("div", { class: "side", "data-policy": i + 1 }, html("h3", { class: i ? "second" : "first" }, names[i]), picture(i), facts(i));
}

// The buttons stay, so that the keyboard's focus does; only what is in them is drawn anew.
function drawRow() {
  const v = video(), policies = shown(), row = $("row");
  v.frames.forEach((uri, t) => {
    const button = row.children[t], looked = policies.map((i) => v.episodes[i].looked[t]);
    const skipped = !looked.includes(true);
    const small = svg("svg", { viewBox: `0 0 ${S} ${S}`, "aria-hidden": "true" },
      svg("image", { href: uri, width: S, height: S, opacity: skipped ? 0.25 : looked.includes(false) ? 0.6 : 1 }), ...boxes(v, t, policies, 2));
    const said = skipped ? "skipped" : looked.includes(false) ? `${looked[0] ? "2nd" : "1st"} skips` : "";
    button.replaceChildren(small, html("small", {}, `frame ${t + 1}`), ...(said ? [html("small", {}, said)] : []));
    button.title = `frame ${v.frame_indices[t]} of the file, counted from 0`;
    button.setAttribute("aria-current", String(t === state.t));
    button.setAttribute("aria-label", `Frame ${t + 1}${said && `, ${said}`}`);
    button.className = skipped ? "skipped" : "";
  });
  const current = row.children[state.t];
  if (!state.timer && row.contains(document.activeElement)) current.focus({ preventScroll: true });
  row.scrollLeft = current.offsetLeft - row.offsetLeft - (row.clientWidth - current.clientWidth) / 2;
}

function drawCharts() {
  const v = video(), policies = shown();
  const line = (i, values) => ({ name: names[i], colour: COLOURS[i], dash: i ? "7 4" : "", values });
  const curves = policies.map((i) => line(i, v.episodes[i].confidences));
  const base = policies[0];
  curves.push({ name: `a random patch in that frame instead, ${names[base]} before`, colour: "var(--third)", dash: "2 4", values: v.episodes[base].random });
  const common = { steps: data.steps, marker: state.t, pick: (t) => go({ t }) };
  chart($("curve"), { ...common, label: "Confidence on the true label, by frame", series: curves, low: 0, high: 1 });
  legend($("curvekey"), curves);
  const bars = (id, key, label, which, height) => {
    const series = which.map((i) => ({ ...line(i, v.episodes[i][key]), dash: "", bars: true }));
    const all = series.flatMap((each) => each.values);
    const low = Math.min(0, ...all), high = Math.max(0, ...all);
    const room = Math.max(0.05, high - low) * 0.06;
    chart($(id), { ...common, label, series, low: low - (low < 0 ? room : 0), high: high + room, height });
    legend($(key === "skip_rewards" ? "skipkey" : "rewardkey"), series);
  };
  bars("rewards", "location_rewards", "Reward r by frame", policies, 190);
  const skipping = policies.filter((i) => data.policies[i].price);
  $("priced").hidden = !skipping.length;
  if (skipping.length) bars("skips", "skip_rewards", "Reward r′ by frame", skipping, 170);
}

const priced = data.policies.filter((policy) => policy.price);
$("designed").textContent = `What the reward design gives for the place${priced.length ? "; where a frame is skipped, for what looking would have given" : ""}.`;
$("price").textContent = `What looking gained over skipping, less the price of a look; 0 where it skips. It adds to r. Price: ${priced.map(({ name, price }) => `${name} ${price}`).join("; ")}.`;

function drawList() {
  $("list").replaceChildren(...data.videos.map((v, index) => {
    const ends = v.episodes.map((episode, i) => ({ right: episode.correct[data.steps - 1], name: names[i], kind: i ? "second" : "first" }));
    const said = ({ right, name }) => `${name}: ${right ? "right" : "wrong"}`;
    const marks = ends.map((end) => html("span", { class: end.kind, title: said(end), "aria-hidden": "true" }, end.right ? "✓" : "✗"));
    const spoken = html("span", { class: "hidden" }, ` (${ends.map(said).join(", ")}) `);
    const words = html("span", {}, html("span", { class: "name" }, ...marks, ` ${v.label}`), spoken, html("span", { class: "reason" }, v.why));
    const button = html("button", { title: v.name, "data-video": index }, html("img", { src: v.frames[0], alt: "" }), words);
    button.addEventListener("click", () => go({ video: index, t: 0 }));
    return html("li", {}, button);
  }));
}

const NOTES = [
  "",
  "Orange: how probable π makes each patch, on a square-root scale up to the most probable one.",
  "Orange: confidence on the true label that each patch would give now, from the least to the most.",
];

function draw() {
  const v = video(), t = state.t;
  $("title").textContent = `${v.name}: ${v.label}`;
  $("why").textContent = `Row ${v.row} of the cache, ${v.why}.`;
  $("film").hidden = !data.mp4;
  $("film").href = `videos/${v.row}.mp4`;
  $("large").replaceChildren(...shown().map(side));
  $("heatnote").textContent = NOTES[state.heat];
  $("slider").value = t;
  $("slider").setAttribute("aria-valuetext", `frame ${t + 1} of ${data.steps}`);
  $("where").textContent = `frame ${t + 1} of ${data.steps}`;
  $("play").textContent = state.timer ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(Boolean(state.timer)));
  document.querySelectorAll("[data-view]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.view === String(state.view))));
  document.querySelectorAll("[data-heat]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.heat) === state.heat)));
  document.querySelectorAll("[data-video]").forEach((b, index) => b.setAttribute("aria-current", String(index === state.video)));
  drawRow();
  drawCharts();
  $("status").textContent = `${v.name}, frame ${t + 1}: ` + shown().map((i) => `${names[i]} ${percent(v.episodes[i].confidences[t])}`).join(", ");
}

const within = (value, n) => Math.min(n - 1, Math.max(0, value));

function go(change) {
  Object.assign(state, change);
  state.video = within(state.video, data.videos.length);
  state.t = within(state.t, data.steps);
  draw();
  if ("video" in change) document.querySelector('[data-video][aria-current="true"]').scrollIntoView({ block: "nearest", inline: "nearest" });
}

function play() {
  if (state.timer) {
    clearInterval(state.timer);
    return go({ timer: null });
  }
  const timer = setInterval(() => go({ t: (state.t + 1) % data.steps }), 700);
  go({ timer });
}

const KEYS = {
  arrowleft: () => go({ t: state.t - 1 }),
  arrowright: () => go({ t: state.t + 1 }),
  p: () => go({ video: state.video - 1, t: 0 }),
  n: () => go({ video: state.video + 1, t: 0 }),
  1: () => go({ view: "1" }),
  2: () => go({ view: "2" }),
  b: () => go({ view: "b" }),
  h: () => go({ heat: (state.heat + 1) % 3 }),
  " ": play,
};

document.addEventListener("keydown", (event) => {
  const action = KEYS[event.key.toLowerCase()];
  const pressed = event.key === " " && event.target.closest("button, a"); // a space presses these
  if (!action || pressed || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});
$("slider").max = data.steps - 1;
$("slider").addEventListener("input", () => go({ t: Number($("slider").value) }));
$("play").addEventListener("click", play);
document.querySelectorAll("[data-view]").forEach((b) => {
  if (b.dataset.view !== "b") b.textContent = names[b.dataset.view - 1];
  b.addEventListener("click", () => go({ view: b.dataset.view }));
});
document.querySelectorAll("[data-heat]").forEach((b) => b.addEventListener("click", () => go({ heat: Number(b.dataset.heat) })));
document.querySelectorAll("[data-name]").forEach((place) => { place.textContent = names[place.dataset.name]; });
$("truth").hidden = !data.videos.some((v) => v.true_boxes.some(Boolean));
const several = data.several_labels ? ["Where a video has several labels, confidence on the true label is the mean over them, and a prediction of any of them is right"] : [];
$("about").textContent = [`${data.videos.length} videos; reward r: ${data.reward}`, ...data.notes, ...several].join(". ") + ".";
$("row").replaceChildren(...Array.from({ length: data.steps }, (_, t) => {
  const button = html("button", {});
  button.addEventListener("click", () => go({ t }));
  return button;
}));
drawList();
draw();
new ResizeObserver(drawCharts).observe(document.querySelector(".charts"));
