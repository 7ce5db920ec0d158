"use strict";
// Tables of scores that are sorted by a click on a column's head.

const ARROWS = { higher: "↑ higher is better", lower: "↓ lower is better", zero: "→0 is best" };

function metricLabel({ name, unit, better }) {
  return [
    h("span", {}, name.split(/(?<=_)/).flatMap((part, i) => (i ? [h("wbr"), part] : [part]))),
    h("small", {}, [unit, ARROWS[better].split(" ")[0]].filter(Boolean).join(" ")),
  ];
}

function metricHeader(metric) {
  return h(
    "th",
    { scope: "col", class: "number", title: ARROWS[metric.better] },
    metricLabel(metric),
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
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads)), body),
  );
}

function meansTable() {
  const rows = DATA.systems.map((name, system) => ({ name, system }));
  const columns = DATA.metrics.map((metric, i) => {
    const means = DATA.means.map((system) => system[i]);
    const format = formatter(means.flatMap(({ mean, low, high }) => [mean, low, high]));
    const defined = means.map(({ mean }) => mean).filter((mean) => mean !== null);
    const orders = defined.map((mean) => metricOrder(metric, mean));
    const best = metric.better === "higher" ? Math.max(...orders) : Math.min(...orders);
    return {
      label: metricLabel(metric),
      title: `${metric.how}; ${ARROWS[metric.better]}`,
      number: true,
      falling: metric.better === "higher",
      order: ({ system }) => metricOrder(metric, means[system].mean),
      cell: ({ system }) => {
        const { mean, low, high, n } = means[system];
        const isBest =
          mean !== null && defined.length > 1 && metricOrder(metric, mean) === best;
        return [
          h(isBest ? "strong" : "span", {}, format(mean)),
          low === null ? null : h("small", {}, `${format(low)} to ${format(high)}`),
          n < DATA.sentences.length ? h("small", {}, `n = ${n}`) : null,
        ];
      },
    };
  });
  const name = { label: "System", order: (row) => row.name, cell: (row) => row.name };
  return sortableTable("Mean over the sentences, and its 95 % interval", [name, ...columns], rows);
}

function sentencesTable() {
  const rows = DATA.sentences.flatMap((sentence, s) =>
    DATA.systems
      .map((name, system) => ({ sentence: sentence.name, s, name, system }))
      .filter(({ system }) => sentence.gains[system + 1] !== null),
  );
  const open = (row) => {
    Object.assign(listen, { sentence: row.s, slot: row.system + 1 });
    location.hash = "listen";
  };
  const columns = [
    {
      label: "Sentence",
      order: (row) => row.sentence,
      cell: (row) => button(row.sentence, () => open(row), { class: "link", title: "Listen" }),
    },
    { label: "System", order: (row) => row.name, cell: (row) => row.name },
    ...DATA.metrics.map((metric, i) => {
      const value = (row) => DATA.values[row.system][i][row.s];
      const format = formatter(DATA.values.flatMap((system) => system[i]));
      return {
        label: metricLabel(metric),
        title: `${metric.how}; ${ARROWS[metric.better]}`,
        number: true,
        falling: metric.better === "higher",
        order: (row) => metricOrder(metric, value(row)),
        cell: (row) => format(value(row)),
      };
    }),
  ];
  return sortableTable("Each sentence", columns, rows);
}

function scoresView() {
  const how = DATA.metrics.map(({ name, how, better }) => [
    h("dt", {}, name),
    h("dd", {}, `${how}; ${ARROWS[better]}`),
  ]);
  const element = [
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Systems"),
      DATA.notes.map((note) => h("p", { class: "muted" }, note)),
      meansTable(),
    ),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Sentences"),
      h("p", { class: "muted" }, "Choose a sentence to hear it. A dash: not defined there."),
      sentencesTable(),
    ),
    h("details", { class: "card" }, h("summary", {}, "How this was measured"), h("dl", {}, how)),
  ];
  return { element, key: () => false, start: () => player.stop() };
}
