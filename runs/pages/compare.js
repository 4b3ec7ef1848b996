// Draws the plots of a comparison in the reader's colours, and hides designs in them.
"use strict";

const sections = JSON.parse(document.getElementById("figures").textContent);
const places = [...document.querySelectorAll(".plot")];
// Nothing is sent anywhere: plotly's button that uploads a plot is left out.
const CONFIG = {
  toImageButtonOptions: { format: "svg" }, // a PNG would need images from blobs: the page forbids them
  responsive: true, displaylogo: false, displayModeBar: "hover", showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d"],
};

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, card] = ["--ink", "--soft", "--line", "--card"].map((name) => style.getPropertyValue(name).trim());
  const changes = {
    paper_bgcolor: card, plot_bgcolor: card,
    "font.color": ink, "font.family": getComputedStyle(document.body).fontFamily,
    "hoverlabel.bgcolor": card, "hoverlabel.bordercolor": soft, "hoverlabel.font.color": ink,
    "modebar.bgcolor": card, "modebar.color": soft, "modebar.activecolor": ink,
  };
  for (const axis of ["xaxis", "yaxis"]) {
    Object.assign(changes, { [`${axis}.gridcolor`]: line, [`${axis}.linecolor`]: line });
  }
  return changes;
}

async function draw() {
  for (const place of places) {
    const { data, layout } = sections[place.dataset.section].plots[place.dataset.plot].figure;
    // A finger scrolls the page; a mouse zooms.
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    await Plotly.newPlot(place, data, layout, CONFIG);
    await Plotly.relayout(place, colours());
  }
  document.documentElement.dataset.drawn = places.length;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const place of places) Plotly.relayout(place, colours());
});

for (const button of document.querySelectorAll(".key button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    for (const place of button.closest("section").querySelectorAll(".plot")) {
      const traces = place.data.flatMap((trace, i) => (trace.legendgroup === button.dataset.design ? [i] : []));
      if (traces.length) Plotly.restyle(place, { visible: shown }, traces);
    }
  });
}

draw();
