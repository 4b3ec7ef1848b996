// Videos with a glance at the whole and then cubes, in the policy's order: what a step is about, and when
// in the video the cubes are. The constants are those of the player.
"use strict";

// What a step is called, and which of the frames it is about: none of them for the glance.
const stepName = (t) => (cubes && !t ? "glance" : `${STEP} ${numberOf(STEP, t)}`);
const frameOf = (v, i, t) => (cubes ? v.episodes[i].segments[t] : t);
const unseen = (t) => (gates ? "no block" : !cubes ? "skipped" : t ? "stopped" : "glance");

// All frames of a video in one picture, row by row.
function mosaic(v) {
  const n = Math.ceil(Math.sqrt(v.frames.length)), side = S / n;
  return v.frames.map((href, k) => svg("image", { href, x: (k % n) * side, y: Math.floor(k / n) * side, width: side, height: side }));
}

// What is seen in a step: a frame, or all of them where it is about none.
function scene(v, i, t, opacity) {
  const frame = frameOf(v, i, t);
  return svg("g", { opacity }, ...(frame === null ? mosaic(v) : [svg("image", { href: v.frames[frame], width: S, height: S })]));
}

// The glance, or the cube of each policy with its frame.
function cubeButton(v, t, policies) {
  const small = (i) => svg("svg", { viewBox: `0 0 ${S} ${S}`, "aria-hidden": "true" },
    scene(v, i, t, v.episodes[i].attended[t] || !t ? 1 : 0.25), ...(v.episodes[i].attended[t] ? boxes(v, t, [i], 2) : []));
  const where = (i) => (v.episodes[i].attended[t] ? `frame ${v.frame_indices[v.episodes[i].segments[t]]}` : "stopped");
  const pictures = t ? policies.map(small) : [small(policies[0])];
  return [html("small", {}, stepName(t)), html("span", { class: "stack" }, ...pictures), ...(t ? policies.map((i) => html("small", { class: "file" }, where(i))) : [])];
}

// Draw a line from the start of a video to its end with a lane for each policy, and in it a dot for each
// cube: the number in it says as which it came. Those that came up to the present step are filled. Above,
// the frames in which the true box can be seen are marked; at the right stands after how many it stopped.
// n: frames of the video; lanes: [{name, colour, segments}], segments by step, null for none; truth: of
// each frame whether it can be seen, or null; frames: of each its index in the file.
function cubeTimes(place, { n, lanes, truth, frames, t, pick }) {
  const width = Math.max(220, place.clientWidth), lane = 26, top = 20, end = 76;
  const height = top + lane * lanes.length + 22, slot = (width - end - 12) / n;
  const radius = Math.min(11, Math.max(4, slot / 2 - 0.5)), numbered = radius >= 7;
  const x = (frame) => 12 + (frame + 0.5) * slot;
  const told = lanes.map(({ name, segments }) => `${name}: ${segments.flatMap((frame, d) => (frame === null ? [] : [`cube ${d} in frame ${frame + 1}`])).join(", ") || "no cube"}`);
  const root = svg("svg", { class: "chart times cubes", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `Where in the video the cubes are, of ${n} frames. ${told.join(". ")}` });
  truth.forEach((visible, frame) => {
    if (visible) root.append(svg("rect", { class: "visible", x: x(frame) - slot / 2, y: 2, width: slot, height: 6 }, svg("title", {}, `true box visible in frame ${frame + 1}`)));
  });
  lanes.forEach(({ name, colour, segments }, i) => {
    const y = top + lane * i + radius, cubes = segments.length - 1;
    root.append(svg("line", { class: "axis", x1: 0, x2: width - end, y1: y, y2: y }));
    for (let frame = 0; frame < n; frame++) root.append(svg("circle", { class: "tick", cx: x(frame), cy: y, r: 1.5 }));
    const taken = segments.flatMap((frame, d) => (frame === null ? [] : [d]));
    // The earlier ones lie on top, should two be in one frame.
    for (const d of [...taken].reverse()) {
      const kind = d === t ? "present" : d < t ? "read" : "unread";
      const dot = svg("g", { class: `dot ${kind}`, "data-policy": i + 1, "data-step": d },
        svg("circle", { cx: x(segments[d]), cy: y, r: radius, stroke: colour, fill: d <= t ? colour : "var(--card)" }),
        ...(numbered || d === t ? [svg("text", { x: x(segments[d]), y: y + 4, "text-anchor": "middle" }, `${d}`)] : []),
        svg("title", {}, `${name}, cube ${d}: frame ${frames[segments[d]]} of the file, counted from 0`));
      dot.addEventListener("click", () => pick(d));
      root.append(dot);
    }
    const stopped = taken.length < cubes ? `stops after ${taken.length}` : `all ${cubes}`;
    root.append(svg("text", { class: "stop", x: width, y: y + 4, "text-anchor": "end" }, stopped));
  });
  root.append(
    svg("text", { x: 0, y: height - 4, "text-anchor": "start" }, "start of the video"),
    svg("text", { x: width / 2, y: height - 4, "text-anchor": "middle" }, width > 480 ? `number: order of the cubes${truth.some(Boolean) ? "; bar: true box visible" : ""}` : ""),
    svg("text", { x: width - end, y: height - 4, "text-anchor": "end" }, "end"),
  );
  place.replaceChildren(root);
}
