"use strict";
// Rating from 0 to 100 with the original among the rated ("hidden reference"), after the manner of
// MUSHRA (ITU-R BS.1534), without its anchors and its screening of listeners.

const GRADES = ["Bad", "Poor", "Fair", "Good", "Excellent"]; // 20 points each

function ratingOrder({ seed }) {
  return shuffled([...DATA.utterances.keys()], randomNumbers(seed, "utterances"));
}

// The tracks behind the letters A, B, C... of an utterance.
function ratingTracks({ seed }, utterance) {
  const tracks = [...TRACKS.keys()].filter((track) => hasAudio(utterance, track));
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
  return ratingReport().map(({ utterance, system, rating }) => ({ utterance, system, rating }));
}

// Mean and 95 % interval by the percentile bootstrap over utterances.
function interval(values) {
  const random = randomNumbers("bootstrap");
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const means = Array.from({ length: 2000 }, () =>
    mean(values.map(() => values[Math.floor(random() * values.length)])),
  ).sort((x, y) => x - y);
  return { mean: mean(values), low: means[49], high: means[1949], n: values.length };
}

function ratingResults() {
  const rows = TRACKS.flatMap((name) => {
    const values = ratingReport().filter((row) => row.system === name).map((row) => row.rating);
    return values.length ? [{ name, ...interval(values) }] : [];
  }).sort((x, y) => y.mean - x.mean);
  const bars = rows.map(({ name, mean, low, high, n }) => {
    const range = n > 1 ? `${low.toFixed(0)} to ${high.toFixed(0)}, ` : "";
    return h("div.result",
      h("span", name),
      h("div.track", { "aria-hidden": "true" },
        h("div", { style: `width:${mean}%` }),
        n > 1 ? h("i", { style: `left:${low}%;width:${high - low}%` }) : null),
      h("span.number", h("b", mean.toFixed(0)), h("small", ` ${range}n = ${n}`)));
  });
  return card(
    "Your ratings",
    h("div", rows.length ? bars : h("p", "Nothing was rated.")),
    h("p.muted", "Means and 95 % bootstrap intervals over utterances, of this listener alone."),
  );
}

function ratingSetup() {
  const again = answers.rating !== null;
  const begin = () => {
    const round = (answers.rating?.round ?? 0) + 1;
    const seed = `${answers.seed} rating ${round}`;
    const rating = { seed, round, matched: player.matched, place: 0, values: {}, done: false };
    advance([answers, { rating }]);
  };
  return card(
    again ? "Rate again" : "How good are they?",
    h("p",
      `For each of ${DATA.utterances.length} utterances, compare every version with the reference `,
      "and rate it from 0 to 100. The versions are shuffled anew for each utterance, and one of ",
      "them is the reference itself: it deserves 100.",
      again ? " That forgets the ratings above: save them first." : ""),
    h("div.row", levelSwitch(), button("Begin", begin, { class: "primary" })),
  );
}

function ratingTest(test) {
  const order = ratingOrder(test);
  const utterance = order[test.place];
  const tracks = ratingTracks(test, utterance);
  const values = (test.values[utterance] ??= tracks.map(() => null));
  const status = h("p.status", { role: "status" });
  const last = test.place === order.length - 1;
  const letter = (slot) => String.fromCharCode(65 + (slot % 26)).repeat(1 + Math.floor(slot / 26));
  const pads = ["Reference", ...tracks.map((_, i) => letter(i))].map(pad);

  const lines = tracks.map((_, i) => {
    const number = h("output.value");
    const slider = h("input", {
      type: "range", min: 0, max: 100, step: 1, value: values[i] ?? 50,
      "aria-label": `Rating of ${letter(i)}`,
      oninput: () => rate(Number(slider.value)),
      onpointerup: () => rate(Number(slider.value)), // 50 counts too
    });
    const show = () => {
      const rated = values[i] !== null;
      const grade = GRADES[Math.min(4, Math.floor((values[i] ?? 0) / 20))];
      number.textContent = rated ? String(values[i]) : "–";
      slider.classList.toggle("unrated", !rated);
      slider.setAttribute("aria-valuetext", rated ? `${values[i]}, ${grade}` : "not rated");
    };
    const rate = (value) => {
      values[i] = value;
      show();
      keepAnswers();
      tell();
    };
    show();
    return h("div.line", pads[i + 1], h("div.scale", slider), number);
  });

  const go = (step) =>
    advance([test, { place: Math.min(Math.max(test.place + step, 0), order.length - 1) }]);
  const finish = () => advance([test, { done: true }]);
  const forward = button(last ? "Finish and see" : "Next utterance", () => (last ? finish() : go(1)), {
    class: "primary",
    "data-focus": "forward",
  });
  const complete = () =>
    order.every((s) => test.values[s]?.every((value) => value !== null) ?? false);

  function tell() {
    const rated = values.filter((value) => value !== null).length;
    status.replaceChildren(
      h("b", `Utterance ${test.place + 1} of ${order.length}`),
      h("span.count", `${rated} of ${values.length} rated`),
    );
    forward.disabled = last ? !complete() : rated < values.length;
    forward.title = forward.disabled ? "Rate every version first" : "";
  }
  tell();
  const back = { disabled: test.place === 0, "data-focus": "back" };
  const element = h("section.card.blind",
    status,
    transport({ onchange: () => showPads(pads) }),
    h("div.line", pads[0],
      h("div.scale.grades", { "aria-hidden": "true" }, GRADES.map((grade) => h("span", grade)))),
    lines,
    keys([`1–${Math.min(9, pads.length)}`, "hear"], ["Space", "play, pause"],
      ["Tab", "to a slider"], ["← →", "move it"]),
    h("div.row", button("Previous utterance", () => go(-1), back), forward,
      button("Stop and see", finish, { class: "quiet" })));
  const key = (name) => {
    if (!/^[1-9]$/.test(name) || Number(name) > pads.length) return false;
    listenTo(Number(name) - 1);
    return true;
  };
  const start = () => {
    player.setMatched(test.matched);
    player.load(utterance, [0, ...tracks]);
  };
  return { heading: "Blind rating", elements: [element], key, start };
}

function ratingView() {
  const test = answers.rating;
  if (test && !test.done) return ratingTest(test);
  const results = test ? [ratingResults()] : [];
  return { elements: [...results, ratingSetup(), answersPanel("ratings", ratingRows)] };
}
