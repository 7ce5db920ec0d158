"use strict";
// ABX: X is A or B, and the listener says which. Which version is A, which is B, and what X is in
// each trial, follow from the seed.

const abxSettings = { pair: [0, 1], planned: 12 };

function commonUtterances([first, second]) {
  return [...DATA.utterances.keys()].filter((s) =>
    [first, second].every((track) => DATA.utterances[s].gains[track] !== null),
  );
}

function abxPair({ pair, seed }) {
  return shuffled(pair, randomNumbers(seed, "pair")); // [A, B]
}

function abxTrial(test, number) {
  const utterances = commonUtterances(test.pair);
  const round = Math.floor(number / utterances.length);
  const order = shuffled(utterances, randomNumbers(test.seed, "round", round));
  return {
    utterance: order[number % utterances.length],
    x: randomNumbers(test.seed, "trial", number)() < 0.5 ? "A" : "B",
  };
}

// Probability of at least this many right answers by guessing: the binomial tail for p = 1/2.
function guessProbability(right, trials) {
  let term = 0.5 ** trials; // of no right answer
  let sum = 0;
  for (let k = 0; k <= trials; k++) {
    if (k >= right) sum += term;
    term *= (trials - k) / (k + 1);
  }
  return Math.min(sum, 1);
}

function abxScore(test) {
  const right = test.answers.filter((answer, i) => answer === abxTrial(test, i).x).length;
  const trials = test.answers.length;
  return { right, trials, p: guessProbability(right, trials) };
}

function scoreText({ right, trials, p }) {
  if (!trials) return "No answer yet";
  return `${right} of ${trials} right, p = ${p < 0.001 ? p.toExponential(1) : p.toFixed(3)}`;
}

function isOpen(test) {
  return test && !test.stopped && test.answers.length < test.planned;
}

function abxReport() {
  return answers.abx.map((test) => ({
    pair: test.pair.map((track) => TRACKS[track]),
    planned: test.planned,
    sameLevel: test.matched,
    ...abxScore(test),
    answers: test.answers.map((answer, i) => {
      const { utterance, x } = abxTrial(test, i);
      const [a, b] = abxPair(test).map((track) => TRACKS[track]);
      return { utterance: DATA.utterances[utterance].name, a, b, x, answer, right: x === answer };
    }),
  }));
}

function abxRows() {
  const rows = abxReport().flatMap((test, number) =>
    test.answers.map((row, i) => [
      number + 1, i + 1, row.utterance, row.a, row.b, row.x, row.answer, row.right ? 1 : 0,
    ]),
  );
  return [["test", "trial", "utterance", "a", "b", "x", "answer", "right"], ...rows];
}

function abxSetup() {
  const options = TRACKS.map((name, track) => [track, name]);
  const { pair } = abxSettings;
  const shared = commonUtterances(pair).length;
  const usable = pair[0] !== pair[1] && shared > 0;
  const begin = () => {
    const { planned } = abxSettings;
    const { matched } = player;
    const seed = `${answers.seed} abx ${answers.abx.length}`;
    answers.abx.push({ pair: [...pair], planned, matched, seed, answers: [], stopped: false });
    keepAnswers();
    showView();
  };
  const setPair = (place) => (track) => {
    pair[place] = track;
    showView();
  };
  const field = (place, label) => {
    const element = choice(label, options, pair[place], setPair(place));
    element.querySelector("select").dataset.focus = `pair ${place}`;
    return element;
  };
  const trials = [8, 10, 12, 16, 20, 30].map((count) => [count, String(count)]);
  const results = answers.abx.map((test) => {
    const score = abxScore(test);
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, test.pair.map((track) => TRACKS[track]).join(" and ")),
      h("td", {}, scoreText(score)),
      h("td", {}, test.stopped ? `stopped before ${test.planned}` : ""),
    );
  });
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Can you hear the difference?"),
    h(
      "p",
      {},
      "Two versions become A and B by lot; X is one of them, chosen anew for each trial. Listen to ",
      "all three, then say which. ",
      "The p-value is the probability of doing as well by guessing. It holds for the number of ",
      "trials you choose now: stopping when it looks good spoils it.",
    ),
    h(
      "div",
      { class: "row" },
      field(0, "Compare"),
      field(1, "with"),
      choice("Trials", trials, abxSettings.planned, (count) => (abxSettings.planned = count)),
      levelSwitch(),
      button("Begin", begin, { class: "primary", disabled: !usable }),
    ),
    usable ? null : h("p", { class: "problem" }, pair[0] === pair[1]
      ? "Choose two different versions." : "They have no utterance in common."),
    results.length
      ? scrolling("Results", h("table", {}, h("tbody", {}, results)))
      : null,
  );
}

