"use strict";

const page = JSON.parse(document.getElementById("page-data").textContent);
const find = (id) => document.getElementById(id);
const short = (value) => Number(value).toPrecision(3);
let film = null;

const viewer = new Viewer(find("grid"), page.cases, describe);
window.mrunfold = viewer;

function fillList(id, lines, tag = "li") {
  const list = find(id);
  list.replaceChildren();
  for (const line of lines) element(tag, list, "", line);
  list.closest("section").hidden = lines.length === 0;
}

function describeCase(item) {
  find("case-title").textContent = item.title;
  fillList("words", item.words);
  fillList("flags", item.flags);
  fillList("missing", item.missing);
  const table = find("metrics");
  table.replaceChildren();
  for (const [name, values] of item.metrics) {
    const row = element("tr", table);
    element("th", row, "", name).scope = "row";
    element("td", row, "", `${values.psnr} dB`);
    element("td", row, "", values.ssim);
    element("td", row, "", values.nmse);
  }
  find("metrics-section").hidden = item.metrics.length === 0;
  const keys = new Set(item.panels.map((p) => p.key));
  find("overlay-controls").hidden = !keys.has("std");
  find("film-controls").hidden = !keys.has("film");
  find("difference-control").hidden = !keys.has("reference");
  find("preset").replaceChildren();
  for (const name of Object.keys(item.presets)) element("option", find("preset"), "", name).value = name;
  find("gain-control").hidden = !item.panels.some((p) => p.role === "map");
}

function describe(state, item) {
  const count = item.shape[2];
  const where = item.places[state.slice];
  let text = `slice ${state.slice + 1} of ${count} (number ${where} of the scan, from 0)`;
  if (state.crosshair && item.lps) {
    const at = [state.column, state.row, state.slice, 1];
    const mm = item.lps.slice(0, 3).map((r) => r.reduce((sum, v, i) => sum + v * at[i], 0));
    text += ` · L ${mm[0].toFixed(1)}, P ${mm[1].toFixed(1)}, S ${mm[2].toFixed(1)} mm`;
  } else if (state.crosshair) {
    text += ` · column ${state.column}, row ${state.row}`;
  }
  find("status").textContent = text;
  const set = (id, value, said) => {
    find(id).value = value;
    find(id).setAttribute("aria-valuetext", said);
    find(`${id}-value`).textContent = said;
  };
  find("slice").max = count - 1;
  set("slice", state.slice, `${state.slice + 1} of ${count}`);
  const percent = (value) => Math.round((1000 * value) / item.top) / 10;
  set("low", percent(state.low), short(state.low));
  set("high", percent(state.high), short(state.high));
  const part = (value) => `${(100 * value).toFixed(1)} %`;
  set("threshold", (100 * state.threshold) / (item.overlay_top || 1), part(state.threshold));
  set("opacity", 100 * state.opacity, `${Math.round(100 * state.opacity)} %`);
  find("bar").hidden = !state.overlay;
  find("bar-top").textContent = part(item.overlay_top);
  find("invert").checked = state.invert;
  find("difference").checked = state.difference;
  if (state.measure && state.measure.slice === state.slice && state.measure.kind === "distance") {
    find("measured").textContent = `${lengthOf(state.measure, item).toFixed(1)} mm`;
  } else find("measured").textContent = "";
  find("gain").value = state.gain;
  find("overlay").checked = state.overlay;
  find("frame").max = viewer.frames - 1;
  set("frame", state.frame, `${state.frame + 1} of ${viewer.frames}`);
  find("case").value = state.case;
  if (document.title !== page.title) document.title = page.title;
}

// What dragging does: window, distance or region.
function tool(kind) {
  viewer.tool = kind;
  for (const radio of document.getElementsByName("tool")) radio.checked = radio.value === kind;
}

function play(on) {
  if (film) clearInterval(film);
  film = on && viewer.frames > 1
    ? setInterval(() => viewer.update({ frame: viewer.state.frame + 1 }), 400) : null;
  find("play").textContent = film ? "Pause" : "Play";
  find("play").setAttribute("aria-pressed", String(Boolean(film)));
}

async function openCase(number) {
  play(false);
  const wanted = (number + page.cases.length) % page.cases.length;
  describeCase(page.cases[wanted]);
  await viewer.open(wanted);
}

function onKey(event) {
  if (belongsToField(event)) return;
  const { state, item } = viewer;
  let change = commonKey(event, state, item);
  if (!change && !(event.ctrlKey || event.metaKey || event.altKey)) {
    const gains = [1, 2, 5, 10];
    const step = item.overlay_top / 20;
    const more = {
      g: { gain: gains[(gains.indexOf(state.gain) + 1) % gains.length] },
      u: { overlay: !state.overlay },
      d: { difference: !state.difference },
      Escape: { measure: null, alone: null },
      t: { threshold: state.threshold - step, overlay: true },
      T: { threshold: state.threshold + step, overlay: true },
      ArrowLeft: { frame: state.frame - 1 }, ArrowRight: { frame: state.frame + 1 },
    };
    change = more[event.key] ?? null;
    if (event.key === " ") play(!film);
    else if (event.key === "l") tool("distance");
    else if (event.key === "o") tool("region");
    else if (event.key === "w") tool("window");
    else if (event.key === "n") openCase(state.case + 1);
    else if (event.key === "p") openCase(state.case - 1);
    else if (event.key === "r") viewer.reset();
    else if (event.key === "?" || event.key === "h") find("help").showModal();
    else if (!change) return;
  }
  if (!change && event.key !== " ") return event.preventDefault();
  event.preventDefault();
  if (change) viewer.update(change);
}

function wire() {
  for (const [number, item] of page.cases.entries()) {
    element("option", find("case"), "", item.title).value = number;
  }
  find("case-control").hidden = page.cases.length < 2;
  find("case").addEventListener("change", (e) => openCase(Number(e.target.value)));
  const number = (e) => Number(e.target.value);
  const on = (id, change) => find(id).addEventListener("input", (e) => viewer.update(change(number(e), e)));
  on("slice", (v) => ({ slice: v }));
  on("low", (v) => ({ low: (v * viewer.item.top) / 100 }));
  on("high", (v) => ({ high: (v * viewer.item.top) / 100 }));
  on("gain", (v) => ({ gain: v }));
  on("threshold", (v) => ({ threshold: (v * viewer.item.overlay_top) / 100, overlay: true }));
  on("overlay", (_, e) => ({ overlay: e.target.checked }));
  on("opacity", (v) => ({ opacity: v / 100, overlay: true }));
  on("invert", (_, e) => ({ invert: e.target.checked }));
  on("difference", (_, e) => ({ difference: e.target.checked }));
  find("preset").addEventListener("change", (e) => {
    const [low, high] = viewer.item.presets[e.target.value];
    viewer.update({ low, high });
  });
  for (const radio of document.getElementsByName("tool")) {
    radio.addEventListener("change", () => tool(radio.value));
  }
  on("frame", (v) => ({ frame: v }));
  find("play").addEventListener("click", () => play(!film));
  find("reset").addEventListener("click", () => viewer.reset());
  find("print").addEventListener("click", () => window.print());
  find("help-button").addEventListener("click", () => find("help").showModal());
  find("help-close").addEventListener("click", () => find("help").close());
  document.addEventListener("keydown", onKey);
}

wire();
openCase(0).catch((error) => {
  find("status").textContent = `This browser cannot show the images (${error.message}); it needs WebGL 2.`;
  document.title = "cannot show";
  throw error;
});
