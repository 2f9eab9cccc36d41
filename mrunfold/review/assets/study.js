"use strict";

const find = (id) => document.getElementById(id);
const viewer = new Viewer(find("grid"), page.cases, describe);
window.mrunfold = viewer;

const PREFERENCES = [["-2", "A clearly"], ["-1", "A"], ["0", "equal"], ["1", "B"], ["2", "B clearly"]];
const KINDS = {
  training: "To practise: not counted.",
  score: "",
  pair: "Two images of one scan: say which is better.",
};
const NOT_KEPT = "This browser keeps no answers between visits: save before you close the page.";

// Everything that one reader has: code, order of the cases, answers. Nothing of it outlives `leave`.
let reader = null;
let order = []; // numbers of cases, as this reader sees them
let answers = []; // by number of the case
let place = 0; // in the order
let since = 0; // when this case came into view, ms; 0 while nobody reads

const storeOf = (code) => `mrunfold-study-${page.study}-reader-${code}`;

// A generator of numbers in [0, 1) from a text: FNV-1a, then mulberry32.
function random(text) {
  let state = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(list, draw) {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

// Training, scores, pairs; each in an order of the reader's own. A case that is shown again comes later by at
// least a third of the cases, where that can be drawn.
function orderOf(code) {
  const draw = random(`${page.study} ${code}`);
  const numbers = (kind, again) => page.cases.flatMap((item, i) =>
    item.kind === kind && (item.after !== null) === again ? [i] : []);
  const training = shuffled(numbers("training", false), draw);
  const again = numbers("score", true);
  const gap = Math.max(2, Math.floor(numbers("score", false).length / 3));
  let scores = [];
  for (let tries = 0; tries < 1000; tries++) {
    scores = shuffled([...numbers("score", false), ...again], draw);
    // Of a case and its repetition either may come first: they show the same.
    for (const i of again) {
      const [first, second] = [scores.indexOf(page.cases[i].after), scores.indexOf(i)];
      if (first > second) [scores[first], scores[second]] = [scores[second], scores[first]];
    }
    if (again.every((i) => scores.indexOf(i) - scores.indexOf(page.cases[i].after) >= gap)) break;
  }
  return [...training, ...scores, ...shuffled(numbers("pair", false), draw)];
}

const empty = () => page.cases.map(() =>
  ({ ratings: page.questions.map(() => ""), preference: "", comment: "", seconds: 0 }));

function kept(code) {
  try {
    const found = JSON.parse(localStorage.getItem(storeOf(code)) ?? "null");
    return found && found.length === page.cases.length ? found : null;
  } catch (error) {
    return null;
  }
}

function keep() {
  if (reader === null) return;
  try {
    localStorage.setItem(storeOf(reader), JSON.stringify(answers));
  } catch (error) {
    find("progress").textContent = NOT_KEPT;
  }
}

function countTime() {
  if (reader === null) return;
  const now = performance.now();
  if (since) answers[order[place]].seconds += (now - since) / 1000;
  since = document.hidden ? 0 : now;
}

const isPair = (number) => page.cases[number].kind === "pair";
const rated = (number) => isPair(number)
  ? answers[number].preference !== "" : answers[number].ratings.every((value) => value !== "");

function describe(state, item) {
  find("status").textContent = reader === null ? ""
    : `case ${place + 1} of ${order.length} · slice ${state.slice + 1} of ${item.shape[2]}`;
  const set = (id, value, said) => {
    find(id).value = value;
    find(id).setAttribute("aria-valuetext", said);
    find(`${id}-value`).textContent = said;
  };
  find("slice").max = item.shape[2] - 1;
  set("slice", state.slice, `${state.slice + 1} of ${item.shape[2]}`);
  const percent = (value) => Math.round((1000 * value) / item.top) / 10;
  set("low", percent(state.low), `${percent(state.low)} %`);
  set("high", percent(state.high), `${percent(state.high)} %`);
}

function fillForm() {
  const number = order[place];
  const one = answers[number];
  const item = page.cases[number];
  find("reader-name").textContent = reader;
  find("case-name").textContent = `Case ${item.title}`;
  find("case-kind").textContent = KINDS[item.kind];
  find("questions").hidden = isPair(number);
  find("preference").hidden = !isPair(number);
  page.questions.forEach((_, q) => {
    for (const radio of document.getElementsByName(`q${q}`)) radio.checked = radio.value === one.ratings[q];
  });
  for (const radio of document.getElementsByName("preference")) radio.checked = radio.value === one.preference;
  find("comment").value = one.comment;
  find("previous").disabled = place === 0;
  find("next").disabled = place === order.length - 1;
  tell();
}

function tell() {
  find("progress").textContent = `${order.filter(rated).length} of ${order.length} cases rated in full`;
}

async function go(to) {
  if (reader === null || to < 0 || to >= order.length) return;
  if (since) countTime();
  keep();
  place = to;
  since = 0;
  await viewer.open(order[place]);
  countTime();
  fillForm();
}

async function begin(code, found) {
  reader = code;
  order = orderOf(code);
  answers = found ?? empty();
  find("start").close();
  await go(0);
}

// The next reader finds an empty page.
function leave() {
  countTime();
  keep();
  [reader, order, answers, place, since] = [null, [], [], 0, 0];
  find("reader-name").textContent = "";
  find("comment").value = "";
  find("progress").textContent = "";
  for (const radio of find("form").querySelectorAll("input[type=radio]")) radio.checked = false;
  ask();
}

function ask() {
  find("reader").value = "";
  find("start-note").textContent = "";
  find("begin").hidden = false;
  find("continue").hidden = true;
  if (!find("start").open) find("start").showModal();
  find("reader").focus();
}

function onBegin(event) {
  event.preventDefault();
  const code = find("reader").value.trim();
  if (!/^[A-Za-z0-9_-]+$/.test(code)) {
    find("start-note").textContent = "Give your reader code: letters, digits, - and _.";
    return;
  }
  if (!kept(code)) {
    begin(code, null);
    return;
  }
  find("start-note").textContent = "There are answers under this code in this browser. If they are not yours, take another code.";
  find("continue").hidden = false;
}

// A spreadsheet would run a text that begins like a formula.
function safe(value) {
  const text = String(value);
  return /^ *[=+\-@\t\r]/.test(text) && !/^-?[0-9.]+$/.test(text) ? `'${text}` : text;
}

function quoted(value) { return `"${safe(value).replaceAll('"', '""')}"`; }

// RFC 4180; a row for every case in the order shown, with empty fields where nothing was answered.
function csv() {
  const rows = [["study", "reader", "position", "case", ...page.questions, "preference", "comment", "seconds"]];
  order.forEach((number, i) => {
    const one = answers[number];
    rows.push([page.study, reader, i + 1, page.cases[number].title, ...one.ratings, one.preference, one.comment,
      one.seconds.toFixed(1)]);
  });
  return rows.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function save() {
  countTime();
  keep();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = `study-${page.study}-${reader}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  const open = order.filter((number) => !rated(number)).length;
  find("progress").textContent = open ? `Saved; ${open} cases are not rated in full.` : "Saved; all cases are rated.";
}

function onKey(event) {
  if (reader === null) return;
  if (event.key === "Escape" && event.target.closest("aside")) return document.activeElement.blur();
  const radio = event.target.matches("input[type=radio]");
  if (radio && /^[1-5]$/.test(event.key)) {
    document.getElementsByName(event.target.name)[event.key - 1].click();
    return event.preventDefault();
  }
  if (belongsToField(event)) return;
  const change = commonKey(event, viewer.state, viewer.item);
  if (change) viewer.update(change);
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "n") go(place + 1);
  else if (event.key === "p") go(place - 1);
  else if (event.key === "r") viewer.reset();
  else if (event.key === "?" || event.key === "h") find("help").showModal();
  else return;
  event.preventDefault();
}

function radios(parent, name, values, answered) {
  for (const [value, text] of values) {
    const label = element("label", parent);
    const radio = element("input", label);
    Object.assign(radio, { type: "radio", name, value });
    label.append(` ${text}`);
    radio.addEventListener("change", () => {
      answered(value);
      keep();
      tell();
    });
  }
}

function wire() {
  page.questions.forEach((text, q) => {
    const set = element("fieldset", find("questions"));
    element("legend", set, "", text);
    const values = [1, 2, 3, 4, 5].map((v) => [String(v), String(v)]);
    radios(set, `q${q}`, values, (value) => { answers[order[place]].ratings[q] = value; });
  });
  radios(find("preference"), "preference", PREFERENCES, (value) => { answers[order[place]].preference = value; });
  find("form").addEventListener("submit", (e) => e.preventDefault());
  find("comment").addEventListener("input", (e) => { answers[order[place]].comment = e.target.value; keep(); });
  find("previous").addEventListener("click", () => go(place - 1));
  find("next").addEventListener("click", () => go(place + 1));
  find("save").addEventListener("click", save);
  find("leave").addEventListener("click", leave);
  find("start-form").addEventListener("submit", onBegin);
  find("continue").addEventListener("click", () => begin(find("reader").value.trim(), kept(find("reader").value.trim())));
  find("reader").addEventListener("input", () => { find("continue").hidden = true; });
  find("start").addEventListener("cancel", (e) => e.preventDefault());
  find("reset").addEventListener("click", () => viewer.reset());
  find("help-button").addEventListener("click", () => find("help").showModal());
  find("help-close").addEventListener("click", () => find("help").close());
  const on = (id, change) => find(id).addEventListener("input", (e) => viewer.update(change(Number(e.target.value))));
  on("slice", (v) => ({ slice: v }));
  on("low", (v) => ({ low: (v * viewer.item.top) / 100 }));
  on("high", (v) => ({ high: (v * viewer.item.top) / 100 }));
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", countTime);
  window.addEventListener("pagehide", () => { countTime(); keep(); });
}

wire();
// The first image tells whether this browser can show any; readers see it once they have said who they are.
viewer.open(0).then(() => {
  ask();
  document.title = page.title;
}).catch((error) => {
  find("status").textContent = `This browser cannot show the images (${error.message}); it needs WebGL 2.`;
  document.title = "cannot show";
  throw error;
});
