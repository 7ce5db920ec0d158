"use strict";
// ABX: X is A or B, and the listener says which. Which version is A, which is B, and what X is in
// each trial, follow from the seed.

const TRIALS = [8, 10, 12, 16, 20, 30];
const abxSettings = { pair: [0, 1], planned: 12 };

function commonUtterances(pair) {
  return [...DATA.utterances.keys()].filter((s) => pair.every((track) => hasAudio(s, track)));
}

function abxPair({ pair, seed }) {
  return shuffled(pair, randomNumbers(seed, "pair")); // [A, B]
}

function abxTrial(test, number) {
  const utterances = commonUtterances(test.pair);
  const round = Math.floor(number / utterances.length);
  const order = shuffled(utterances, randomNumbers(test.seed, "round", round));
  const x = randomNumbers(test.seed, "trial", number)() < 0.5 ? "A" : "B";
  return { utterance: order[number % utterances.length], x };
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
  return answers.abx.map((test) => {
    const [a, b] = abxPair(test).map((track) => TRACKS[track]);
    const given = test.answers.map((answer, i) => {
      const { utterance, x } = abxTrial(test, i);
      return { utterance: DATA.utterances[utterance].name, a, b, x, answer, right: x === answer };
    });
    const pair = test.pair.map((track) => TRACKS[track]);
    return { pair, planned: test.planned, sameLevel: test.matched, ...abxScore(test), answers: given };
  });
}

function abxRows() {
  return abxReport().flatMap((test, i) => test.answers.map((row, trial) =>
    ({ test: i + 1, trial: trial + 1, ...row, right: Number(row.right) })));
}

function abxSetup() {
  const { pair, planned } = abxSettings;
  const usable = pair[0] !== pair[1] && commonUtterances(pair).length > 0;
  const begin = () => {
    const seed = `${answers.seed} abx ${answers.abx.length}`;
    const { matched } = player;
    const test = { pair: [...pair], planned, matched, seed, answers: [], stopped: false };
    advance([answers, { abx: [...answers.abx, test] }]);
  };
  const version = (place, label) => choice(label, TRACKS, pair[place], (track) => {
    pair[place] = track;
    showView();
  });
  const results = answers.abx.map((test) => h("tr",
    h("th", { scope: "row" }, test.pair.map((track) => TRACKS[track]).join(" and ")),
    h("td", scoreText(abxScore(test))),
    h("td", test.stopped ? `stopped before ${test.planned}` : "")));
  return card(
    "Can you hear the difference?",
    h("p",
      "Two versions become A and B by lot; X is one of them, chosen anew for each trial. Listen to ",
      "all three, then say which. ",
      "The p-value is the probability of doing as well by guessing. It holds for the number of ",
      "trials you choose now: stopping when it looks good spoils it."),
    h("div.row", version(0, "Compare"), version(1, "with"),
      choice("Trials", TRIALS, TRIALS.indexOf(planned), (i) => (abxSettings.planned = TRIALS[i])),
      levelSwitch(), button("Begin", begin, { class: "primary", disabled: !usable })),
    usable ? null : h("p.problem", pair[0] === pair[1]
      ? "Choose two different versions." : "They have no utterance in common."),
    results.length ? scrollingTable("Results", [], h("tbody", results)) : null,
  );
}

function abxTest(test) {
  const [a, b] = abxPair(test);
  const status = h("p.status", { role: "status" });
  const heard = new Set(); // slots played in this trial
  const pads = ["A", "X", "B"].map((label, slot) => pad(label, slot));
  const answerButtons = ["A", "B"].map((letter) =>
    button([`X is ${letter} `, h("kbd", letter === "A" ? "←" : "→")], () => answer(letter), {
      class: "primary",
      "aria-label": `X is ${letter}`,
    }));
  const hint = h("p.hint.muted", "Listen to A, X and B, then say which X is.");
  const mayAnswer = () => player.ready && heard.size === pads.length;

  function update() {
    if (player.playing) heard.add(player.slot);
    showPads(pads);
    pads.forEach((element, slot) => element.classList.toggle("heard", heard.has(slot)));
    for (const element of answerButtons) element.disabled = !mayAnswer();
    hint.classList.toggle("done", mayAnswer());
  }
  function next(feedback) {
    heard.clear();
    const number = test.answers.length;
    const { utterance, x } = abxTrial(test, number);
    status.replaceChildren(
      h("b", `Trial ${number + 1} of ${test.planned}`),
      h("span.count", scoreText(abxScore(test))),
      feedback ? h(`span.${feedback.toLowerCase()}`, feedback) : "",
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
  const element = h("section.card.blind",
    status,
    h("div.pads", pads),
    transport({ onchange: update }),
    hint,
    h("div.row.centre", answerButtons),
    keys(["1 2 3", "hear A, X, B"], ["Space", "play, pause"], ["← →", "X is A, X is B"]),
    h("div.row",
      button("Stop this test", () => advance([test, { stopped: true }]), { class: "quiet" })));
  const key = (name) => {
    if (/^[123]$/.test(name)) listenTo(Number(name) - 1);
    else if (name === "ArrowLeft") answer("A");
    else if (name === "ArrowRight") answer("B");
    else return false;
    return true;
  };
  return { heading: "Blind comparison", elements: [element], key, start: () => next("") };
}

function abxView() {
  const test = answers.abx.at(-1);
  if (isOpen(test)) return abxTest(test);
  return { elements: [abxSetup(), answersPanel("abx", abxRows)] };
}
