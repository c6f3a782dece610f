const space = JSON.parse(document.getElementById("explorer").textContent);
const settings = space.axes.map(axis => axis.start);  // the index of a choice per axis
const asked = new Map();  // points of a live page, by their values
const CATEGORIES = ["$c0", "$c1", "$c2", "$c3", "$c4", "$c5", "$c6", "$c7"];
const LABELS = { throughput_tokens_per_s: ["Throughput", "tokens/s"], tpot_mean_s: ["Time per output token", "s"], ttft_mean_s: ["Time to first token", "s"], e2e_mean_s: ["End-to-end latency", "s"], energy_per_token_j: ["Energy per token", "J"], makespan_s: ["Makespan", "s"], energy_j: ["Energy", "J"] };
let generation = 0;

function valuesAt(chosen) {
  return Object.assign({}, ...space.axes.map((axis, index) => axis.choices[chosen[index]].values));
}

// A point of a page without a server is a row whose values, those of axes that it has, are the ones asked for.
async function pointAt(chosen) {
  const values = valuesAt(chosen);
  if (!space.live) {
    return space.rows.find(row => Object.entries(row.values).every(([name, value]) => JSON.stringify(values[name]) === JSON.stringify(value)));
  }
  const key = JSON.stringify(values);
  if (!asked.has(key)) {
    const answer = await fetch("/point", { method: "POST", headers: { "X-Papisim": space.live, "Content-Type": "application/json" }, body: key });
    asked.set(key, answer.ok ? await answer.json() : { values, reason: await answer.text() });
  }
  return asked.get(key);
}

function changed(chosen, index, choice) {
  return chosen.map((old, at) => at === index ? choice : old);
}

// Every machine with every policy, all else as it is set.
function lineSettings() {
  let found = [[...settings]];
  for (const index of space.lines) {
    found = found.flatMap(chosen => space.axes[index].stops.map(stop => changed(chosen, index, stop)));
  }
  return found;
}

// An axis whose condition does not hold for a machine is not among the values of its points.
function lineName(chosen, found) {
  const there = space.lines.filter(index => space.axes[index].names.some(name => !found || name in found.values));
  return there.map(index => space.axes[index].choices[chosen[index]].label).join(" + ") || "this machine";
}

async function lineStart(chosen) {
  const found = await pointAt(chosen);
  return { setting: chosen, name: lineName(chosen, found), found, across: [] };
}

function shown(value, unit) {
  if (value === null || value === undefined) return "—";
  if (unit === "tokens/s") return value.toLocaleString("en", { maximumSignificantDigits: 5 }) + " tokens/s";
  for (const [factor, prefix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]]) {
    if (Math.abs(value) >= factor) return Number((value / factor).toPrecision(4)) + " " + prefix + unit;
  }
  return value + " " + unit;
}

function redraw(id, data, layout) {
  const entry = figures.find(figure => figure.plot.parentElement.id === id);
  const legend = { showlegend: new Set(data.filter(trace => trace.showlegend !== false).map(trace => trace.name)).size > 1, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { color: "$ink" } } };
  entry.figure = { data, layout: { ...legend, ...layout } };
  return draw(entry);
}

function colour(index) { return CATEGORIES[index % CATEGORIES.length]; }

function overAcross(id, figure, unit, table) {
  const axis = space.axes[space.across];
  const numbers = axis.stops.map(stop => axis.choices[stop].values[axis.names[0]]);
  const wide = numbers[0] > 0 && Math.max(...numbers) >= 8 * Math.min(...numbers);
  const traces = table.map((line, index) => ({ type: "scatter", mode: "lines+markers", name: line.name, connectgaps: false,
    x: line.across.map(point => point.x), y: line.across.map(point => point.found && point.found.figures ? point.found.figures[figure] : null),
    line: { color: colour(index), width: line.chosen ? 3 : 1.5 }, marker: { symbol: index, size: line.across.map(point => line.chosen && point.here ? 13 : 6) },
    hovertemplate: "%{y:.4~s} " + unit + " at " + axis.names[0] + " %{x}<extra>" + line.name + "</extra>" }));
  const ticks = numbers.length <= 12 ? { tickvals: numbers } : {};
  redraw(id, traces, { xaxis: { title: { text: axis.names[0] }, type: wide ? "log" : "linear", ...ticks },
    yaxis: unit === "tokens/s" ? { tickformat: ",~g", rangemode: "tozero", title: { text: unit } } : { tickformat: "~s", ticksuffix: unit, rangemode: "tozero" } });
}

