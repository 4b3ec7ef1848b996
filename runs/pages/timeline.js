// When in the video each frame lies, where frames are not read in that order.
"use strict";

// Draw a line from the start of a video to its end with a dot for each frame: the number in it says as
// which it is read. Those that were read up to the present step are filled.
// segments: of each step its place among the T of the video; frames: of each step its index in the file.
function timeline(place, { segments, frames, t, pick }) {
  const width = Math.max(220, place.clientWidth), height = 46, y = 15;
  const slot = (width - 24) / segments.length;
  const radius = Math.min(11, slot / 2 - 1), numbered = radius >= 8;
  const x = (segment) => 12 + (segment + 0.5) * slot;
  const label = `Order in which the frames are read, by their place in the video: ${segments.map((segment, step) => `step ${step + 1} reads the frame at place ${segment + 1}`).join(", ")}`;
  const root = svg("svg", { class: "chart times", viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
  root.append(svg("line", { class: "axis", x1: 0, x2: width, y1: y, y2: y }));
  segments.forEach((segment, step) => {
    const kind = step === t ? "present" : step < t ? "read" : "unread";
    const dot = svg("g", { class: `dot ${kind}`, "data-step": step + 1 },
      svg("circle", { cx: x(segment), cy: y, r: radius }),
      ...(numbered || step === t ? [svg("text", { x: x(segment), y: y + 4, "text-anchor": "middle" }, `${step + 1}`)] : []),
      svg("title", {}, `step ${step + 1}: frame ${frames[step]} of the file, counted from 0`));
    dot.addEventListener("click", () => pick(step));
    root.append(dot);
  });
  root.append(
    svg("text", { x: 0, y: height - 4, "text-anchor": "start" }, "start of the video"),
    svg("text", { x: width / 2, y: height - 4, "text-anchor": "middle" }, width > 420 ? "number: step at which it is read" : ""),
    svg("text", { x: width, y: height - 4, "text-anchor": "end" }, "end"),
  );
  place.replaceChildren(root);
}
