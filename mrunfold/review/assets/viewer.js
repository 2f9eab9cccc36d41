// Panels of one scan, each a NiiVue canvas, that always show the same place in the same window.
// Volumes in the page are already turned for the reader, so every panel draws its first two axes as they are.
"use strict";

const AXIAL = 0; // NiiVue's slice type that shows the first two axes
// Colours from zero to the maximum, nothing below the threshold. NiiVue 0.69 names this type 1 and draws it for 2.
const NOTHING_BELOW_MIN = 2;

function volumeBytes(number) {
  const text = atob(document.getElementById(`volume-${number}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

function element(tag, parent, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Panel {
  constructor(grid) {
    this.box = element("figure", grid, "panel");
    this.caption = element("figcaption", this.box);
    this.stage = element("div", this.box, "stage");
    this.canvas = element("canvas", this.stage);
    this.canvas.setAttribute("role", "img");
    this.letters = ["top", "bottom", "left", "right"].map((side) =>
      element("span", this.stage, `letter ${side}`));
    this.value = element("output", this.stage, "value");
    this.note = element("div", this.box, "note");
    this.nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1], show3Dcrosshair: false, crosshairWidth: 0, dragAndDropEnabled: false,
      interactive: false, isColorbar: false, isNearestInterpolation: true, isOrientationTextVisible: false,
      isRadiologicalConvention: true, isResizeCanvas: true, loadingText: "", logLevel: "warn",
      sliceType: AXIAL,
    });
  }

  async attach() {
    await this.nv.attachToCanvas(this.canvas, false);
    this.canvas.tabIndex = -1; // keys belong to the page
  }

  async show(spec, edges) {
    const nv = this.nv;
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    this.spec = spec;
    this.box.dataset.key = spec.key;
    this.note.textContent = spec.note;
    this.canvas.setAttribute("aria-label", spec.title);
    this.letters.forEach((span, i) => { span.textContent = edges ? edges[i] : ""; });
    await nv.loadFromArrayBuffer(volumeBytes(spec.volume), "images.nii.gz");
    if (spec.overlay !== null) {
      await nv.loadFromArrayBuffer(volumeBytes(spec.overlay), "overlay.nii.gz");
      nv.volumes[1].colormap = "warm";
      nv.volumes[1].colormapType = NOTHING_BELOW_MIN;
    }
    nv.setSliceType(AXIAL);
    this.canvas.tabIndex = -1;
    this.box.hidden = false;
  }

  paint(state, item) {
    const { nv, spec } = this;
    const image = nv.volumes[0];
    const gain = spec.role === "map" ? state.gain : 1;
    image.cal_min = spec.role === "map" ? 0 : state.low;
    image.cal_max = (spec.role === "map" ? state.high - state.low : state.high) / gain;
    this.caption.textContent = spec.role === "map" && gain !== 1 ? `${spec.title} ×${gain}` : spec.title;
    if (spec.frames > 1) {
      this.caption.textContent += `, ${state.frame + 1} of ${spec.frames}`;
      image.frame4D = state.frame;
    }
    if (spec.overlay !== null) {
      const over = nv.volumes[1];
      over.cal_min = state.threshold;
      over.cal_max = Math.max(item.overlay_top, state.threshold * 1.0001);
      over.opacity = state.overlay ? 0.7 : 0;
    }
    nv.opts.isNearestInterpolation = !state.smooth;
    nv.updateGLVolume();
  }

  place(state, item) {
    const { nv } = this;
    const [columns, rows, count] = item.shape;
    nv.scene.crosshairPos = [(state.column + 0.5) / columns, 1 - (state.row + 0.5) / rows,
      (state.slice + 0.5) / count];
    nv.scene.pan2Dxyzmm = [state.pan[0], state.pan[1], 0, state.zoom];
    nv.opts.crosshairWidth = state.crosshair ? 0.3 : 0;
    nv.drawScene();
    const frame = this.spec.frames > 1 ? state.frame : 0;
    const value = nv.volumes[0].getValue(state.column, state.row, state.slice, frame);
    this.value.textContent = state.crosshair ? Number(value).toPrecision(3) : "";
  }

  snapshot() { // WebGL keeps nothing after a frame: draw, and copy at once
    this.nv.drawScene();
    const copy = document.createElement("canvas");
    copy.width = this.canvas.width;
    copy.height = this.canvas.height;
    copy.getContext("2d").drawImage(this.canvas, 0, 0);
    return copy;
  }
}

class Viewer {
  constructor(grid, cases, changed) {
    this.grid = grid;
    this.cases = cases;
    this.changed = changed;
    this.pool = [];
    this.panels = [];
    this.state = {};
    this.dirty = new Set();
    this.mouse();
    window.addEventListener("beforeprint", () => this.printPictures());
    window.addEventListener("afterprint", () => this.removePictures());
  }

  get item() { return this.cases[this.state.case]; }

  async open(number) {
    const item = this.cases[number];
    while (this.pool.length < item.panels.length) {
      const panel = new Panel(this.grid);
      await panel.attach();
      this.pool.push(panel);
    }
    this.pool.forEach((panel) => { panel.box.hidden = true; });
    this.panels = this.pool.slice(0, item.panels.length);
    this.grid.dataset.columns = item.panels.length > 4 ? 3 : item.panels.length > 1 ? 2 : 1;
    if (item.panels.length > 6) this.grid.dataset.columns = 4;
    for (const [i, panel] of this.panels.entries()) await panel.show(item.panels[i], item.edges);
    this.state = { ...this.state, case: number };
    this.reset();
    this.render();
  }

  reset() {
    const item = this.item;
    const [columns, rows, count] = item.shape;
    Object.assign(this.state, {
      slice: Math.floor(count / 2), column: Math.floor(columns / 2), row: Math.floor(rows / 2),
      low: 0, high: item.window, gain: 5, overlay: false, threshold: item.overlay_top / 4,
      frame: 0, zoom: 1, pan: [0, 0], smooth: false, crosshair: false,
    });
    this.update({});
  }

  // Change some of the state; everything that follows from it is drawn in the next frame.
  update(change) {
    const state = Object.assign(this.state, change);
    const { shape: [columns, rows, count], top } = this.item;
    state.slice = clamp(Math.round(state.slice), 0, count - 1);
    state.column = clamp(Math.round(state.column), 0, columns - 1);
    state.row = clamp(Math.round(state.row), 0, rows - 1);
    state.low = clamp(state.low, 0, top);
    state.high = clamp(state.high, state.low + top / 1000, 2 * top);
    state.zoom = clamp(state.zoom, 1, 16);
    state.frame = (state.frame + this.frames) % this.frames;
    state.threshold = clamp(state.threshold, 0, this.item.overlay_top);
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => this.render());
    }
  }

  get frames() { return Math.max(1, ...this.item.panels.map((p) => p.frames)); }

  render() {
    this.waiting = false;
    const { low, high, gain, overlay, threshold, frame, smooth } = this.state;
    const look = JSON.stringify([this.state.case, low, high, gain, overlay, threshold, smooth]);
    const repaint = look !== this.look;
    for (const panel of this.panels) {
      const film = panel.spec.frames > 1 && frame !== this.shownFrame;
      if (repaint || film) panel.paint(this.state, this.item);
      panel.place(this.state, this.item);
    }
    this.look = look;
    this.shownFrame = frame;
    this.changed(this.state, this.item);
  }

  panel(key) { return this.panels.find((p) => p.spec.key === key); }

  printPictures() {
    this.removePictures();
    for (const panel of this.panels) {
      const picture = element("img", panel.stage, "picture");
      picture.alt = panel.spec.title;
      picture.src = panel.snapshot().toDataURL("image/png");
    }
  }

  removePictures() { this.grid.querySelectorAll(".picture").forEach((p) => p.remove()); }

  mouse() {
    let drag = null;
    this.grid.addEventListener("wheel", (event) => {
      event.preventDefault();
      const step = Math.sign(event.deltaY);
      if (event.ctrlKey) this.update({ zoom: this.state.zoom * (step > 0 ? 0.9 : 1.1) });
      else this.update({ slice: this.state.slice + step });
    }, { passive: false });
    this.grid.addEventListener("contextmenu", (event) => event.preventDefault());
    this.grid.addEventListener("pointerdown", (event) => {
      const panel = this.panels.find((p) => p.canvas === event.target);
      if (panel) drag = { panel, x: event.clientX, y: event.clientY, ...this.state, moved: false };
    });
    window.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
      drag.moved = drag.moved || Math.hypot(x, y) > 4;
      if (!drag.moved) return;
      if (event.shiftKey) {
        const mm = this.mmPerPixel(drag.panel);
        this.update({ pan: [drag.pan[0] - x * mm, drag.pan[1] - y * mm] });
      } else {
        const unit = this.item.window / 300;
        const low = drag.low + y * unit;
        this.update({ low, high: low + Math.max(drag.high - drag.low + x * unit, 0) });
      }
    });
    window.addEventListener("pointerup", (event) => {
      if (drag && !drag.moved) this.pick(drag.panel, event);
      drag = null;
    });
  }

  mmPerPixel(panel) {
    const [columns, rows] = this.item.shape;
    const [width, height] = this.item.pixel_mm;
    const box = panel.canvas.getBoundingClientRect();
    return Math.max((columns * width) / box.width, (rows * height) / box.height) / this.state.zoom;
  }

  pick(panel, event) {
    const box = panel.canvas.getBoundingClientRect();
    const ratio = panel.canvas.width / box.width;
    const place = panel.nv.canvasPos2frac([(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio]);
    if (place[0] < 0 || place[0] > 1 || place[1] < 0 || place[1] > 1) return;
    const [columns, rows] = this.item.shape;
    this.update({
      column: Math.floor(place[0] * columns), row: Math.floor((1 - place[1]) * rows), crosshair: true,
    });
  }
}

// Keys that every page knows; returns the change of state, or null.
function commonKey(event, state, item) {
  const step = item.window / 20;
  const changes = {
    ArrowUp: { slice: state.slice - 1 }, ArrowDown: { slice: state.slice + 1 },
    PageUp: { slice: state.slice - 5 }, PageDown: { slice: state.slice + 5 },
    Home: { slice: 0 }, End: { slice: item.shape[2] - 1 },
    "[": { high: state.high - step }, "]": { high: state.high + step },
    ",": { low: state.low - step }, ".": { low: Math.min(state.low + step, state.high - step) },
    "+": { zoom: state.zoom * 1.25 }, "=": { zoom: state.zoom * 1.25 }, "-": { zoom: state.zoom / 1.25 },
    0: { zoom: 1, pan: [0, 0] }, i: { smooth: !state.smooth }, c: { crosshair: !state.crosshair },
  };
  return event.ctrlKey || event.metaKey || event.altKey ? null : changes[event.key] ?? null;
}

// A field or button with the focus keeps the keys that it uses itself.
function belongsToField(event) {
  const field = event.target.closest("input, select, textarea, button, summary, dialog");
  if (!field) return false;
  return !field.matches("button, summary") || event.key === " " || event.key === "Enter";
}
