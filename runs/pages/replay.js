// A player of episodes: one state, drawn anew after every change.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const S = data.frame_px;
const STEP = stepWord(data);
const inOrder = STEP === "frame";
const cubes = data.cubes; // of each video, after a glance at the whole of it; null where frames come in turn
const gates = data.gates; // names of the gates, by network; null where there are none
const UNITS = cubes ? "cubes" : "frames";
const COLOURS = ["var(--first)", "var(--second)"];
const HEAT = "#ff6a00";
const ON_FRAME = ["#2df06f", "#e08cff"]; // boxes stand on pictures, whatever the scheme
const names = data.policies.map((policy) => policy.name);
const entries = makeEntries(data);
const byRowOf = new Map(entries.map((entry) => [entry.row, entry]));
const state = { row: data.videos[0].row, t: 0, view: "b", heat: 0, timer: null };
const list = { search: "", filter: "all", sort: "shown", withPictures: false, entries: [], drawn: 0 };

const shown = () => (state.view === "b" ? [0, 1] : [state.view - 1]);
const entry = () => byRowOf.get(state.row);
const video = () => data.videos[entry().shown]; // undefined where there are no pictures
const cost = (gmacs) => (gmacs * data.compute_unit.per_gmac).toPrecision(3);
const percent = (p) => `${(100 * p).toFixed(0)} %`;
const signed = (r) => `${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(3)}`;

function boxes(v, t, policies, stroke) {
  const found = [];
  const frame = frameOf(v, policies[0], t);
  const truth = frame === null ? null : v.true_boxes[frame];
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
  const looking = gates ? [] : policies.filter((i) => v.episodes[i].attended[t]);
  const at = (i) => v.episodes[i].boxes_px[t];
  // The second is dashed: where both are the same box, the first shows between the dashes.
  return found.concat(
    looking.map((i) => edge(at(i), { stroke: "#000", "stroke-width": stroke + 2, opacity: 0.5 })),
    looking.map((i) => edge(at(i), {
      class: `chosen policy${i + 1}`, stroke: ON_FRAME[i], "stroke-width": stroke, "stroke-dasharray": i ? "7 5" : "none",
    })),
  );
}

// The edges of a box, which may lie between pixels.
const edges = (px) => px.map((edge) => Number(edge.toFixed(1))).join(", ");

function picture(i) {
  const v = video(), t = state.t, episode = v.episodes[i], attended = episode.attended[t];
  const looked = gates ? `kept by ${keptBy(i, t)} blocks` : `looked at ${edges(episode.boxes_px[t])} px`;
  const what = attended ? looked : unseen(t);
  const root = svg("svg", { class: "picture", viewBox: `0 0 ${S} ${S}`, role: "img", "aria-label": `${names[i]}, ${stepName(t)}: ${what}` });
  root.append(scene(v, i, t, attended || (cubes && !t) ? 1 : 0.4));
  const heat = heatOf(i, t);
  if (heat) root.append(...heatCells(heat));
  root.append(...boxes(v, t, [i], 3.5));
  if (!attended) {
    root.append(svg("text", { class: "said", x: S / 2, y: S / 2, "font-size": S / 10, "stroke-width": S / 60, "text-anchor": "middle" }, unseen(t)));
  }
  return root;
}

function bits(probabilities) {
  return probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);
}

