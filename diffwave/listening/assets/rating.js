"use strict";
// Rating from 0 to 100 with the original among the rated ("hidden reference"), after the manner of
// MUSHRA (ITU-R BS.1534), without its anchors and its screening of listeners.

const GRADES = ["Bad", "Poor", "Fair", "Good", "Excellent"]; // 20 points each

function ratingOrder({ seed }) {
  return shuffled([...DATA.utterances.keys()], randomNumbers(seed, "utterances"));
}

// The tracks behind the letters A, B, C... of an utterance.
function ratingTracks({ seed }, utterance) {
  const tracks = [...TRACKS.keys()].filter((track) => DATA.utterances[utterance].gains[track] !== null);
  return shuffled(tracks, randomNumbers(seed, "tracks", utterance));
}

function ratingReport() {
  const test = answers.rating;
  if (!test) return [];
  return ratingOrder(test).flatMap((utterance) =>
    ratingTracks(test, utterance).map((track, slot) => ({
      utterance: DATA.utterances[utterance].name,
      system: TRACKS[track],
      hiddenReference: track === 0,
      rating: test.values[utterance]?.[slot] ?? null,
    })),
  ).filter(({ rating }) => rating !== null);
}

function ratingRows() {
  const rows = ratingReport().map(({ utterance, system, rating }) => [utterance, system, rating]);
  return [["utterance", "system", "rating"], ...rows];
}

// Mean and 95 % interval by the percentile bootstrap over utterances.
function interval(values) {
  const random = randomNumbers("bootstrap");
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const means = Array.from({ length: 2000 }, () =>
    mean(values.map(() => values[Math.floor(random() * values.length)])),
  ).sort((x, y) => x - y);
  return { mean: mean(values), low: means[49], high: means[1949] };
}

function ratingResults() {
  const rows = TRACKS.map((name) => {
    const values = ratingReport().filter((row) => row.system === name).map((row) => row.rating);
    return { name, n: values.length, ...(values.length ? interval(values) : {}) };
  }).filter(({ n }) => n);
  rows.sort((x, y) => y.mean - x.mean);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Your ratings"),
    rows.length
      ? h(
          "div",
          {},
          rows.map(({ name, mean, low, high, n }) => {
            const range = n > 1 ? `${low.toFixed(0)} to ${high.toFixed(0)}, ` : "";
            return h(
              "div",
              { class: "result" },
              h("span", {}, name),
              h("div", { class: "track", "aria-hidden": "true" },
                h("div", { style: `width:${mean}%` }),
                n > 1 ? h("i", { style: `left:${low}%;width:${high - low}%` }) : null),
              h("span", { class: "number" }, h("b", {}, mean.toFixed(0)),
                h("small", {}, ` ${range}n = ${n}`)),
            );
          }),
        )
      : h("p", {}, "Nothing was rated."),
    h("p", { class: "muted" },
      "Means and 95 % bootstrap intervals over utterances, of this listener alone."),
  );
}

function ratingSetup() {
  const begin = () => {
    const round = (answers.rating?.round ?? 0) + 1;
    const seed = `${answers.seed} rating ${round}`;
    answers.rating = { seed, round, matched: player.matched, place: 0, values: {}, done: false };
    keepAnswers();
    showView();
  };
  const again = answers.rating !== null;
  return h(
    "section",
    { class: "card" },
    h("h2", {}, again ? "Rate again" : "How good are they?"),
    h(
      "p",
      {},
      `For each of ${DATA.utterances.length} utterances, compare every version with the reference `,
      "and rate it from 0 to 100. The versions are shuffled anew for each utterance, and one of ",
      "them is the reference itself: it deserves 100.",
      again ? " That forgets the ratings above: save them first." : "",
    ),
    h(
      "div",
      { class: "row" },
      levelSwitch(),
      button("Begin", begin, { class: "primary" }),
    ),
  );
}

