// A panel is a NiiVue canvas, which draws one of the three planes of its volume. Volumes are already turned for the
// reader, so that the plane of the images has their columns and rows as they are.
"use strict";

// Colours from zero to the maximum, nothing below the threshold. NiiVue 0.69 names this type 1 and draws it for 2.
const NOTHING_BELOW_MIN = 2;
const SVG = "http://www.w3.org/2000/svg";
const PLANES = ["axial", "coronal", "sagittal"]; // NiiVue's slice types 0, 1, 2
// Axes of RAS that a plane shows from right to left and from bottom to top, and the one that it stands on. Screens
// run the other way: to the right is left or posterior, downwards posterior or inferior.
const SEEN = [[0, 1, 2], [0, 2, 1], [1, 2, 0]];

function element(tag, parent, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Index along each axis of the volume ↔ fraction along each axis of RAS, from 0 to 1.
const fractionsOf = (item, index) => item.axes.map(([axis, sign]) => {
  const part = index[axis] / item.shape[axis];
  return sign > 0 ? part : 1 - part;
});

function indexOf(item, fractions) {
  const index = [0, 0, 0];
  item.axes.forEach(([axis, sign], k) => {
    index[axis] = (sign > 0 ? fractions[k] : 1 - fractions[k]) * item.shape[axis];
  });
  return index;
}

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
      sagittalNoseLeft: true,
    });
  }

  async attach() {
    await this.nv.attachToCanvas(this.canvas, false);
    this.canvas.tabIndex = -1; // keys belong to the page
  }

  // Show a panel of a case; cut: one of PLANES of it, null: the images as they are.
  async show(spec, item, cut) {
    const nv = this.nv;
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    this.spec = spec;
    this.plane = cut === null ? item.plane : PLANES.indexOf(cut);
    this.key = cut ?? spec.key;
    this.cut = cut;
    this.box.dataset.key = this.key;
    this.note.textContent = spec.note;
    this.canvas.setAttribute("aria-label", cut === null ? spec.title : `${spec.title}, ${cut}`);
    const edges = cut === null ? item.edges : item.planes[this.plane];
    this.letters.forEach((span, i) => { span.textContent = edges ? edges[i] : ""; });
    await nv.loadFromArrayBuffer(niftiOf(item, await shownOf(spec, item)), "images.nii");
    if (spec.overlay) {
      await nv.loadFromArrayBuffer(niftiOf(item, await overlayOf(item)), "overlay.nii");
      nv.volumes[1].colormap = "warm";
      nv.volumes[1].colormapType = NOTHING_BELOW_MIN;
    }
    this.plain = nv.volumes[0].img;
    this.differs = false;
    nv.setSliceType(this.plane);
    this.canvas.tabIndex = -1;
    this.box.hidden = false;
  }

  // Axes of the volume that this panel shows across and down, and the one that its slices follow.
  axes(item) { return SEEN[this.plane].map((k) => item.axes[k][0]); }

  // Which volume of the fourth axis is in view.
  frame(state) {
    const { frames, samples } = this.spec;
    return Math.min(state.frame, frames - 1) * samples + Math.min(state.sample, samples - 1);
  }

  paint(state, item) {
    const { nv, spec } = this;
    const image = nv.volumes[0];
    const map = spec.role === "map" || this.differs;
    const gain = map ? state.gain : 1;
    image.cal_min = map ? 0 : state.low;
    image.cal_max = (map ? state.high - state.low : state.high) / gain;
    image.colormapInvert = state.invert;
    const title = this.differs ? `|${spec.title} − reference|` : spec.title;
    this.caption.textContent = map && gain !== 1 ? `${title} ×${gain}` : title;
    if (this.cut !== null) this.caption.textContent += `, ${this.cut}`;
    if (spec.samples > 1) this.caption.textContent += `, ${state.sample + 1} of ${spec.samples}`;
    if (spec.frames > 1) this.caption.textContent += `, ${item.labels[state.frame]}`;
    if (spec.frames * spec.samples > 1) image.frame4D = this.frame(state);
    if (spec.overlay) {
      const over = nv.volumes[1];
      over.cal_min = state.threshold;
      over.cal_max = Math.max(item.overlay.top, state.threshold * 1.0001);
      over.opacity = state.overlay && !this.differs ? state.opacity : 0;
      if (spec.frames > 1) over.frame4D = this.frame(state);
    }
    nv.opts.isNearestInterpolation = !state.smooth;
    nv.updateGLVolume();
  }

  place(state, item) {
    const { nv } = this;
    nv.scene.crosshairPos = fractionsOf(item, state.at.map((v) => v + 0.5));
    nv.scene.pan2Dxyzmm = [...state.pan, state.zoom];
    nv.drawScene();
    this.value.textContent = this.reading(state, item);
    this.draw(state, item);
  }

  // Whether the measure of the state lies in what this panel shows.
  measured(state, item) {
    const measure = state.measure;
    const across = this.axes(item)[2];
    return measure !== null && measure.plane === this.plane && measure.from[across] === state.at[across] + 0.5;
  }

  // What a panel says in its corner: mean and SD of the region, else the value under the cross.
  reading(state, item) {
    const image = this.nv.volumes[0];
    const [columns, rows, count] = item.shape;
    const { scl_slope: slope, scl_inter: inter } = image.hdr;
    const begin = this.frame(state) * columns * rows * count;
    // As stored: NiiVue's own getValue counts along the axes of RAS.
    const at = ([c, r, s]) => image.img[begin + c + columns * (r + rows * s)] * slope + inter;
    if (state.measure !== null && state.measure.kind === "region" && this.measured(state, item)) {
      let [n, sum, squares] = [0, 0, 0];
      for (const place of pixelsOf(state.measure, this.axes(item), state.at)) {
        if (place.some((v, axis) => v < 0 || v >= item.shape[axis])) continue;
        const value = at(place);
        [n, sum, squares] = [n + 1, sum + value, squares + value * value];
      }
      if (!n) return "";
      const mean = sum / n;
      const sd = Math.sqrt(Math.max(0, squares / n - mean * mean));
      return `${mean.toPrecision(3)} ± ${sd.toPrecision(2)} (${n})`;
    }
    return state.crosshair ? Number(at(state.at)).toPrecision(3) : "";
  }

  // The image's difference to the reference's, or the image again; both have one scale.
  difference(on, reference) {
    const image = this.nv.volumes[0];
    const can = on && reference && this.spec.key !== "reference" && this.spec.role === "image"
      && reference.length === this.plain.length;
    this.differs = Boolean(can);
    image.img = can ? apart(this.plain, reference) : this.plain;
  }

  // Where a place of the volume, in pixels from its corner, lies on the stage; null where nothing is drawn.
  onStage(place, item) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const [x, y, step] = [box.width / 2, box.height / 2, 8];
    const a = this.nv.canvasPos2frac([x * ratio, y * ratio]);
    const b = this.nv.canvasPos2frac([(x + step) * ratio, (y + step) * ratio]);
    const [h, v] = SEEN[this.plane];
    const [dx, dy] = [a[h] - b[h], a[v] - b[v]];
    if (!(dx > 0) || !(dy > 0)) return null;
    const wanted = fractionsOf(item, place);
    return [x + ((a[h] - wanted[h]) / dx) * step, y + ((a[v] - wanted[v]) / dy) * step];
  }

  // Where an event is in the volume, in pixels from its corner; null beside the image.
  placeOf(event, state, item) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const found = this.nv.canvasPos2frac([(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio]);
    const [h, v] = SEEN[this.plane];
    if (![found[h], found[v]].every((part) => part >= 0 && part <= 1)) return null;
    const place = indexOf(item, found);
    const across = this.axes(item)[2];
    place[across] = state.at[across] + 0.5;
    return place;
  }

  mmPerPixel(state, item) {
    const [h, v] = this.axes(item);
    const box = this.canvas.getBoundingClientRect();
    const size = (axis) => item.shape[axis] * item.voxel_mm[axis];
    return Math.max(size(h) / box.width, size(v) / box.height) / state.zoom;
  }

  // A pan, mm along the axes of RAS, moved by so many pixels of the screen.
  moved(pan, x, y, state, item) {
    const mm = this.mmPerPixel(state, item);
    const [h, v] = SEEN[this.plane];
    const next = [...pan];
    next[h] -= x * mm;
    next[v] -= y * mm;
    return next;
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
      const at = this.onStage(state.at.map((v) => v + 0.5), item);
      if (at) {
        const gap = 9; // the place itself stays to be seen
        line("line", { class: "cross", x1: 0, x2: at[0] - gap, y1: at[1], y2: at[1] });
        line("line", { class: "cross", x1: at[0] + gap, x2: box.width, y1: at[1], y2: at[1] });
        line("line", { class: "cross", x1: at[0], x2: at[0], y1: 0, y2: at[1] - gap });
        line("line", { class: "cross", x1: at[0], x2: at[0], y1: at[1] + gap, y2: box.height });
      }
    }
    if (!this.measured(state, item)) return;
    const measure = state.measure;
    const [from, to] = [measure.from, measure.to].map((p) => this.onStage(p, item));
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

// The pixels of an elliptic region in the first two of these axes.
function* pixelsOf(measure, [h, v], at) {
  const [x, y] = [h, v].map((i) => (measure.from[i] + measure.to[i]) / 2);
  const [a, b] = [h, v].map((i) => Math.abs(measure.from[i] - measure.to[i]) / 2);
  for (let r = Math.floor(y - b); r <= y + b; r++) {
    for (let c = Math.floor(x - a); c <= x + a; c++) {
      if (((c + 0.5 - x) / a) ** 2 + ((r + 0.5 - y) / b) ** 2 > 1) continue;
      const place = [...at];
      [place[h], place[v]] = [c, r];
      yield place;
    }
  }
}

// Length of a distance in mm.
function lengthOf(measure, item) {
  return Math.hypot(...[0, 1, 2].map((i) => (measure.to[i] - measure.from[i]) * item.voxel_mm[i]));
}