function facts(i) {
  const t = state.t, episode = video().episodes[i], right = episode.correct[t];
  const looks = episode.attended.slice(0, t + 1).filter(Boolean).length;
  const rows = [
    ["prediction", html("span", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${episode.predictions[t]}, ${percent(episode.certainties[t])}`)],
    ["on the true label", percent(episode.confidences[t])],
    ...(episode.location_rewards ? [["reward r", signed(episode.location_rewards[t])]] : []),
    ...(episode.skip_rewards ? [["reward r′", signed(episode.skip_rewards[t])]] : []),
    ...(gates ? gateFacts(i) : [[`${UNITS} looked at`, cubes ? `${looks} of ${cubes}` : `${looks} of ${t + 1} so far`]]),
    ["cost so far", `${cost(episode.gmacs[t])} of ${cost(episode.gmacs[data.steps - 1])} ${data.compute_unit.name}`],
  ];
  if (cubes) rows.push(["frame of the file", episode.attended[t] ? `${video().frame_indices[episode.segments[t]]}` : "–"]);
  if (!data.grid && !gates) rows.push(["box, left and top", episode.attended[t] ? episode.boxes_px[t].slice(0, 2).map((px) => px.toFixed(2)).join(", ") + " px" : "–"]);
  if (data.grid && data.policies[i].learned) rows.push(["π's entropy", `${bits(episode.probabilities[t]).toFixed(2)} of ${Math.log2(data.grid ** 2).toFixed(2)} bits`]);
  if (episode.keep) rows.push(["π′ says look", `${episode.keep[t].toPrecision(2)}, looks from ${data.policies[i].threshold.toPrecision(2)}`]);
  return html("dl", {}, ...rows.flatMap(([term, said]) => [html("dt", {}, term), html("dd", {}, said)]));
}

// The likeliest classes with their probabilities, and the true ones.
function classBars(i) {
  const items = video().episodes[i].likeliest[state.t].map(([label, p]) => {
    const isTrue = video().labels.includes(label);
    const fill = html("i", {});
    fill.style.width = `${100 * p}%`;
    fill.style.background = COLOURS[i];
    const name = html("span", { class: isTrue ? "class true" : "class", title: data.classes[label] }, `${data.classes[label]}${isTrue ? " (true)" : ""}`);
    return html("li", {}, name, html("span", { class: "bar", "aria-hidden": "true" }, fill), html("span", { class: "share" }, `${(100 * p).toFixed(1)} %`));
  });
  return html("ol", { class: "bars", "aria-label": `Likeliest classes, ${names[i]}` }, ...items);
}

const heading = (i) => html("h3", { class: i ? "second" : "first" }, names[i]);

function side(i) {
  const heat = heatOf(i, state.t);
  return html("div", { class: "side", "data-policy": i + 1 }, heading(i), picture(i), ...(heat ? [heatScale(heat)] : []));
}

function factsOf(i) {
  return html("div", { class: "facts", "data-policy": i + 1 }, heading(i), facts(i), classBars(i));
}

// The buttons stay, so that the keyboard's focus does; only what is in them is drawn anew.
function drawRow() {
  const v = video(), policies = shown(), row = $("row");
  [...row.children].forEach((button, t) => {
    const attended = policies.map((i) => v.episodes[i].attended[t]);
    const skipped = !attended.includes(true);
    button.setAttribute("aria-current", String(t === state.t));
    if (cubes) {
      button.replaceChildren(...cubeButton(v, t, policies));
      button.setAttribute("aria-label", stepName(t) + (t && skipped ? ", stopped" : ""));
      button.className = t && skipped ? "skipped" : "";
      return;
    }
    const uri = v.frames[t];
    const small = svg("svg", { viewBox: `0 0 ${S} ${S}`, "aria-hidden": "true" },
      svg("image", { href: uri, width: S, height: S, opacity: skipped ? 0.25 : attended.includes(false) ? 0.6 : 1 }), ...boxes(v, t, policies, 2));
    const said = gates ? policies.filter((i) => data.policies[i].learned).map((i) => keptBy(i, t)).join(" | ") : skipped ? "skipped" : attended.includes(false) ? `${attended[0] ? "2nd" : "1st"} skips` : "";
    const inFile = inOrder ? [] : [html("small", { class: "file" }, `frame ${v.frame_indices[t]}`)];
    button.replaceChildren(small, html("small", {}, `${STEP} ${t + 1}`), ...inFile, ...(said ? [html("small", {}, said)] : []));
    button.title = `frame ${v.frame_indices[t]} of the file, counted from 0`;
    button.setAttribute("aria-label", `${STEP === "frame" ? "Frame" : "Step"} ${t + 1}${said && `, ${said}`}`);
    button.className = skipped ? "skipped" : "";
  });
  const current = row.children[state.t];
  if (!state.timer && row.contains(document.activeElement)) current.focus({ preventScroll: true });
  row.scrollLeft = current.offsetLeft - row.offsetLeft - (row.clientWidth - current.clientWidth) / 2;
}

function drawTimes() {
  const v = video();
  $("timeline").hidden = inOrder && !gates;
  if (v && gates) drawGates($("timeline"));
  else if (v && cubes) {
    const lanes = shown().map((i) => ({ name: names[i], colour: COLOURS[i], segments: v.episodes[i].segments }));
    const truth = v.true_boxes.map((box) => Boolean(box && box.visible));
    cubeTimes($("timeline"), { n: v.frames.length, lanes, truth, frames: v.frame_indices, t: state.t, pick: (t) => go({ t }) });
  } else if (v && !inOrder) timeline($("timeline"), { segments: data.segments, frames: v.frame_indices, t: state.t, pick: (t) => go({ t }) });
}

function drawCharts() {
  const v = video(), policies = shown();
  if (!v) return;
  const line = (i, values) => ({ name: names[i], colour: COLOURS[i], dash: i ? "7 4" : "", values });
  const curves = policies.map((i) => line(i, v.episodes[i].confidences));
  const base = policies[0];
  if (data.grid) curves.push({ name: `a random patch in that frame instead, ${names[base]} before`, colour: "var(--third)", dash: "2 4", values: v.episodes[base].random });
  const common = { steps: data.steps, word: STEP, marker: state.t, pick: (t) => go({ t }) };
  chart($("curve"), { ...common, label: `Confidence on the true label, by ${STEP}`, series: curves, low: 0, high: 1 });
  legend($("curvekey"), curves);
  const bars = (id, key, label, which, height) => {
    const series = which.map((i) => ({ ...line(i, v.episodes[i][key]), dash: "", bars: true }));
    const all = series.flatMap((each) => each.values);
    const low = Math.min(0, ...all), high = Math.max(0, ...all);
    const room = Math.max(0.05, high - low) * 0.06;
    chart($(id), { ...common, label, series, low: low - (low < 0 ? room : 0), high: high + room, height });
    legend($(key === "skip_rewards" ? "skipkey" : "rewardkey"), series);
  };
  if (data.grid) bars("rewards", "location_rewards", "Reward r by frame", policies, 190);
  const skipping = policies.filter((i) => data.policies[i].price);
  $("priced").hidden = !skipping.length;
  if (skipping.length) bars("skips", "skip_rewards", "Reward r′ by frame", skipping, 170);
}

const priced = data.policies.filter((policy) => policy.price);
$("designed").textContent = `What the reward design gives for the place${priced.length ? "; where a frame is skipped, for what looking would have given" : ""}.`;
$("price").textContent = `What looking gained over skipping, less the price of a look; 0 where it skips. It adds to r. Price: ${priced.map(({ name, price }) => `${name} ${price}`).join("; ")}.`;

function drawItem(item) {
  const v = data.videos[item.shown];
  const said = (end, i) => `${names[i]}: ${end.correct ? "right" : "wrong"}`;
  const marks = item.ends.map((end, i) => html("span", { class: i ? "second" : "first", title: said(end, i), "aria-hidden": "true" }, end.correct ? "✓" : "✗"));
  const spoken = html("span", { class: "hidden" }, ` (${item.ends.map(said).join(", ")}) `);
  const first = item.ends[0];
  const guess = `${first.correct ? "" : `takes it for ${first.prediction}, `}${percent(first.confidence)} on the true label`;
  const words = html("span", {}, html("span", { class: "name" }, ...marks, ` ${item.label}`), spoken,
    html("span", { class: "reason" }, v && v.kind ? v.why : guess));
  const picture = v ? html("img", { src: v.frames[0], alt: "" }) : html("span", { class: "none", title: "no pictures in this page" });
  const button = html("button", { title: item.name, "data-row": item.row }, picture, words);
  if (v) button.dataset.video = item.shown;
  button.setAttribute("aria-current", String(item.row === state.row));
  button.addEventListener("click", () => go({ row: item.row, t: 0 }));
  return html("li", {}, button);
}

function drawFurther(least = 0) {
  const end = Math.min(list.entries.length, Math.max(least, list.drawn + PART));
  $("list").append(...list.entries.slice(list.drawn, end).map(drawItem));
  list.drawn = end;
  $("further").hidden = end === list.entries.length;
  $("further").textContent = `Further videos (${list.entries.length - end} left)`;
}

function drawList(change = {}) {
  Object.assign(list, change);
  list.entries = chooseEntries(entries, list);
  list.drawn = 0;
  $("list").replaceChildren();
  drawFurther();
  document.querySelectorAll("[data-filter]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.filter === list.filter)));
  const shownIn = list.entries.filter((item) => item.shown !== undefined).length;
  $("count").textContent = `${list.entries.length} of ${entries.length} videos; ${shownIn} of these ${cubes ? "cube by cube" : "frame by frame"}`;
}

// The video that is so many places further in the list.
function step(by) {
  const at = list.entries.findIndex((item) => item.row === state.row);
  const next = list.entries[within(at < 0 ? 0 : at + by, list.entries.length)];
  if (next && next.row !== state.row) go({ row: next.row, t: 0 });
}

const NOTES = [
  "",
  "Orange: how probable π makes each patch, on a square-root scale up to the most probable one.",
  "Orange: confidence on the true label that each patch would give now, from the least to the most.",
];

function drawEnds() {
  const rows = [
    ["prediction", (end) => html("span", { class: end.correct ? "right" : "wrong" }, `${end.correct ? "✓" : "✗"} ${end.prediction}`)],
    ["on the true label", (end) => percent(end.confidence)],
    gates ? ["focal branches run", (end, i) => `${end.looks} of ${branches(i)}`] : [`${UNITS} looked at`, (end) => `${end.looks} of ${cubes ?? data.steps}`],
  ];
  $("ends").replaceChildren(
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, `after all ${UNITS}`), ...names.map((name, i) => html("th", { scope: "col", class: i ? "second" : "first" }, name)))),
    html("tbody", {}, ...rows.map(([what, say]) => html("tr", {}, html("th", { scope: "row" }, what), ...entry().ends.map((end, i) => html("td", {}, say(end, i)))))),
  );
  $("ask").textContent = `--videos ${state.row}`;
}

function drawFrame() {
  const v = video(), t = state.t;
  $("film").hidden = !v.film;
  $("film").href = `videos/${v.row}.mp4`;
  $("link").href = hashOf(state);
  $("large").replaceChildren(...shown().map(side));
  $("facts").replaceChildren(...shown().map(factsOf));
  $("after").textContent = cubes ? `After ${t ? `cube ${t} of ${cubes}` : "the glance"}` : inOrder ? `After frame ${t + 1}` : `After step ${t + 1}, frame ${v.frame_indices[t]} of the file`;
  $("heatnote").textContent = NOTES[state.heat];
  $("slider").value = t;
  const where = cubes ? (t ? `cube ${t} of ${cubes}` : "after the glance") : `${STEP} ${t + 1} of ${data.steps}`;
  $("slider").setAttribute("aria-valuetext", where);
  $("where").textContent = `${where}${inOrder || cubes ? "" : `: frame ${v.frame_indices[t]}`}`;
  $("play").textContent = state.timer ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(Boolean(state.timer)));
  document.querySelectorAll("[data-view]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.view === String(state.view))));
  document.querySelectorAll("[data-heat]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.heat) === state.heat)));
  drawRow();
  drawTimes();
  drawCharts();
  $("status").textContent = `${v.name}, ${stepName(t)}: ` + shown().map((i) => `${names[i]} ${percent(v.episodes[i].confidences[t])}`).join(", ");
}

function draw() {
  const v = video(), item = entry();
  $("title").textContent = `${item.name}: ${item.label}`;
  $("why").textContent = `Row ${item.row} of ${data.listed_in}${v ? `, ${v.why}` : ""}.`;
  for (const id of ["pictured", "details"]) $(id).hidden = !v;
  $("unpictured").hidden = Boolean(v);
  document.querySelectorAll("[data-row]").forEach((b) => b.setAttribute("aria-current", String(Number(b.dataset.row) === state.row)));
  if (v) drawFrame();
  else drawEnds();
}

const within = (value, n) => Math.min(n - 1, Math.max(0, value));

// The address of a video and a frame, counted from 1 as everywhere on the page.
const IN_HASH = cubes ? "cube" : "frame";
const hashOf = ({ row, t }) => `#video=${row}&${IN_HASH}=${numberOf(STEP, t)}`;

function readHash() {
  const said = new URLSearchParams(location.hash.slice(1));
  const row = Number(said.get("video")), first = numberOf(STEP, 0), at = Number(said.get(IN_HASH) ?? first);
  return said.has("video") && byRowOf.has(row) ? { row, t: Number.isInteger(at) ? at - first : 0 } : null;
}

function go(change) {
  if ("row" in change && state.timer && !data.videos[byRowOf.get(change.row).shown]) pause();
  Object.assign(state, change);
  state.t = within(state.t, data.steps);
  if ("row" in change) {
    const at = list.entries.findIndex((item) => item.row === state.row);
    if (at >= list.drawn) drawFurther(at + 1);
  }
  draw();
  if (location.hash !== hashOf(state)) history.replaceState(null, "", hashOf(state));
  const current = document.querySelector('[data-row][aria-current="true"]');
  if ("row" in change && current) keepInSight(current);
}

// Moves only what the list scrolls in, never the page.
function keepInSight(button) {
  let box = button.parentElement;
  while (box !== document.body && !/auto|scroll/.test(getComputedStyle(box).overflowY)) box = box.parentElement;
  if (box === document.body) return;
  const [inner, outer] = [button.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top;
  else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom;
}

function pause() {
  clearInterval(state.timer);
  state.timer = null;
}

function play() {
  if (!video()) return;
  if (state.timer) pause();
  else state.timer = setInterval(() => go({ t: (state.t + 1) % data.steps }), 700);
  go({});
}

const KEYS = {
  arrowleft: () => go({ t: state.t - 1 }),
  arrowright: () => go({ t: state.t + 1 }),
  p: () => step(-1),
  n: () => step(1),
  1: () => go({ view: "1" }),
  2: () => go({ view: "2" }),
  b: () => go({ view: "b" }),
  h: () => go({ heat: data.grid ? (state.heat + 1) % 3 : 0 }),
  " ": play,
  "/": () => $("search").focus(),
};

document.addEventListener("keydown", (event) => {
  const action = KEYS[event.key.toLowerCase()];
  const pressed = event.key === " " && event.target.closest("button, a"); // a space presses these
  const typed = event.target.closest("select, input[type=search]"); // these take the keys
  if (!action || pressed || typed || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});
$("slider").max = data.steps - 1;
$("slider").addEventListener("input", () => go({ t: Number($("slider").value) }));
$("play").addEventListener("click", play);
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("browse").addEventListener("click", () => {
  $("videos").scrollIntoView({ block: "nearest" });
  $("search").focus({ preventScroll: true });
});
$("search").addEventListener("input", () => drawList({ search: $("search").value }));
$("sort").addEventListener("change", () => drawList({ sort: $("sort").value }));
$("withpictures").addEventListener("change", () => drawList({ withPictures: $("withpictures").checked }));
$("further").addEventListener("click", () => drawFurther());
document.querySelectorAll("[data-filter]").forEach((b) => b.addEventListener("click", () => drawList({ filter: b.dataset.filter })));
addEventListener("hashchange", () => go(readHash() ?? {}));
document.querySelectorAll("[data-view]").forEach((b) => {
  if (b.dataset.view !== "b") b.textContent = names[b.dataset.view - 1];
  b.addEventListener("click", () => go({ view: b.dataset.view }));
});
document.querySelectorAll("[data-heat]").forEach((b) => b.addEventListener("click", () => go({ heat: Number(b.dataset.heat) })));
document.querySelectorAll("[data-name]").forEach((place) => { place.textContent = names[place.dataset.name]; });
$("truth").hidden = !data.videos.some((v) => v.true_boxes.some(Boolean));
const several = data.several_labels ? ["Where a video has several labels, confidence on the true label is the mean over them, and a prediction of any of them is right"] : [];
const kinds = data.policies.map(({ about }) => about).filter(Boolean);
const reward = data.reward ? `; reward r: ${data.reward}` : "";
const chosen = `Right and wrong are those of ${names[0]} after all ${UNITS}; changed: one of the two policies is right, and the other is not`;
$("about").textContent = [`Split ${data.split}${reward}`, ...kinds, ...(data.approximate ? [data.approximate] : []), chosen, ...data.notes, ...several]
  .map((text) => `${text[0].toUpperCase()}${text.slice(1)}.`).join(" ");
$("row").replaceChildren(...Array.from({ length: data.steps }, (_, t) => {
  const button = html("button", {});
  button.addEventListener("click", () => go({ t }));
  return button;
}));
showParts(data);
drawList();
go(readHash() ?? {});
new ResizeObserver(() => {
  drawTimes();
  drawCharts();
}).observe(document.querySelector(".charts"));
