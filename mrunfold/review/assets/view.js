"use strict";

const find = (id) => document.getElementById(id);
const short = (value) => Number(value).toPrecision(3);

const viewer = new Viewer(find("grid"), page.cases, describe);
const film = new Film(viewer, describeFilm);
const KINDS = { slice: "slices", frame: "frames", sample: "samples" };
viewer.failed = cannot;
window.mrunfold = viewer;

function fillList(id, lines, tag = "li") {
  const list = find(id);
  list.replaceChildren();
  for (const line of lines) element(tag, list, "", line);
  list.closest("section").hidden = lines.length === 0;
}

function fillSelect(id, options) {
  find(id).replaceChildren();
  for (const [value, text] of options) element("option", find(id), "", text).value = value;
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
  find("frame-control").hidden = viewer.frames < 2;
  find("sample-control").hidden = viewer.samples < 2;
  fillSelect("plays", film.kinds().map((kind) => [kind, KINDS[kind]]));
  film.plays = film.kinds().at(-1) ?? "slice"; // frames before slices, samples before frames
  find("film-controls").hidden = film.kinds().length === 0;
  fillSelect("cut", [["", "none"], ...item.panels.map((p) => [p.key, p.title])]);
  find("cut-control").hidden = !item.planes;
  find("difference-control").hidden = !keys.has("reference");
  fillSelect("preset", Object.keys(item.presets).map((name) => [name, name]));
  find("gain-control").hidden = !item.panels.some((p) => p.role === "map");
}

function describe(state, item) {
  const count = item.shape[2];
  const where = item.places[Math.min(state.frame, item.places.length - 1)][state.slice];
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
  const most = item.overlay ? item.overlay.top : 0;
  set("threshold", (100 * state.threshold) / (most || 1), part(state.threshold));
  set("opacity", 100 * state.opacity, `${Math.round(100 * state.opacity)} %`);
  find("bar").hidden = !state.overlay;
  find("bar-top").textContent = part(most);
  find("invert").checked = state.invert;
  find("difference").checked = state.difference;
  const seen = viewer.panels.some((panel) => panel.measured(state, item));
  const length = seen && state.measure.kind === "distance" ? lengthOf(state.measure, item) : null;
  find("measured").textContent = length === null ? "" : `${length.toFixed(1)} mm`;
  find("gain").value = state.gain;
  find("overlay").checked = state.overlay;
  find("frame").max = viewer.frames - 1;
  set("frame", state.frame, item.labels[state.frame] ?? "");
  find("sample").max = viewer.samples - 1;
  set("sample", state.sample, `${state.sample + 1} of ${viewer.samples}`);
  find("cut").value = state.cut ?? "";
  find("case").value = state.case;
}

// What dragging does: window, distance or region.
function tool(kind) {
  viewer.tool = kind;
  for (const radio of document.getElementsByName("tool")) radio.checked = radio.value === kind;
}

function describeFilm() {
  find("play").textContent = film.playing ? "Pause" : "Play";
  find("play").setAttribute("aria-pressed", String(film.playing));
  find("plays").value = film.plays;
  find("speed").value = film.speed;
  find("speed-value").textContent = `${film.speed} a second`;
}

function cannot(error) {
  find("status").textContent = `This browser cannot show the images: ${error.message}`;
  document.title = "cannot show";
  throw error;
}

async function openCase(number) {
  film.play(false);
  const wanted = (number + page.cases.length) % page.cases.length;
  viewer.state.cut = null;
  await viewer.open(wanted);
  describeCase(viewer.item);
  describeFilm();
  describe(viewer.state, viewer.item);
}

const goTo = (number) => openCase(number).catch(cannot);
const cut = (key) => viewer.cutPlanes(key || null).catch(cannot);

function onKey(event) {
  if (belongsToField(event)) return;
  const { state, item } = viewer;
  let change = commonKey(event, state, item);
  if (!change && !(event.ctrlKey || event.metaKey || event.altKey)) {
    const gains = [1, 2, 5, 10];
    const step = item.overlay ? item.overlay.top / 20 : 0;
    const more = {
      g: { gain: gains[(gains.indexOf(state.gain) + 1) % gains.length] },
      u: { overlay: !state.overlay },
      d: { difference: !state.difference },
      Escape: { measure: null, alone: null },
      t: { threshold: state.threshold - step, overlay: true },
      T: { threshold: state.threshold + step, overlay: true },
    };
    change = more[event.key] ?? null;
    if (event.key === " ") film.play(!film.playing);
    else if (event.key === "ArrowLeft") film.step(-1);
    else if (event.key === "ArrowRight") film.step(1);
    else if (event.key === "m") cut(state.cut === null ? state.alone ?? "recon" : null);
    else if (event.key === "l") tool("distance");
    else if (event.key === "o") tool("region");
    else if (event.key === "w") tool("window");
    else if (event.key === "n") goTo(state.case + 1);
    else if (event.key === "p") goTo(state.case - 1);
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
  find("case").addEventListener("change", (e) => goTo(Number(e.target.value)));
  const number = (e) => Number(e.target.value);
  const on = (id, change) => find(id).addEventListener("input", (e) => viewer.update(change(number(e), e)));
  on("slice", (v) => ({ slice: v }));
  on("low", (v) => ({ low: (v * viewer.item.top) / 100 }));
  on("high", (v) => ({ high: (v * viewer.item.top) / 100 }));
  on("gain", (v) => ({ gain: v }));
  on("threshold", (v) => ({ threshold: (v * viewer.item.overlay.top) / 100, overlay: true }));
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
  on("sample", (v) => ({ sample: v }));
  find("cut").addEventListener("change", (e) => cut(e.target.value));
  find("play").addEventListener("click", () => film.play(!film.playing));
  find("plays").addEventListener("change", (e) => film.change({ plays: e.target.value }));
  find("speed").addEventListener("input", (e) => film.change({ speed: number(e) }));
  find("reset").addEventListener("click", () => viewer.reset());
  find("print").addEventListener("click", () => window.print());
  find("help-button").addEventListener("click", () => find("help").showModal());
  find("help-close").addEventListener("click", () => find("help").close());
  document.addEventListener("keydown", onKey);
}

wire();
goTo(0).then(() => { document.title = page.title; });
