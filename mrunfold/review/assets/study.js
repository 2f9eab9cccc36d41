"use strict";

const page = JSON.parse(document.getElementById("page-data").textContent);
const find = (id) => document.getElementById(id);
const store = `mrunfold-study-${page.study}`;
const viewer = new Viewer(find("grid"), page.cases, describe);
window.mrunfold = viewer;

const answers = page.cases.map(() => ({ ratings: page.questions.map(() => ""), comment: "", seconds: 0 }));
let since = 0; // when this case came into view, ms; 0 before the first

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(store) ?? "null");
    if (!kept || kept.answers.length !== answers.length) return;
    kept.answers.forEach((one, i) => Object.assign(answers[i], one));
    find("reader").value = kept.reader;
  } catch (error) {
    find("progress").textContent = "This browser keeps no answers between visits: save before you close the page.";
  }
}

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify({ reader: find("reader").value, answers }));
  } catch (error) {
    find("progress").textContent = "This browser keeps no answers between visits: save before you close the page.";
  }
}

function countTime() {
  const now = performance.now();
  if (since) answers[viewer.state.case].seconds += (now - since) / 1000;
  since = document.hidden ? 0 : now;
}

const rated = (one) => one.ratings.every((value) => value !== "");

function describe(state, item) {
  find("status").textContent =
    `case ${state.case + 1} of ${page.cases.length} · slice ${state.slice + 1} of ${item.shape[2]}`;
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
  if (document.title !== page.title) document.title = page.title;
}

function fillForm() {
  const number = viewer.state.case;
  const one = answers[number];
  find("case-name").textContent = `Case ${page.cases[number].title}`;
  page.questions.forEach((_, q) => {
    for (const radio of document.getElementsByName(`q${q}`)) radio.checked = radio.value === one.ratings[q];
  });
  find("comment").value = one.comment;
  find("previous").disabled = number === 0;
  find("next").disabled = number === page.cases.length - 1;
  tell();
}

function tell() {
  const done = answers.filter(rated).length;
  find("progress").textContent = `${done} of ${answers.length} cases rated in full`;
}

async function go(number) {
  if (number < 0 || number >= page.cases.length) return;
  if (since) countTime();
  await viewer.open(number);
  countTime();
  fillForm();
}

function quoted(value) { return `"${String(value).replaceAll('"', '""')}"`; }

// RFC 4180; a row for every case in the order shown, with empty fields where nothing was answered.
function csv() {
  const rows = [["study", "reader", "position", "case", ...page.questions, "comment", "seconds"]];
  answers.forEach((one, i) => rows.push([page.study, find("reader").value, i + 1, page.cases[i].title,
    ...one.ratings, one.comment, one.seconds.toFixed(1)]));
  return rows.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function save() {
  countTime();
  keep();
  const reader = find("reader");
  if (!/^[A-Za-z0-9_-]+$/.test(reader.value)) {
    find("progress").textContent = "Give your reader code first: letters, digits, - and _.";
    reader.focus();
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = `study-${page.study}-${reader.value}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  const open = answers.filter((one) => !rated(one)).length;
  find("progress").textContent = open ? `Saved; ${open} cases are not rated in full.` : "Saved; all cases are rated.";
}

function onKey(event) {
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
  else if (event.key === "n") go(viewer.state.case + 1);
  else if (event.key === "p") go(viewer.state.case - 1);
  else if (event.key === "r") viewer.reset();
  else if (event.key === "?" || event.key === "h") find("help").showModal();
  else return;
  event.preventDefault();
}

function wire() {
  page.questions.forEach((text, q) => {
    const set = element("fieldset", find("questions"));
    element("legend", set, "", text);
    for (let value = 1; value <= 5; value++) {
      const label = element("label", set);
      const radio = element("input", label);
      Object.assign(radio, { type: "radio", name: `q${q}`, value: String(value) });
      label.append(` ${value}`);
      radio.addEventListener("change", () => {
        answers[viewer.state.case].ratings[q] = radio.value;
        keep();
        tell();
      });
    }
  });
  find("form").addEventListener("submit", (e) => e.preventDefault());
  find("comment").addEventListener("input", (e) => { answers[viewer.state.case].comment = e.target.value; keep(); });
  find("reader").addEventListener("input", keep);
  find("previous").addEventListener("click", () => go(viewer.state.case - 1));
  find("next").addEventListener("click", () => go(viewer.state.case + 1));
  find("save").addEventListener("click", save);
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

restore();
wire();
go(0).catch((error) => {
  find("status").textContent = `This browser cannot show the images (${error.message}); it needs WebGL 2.`;
  document.title = "cannot show";
  throw error;
});
