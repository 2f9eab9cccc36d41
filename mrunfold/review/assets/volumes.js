// Volumes of the page, and of the folder beside it, as NIfTI files in memory. volumes.py is the other end.
"use strict";

const HEADER = 352; // bytes before the pixels
const beside = new Map(); // volumes of the folder, while they are on their way: number → [page, text]
const loaded = new Map(); // number → promise of its levels

// What each file of the folder calls.
function keepVolume(name, number, text) { beside.set(number, [name, text]); }

async function textOf(number) {
  const { file } = page.volumes[number];
  if (file === null) return document.getElementById(`volume-${number}`).textContent;
  const script = document.createElement("script");
  script.src = file;
  await new Promise((done, fail) => {
    script.addEventListener("load", done);
    script.addEventListener("error", () => fail(new Error(`${file} is missing: keep the page and its folder together`)));
    document.body.append(script);
  });
  script.remove();
  const [name, text] = beside.get(number) ?? ["", ""];
  beside.delete(number);
  if (name !== page.page) throw new Error(`${file} is of another page: write both again`);
  return text;
}

// Each level from what the pixels to the left, above and left above say of it: LOCO-I, as volumes.py has it.
function unpredicted(planes, columns, rows) {
  const count = planes.length / 2;
  const levels = new Int16Array(count);
  for (let i = 0; i < count; i++) {
    const c = i % columns;
    const top = Math.floor(i / columns) % rows === 0;
    const left = c ? levels[i - 1] : 0;
    const above = top ? 0 : levels[i - columns];
    const corner = c && !top ? levels[i - columns - 1] : 0;
    const [low, high] = left < above ? [left, above] : [above, left];
    const expected = corner >= high ? low : corner <= low ? high : left + above - corner;
    const folded = planes[i] * 256 + planes[count + i];
    levels[i] = expected + (folded & 1 ? -(folded + 1) / 2 : folded / 2);
  }
  return levels;
}

// The levels of a volume, 0 to page.levels: column fastest, then row, slice and frame.
function levelsOf(number, item) {
  if (!loaded.has(number)) {
    loaded.set(number, (async () => {
      const about = page.volumes[number];
      const planes = await unzipped(bytesOf(await textOf(number), about.bytes));
      const levels = unpredicted(planes, item.shape[0], item.shape[1]);
      if (about.square) {
        const unit = page.levels / (page.roots * page.roots);
        for (let i = 0; i < levels.length; i++) levels[i] = Math.round(levels[i] * levels[i] * unit);
      }
      return levels;
    })());
  }
  return loaded.get(number);
}

// Only what is looked at stays in memory.
function forgetOthers(item) {
  const kept = new Set(item.panels.map((p) => p.volume));
  for (const number of loaded.keys()) if (!kept.has(number)) loaded.delete(number);
}

// What a panel shows: levels, and the value of one.
async function shownOf(spec, item) {
  if (spec.between === null) {
    return { levels: await levelsOf(spec.volume, item), unit: page.volumes[spec.volume].top / page.levels };
  }
  const [one, other] = await Promise.all(spec.between.map((key) => shownOf(panelOf(item, key), item)));
  return { levels: apart(one.levels, other.levels), unit: one.unit };
}

function panelOf(item, key) { return item.panels.find((p) => p.key === key); }

// |one − other| of images in one scale.
function apart(one, other) {
  const levels = new Int16Array(one.length);
  for (let i = 0; i < one.length; i++) levels[i] = Math.abs(one[i] - other[i]);
  return levels;
}

// Standard deviation over the mean signal of the square around, none in air, as overlay.py has it.
async function overlayOf(item) {
  const [std, image] = await Promise.all(["std", "recon"].map((key) => shownOf(panelOf(item, key), item)));
  const { side, floor, object, top } = item.overlay;
  const around = meansAround(image.levels, item.shape[0], item.shape[1], side);
  const levels = new Int16Array(around.length);
  const unit = top / page.levels;
  for (let i = 0; i < levels.length; i++) {
    const signal = around[i] * image.unit;
    const ratio = signal < object ? 0 : (std.levels[i] * std.unit) / Math.max(signal, floor);
    levels[i] = unit ? Math.round(Math.min(ratio, top) / unit) : 0;
  }
  return { levels, unit };
}

// Means of the square around each pixel of each slice; what lies outside is mirrored at the edge.
function meansAround(levels, columns, rows, side) {
  const half = (side - 1) / 2;
  const along = (from, length, step, start, to) => {
    const at = (k) => {
      const n = k < 0 ? -k - 1 : k >= length ? 2 * length - k - 1 : k;
      return from[start + Math.min(Math.max(n, 0), length - 1) * step];
    };
    let sum = 0;
    for (let k = -half; k <= half; k++) sum += at(k);
    for (let k = 0; k < length; k++) {
      to[start + k * step] = sum / side;
      sum += at(k + half + 1) - at(k - half);
    }
  };
  const [once, twice] = [new Float32Array(levels.length), new Float32Array(levels.length)];
  for (let row = 0; row < levels.length / columns; row++) along(levels, columns, 1, row * columns, once);
  for (let slice = 0; slice < levels.length; slice += columns * rows) {
    for (let c = 0; c < columns; c++) along(once, rows, columns, slice + c, twice);
  }
  return twice;
}

// A NIfTI file of a case's grid: header, frames, what one level is worth.
function niftiOf(item, shown) {
  const head = Uint8Array.from(atob(item.header), (c) => c.charCodeAt(0));
  const file = new ArrayBuffer(HEADER + 2 * shown.levels.length);
  new Uint8Array(file).set(head);
  const [columns, rows, count] = item.shape;
  const frames = shown.levels.length / (columns * rows * count);
  const view = new DataView(file);
  view.setInt16(40, frames > 1 ? 4 : 3, true); // dim[0]
  view.setInt16(48, frames, true); // dim[4]
  view.setFloat32(92, 1, true); // pixdim[4]
  view.setFloat32(112, shown.unit || 1, true); // scl_slope
  view.setFloat32(116, 0, true); // scl_inter
  view.setFloat32(124, (shown.unit || 1) * page.levels, true); // cal_max
  new Int16Array(file, HEADER).set(shown.levels);
  return file;
}
