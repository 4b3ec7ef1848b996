// Small charts in SVG, as wide as their place: text keeps its size.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function html(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// About n round numbers from low to high, at least three.
function ticks(low, high, n = 4) {
  const rough = (high - low || 1) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const sizes = [0.5, 1, 2, 5, 10].map((m) => m * power);
  const usual = sizes.findIndex((s) => s >= rough * 0.999);
  const multiples = (step) => {
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return found;
  };
  const step = multiples(sizes[usual]).length < 3 ? sizes[usual - 1] : sizes[usual];
  return { values: multiples(step), digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// The figures of a line or of bars in words, for those who do not see them.
function inWords({ name, values }) {
  const say = (v) => String(Number(v.toPrecision(3)));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${name}: first ${say(values[0])}, last ${say(values[values.length - 1])}, lowest ${say(low)}, highest ${say(high)}`;
}

// The scale of a heat map: its colour from the least to the greatest value, as strong as it is drawn.
function scaleBar(low, high, strength, colour, say) {
  const stops = Array.from({ length: 13 }, (_, i) => {
    const share = i / 12;
    return `color-mix(in srgb, ${colour} ${(100 * strength(low + share * (high - low))).toFixed(1)}%, transparent) ${(100 * share).toFixed(1)}%`;
  });
  const bar = html("i", {});
  bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  const label = `Scale of the heat map, from ${say(low)} to ${say(high)}`;
  return html("div", { class: "scale", role: "img", "aria-label": label }, html("span", {}, say(low)), bar, html("span", {}, say(high)));
}

// Show the parts of a page that mean something: those of options, or those of boxes anywhere, which
// say what is absent instead. Of gates, those of places are hidden.
function showParts({ grid, absent, cubes, gates }) {
  if (cubes) document.querySelectorAll("[data-cubes]").forEach((e) => { e.textContent = e.dataset.cubes; });
  if (gates) document.querySelectorAll("[data-gates]").forEach((e) => { e.textContent = e.dataset.gates; });
  if (gates) document.querySelectorAll("[data-places]").forEach((e) => { e.hidden = true; });
  document.querySelectorAll("[data-of]").forEach((e) => { e.hidden = (e.dataset.of === "options") !== Boolean(grid); });
  document.querySelectorAll("[data-absent]").forEach((e) => { e.textContent = absent ? `${absent}.` : ""; });
}

// What a step is called: frames that are not read in the order of the video are counted as steps. Cubes
// are counted from 1, for the glance comes before them.
const stepWord = ({ segments, cubes }) => (cubes ? "cube" : segments.every((segment, t) => segment === t) ? "frame" : "step");
const numberOf = (word, t) => (word === "cube" ? t : t + 1);

// Draw lines or bars over steps 1 to T into a place.
// series: [{name, colour, dash, values, bars, bounds, at}]; bounds: [low, high] of each value, drawn as a
// band; at: where the values stand on an axis {title, high} that is no count of frames.
// marker: present step from 0; pick: called with a step.
function chart(place, { label, series, steps, low, high, unit = "", height = 190, marker, pick, rule, axis, word = "frame" }) {
  const width = Math.max(220, place.clientWidth);
  const box = { left: 46, right: width - 12, top: 10, bottom: height - 38 };
  const slot = (box.right - box.left) / steps;
  const x = (t) => box.left + (t + 0.5) * slot;
  const along = (v) => box.left + (v / axis.high) * (box.right - box.left);
  const placed = (each, t) => (axis ? along(each.at[t]) : x(t));
  const y = (v) => box.bottom - ((v - low) / (high - low)) * (box.bottom - box.top);
  const said = [label, ...series.map(inWords)].join(". ");
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": said });
  const marks = ticks(low, high);
  for (const v of marks.values) {
    const zero = Math.abs(v) < 1e-12;
    root.append(
      svg("line", { class: zero ? "zero" : "axis", x1: box.left, x2: box.right, y1: y(v), y2: y(v) }),
      svg("text", { x: box.left - 7, y: y(v) + 4, "text-anchor": "end" }, (zero ? 0 : v).toFixed(marks.digits) + unit),
    );
  }
  const under = (at, text) => root.append(svg("text", { x: at, y: box.bottom + 17, "text-anchor": "middle" }, text));
  if (axis) {
    const { values, digits } = ticks(0, axis.high);
    for (const v of values) under(along(v), v.toFixed(digits));
  } else {
    const every = Math.ceil(26 / slot);
    for (let t = 0; t < steps; t += every) under(x(t), `${numberOf(word, t)}`);
  }
  root.append(svg("text", { x: (box.left + box.right) / 2, y: height - 5, "text-anchor": "middle" }, axis ? axis.title : word === "cube" ? "cube (0: after the glance)" : word));
  if (marker !== undefined) {
    root.append(svg("rect", {
      x: x(marker) - slot / 2, y: box.top, width: slot, height: box.bottom - box.top, fill: "var(--soft)", opacity: 0.13,
    }));
  }
  if (rule) {
    root.append(svg("line", {
      x1: box.left, x2: box.right, y1: y(rule), y2: y(rule), stroke: "var(--third)", "stroke-width": 2, "stroke-dasharray": "2 4",
    }));
  }
  const bars = series.filter((each) => each.bars);
  bars.forEach((each, i) => {
    const wide = Math.min(26, (slot * 0.72) / bars.length);
    each.values.forEach((v, t) => {
      const top = Math.min(y(v), y(0));
      root.append(svg("rect", {
        x: x(t) + (i - bars.length / 2) * wide + 0.5, y: top, width: Math.max(1, wide - 1),
        height: Math.max(1, Math.abs(y(v) - y(0))), fill: each.colour, opacity: marker === undefined || t === marker ? 1 : 0.55,
      }));
    });
  });
  for (const each of series.filter((one) => one.bounds)) {
    const edge = (end) => each.bounds.map((pair, t) => `${placed(each, t)},${y(pair[end])}`);
    const points = [...edge(0), ...edge(1).reverse()].join(" ");
    root.append(svg("polygon", { class: "band", points, fill: each.colour, opacity: 0.16 }));
  }
  for (const each of series.filter((one) => !one.bars)) {
    const points = each.values.map((v, t) => `${placed(each, t)},${y(v)}`).join(" ");
    root.append(svg("polyline", {
      points, fill: "none", stroke: each.colour, "stroke-width": 2.4, "stroke-dasharray": each.dash || "none", "stroke-linejoin": "round",
    }));
    each.values.forEach((v, t) => {
      root.append(svg("circle", { cx: placed(each, t), cy: y(v), r: t === marker ? 5 : 2.6, fill: each.colour }));
    });
  }
  if (pick) {
    root.style.cursor = "pointer";
    root.addEventListener("click", (event) => {
      const at = ((event.clientX - root.getBoundingClientRect().left) * width) / root.clientWidth;
      pick(Math.min(steps - 1, Math.max(0, Math.floor((at - box.left) / slot))));
    });
  }
  place.replaceChildren(root);
}

// What the lines and bars of a chart are.
function legend(place, entries) {
  place.replaceChildren(...entries.map(({ name, colour, dash }) => {
    const swatch = html("i", { class: "swatch" });
    swatch.style.borderTopColor = colour;
    swatch.style.borderTopStyle = dash === "2 4" ? "dotted" : dash ? "dashed" : "solid";
    return html("span", {}, swatch, name);
  }));
}
