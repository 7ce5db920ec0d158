"use strict";
// What the listener answered, kept by the browser under this page's own key.
//
// Kept is what was answered in which place, and a seed; which system stood there follows from the
// seed, and is worked out only to report.

const KEY = `diffwave listening ${DATA.id}`;

function noAnswers() {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0];
  return { seed, listener: "", abx: [], rating: null };
}

const answers = { kept: true, ...noAnswers() };
try {
  Object.assign(answers, JSON.parse(localStorage.getItem(KEY)) ?? {});
} catch {
  answers.kept = false;
}

function keepAnswers() {
  const { kept, ...all } = answers;
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
    answers.kept = true;
  } catch {
    answers.kept = false; // storage is full or forbidden
  }
}

// Change the answers, keep them, and show what follows.
function advance(change) {
  Object.assign(...change);
  keepAnswers();
  showView();
}

function toCsv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    // A spreadsheet would take a name with one of these in front for a formula.
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
}

// Listener, export and reset; `rows` makes the table of this view's answers, an object a row.
function answersPanel(name, rows) {
  const listener = h("input", {
    type: "text",
    value: answers.listener,
    autocomplete: "off",
    oninput: () => {
      answers.listener = listener.value;
      keepAnswers();
    },
  });
  const saveJson = () => {
    const { seed, listener } = answers;
    const report = { page: DATA.id, title: DATA.title, listener, seed,
      abx: abxReport(), rating: ratingReport() };
    saveFile(`answers-${DATA.id}.json`, JSON.stringify(report, null, 1), "application/json");
  };
  const saveCsv = () => {
    const table = rows().map((row) => ({ listener: answers.listener, ...row }));
    const header = Object.keys(table[0] ?? { listener: "" });
    saveFile(`${name}-${DATA.id}.csv`, toCsv([header, ...table.map(Object.values)]), "text/csv");
  };
  const reset = () => {
    if (confirm("Forget every answer given on this page?")) advance([answers, noAnswers()]);
  };
  return card(
    "Answers",
    h("p.muted", answers.kept
      ? "This browser keeps them, also when the page is closed. A saved file tells what was what."
      : "This browser does not let the page keep them: save them before you close it."),
    h("div.row", field("Listener", listener), button("Save JSON", saveJson),
      button("Save CSV", saveCsv), button("Forget all answers", reset, { class: "danger" })),
  );
}
