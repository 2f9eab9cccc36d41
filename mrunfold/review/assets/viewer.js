// Panels of one scan that always show the same place in the same window, and what mouse, fingers and keys do.
"use strict";

const INDEX = ["column", "row", "slice"];

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Viewer {
  constructor(grid, cases, changed) {
    this.grid = grid;
    this.cases = cases;
    this.changed = changed;
    this.pool = [];
    this.panels = [];
    this.state = {};
    this.tool = "window";
    this.failed = (error) => { throw error; };
    this.mouse();
    // NiiVue gives a canvas its new size in the next frame; what lies above it follows.
    this.sizes = new ResizeObserver(() => requestAnimationFrame(() => { if (this.panels.length) this.update({}); }));
    window.addEventListener("beforeprint", () => this.printPictures());
    window.addEventListener("afterprint", () => this.removePictures());
  }

  get item() { return this.cases[this.state.case]; }

  async open(number) {
    forgetOthers(this.cases[number]);
    this.state = { ...this.state, case: number };
    this.reset();
    await this.layOut();
  }

  // All panels of the case, or the three planes of one.
  async layOut() {
    const { item, state: { cut } } = this;
    const wanted = cut === null ? item.panels.map((spec) => [spec, null])
      : PLANES.map((name) => [panelOf(item, cut), name]);
    while (this.pool.length < wanted.length) {
      const panel = new Panel(this.grid);
      await panel.attach();
      this.sizes.observe(panel.stage);
      this.pool.push(panel);
    }
    this.panels = [];
    this.pool.forEach((panel) => { panel.box.hidden = true; });
    const shown = this.pool.slice(0, wanted.length);
    this.grid.dataset.columns = wanted.length > 6 ? 4 : wanted.length > 4 ? 3 : wanted.length > 1 ? 2 : 1;
    const reference = panelOf(item, "reference");
    this.reference = reference && reference.volume !== null ? (await shownOf(reference, item)).levels : null;
    for (const [i, panel] of shown.entries()) await panel.show(wanted[i][0], item, wanted[i][1]);
    this.panels = shown;
    this.look = null;
    this.render();
  }

  // The three planes of a panel's volume, or all panels again.
  async cutPlanes(key) {
    if (!this.item.planes || this.state.cut === key || this.busy) return;
    this.busy = true;
    Object.assign(this.state, { cut: key, alone: null, measure: null, zoom: 1, pan: [0, 0, 0],
      crosshair: key !== null || this.state.crosshair });
    await this.layOut();
    this.busy = false;
  }

  reset() {
    const { item } = this;
    const [columns, rows, count] = item.shape;
    const cut = this.state.cut ?? null;
    Object.assign(this.state, {
      slice: Math.floor(count / 2), column: Math.floor(columns / 2), row: Math.floor(rows / 2),
      low: 0, high: item.window, gain: 5, overlay: false, threshold: item.overlay ? item.overlay.threshold : 0,
      opacity: 0.7, frame: 0, sample: 0, zoom: 1, pan: [0, 0, 0], smooth: false, crosshair: false, invert: false,
      difference: false, measure: null, alone: null, cut: null,
    });
    this.look = null;
    this.update({});
    if (cut !== null && this.panels.length) this.layOut().catch(this.failed);
  }

  // Change some of the state; everything that follows from it is drawn in the next frame.
  update(change) {
    const state = Object.assign(this.state, change);
    const { item } = this;
    INDEX.forEach((name, axis) => { state[name] = clamp(Math.round(state[name]), 0, item.shape[axis] - 1); });
    state.at = INDEX.map((name) => state[name]);
    state.low = clamp(state.low, 0, item.top);
    state.high = clamp(state.high, state.low + item.top / 1000, 2 * item.top);
    state.zoom = clamp(state.zoom, 1, 16);
    state.frame = (state.frame + this.frames) % this.frames;
    state.sample = (state.sample + this.samples) % this.samples;
    state.threshold = clamp(state.threshold, 0, item.overlay ? item.overlay.top : 0);
    state.opacity = clamp(state.opacity, 0.1, 1);
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => this.render());
    }
  }

  get frames() { return Math.max(1, ...this.item.panels.map((p) => p.frames)); }

  get samples() { return Math.max(1, ...this.item.panels.map((p) => p.samples)); }

  render() {
    this.waiting = false;
    if (!this.panels.length) return;
    const { state, item } = this;
    const { low, high, gain, overlay, threshold, opacity, smooth, invert, difference, alone } = state;
    const look = JSON.stringify([state.case, low, high, gain, overlay, threshold, opacity, smooth, invert, difference]);
    const repaint = look !== this.look;
    if (repaint) for (const panel of this.panels) panel.difference(difference, this.reference);
    const some = this.panels.some((p) => p.key === alone);
    for (const panel of this.panels) panel.box.hidden = some && panel.key !== alone;
    this.grid.classList.toggle("alone", some);
    const film = `${state.frame} ${state.sample}`;
    for (const panel of this.panels) {
      const moving = panel.spec.frames * panel.spec.samples > 1 && film !== this.shownFilm;
      if (repaint || moving) panel.paint(state, item);
      panel.place(state, item);
    }
    this.look = look;
    this.shownFilm = film;
    this.changed(state, item);
  }

  panel(key) { return this.panels.find((p) => p.key === key); }

  printPictures() {
    this.removePictures();
    for (const panel of this.panels) {
      const picture = element("img", panel.stage, "picture");
      picture.alt = panel.spec.title;
      picture.src = panel.snapshot().toDataURL("image/png");
    }
  }

  removePictures() { this.grid.querySelectorAll(".picture").forEach((p) => p.remove()); }

  // The panel under an event, null beside all.
  under(event) { return this.panels.find((p) => p.canvas === event.target) ?? null; }

  // Through the slices of a panel's plane.
  scroll(panel, from, steps) {
    const axis = panel.axes(this.item)[2];
    this.update({ [INDEX[axis]]: from[axis] + steps });
  }

  // Mouse: drag is the window or what `tool` says, with Shift it moves. One finger to the side goes through slices
  // (up and down scrolls the page), two zoom and move: never the window, which a pinch would spoil.
  mouse() {
    const down = new Map(); // fingers and the mouse, by their number
    let drag = null;
    let pinch = null;
    this.grid.addEventListener("wheel", (event) => {
      event.preventDefault();
      const step = Math.sign(event.deltaY);
      const panel = this.under(event) ?? this.panels[0];
      if (event.ctrlKey) this.update({ zoom: this.state.zoom * (step > 0 ? 0.9 : 1.1) });
      else if (panel) this.scroll(panel, this.state.at, step);
    }, { passive: false });
    this.grid.addEventListener("contextmenu", (event) => event.preventDefault());
    this.grid.addEventListener("dblclick", (event) => {
      const panel = this.under(event);
      if (panel) this.update({ alone: this.state.alone ? null : panel.key });
    });
    const spread = () => {
      const [a, b] = [...down.values()];
      return { size: Math.hypot(a.x - b.x, a.y - b.y) || 1, x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    };
    this.grid.addEventListener("pointerdown", (event) => {
      const panel = this.under(event);
      if (!panel) return;
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (down.size === 2) {
        drag = null;
        pinch = { ...spread(), zoom: this.state.zoom, pan: this.state.pan, panel };
      } else if (down.size === 1) {
        drag = { ...this.state, panel, x: event.clientX, y: event.clientY, moved: false,
          touch: event.pointerType === "touch", from: panel.placeOf(event, this.state, this.item) };
      }
    });
    window.addEventListener("pointermove", (event) => {
      if (!down.has(event.pointerId)) return;
      down.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (pinch && down.size === 2) {
        const now = spread();
        this.update({
          zoom: pinch.zoom * (now.size / pinch.size),
          pan: pinch.panel.moved(pinch.pan, now.x - pinch.x, now.y - pinch.y, this.state, this.item),
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
    const { panel } = drag;
    if (this.tool !== "window" && drag.from) {
      const to = panel.placeOf(event, this.state, this.item);
      if (to) this.update({ measure: { kind: this.tool, plane: panel.plane, from: drag.from, to } });
    } else if (event.shiftKey) {
      this.update({ pan: panel.moved(drag.pan, x, y, this.state, this.item) });
    } else if (drag.touch) {
      this.scroll(panel, drag.at, -Math.round(x / 16));
    } else {
      const unit = this.item.window / 300;
      const low = drag.low + y * unit;
      this.update({ low, high: low + Math.max(drag.high - drag.low + x * unit, 0) });
    }
  }

  pick(panel, event) {
    const place = panel.placeOf(event, this.state, this.item);
    if (!place) return;
    const [column, row, slice] = place.map(Math.floor);
    this.update({ column, row, slice, crosshair: true, measure: null });
  }
}

// Plays slices, frames or samples one after the other, so many a second.
class Film {
  constructor(viewer, told) {
    this.viewer = viewer;
    this.told = told;
    this.timer = null;
    this.speed = 8; // a second
    this.plays = "slice";
  }

  // What a case has several of.
  kinds() {
    const { viewer } = this;
    const counts = { slice: viewer.item.shape[2], frame: viewer.frames, sample: viewer.samples };
    return Object.keys(counts).filter((kind) => counts[kind] > 1);
  }

  play(on) {
    clearInterval(this.timer);
    this.timer = on && this.kinds().includes(this.plays) ? setInterval(() => this.step(1), 1000 / this.speed) : null;
    this.told();
  }

  step(by) {
    const { viewer, plays } = this;
    const count = { slice: viewer.item.shape[2], frame: viewer.frames, sample: viewer.samples }[plays];
    viewer.update({ [plays]: (viewer.state[plays] + by + count) % count });
  }

  get playing() { return this.timer !== null; }

  change(values) {
    Object.assign(this, values);
    this.play(this.playing);
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
    0: { zoom: 1, pan: [0, 0, 0] }, i: { smooth: !state.smooth }, c: { crosshair: !state.crosshair },
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
