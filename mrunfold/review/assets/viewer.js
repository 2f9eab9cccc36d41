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

const SVG = "http://www.w3.org/2000/svg";

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
    this.lines = document.createElementNS(SVG, "svg"); // cross and measure, above the image at any zoom
    this.lines.setAttribute("class", "lines");
    this.stage.append(this.lines);
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
    this.plain = nv.volumes[0].img;
    this.differs = false;
    nv.setSliceType(AXIAL);
    this.canvas.tabIndex = -1;
    this.box.hidden = false;
  }

  paint(state, item) {
    const { nv, spec } = this;
    const image = nv.volumes[0];
    const gain = spec.role === "map" ? state.gain : 1;
    const map = spec.role === "map" || this.differs;
    const shown = map ? state.gain : gain;
    image.cal_min = map ? 0 : state.low;
    image.cal_max = (map ? state.high - state.low : state.high) / shown;
    image.colormapInvert = state.invert;
    const title = this.differs ? `|${spec.title} − reference|` : spec.title;
    this.caption.textContent = map && shown !== 1 ? `${title} ×${shown}` : title;
    if (spec.frames > 1) {
      this.caption.textContent += `, ${state.frame + 1} of ${spec.frames}`;
      image.frame4D = state.frame;
    }
    if (spec.overlay !== null) {
      const over = nv.volumes[1];
      over.cal_min = state.threshold;
      over.cal_max = Math.max(item.overlay_top, state.threshold * 1.0001);
      over.opacity = state.overlay && !this.differs ? state.opacity : 0;
    }
    nv.opts.isNearestInterpolation = !state.smooth;
    nv.updateGLVolume();
  }

  place(state, item) {
    const { nv } = this;
    const [columns, rows, count] = item.shape;
    // NiiVue counts from the left of the patient, which radiologists have on their right, and from below.
    nv.scene.crosshairPos = [1 - (state.column + 0.5) / columns, 1 - (state.row + 0.5) / rows,
      (state.slice + 0.5) / count];
    nv.scene.pan2Dxyzmm = [state.pan[0], state.pan[1], 0, state.zoom];
    nv.drawScene();
    this.value.textContent = this.reading(state);
    this.draw(state, item);
  }

  // What a panel says in its corner: mean and SD of the region, else the value under the cross.
  reading(state) {
    const frame = this.spec.frames > 1 ? state.frame : 0;
    const image = this.nv.volumes[0];
    const [columns, rows, count] = image.dims.slice(1);
    const { scl_slope: slope, scl_inter: inter } = image.hdr;
    // As stored: NiiVue's own getValue counts along the axes of RAS.
    const at = (c, r) => image.img[c + columns * (r + rows * (state.slice + count * frame))] * slope + inter;
    const measure = state.measure;
    if (measure && measure.kind === "region" && measure.slice === state.slice) {
      let [n, sum, squares] = [0, 0, 0];
      for (const [c, r] of pixelsOf(measure)) {
        if (c < 0 || r < 0 || c >= columns || r >= rows) continue;
        const value = at(c, r);
        [n, sum, squares] = [n + 1, sum + value, squares + value * value];
      }
      if (!n) return "";
      const mean = sum / n;
      const sd = Math.sqrt(Math.max(0, squares / n - mean * mean));
      return `${mean.toPrecision(3)} ± ${sd.toPrecision(2)} (${n})`;
    }
    return state.crosshair ? Number(at(state.column, state.row)).toPrecision(3) : "";
  }

  // The image's difference to the reference's, or the image again; both have one scale.
  difference(on, reference) {
    const image = this.nv.volumes[0];
    const can = on && reference && reference !== this && this.spec.role === "image"
      && reference.plain.length === this.plain.length;
    this.differs = Boolean(can);
    image.img = can ? this.plain.map((v, i) => Math.abs(v - reference.plain[i])) : this.plain;
  }

  // Where a place of the image, in pixels from its corner, lies on the stage; null where nothing is drawn.
  onStage(column, row, item) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const [x, y, step] = [box.width / 2, box.height / 2, 8];
    const a = this.nv.canvasPos2frac([x * ratio, y * ratio]);
    const b = this.nv.canvasPos2frac([(x + step) * ratio, (y + step) * ratio]);
    const [dx, dy] = [a[0] - b[0], a[1] - b[1]];
    if (!(dx > 0) || !(dy > 0)) return null;
    const [columns, rows] = item.shape;
    return [x + ((column / columns - (1 - a[0])) / dx) * step, y + ((row / rows - (1 - a[1])) / dy) * step];
  }

  draw(state, item) {
    this.lines.replaceChildren();
    const line = (name, values) => {
      const made = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
      this.lines.append(made);
    };
    const box = this.canvas.getBoundingClientRect();
    if (state.crosshair) {
      const at = this.onStage(state.column + 0.5, state.row + 0.5, item);
      if (at) {
        const gap = 9; // the place itself stays to be seen
        line("line", { class: "cross", x1: 0, x2: at[0] - gap, y1: at[1], y2: at[1] });
        line("line", { class: "cross", x1: at[0] + gap, x2: box.width, y1: at[1], y2: at[1] });
        line("line", { class: "cross", x1: at[0], x2: at[0], y1: 0, y2: at[1] - gap });
        line("line", { class: "cross", x1: at[0], x2: at[0], y1: at[1] + gap, y2: box.height });
      }
    }
    const measure = state.measure;
    if (!measure || measure.slice !== state.slice) return;
    const [from, to] = [measure.from, measure.to].map((p) => this.onStage(p[0], p[1], item));
    if (!from || !to) return;
    if (measure.kind === "distance") {
      line("line", { class: "measure", x1: from[0], y1: from[1], x2: to[0], y2: to[1] });
    } else {
      line("ellipse", {
        class: "measure", cx: (from[0] + to[0]) / 2, cy: (from[1] + to[1]) / 2,
        rx: Math.abs(to[0] - from[0]) / 2, ry: Math.abs(to[1] - from[1]) / 2,
      });
    }
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
    new ResizeObserver(() => { if (this.panels.length) this.update({}); }).observe(grid);
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
      low: 0, high: item.window, gain: 5, overlay: false, threshold: item.overlay_threshold, opacity: 0.7,
      frame: 0, zoom: 1, pan: [0, 0], smooth: false, crosshair: false, invert: false, difference: false,
      measure: null, alone: null,
    });
    this.look = null;
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
    state.opacity = clamp(state.opacity, 0.1, 1);
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => this.render());
    }
  }

  get frames() { return Math.max(1, ...this.item.panels.map((p) => p.frames)); }

  render() {
    this.waiting = false;
    const { low, high, gain, overlay, threshold, opacity, frame, smooth, invert, difference, alone } = this.state;
    const look = JSON.stringify([this.state.case, low, high, gain, overlay, threshold, opacity, smooth, invert,
      difference]);
    const repaint = look !== this.look;
    const reference = this.panel("reference");
    if (repaint) for (const panel of this.panels) panel.difference(difference, reference);
    const some = this.panels.some((p) => p.spec.key === alone);
    for (const panel of this.panels) panel.box.hidden = some && panel.spec.key !== alone;
    this.grid.classList.toggle("alone", some);
    for (const panel of this.panels) {
      const film = panel.spec.frames > 1 && frame !== this.shownFrame;
      if (repaint || film) panel.paint(this.state, this.item);
      panel.place(this.state, this.item);
    }
    if (some !== this.wasAlone) { // canvases have another size now
      this.wasAlone = some;
      requestAnimationFrame(() => this.update({}));
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

  // Mouse: drag is the window or what `tool` says, with Shift it moves. One finger to the side goes through slices
  // (up and down scrolls the page), two zoom and move: never the window, which a pinch would spoil.
  mouse() {
    const down = new Map(); // fingers and the mouse, by their number
    let drag = null;
    let pinch = null;
    this.tool = "window";
    this.grid.addEventListener("wheel", (event) => {
      event.preventDefault();
      const step = Math.sign(event.deltaY);
      if (event.ctrlKey) this.update({ zoom: this.state.zoom * (step > 0 ? 0.9 : 1.1) });
      else this.update({ slice: this.state.slice + step });
    }, { passive: false });
    this.grid.addEventListener("contextmenu", (event) => event.preventDefault());
    this.grid.addEventListener("dblclick", (event) => {
      const panel = this.panels.find((p) => p.canvas === event.target);
      if (panel) this.update({ alone: this.state.alone ? null : panel.spec.key });
    });
    const spread = () => {
      const [a, b] = [...down.values()];
      return { size: Math.hypot(a.x - b.x, a.y - b.y) || 1, x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    };
    this.grid.addEventListener("pointerdown", (event) => {
      const panel = this.panels.find((p) => p.canvas === event.target);
      if (!panel) return;
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (down.size === 2) {
        drag = null;
        pinch = { ...spread(), zoom: this.state.zoom, pan: this.state.pan, panel };
      } else if (down.size === 1) {
        drag = { ...this.state, panel, x: event.clientX, y: event.clientY, moved: false,
          touch: event.pointerType === "touch", from: this.placeOf(panel, event) };
      }
    });
    window.addEventListener("pointermove", (event) => {
      if (!down.has(event.pointerId)) return;
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (pinch && down.size === 2) {
        const now = spread();
        const mm = this.mmPerPixel(pinch.panel);
        this.update({
          zoom: pinch.zoom * (now.size / pinch.size),
          pan: [pinch.pan[0] - (now.x - pinch.x) * mm, pinch.pan[1] - (now.y - pinch.y) * mm],
        });
      } else if (drag) this.dragged(drag, event);
    });
    const up = (event) => {
      down.delete(event.pointerId);
      if (drag && !drag.moved && event.type === "pointerup") this.pick(drag.panel, event);
      drag = null;
      if (down.size < 2) pinch = null;
    };
    window.addEventListener("pointerup", up);
    window.addEventListener("pointercancel", up);
  }

  dragged(drag, event) {
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved = drag.moved || Math.hypot(x, y) > 4;
    if (!drag.moved) return;
    if (this.tool !== "window" && drag.from) {
      const to = this.placeOf(drag.panel, event);
      if (to) this.update({ measure: { kind: this.tool, from: drag.from, to, slice: this.state.slice } });
    } else if (event.shiftKey) {
      const mm = this.mmPerPixel(drag.panel);
      this.update({ pan: [drag.pan[0] - x * mm, drag.pan[1] - y * mm] });
    } else if (drag.touch) {
      this.update({ slice: drag.slice - Math.round(x / 16) });
    } else {
      const unit = this.item.window / 300;
      const low = drag.low + y * unit;
      this.update({ low, high: low + Math.max(drag.high - drag.low + x * unit, 0) });
    }
  }

  mmPerPixel(panel) {
    const [columns, rows] = this.item.shape;
    const [width, height] = this.item.pixel_mm;
    const box = panel.canvas.getBoundingClientRect();
    return Math.max((columns * width) / box.width, (rows * height) / box.height) / this.state.zoom;
  }

  // Where an event is in the image, in pixels from its corner; null beside the image.
  placeOf(panel, event) {
    const box = panel.canvas.getBoundingClientRect();
    const ratio = panel.canvas.width / box.width;
    const place = panel.nv.canvasPos2frac([(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio]);
    if (!(place[0] >= 0 && place[0] <= 1 && place[1] >= 0 && place[1] <= 1)) return null;
    const [columns, rows] = this.item.shape;
    return [(1 - place[0]) * columns, (1 - place[1]) * rows];
  }

  pick(panel, event) {
    const place = this.placeOf(panel, event);
    if (place) this.update({ column: Math.floor(place[0]), row: Math.floor(place[1]), crosshair: true, measure: null });
  }
}

// The pixels of an elliptic region.
function* pixelsOf(measure) {
  const [x, y] = [0, 1].map((i) => (measure.from[i] + measure.to[i]) / 2);
  const [a, b] = [0, 1].map((i) => Math.abs(measure.from[i] - measure.to[i]) / 2);
  for (let r = Math.floor(y - b); r <= y + b; r++) {
    for (let c = Math.floor(x - a); c <= x + a; c++) {
      if (((c + 0.5 - x) / a) ** 2 + ((r + 0.5 - y) / b) ** 2 <= 1) yield [c, r];
    }
  }
}

// Length of a distance in mm.
function lengthOf(measure, item) {
  const [width, height] = item.pixel_mm;
  return Math.hypot((measure.to[0] - measure.from[0]) * width, (measure.to[1] - measure.from[1]) * height);
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
    v: { invert: !state.invert },
  };
  return event.ctrlKey || event.metaKey || event.altKey ? null : changes[event.key] ?? null;
}

// A field or button with the focus keeps the keys that it uses itself; an open dialog keeps all, Escape closes it.
function belongsToField(event) {
  if (document.querySelector("dialog[open]")) return true;
  const field = event.target.closest("input, select, textarea, button, summary");
  if (!field) return false;
  return !field.matches("button, summary") || event.key === " " || event.key === "Enter";
}
