// What the page is given, the worker that speaks it, and where the keys go.

import { Player } from "./player.js";
import { readGiven } from "./recording.js";
import { Result } from "./result.js";
import { Settings } from "./settings.js";

const one = (selector) => document.querySelector(selector);
const worker = new Worker(new URL(`worker.js${location.search}`, import.meta.url), {
  type: "module",
});
const tasks = new Map(); // what was asked of the worker, by number
let voice = null; // once the worker has loaded it
let engine = null;
let settings = null;
let result = null;
let player = null;
let given = null; // { name, npy } or { name, samples, rate }
let latest = 0; // number of the last task; answers to others are late
let reading = 0; // counts files, so that a slow one does not replace a later one

const answers = {
  loading({ part }) {
    say(`Loading the voice: ${Math.round(100 * part)} %`);
  },

  broken({ message }) {
    say("");
    complain(message);
  },

  ready(message) {
    voice = message;
    engine = message.engine;
    say(engine === "webgpu" ? "Ready, on the graphics card" : "Ready, on one processor core");
    player = new Player(voice.mel.sample_rate);
    result = new Result(one(".speech"), player, voice);
    settings = new Settings(one(".settings"), voice, { onspeak: speak, oncancel: cancel });
    settings.show({ given: given !== null });
    if (given) speak();
  },

  begun({ frames }, { name, options, hasRecording }) {
    const { steps, nIter } = options;
    result.begin({ frames, name, steps, nIter, hasRecording });
  },

  state({ stage, start, levels }) {
    result.state(stage, start, levels);
  },

  wave({ stage, start, samples }) {
    result.sound(stage, start, samples);
  },

  progress({ part }) {
    settings.show({ part });
  },

  done({ samples, spent, factor }) {
    result.done({ samples, spent, factor, engine });
    settings.show({ busy: false });
  },

  cancelled() {
    settings.show({ busy: false });
  },

  failed({ message }) {
    settings.show({ busy: false });
    complain(message);
  },
};

worker.addEventListener("message", ({ data }) => {
  if (data.id !== undefined && data.id !== latest) return;
  answers[data.kind](data, tasks.get(data.id));
});

worker.addEventListener("error", (event) => {
  event.preventDefault();
  complain(`The page cannot work here: ${event.message || "its worker cannot be loaded"}.`);
});

function say(text) {
  one(".engine").textContent = text;
}

function complain(text) {
  const problem = one(".problem");
  problem.textContent = text;
  problem.hidden = text === "";
}

function speak() {
  if (!given || !settings || settings.busy || !settings.valid()) return;
  complain("");
  const { options } = settings;
  const { name, npy, samples, rate } = given;
  const id = ++latest;
  tasks.clear();
  tasks.set(id, { name, options, hasRecording: samples !== undefined });
  settings.show({ busy: true, part: 0 });
  worker.postMessage({ kind: "speak", id, given: { npy, samples, rate }, options });
}

function cancel() {
  worker.postMessage({ kind: "cancel", id: latest });
}

async function take(file, name = file.name) {
  const turn = ++reading;
  complain("");
  try {
    const read = await readGiven(file);
    if (turn !== reading) return;
    given = { name, ...read };
    one(".chosen-file").textContent = name;
    if (settings?.busy) {
      // The answers to what is being spoken are no longer awaited.
      cancel();
      settings.show({ busy: false });
    }
    settings?.show({ given: true });
    speak();
  } catch (error) {
    if (turn === reading) complain(error.message);
  }
}

one(".choose").addEventListener("click", () => one("input[type=file]").click());
one("input[type=file]").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = ""; // the same file may be chosen again
});
one(".example").addEventListener("click", async () => {
  const response = await fetch("mel.npy").catch(() => null);
  if (!response?.ok) return complain("The example cannot be loaded.");
  take(new File([await response.blob()], "mel.npy"), "the example");
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  one(".drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) one(".drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  one(".drop").classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
});

addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !result) return;
  if (target.matches("input[type=number]")) return; // its own
  if (key === " ") {
    if (target.matches("button, input[type=checkbox]")) return;
    event.preventDefault();
    if (!event.repeat) player.toggle();
  } else if (!event.repeat && result.key(key)) {
    event.preventDefault();
  }
});

// A button clicked by mouse or finger gives the focus back, so that Space plays and pauses again.
addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest?.("button")?.blur();
});
