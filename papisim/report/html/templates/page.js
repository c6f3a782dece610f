"use strict";
const root = document.documentElement;
const themeButton = document.getElementById("theme");
const figures = [];
// all that a chart's toolbar has: by default it would also offer to upload the chart
const TOOLS = [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]];

function remembered() {
  try { return localStorage.getItem("papisim-theme"); } catch { return null; }  // a file's page may have no storage
}

function remember(theme) {
  try { localStorage.setItem("papisim-theme", theme); } catch { /* the page works without */ }
}

function setTheme(theme) {
  root.dataset.theme = theme;
  themeButton.setAttribute("aria-pressed", String(theme === "dark"));
}

// Figures name their colours: "$c0" is the theme's --c0, "$c0/40" the same at 40 % opacity.
function painted(value, style) {
  if (typeof value === "string" && value.startsWith("$")) {
    const [name, opacity] = value.slice(1).split("/");
    const colour = style.getPropertyValue("--" + name).trim();
    return opacity ? colour + Math.round(opacity * 2.55).toString(16).padStart(2, "0") : colour;
  }
  if (Array.isArray(value)) return value.map(inner => painted(inner, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner, style)]));
  }
  return value;
}

function axisStyle(axis, narrow) {
  const title = axis.title ? { ...axis.title, standoff: 8 } : undefined;
  return { gridcolor: "$grid", linecolor: "$line", zerolinecolor: "$line", tickcolor: "$line", automargin: true,
    nticks: narrow ? 5 : undefined, ...axis, title };
}

function layoutOf(figure, narrow) {
  const layout = { font: { color: "$ink", size: narrow ? 11 : 12 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 12, t: 12, b: 8 }, showlegend: false, autosize: true,
    hoverlabel: { bgcolor: "$paper", bordercolor: "$line", font: { color: "$ink" } }, dragmode: "zoom", ...figure.layout };
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(key)) layout[key] = axisStyle(layout[key], narrow);
  }
  return layout;
}

function draw(entry) {
  const style = getComputedStyle(root);
  const narrow = entry.plot.clientWidth < 500;
  const data = entry.figure.data.map(trace => ({ ...trace,
    texttemplate: narrow ? undefined : trace.texttemplate,  // no room for letters in the cells of a map
    visible: !entry.hidden.has(trace.legendgroup || trace.name) }));
  return Plotly.react(entry.plot, painted(data, style), painted(layoutOf(entry.figure, narrow), style),
    { responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover", modeBarButtons: TOOLS,
      showSendToCloud: false, showEditInChartStudio: false, plotlyServerURL: "" });
}

function colourOf(trace) {
  const marker = trace.marker && trace.marker.color;
  return (trace.line && trace.line.color) || (typeof marker === "string" && marker) || trace.fillcolor || "$muted";
}

function fillLegend(entry) {
  const box = entry.plot.parentElement.querySelector(".legend");
  const names = new Map();
  for (const trace of entry.figure.data) {
    if (trace.showlegend !== false && trace.name) {
      const key = trace.legendgroup || trace.name;
      if (!names.has(key)) names.set(key, trace);
    }
  }
  if (names.size < 2) { box.remove(); return; }
  for (const [key, trace] of names) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const swatch = document.createElement("i");
    swatch.style.background = "var(--" + colourOf(trace).slice(1).split("/")[0] + ")";
    swatch.setAttribute("aria-hidden", "true");
    button.append(swatch, key.replaceAll("&lt;", "<"));
    button.addEventListener("click", () => {
      if (entry.hidden.has(key)) entry.hidden.delete(key); else entry.hidden.add(key);
      button.setAttribute("aria-pressed", String(!entry.hidden.has(key)));
      draw(entry);
    });
    box.append(button);
  }
}

function zoomByKey(entry, event) {
  const axis = entry.plot._fullLayout && entry.plot._fullLayout.xaxis;
  if (!axis || event.ctrlKey || event.metaKey || event.altKey) return;
  const [from, to] = axis.range.map(Number);
  const moves = { "+": [.2, -.2], "=": [.2, -.2], "-": [-.25, .25], ArrowLeft: [-.2, -.2], ArrowRight: [.2, .2] };
  if (event.key === "Escape") {
    const axes = Object.keys(entry.plot._fullLayout).filter(key => /^[xy]axis\d*$/.test(key));
    Plotly.relayout(entry.plot, Object.fromEntries(axes.map(key => [key + ".autorange", true]))).then(() => draw(entry));
  } else if (moves[event.key] && Number.isFinite(to - from)) {
    const [left, right] = moves[event.key].map(share => share * (to - from));
    Plotly.relayout(entry.plot, { "xaxis.range": [from + left, to + right] });
  } else return;
  event.preventDefault();
}

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  element.remove();
}

let screenTheme = null;

function forPrint() {
  if (screenTheme !== null) return;
  screenTheme = root.dataset.theme;
  setTheme("light");
  for (const folded of document.querySelectorAll("details.card")) folded.open = true;
  for (const entry of figures) { entry.plot.style.width = "680px"; draw(entry); Plotly.Plots.resize(entry.plot); }
}

function afterPrint() {
  if (screenTheme === null) return;
  setTheme(screenTheme);
  screenTheme = null;
  for (const entry of figures) { entry.plot.style.width = ""; draw(entry); Plotly.Plots.resize(entry.plot); }
}

setTheme(remembered() || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
themeButton.addEventListener("click", () => {
  setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  remember(root.dataset.theme);
  figures.forEach(draw);
});

(async () => {
  await unpack(document.getElementById("plotly"));
  for (const plot of document.querySelectorAll(".plot")) {
    const entry = { plot, figure: JSON.parse(plot.nextElementSibling.textContent), hidden: new Set() };
    figures.push(entry);
    fillLegend(entry);
    try {
      await draw(entry);
    } catch (error) {  // the others can still be drawn, and this one's numbers be read
      console.error(plot.getAttribute("aria-label"), error);
      plot.textContent = "This chart could not be drawn; its numbers are below.";
      plot.style.height = "";
    }
    plot.addEventListener("keydown", event => zoomByKey(entry, event));
  }
  addEventListener("beforeprint", forPrint);
  addEventListener("afterprint", afterPrint);
  root.dataset.ready = "true";
})();