function stacked(id, part, unit, lines) {
  const names = [...new Set(lines.flatMap(line => Object.keys((line.found && line.found[part]) || {})))];
  const traces = names.map((name, index) => ({ type: "bar", orientation: "h", name: name.replace(/_[sj]$/, "").replaceAll("_", " "),
    y: lines.map(line => line.name), x: lines.map(line => ((line.found && line.found[part]) || {})[name] || 0),
    marker: { color: colour(index) }, hovertemplate: "%{x:.4~s}" + unit + "<extra>" + name + "</extra>" }));
  redraw(id, traces, { barmode: "stack", legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal", font: { color: "$ink" } }, xaxis: { tickformat: "~s", ticksuffix: unit }, yaxis: { autorange: "reversed" } });
}

function roofline(found) {
  if (!found || !found.kernels) { redraw("roofline", [], {}); return; }
  const devices = found.roofs.map(roof => roof[0]);
  const intensities = found.kernels.map(kernel => kernel[2]);
  const ridges = found.roofs.map(roof => roof[1] / roof[2]);
  const low = 0.5 * Math.min(...intensities, ...ridges), high = 2 * Math.max(...intensities, ...ridges);
  const roofs = found.roofs.map(([device, peak, bandwidth], index) => ({ type: "scatter", mode: "lines", name: device,
    x: [low, peak / bandwidth, high], y: [low * bandwidth, peak, peak], line: { color: colour(index), width: 2 }, hoverinfo: "name" }));
  const marks = found.kernels.map(([device, category, intensity, rate, share]) => ({ type: "scatter", mode: "markers", name: device, showlegend: false,
    x: [intensity], y: [rate], text: [category + " on " + device + ", " + (100 * share).toFixed(1) + " % of the iteration"], hovertemplate: "%{text}<br>%{x:.3~g} FLOP/B, %{y:.3~s}FLOP/s<extra></extra>",
    marker: { color: colour(Math.max(0, devices.indexOf(device))), symbol: { fc: "circle", attention: "diamond" }[category] || "square", size: 7 + 18 * Math.sqrt(share), line: { width: 1, color: "$paper" } } }));
  redraw("roofline", [...roofs, ...marks], { hovermode: "closest", xaxis: { type: "log", title: { text: "arithmetic intensity, FLOP/B" }, tickformat: "~g" }, yaxis: { type: "log", tickformat: "~s", ticksuffix: "FLOP/s" } });
}

function map(cells) {
  const rows = [...new Set(cells.map(cell => cell.y))], columns = [...new Set(cells.map(cell => cell.x))];
  const mainDevice = found => found && found.fc ? Object.entries(found.fc).sort((one, other) => other[1] - one[1])[0]?.[0] : undefined;
  const devices = [...new Set(cells.map(cell => mainDevice(cell.found)).filter(Boolean))].sort();
  const at = (x, y) => cells.find(cell => cell.x === x && cell.y === y);
  const grid = read => rows.map(y => columns.map(x => read(at(x, y))));
  const scale = devices.flatMap((_, index) => [index, index + 1].map(edge => [edge / devices.length, colour(index) + "/70"]));
  redraw("map", !devices.length ? [] : [{ type: "heatmap", x: columns.map(String), y: rows.map(String), xgap: 2, ygap: 2, showscale: false,
    z: grid(cell => { const device = mainDevice(cell.found); return device ? devices.indexOf(device) : null; }), zmin: -0.5, zmax: devices.length - 0.5,
    colorscale: scale, text: grid(cell => mainDevice(cell.found) || ""), texttemplate: columns.length > 8 ? undefined : "%{text}",
    customdata: grid(cell => cell.fastest), hovertemplate: space.axes[space.across].names[0] + " %{x}<br>FC on %{text}<br>fastest: %{customdata}<extra></extra>" },
    ...devices.map((device, index) => ({ type: "scatter", mode: "markers", name: device, x: [null], y: [null], marker: { color: colour(index) } }))],
    { xaxis: { type: "category", title: { text: space.axes[space.across].names[0] }, showgrid: false },
      yaxis: { type: "category", title: { text: space.second === null ? "" : space.axes[space.second].names[0] }, showgrid: false } });
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function tell(here, first) {
  document.getElementById("said").textContent = !here ? "This combination is no point of the space." : here.reason || "";
  const tiles = document.getElementById("tiles"), body = document.querySelector("#exact tbody");
  tiles.replaceChildren(); body.replaceChildren();
  for (const name of space.figures) {
    const value = here && here.figures ? here.figures[name] : null, [label, unit] = LABELS[name];
    const tile = element("div", "", { class: "tile" });
    tile.append(element("dt", label), element("dd", shown(value, unit), { class: "value", "data-figure": name }));
    const reference = first && first.figures && first.figures[name];
    if (value && reference && here !== first) {
      const better = unit === "tokens/s" ? value / reference : reference / value;
      tile.append(element("dd", better.toFixed(2) + "× as good as the first", { class: "note" }));
    }
    tiles.append(tile);
    const row = element("tr", "");
    row.append(element("th", name, { scope: "row" }), element("td", value === null || value === undefined ? "—" : String(value), { class: "number", "data-exact": name }));
    body.append(row);
  }
  document.getElementById("command").value = here ? here.command || "" : "";
  document.getElementById("yaml").value = here ? here.yaml || "" : "";
}

async function show() {
  const mine = ++generation, stale = () => mine !== generation;
  document.documentElement.dataset.explored = "false";
  const here = await pointAt(settings), lines = [];
  if (stale()) return;
  for (const chosen of lineSettings()) {
    const line = await lineStart(chosen);
    if (stale()) return;
    if (!lines.some(each => each.name === line.name)) lines.push({ ...line, chosen: line.name === lineName(settings, here) });
  }
  tell(here, lines[0].found);
  stacked("time", "time_s", "s", lines);
  stacked("parts", "energy_j", "J", lines);
  roofline(here);
  const axis = space.axes[space.across];
  for (const line of lines) {
    const stops = [...new Set([...axis.stops, settings[space.across]])].sort((one, other) => one - other);
    for (const stop of stops) {
      line.across.push({ x: axis.choices[stop].values[axis.names[0]], here: stop === settings[space.across], found: await pointAt(changed(line.setting, space.across, stop)) });
      if (stale()) return;
    }
    overAcross("throughput", "throughput_tokens_per_s", "tokens/s", lines);
    overAcross("latency", "tpot_mean_s", "s", lines);
    overAcross("energy", "energy_per_token_j", "J", lines);
  }
  const second = space.second === null ? null : space.axes[space.second], cells = [];
  for (const up of second ? second.stops : [null]) {
    for (const stop of axis.stops) {
      const at = chosen => up === null ? changed(chosen, space.across, stop) : changed(changed(chosen, space.across, stop), space.second, up);
      const all = [];
      for (const line of lines) {
        all.push({ name: line.name, found: await pointAt(at(line.setting)) });
        if (stale()) return;
      }
      const fastest = all.filter(each => each.found && each.found.figures).sort((one, other) => other.found.figures.throughput_tokens_per_s - one.found.figures.throughput_tokens_per_s)[0];
      cells.push({ x: axis.choices[stop].values[axis.names[0]], y: second ? second.choices[up].values[second.names[0]] : "", found: await pointAt(at(settings)), fastest: fastest ? fastest.name : "none" });
    }
  }
  map(cells);
  document.documentElement.dataset.explored = "true";
}

function control(axis, index) {
  const box = element("div", "", { class: "control" }), id = "axis-" + index;
  box.append(element("label", axis.names.join(" and "), { for: id }));
  const value = element("output", axis.choices[settings[index]].label, { for: id });
  let input;
  if (axis.numeric) {
    input = element("input", "", { type: "range", min: 0, max: axis.choices.length - 1, step: 1, id, value: settings[index] });
    box.append(value);
  } else {
    input = element("select", "", { id });
    axis.choices.forEach((choice, at) => input.append(element("option", choice.label, { value: at })));
    input.value = settings[index];
  }
  input.addEventListener("input", () => {
    settings[index] = Number(input.value);
    value.textContent = axis.choices[settings[index]].label;
    if (axis.numeric) input.setAttribute("aria-valuetext", value.textContent);
    show();
  });
  box.append(input);
  return box;
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => {
    const text = document.getElementById(button.dataset.copies);
    text.select();
    if (navigator.clipboard) navigator.clipboard.writeText(text.value).catch(() => document.execCommand("copy"));
    else document.execCommand("copy");
  });
}
document.getElementById("controls").append(...space.axes.map(control));
document.getElementById("controls").addEventListener("submit", event => event.preventDefault());
new MutationObserver((_, observer) => {
  if (root.dataset.ready === "true") { observer.disconnect(); show(); }
}).observe(root, { attributes: true, attributeFilter: ["data-ready"] });
