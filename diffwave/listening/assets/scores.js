"use strict";
// Tables of scores: metrics by systems, and for one metric the tests and every utterance.

const ARROWS = { higher: "↑ higher is better", lower: "↓ lower is better", zero: "→0 is best" };
let scoredMetric = 0; // the one looked at more closely

// One row for each metric, with cells(metric, index) for the systems.
function metricTable(caption, cells) {
  const heads = ["Metric", ...DATA.systems].map((name, i) =>
    h(i ? "th.number" : "th", { scope: "col" }, name));
  const rows = DATA.metrics.map((metric, i) => {
    const arrow = ARROWS[metric.better];
    const unit = [metric.unit, arrow.split(" ")[0]].filter(Boolean).join(" ");
    const label = [h("b", metric.title), " ", h("small", { title: arrow }, unit),
      h("small.about", metric.about)];
    return h("tr", h("th", { scope: "row" }, label), cells(metric, i));
  });
  return scrollingTable(caption, heads, h("tbody", rows), "table.metrics");
}

// What a metric's column is sorted by: the best come first at the first click.
function metricOrder(metric, value) {
  return value !== null && metric.better === "zero" ? Math.abs(value) : value;
}

// columns: {label, number, cell(row), order(row) -> number, string or null (always last),
// falling: whether the first click on the head puts the greatest first}.
function sortableTable(caption, columns, rows) {
  const body = h("tbody");
  const kind = (tag, { number }) => (number ? `${tag}.number` : tag);
  const heads = columns.map((column, i) =>
    h(kind("th", column), { scope: "col", "aria-sort": "none" }, button(column.label, () => sort(i))));
  let sorted = null;
  let direction = 1;

  function fill() {
    body.replaceChildren(...rows.map((row) =>
      h("tr", columns.map((column, i) =>
        h(kind(i ? "td" : "th", column), { scope: i ? null : "row" }, column.cell(row))))));
  }
  function sort(index) {
    const { order, falling } = columns[index];
    direction = sorted === index ? -direction : falling ? -1 : 1;
    sorted = index;
    rows.sort((a, b) => {
      const [x, y] = [order(a), order(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      const sign = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return direction * sign;
    });
    const way = direction > 0 ? "ascending" : "descending";
    heads.forEach((head, i) => head.setAttribute("aria-sort", i === index ? way : "none"));
    fill();
  }
  fill();
  return scrollingTable(caption, heads, body);
}

// Which of the values is better than every other, in the digits that are shown; -1: none is.
function bestOf(metric, values, format) {
  const orders = values.map((value) => metricOrder(metric, value));
  const defined = orders.filter((order) => order !== null);
  const best = metric.better === "higher" ? Math.max(...defined) : Math.min(...defined);
  const shown = (order) => order !== null && format(Math.abs(order));
  const alike = orders.filter((order) => shown(order) === shown(best));
  return defined.length > 1 && alike.length === 1 ? orders.indexOf(best) : -1;
}

function meansTable() {
  const caption = `Mean over ${DATA.compared} utterances, and its 95 % interval`;
  return metricTable(caption, (metric, i) => {
    const means = DATA.means.map((system) => system[i]);
    const format = formatter(means.flatMap(({ mean, low, high }) => [mean, low, high]));
    const best = bestOf(metric, means.map(({ mean }) => mean), format);
    return means.map(({ mean, low, high, n }, system) =>
      h("td.number",
        h(system === best ? "strong" : "span", format(mean)),
        low === null ? null : h("small", `${format(low)} to ${format(high)}`),
        n < DATA.compared ? h("small", `n = ${n}`) : null));
  });
}

// Is the difference between two systems more than chance?
function testsTable() {
  const rows = DATA.tests.filter(({ metric }) => metric === scoredMetric);
  const format = formatter(rows.map(({ difference }) => difference));
  const showP = (p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));
  const name = (place) => ({ pair }) => DATA.systems[pair[place]];
  const numbers = { Difference: ["difference", format], n: ["n", String], p: ["p", showP],
    "p (Holm)": ["holm", showP] };
  const columns = [
    { label: "First", cell: name(0), order: ({ pair }) => pair[0] },
    { label: "Second", cell: name(1), order: ({ pair }) => pair[1] },
    ...Object.entries(numbers).map(([label, [key, show]]) =>
      ({ label, number: true, cell: (row) => show(row[key]), order: (row) => row[key] })),
  ];
  const distance = DATA.metrics[scoredMetric].better === "zero" ? " of the distances from zero" : "";
  return sortableTable(`Mean difference${distance}, and p of the Wilcoxon signed-rank test, alone ` +
    "and corrected for the number of pairs", columns, rows);
}

function utterancesTable() {
  const metric = DATA.metrics[scoredMetric];
  const rows = DATA.utterances.map(({ name }, utterance) => ({ name, utterance }));
  const format = formatter(DATA.values.flatMap((system) => system[scoredMetric]));
  const link = (text, { utterance }, slot, attributes) =>
    button(text, () => {
      Object.assign(listen, { utterance, slot });
      location.hash = "listen";
    }, { class: "link", ...attributes });
  const systems = DATA.systems.map((name, system) => {
    const value = (row) => DATA.values[system][scoredMetric][row.utterance];
    const cell = (row) => {
      if (!hasAudio(row.utterance, system + 1)) return "no audio";
      const text = format(value(row));
      return link(text, row, system + 1, { "aria-label": `${text}, listen to ${name}` });
    };
    const order = (row) => metricOrder(metric, value(row));
    return { label: name, number: true, falling: metric.better === "higher", order, cell };
  });
  const names = {
    label: "Utterance",
    order: (row) => row.name,
    cell: (row) => link(row.name, row, 0, { title: "Listen" }),
  };
  return sortableTable("Each utterance; choose a value to hear it", [names, ...systems], rows);
}

function scoresView() {
  const how = DATA.metrics.map(({ name, title, about, how, better }) => [
    h("dt", title, h("small", ` ${name}`)),
    h("dd", `${about} ${ARROWS[better]}. Measured by ${how}.`),
  ]);
  const titles = DATA.metrics.map(({ title }) => title);
  const chooser = choice("Metric", titles, scoredMetric, (metric) => {
    scoredMetric = metric;
    showView();
  });
  const elements = [
    card("Systems", meansTable(), DATA.notes.map((note) => h("p.muted.note", note))),
    h("details.card", h("summary", "How this was measured"), h("dl", how.flat())),
  ];
  if (DATA.metrics.length) {
    elements.splice(1, 0, card("One metric closely", chooser,
      h("p.muted", DATA.metrics[scoredMetric].about),
      DATA.tests.length ? testsTable() : null, utterancesTable()));
  }
  return { elements };
}
