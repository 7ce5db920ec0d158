"use strict";
// Tables of scores: metrics by systems, and for one metric the tests and every utterance.

const ARROWS = { higher: "↑ higher is better", lower: "↓ lower is better", zero: "→0 is best" };
let scoredMetric = 0; // the one looked at more closely

function metricLabel({ title, unit, better, about }) {
  return [
    h("b", {}, title),
    " ",
    h("small", { title: ARROWS[better] }, [unit, ARROWS[better].split(" ")[0]].filter(Boolean).join(" ")),
    h("small", { class: "about" }, about),
  ];
}

// One row for each metric: cells(metric, index) are those after its name.
function metricTable(caption, heads, cells) {
  return scrolling(
    caption,
    h(
      "table",
      { class: "metrics" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Metric"), heads)),
      h(
        "tbody",
        {},
        DATA.metrics.map((metric, i) =>
          h("tr", {}, h("th", { scope: "row" }, metricLabel(metric)), cells(metric, i)),
        ),
      ),
    ),
  );
}

// A caption would be as wide as the table, and scroll with it.
function scrolling(caption, table) {
  return h(
    "div",
    { class: "titled" },
    h("p", { class: "caption" }, caption),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table),
  );
}

// What a metric's column is sorted by: the best come first at the first click.
function metricOrder(metric, value) {
  return value !== null && metric.better === "zero" ? Math.abs(value) : value;
}

// columns: {label, title, number, cell(row), order(row) -> number, string or null (always last),
// falling: whether the first click on the head puts the greatest first}.
function sortableTable(caption, columns, rows) {
  const body = h("tbody");
  const heads = columns.map((column, i) =>
    h(
      "th",
      { scope: "col", class: column.number ? "number" : null, "aria-sort": "none" },
      button(column.label, () => sort(i), { title: column.title }),
    ),
  );
  let sorted = null;
  let direction = 1;

  function fill() {
    body.replaceChildren(
      ...rows.map((row) =>
        h(
          "tr",
          {},
          columns.map((column, i) =>
            h(i ? "td" : "th", {
              scope: i ? null : "row",
              class: column.number ? "number" : null,
            }, column.cell(row)),
          ),
        ),
      ),
    );
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
    heads.forEach((head, i) =>
      head.setAttribute(
        "aria-sort",
        i !== index ? "none" : direction > 0 ? "ascending" : "descending",
      ),
    );
    fill();
  }
  fill();
  return scrolling(
    caption,
    h("table", {}, h("thead", {}, h("tr", {}, heads)), body),
  );
}

// Which of the values is better than every other, in the digits that are shown; -1: none is.
function bestOf(metric, values, format) {
  const orders = values.map((value) => metricOrder(metric, value));
  const defined = orders.filter((order) => order !== null);
  const best = metric.better === "higher" ? Math.max(...defined) : Math.min(...defined);
  const alike = values.filter(
    (value) => value !== null && format(Math.abs(value)) === format(Math.abs(values[orders.indexOf(best)])),
  );
  return defined.length > 1 && alike.length === 1 ? orders.indexOf(best) : -1;
}

function meansTable() {
  const heads = DATA.systems.map((name) => h("th", { scope: "col", class: "number" }, name));
  return metricTable(
    `Mean over ${DATA.compared} utterances, and its 95 % interval`,
    heads,
    (metric, i) => {
      const means = DATA.means.map((system) => system[i]);
      const format = formatter(means.flatMap(({ mean, low, high }) => [mean, low, high]));
      const best = bestOf(metric, means.map(({ mean }) => mean), format);
      return means.map(({ mean, low, high, n }, system) =>
        h(
          "td",
          { class: "number" },
          h(system === best ? "strong" : "span", {}, format(mean)),
          low === null ? null : h("small", {}, `${format(low)} to ${format(high)}`),
          n < DATA.compared ? h("small", {}, `n = ${n}`) : null,
        ),
      );
    },
  );
}

function showP(p) {
  return p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3);
}

// Is the difference between two systems more than chance?
function testsTable() {
  const rows = DATA.tests.filter(({ metric }) => metric === scoredMetric);
  const format = formatter(rows.map(({ difference }) => difference));
  const columns = [
    { label: "First", cell: ({ pair }) => DATA.systems[pair[0]], order: ({ pair }) => pair[0] },
    { label: "Second", cell: ({ pair }) => DATA.systems[pair[1]], order: ({ pair }) => pair[1] },
    { label: "Difference", number: true, cell: (row) => format(row.difference), order: (row) => row.difference },
    { label: "n", number: true, cell: ({ n }) => String(n), order: ({ n }) => n },
    { label: "p", number: true, cell: ({ p }) => showP(p), order: ({ p }) => p },
    { label: "p (Holm)", number: true, cell: ({ holm }) => showP(holm), order: ({ holm }) => holm },
  ];
  const distance = DATA.metrics[scoredMetric].better === "zero" ? " of the distances from zero" : "";
  return sortableTable(
    `Mean difference${distance}, and p of the Wilcoxon signed-rank test, alone and corrected for the number of pairs`,
    columns,
    rows,
  );
}

function utterancesTable() {
  const metric = DATA.metrics[scoredMetric];
  const rows = DATA.utterances.map(({ name }, utterance) => ({ name, utterance }));
  const format = formatter(DATA.values.flatMap((system) => system[scoredMetric]));
  const open = (row, slot) => {
    Object.assign(listen, { utterance: row.utterance, slot });
    location.hash = "listen";
  };
  const columns = [
    {
      label: "Utterance",
      order: (row) => row.name,
      cell: (row) => button(row.name, () => open(row, 0), { class: "link", title: "Listen" }),
    },
    ...DATA.systems.map((name, system) => {
      const value = (row) => DATA.values[system][scoredMetric][row.utterance];
      return {
        label: name,
        number: true,
        falling: metric.better === "higher",
        order: (row) => metricOrder(metric, value(row)),
        cell: (row) =>
          DATA.utterances[row.utterance].gains[system + 1] === null
            ? "no audio"
            : button(format(value(row)), () => open(row, system + 1), {
                class: "link",
                "aria-label": `${format(value(row))}, listen to ${name}`,
              }),
      };
    }),
  ];
  return sortableTable("Each utterance; choose a value to hear it", columns, rows);
}

function scoresView() {
  const how = DATA.metrics.map(({ name, title, about, how, better }) => [
    h("dt", {}, title, h("small", {}, ` ${name}`)),
    h("dd", {}, `${about} ${ARROWS[better]}. Measured by ${how}.`),
  ]);
  const metrics = DATA.metrics.map(({ title }, i) => [i, title]);
  const chooser = choice("Metric", metrics, scoredMetric, (metric) => {
    scoredMetric = metric;
    showView();
  });
  chooser.querySelector("select").dataset.focus = "metric";
  const element = [
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Systems"),
      meansTable(),
      DATA.notes.map((note) => h("p", { class: "muted note" }, note)),
    ),
    DATA.metrics.length
      ? h(
          "section",
          { class: "card" },
          h("h2", {}, "One metric closely"),
          chooser,
          h("p", { class: "muted" }, DATA.metrics[scoredMetric].about),
          DATA.tests.length ? testsTable() : null,
          utterancesTable(),
        )
      : null,
    h("details", { class: "card" }, h("summary", {}, "How this was measured"), h("dl", {}, how)),
  ].filter(Boolean);
  return { element, key: () => false, start: () => player.stop() };
}