function abxTest(test) {
  const [a, b] = abxPair(test);
  const status = h("p", { class: "status", role: "status" });
  const heard = new Set(); // slots played in this trial
  const pads = ["A", "X", "B"].map((label, slot) =>
    button([h("b", {}, label), h("kbd", {}, String(slot + 1))], () => listenTo(slot), {
      class: "pad",
      "aria-label": `Listen to ${label}`,
    }),
  );
  const answerButtons = ["A", "B"].map((letter) =>
    button([`X is ${letter} `, h("kbd", {}, letter === "A" ? "←" : "→")], () => answer(letter), {
      class: "primary",
      "aria-label": `X is ${letter}`,
    }),
  );
  const controls = transport({ onchange: update });
  const hint = h("p", { class: "hint muted" }, "Listen to A, X and B, then say which X is.");

  function listenTo(slot) {
    player.choose(slot);
    if (!player.playing) player.toggle();
  }
  function update() {
    if (player.playing) heard.add(player.slot);
    pads.forEach((pad, slot) => {
      pad.disabled = !player.ready;
      pad.classList.toggle("heard", heard.has(slot));
      pad.setAttribute("aria-pressed", String(slot === player.slot));
    });
    for (const element of answerButtons) element.disabled = !mayAnswer();
    hint.classList.toggle("done", mayAnswer());
  }
  const mayAnswer = () => player.ready && heard.size === pads.length;
  function next(feedback) {
    heard.clear();
    const number = test.answers.length;
    const { utterance, x } = abxTrial(test, number);
    status.replaceChildren(
      h("b", {}, `Trial ${number + 1} of ${test.planned}`),
      h("span", { class: "count" }, scoreText(abxScore(test))),
      feedback ? h("span", { class: feedback.toLowerCase() }, feedback) : "",
    );
    player.setMatched(test.matched);
    player.load(utterance, [a, x === "A" ? a : b, b], 1);
  }
  function answer(letter) {
    if (!mayAnswer()) return;
    const { x } = abxTrial(test, test.answers.length);
    test.answers.push(letter);
    keepAnswers();
    if (isOpen(test)) next(x === letter ? "Right" : "Wrong");
    else showView();
  }
  const stop = () => {
    test.stopped = true;
    keepAnswers();
    showView();
  };
  const element = h(
    "section",
    { class: "card blind" },
    status,
    h("div", { class: "pads" }, pads),
    controls,
    hint,
    h("div", { class: "row centre" }, answerButtons),
    keys(["1 2 3", "hear A, X, B"], ["Space", "play, pause"], ["← →", "X is A, X is B"]),
    h("div", { class: "row" }, button("Stop this test", stop, { class: "quiet" })),
  );
  const key = (name) => {
    if (/^[123]$/.test(name)) listenTo(Number(name) - 1);
    else if (name === "ArrowLeft") answer("A");
    else if (name === "ArrowRight") answer("B");
    else return false;
    return true;
  };
  return { heading: "Blind comparison", element: [element], key, start: () => next("") };
}

function abxView() {
  const test = answers.abx.at(-1);
  if (isOpen(test)) return abxTest(test);
  return {
    element: [abxSetup(), answersPanel("abx", abxRows)],
    key: () => false,
    start: () => player.stop(),
  };
}