function ratingTest(test) {
  const order = ratingOrder(test);
  const utterance = order[test.place];
  const tracks = ratingTracks(test, utterance);
  const values = (test.values[utterance] ??= tracks.map(() => null));
  const status = h("p", { class: "status", role: "status" });
  const last = test.place === order.length - 1;

  const listenTo = (slot) => {
    player.choose(slot);
    if (!player.playing) player.toggle();
  };
  const letter = (slot) => String.fromCharCode(65 + (slot % 26)).repeat(1 + Math.floor(slot / 26));
  const pad = (slot, label) =>
    button([h("b", {}, label), slot < 9 ? h("kbd", {}, String(slot + 1)) : null],
      () => listenTo(slot), { class: "pad", "aria-label": `Listen to ${label}` });
  const pads = [pad(0, "Reference"), ...tracks.map((_, i) => pad(i + 1, letter(i)))];
  const lines = tracks.map((_, i) => {
    const number = h("output", { class: "value" });
    const slider = h("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 1,
      value: values[i] ?? 50,
      "aria-label": `Rating of ${letter(i)}`,
      oninput: () => rate(Number(slider.value)),
    });
    const show = () => {
      const grade = GRADES[Math.min(4, Math.floor((values[i] ?? 0) / 20))];
      number.textContent = values[i] === null ? "–" : String(values[i]);
      slider.classList.toggle("unrated", values[i] === null);
      slider.setAttribute("aria-valuetext", values[i] === null ? "not rated" : `${values[i]}, ${grade}`);
    };
    const rate = (value) => {
      values[i] = value;
      show();
      keepAnswers();
      tell();
    };
    slider.addEventListener("pointerup", () => rate(Number(slider.value))); // 50 counts too
    show();
    return h("div", { class: "line" }, pads[i + 1], h("div", { class: "scale" }, slider), number);
  });

  const go = (step) => {
    test.place = Math.min(Math.max(test.place + step, 0), order.length - 1);
    keepAnswers();
    showView();
  };
  const finish = () => {
    test.done = true;
    keepAnswers();
    showView();
  };
  const forward = last
    ? button("Finish and see", finish, { class: "primary", "data-focus": "forward" })
    : button("Next utterance", () => go(1), { class: "primary", "data-focus": "forward" });
  const complete = () =>
    order.every((s) => test.values[s]?.every((value) => value !== null) ?? false);

  function tell() {
    const rated = values.filter((value) => value !== null).length;
    status.replaceChildren(
      h("b", {}, `Utterance ${test.place + 1} of ${order.length}`),
      h("span", { class: "count" }, `${rated} of ${values.length} rated`),
    );
    forward.disabled = last ? !complete() : rated < values.length;
    forward.title = forward.disabled ? "Rate every version first" : "";
  }
  function update() {
    pads.forEach((element, slot) => {
      element.disabled = !player.ready;
      element.setAttribute("aria-pressed", String(slot === player.slot));
    });
  }
  const controls = transport({ onchange: update });
  tell();
  const element = h(
    "section",
    { class: "card blind" },
    status,
    controls,
    h("div", { class: "line" }, pads[0],
      h("div", { class: "scale grades", "aria-hidden": "true" }, GRADES.map((grade) => h("span", {}, grade)))),
    lines,
    keys([`1–${Math.min(9, pads.length)}`, "hear"], ["Space", "play, pause"],
      ["Tab", "to a slider"], ["← →", "move it"]),
    h(
      "div",
      { class: "row" },
      button("Previous utterance", () => go(-1), { disabled: test.place === 0, "data-focus": "back" }),
      forward,
      button("Stop and see", finish, { class: "quiet" }),
    ),
  );
  const key = (name) => {
    if (!/^[1-9]$/.test(name) || Number(name) > pads.length) return false;
    listenTo(Number(name) - 1);
    return true;
  };
  const start = () => {
    player.setMatched(test.matched);
    player.load(utterance, [0, ...tracks]);
  };
  return { heading: "Blind rating", element: [element], key, start };
}

function ratingView() {
  const test = answers.rating;
  if (test && !test.done) return ratingTest(test);
  return {
    element: [...(test ? [ratingResults()] : []), ratingSetup(), answersPanel("ratings", ratingRows)],
    key: () => false,
    start: () => player.stop(),
  };
}
