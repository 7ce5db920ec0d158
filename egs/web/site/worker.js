// The voice, off the page's own thread. Messages are listed at the end.

import { InputError } from "./runtime/errors.js";
import { Graphs } from "./runtime/graphs.js";
import { checkLength, checkedMel, melSpectrogram } from "./runtime/mel.js";
import { readNpy } from "./runtime/npy.js";
import { resampled } from "./runtime/resample.js";
import { Vocoder } from "./runtime/vocoder.js";
import { levelsOf } from "./levels.js";

const ALWAYS = ["step", "condition"]; // graphs of every voice
const SOMETIMES = ["source", "enhancer"];
const RECORDING = -1; // as if it were a stage of the chain
const SHOWN_ITERATIONS = 8; // of which the page sees the spectrogram
let vocoder;
let cancelled = null; // the task that is to stop
let waiting = Promise.resolve(); // tasks run one after another

class Cancelled extends Error {}

async function load() {
  const about = await (await fetched("onnx.json")).json();
  const fields = about.receptive_field;
  const names = [...ALWAYS, ...SOMETIMES.filter((name) => name in fields)];
  const constants = {};
  for (const name of ["filters", "ends", ...("source" in fields ? ["share_weights"] : [])]) {
    constants[name] = readNpy(await (await fetched(`${name}.npy`)).arrayBuffer());
  }
  const files = await Promise.all(names.map((name) => fetched(`${name}.onnx`)));
  const bytes = await received(files);
  const { graphs, engine } = await sessions(names, bytes);
  vocoder = new Vocoder(about, constants, graphs);
  const { mel, sampling } = about.model;
  const { hasSource, hasEnhancer } = vocoder;
  postMessage({ kind: "ready", engine, mel, sampling, hasSource, hasEnhancer });
}

async function fetched(name) {
  const response = await fetch(new URL(`voice/${name}`, import.meta.url));
  if (!response.ok) throw new InputError(`The voice is incomplete: ${name} cannot be loaded.`);
  return response;
}

// The bodies of responses, with the share of them that is here.
async function received(responses) {
  const total = responses.reduce((sum, r) => sum + Number(r.headers.get("content-length")), 0);
  let here = 0;
  return Promise.all(
    responses.map(async (response) => {
      const parts = [];
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        parts.push(value);
        here += value.length;
        if (total) postMessage({ kind: "loading", part: Math.min(here / total, 1) });
      }
      return new Uint8Array(await new Blob(parts).arrayBuffer());
    }),
  );
}

// Graphs on the graphics card where there is one, else on the processor. `?engine=wasm` or
// `?engine=webgpu` in the page's address decides otherwise.
async function sessions(names, bytes) {
  const asked = new URL(location.href).searchParams.get("engine");
  if (asked !== "wasm" && (await hasGraphicsCard(asked === "webgpu"))) {
    try {
      return { graphs: await made("ort.webgpu.min.mjs", "webgpu"), engine: "webgpu" };
    } catch (error) {
      if (asked === "webgpu") throw error;
      console.info(`WebGPU does not run this voice: ${error.message}`);
    }
  }
  return { graphs: await made("ort.wasm.min.mjs", "wasm"), engine: "wasm" };

  async function made(module, provider) {
    const ort = await import(`./ort/${module}`);
    ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
    ort.env.wasm.numThreads = 1;
    ort.env.logLevel = "error";
    const graphs = new Graphs(ort, [provider]);
    for (const [i, name] of names.entries()) await graphs.add(name, bytes[i]);
    return graphs;
  }
}

async function hasGraphicsCard(anyKind) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && (anyKind || !adapter.info?.isFallbackAdapter);
}

async function speak({ id, given, options }) {
  const { mel, recording } = melOf(given);
  const { steps } = options;
  const { hop, sampleRate, stft } = vocoder;
  const frames = mel.length / vocoder.mel.n_mels;
  postMessage({ kind: "begun", id, frames });
  if (recording) showRecording(id, recording, frames);
  const state = (stage, spectrum, piece) => {
    const levels = levelsOf(
      spectrum,
      stft.bins,
      piece.start - piece.first,
      piece.end - piece.first,
    );
    postMessage({ kind: "state", id, stage, start: piece.start, levels }, [levels.buffer]);
    if (stage > steps) return; // the iterations end in the speech itself
    const wave = stft.inverse(spectrum);
    const from = vocoder.space.pad_left + (piece.start - piece.first) * hop;
    const samples = Float32Array.from(wave.subarray(from, from + (piece.end - piece.start) * hop));
    postMessage({ kind: "wave", id, stage, start: piece.start * hop, samples }, [samples.buffer]);
  };
  const breathe = async () => {
    await turn();
    if (cancelled === id) throw new Cancelled();
  };
  const begin = performance.now();
  const wave = await vocoder.generate(mel, options, {
    state,
    breathe,
    wants: (i, nIter) => i % Math.ceil(nIter / SHOWN_ITERATIONS) === 0,
    progress: (part) => postMessage({ kind: "progress", id, part }),
  });
  const spent = (performance.now() - begin) / 1000;
  const factor = spent / (wave.length / sampleRate);
  postMessage({ kind: "done", id, spent, factor, samples: wave }, [wave.buffer]);
}

// The mel of what the page was given: a .npy file, or a recording as samples at some rate.
function melOf(given) {
  if (given.npy) return { mel: checkedMel(readNpy(given.npy), vocoder.mel) };
  checkLength(given.samples.length / given.rate);
  const { mel: config, filters } = vocoder;
  const recording = resampled(given.samples, given.rate, vocoder.sampleRate);
  const data = melSpectrogram(recording, config, filters);
  const shape = [config.n_mels, data.length / config.n_mels];
  return { mel: checkedMel({ shape, data }, config), recording };
}

function showRecording(id, recording, frames) {
  const { stft, space, hop } = vocoder;
  const samples = new Float32Array(frames * hop);
  samples.set(recording.subarray(0, samples.length));
  const padded = new Float32Array(stft.samples(frames));
  padded.set(samples.subarray(0, padded.length - space.pad_left), space.pad_left);
  const levels = levelsOf(stft.analyse(padded), stft.bins, 0, frames);
  const about = { id, stage: RECORDING, start: 0 };
  postMessage({ kind: "wave", ...about, samples }, [samples.buffer]);
  postMessage({ kind: "state", ...about, levels }, [levels.buffer]);
}

// Lets messages in: a cancellation is one.
function turn() {
  return new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });
}

const channel = new MessageChannel();

function sentence(error) {
  if (error instanceof InputError) return error.message;
  if (error instanceof RangeError || /memory|allocat/i.test(error.message)) {
    return "There is not enough memory for this.";
  }
  return `Something went wrong: ${String(error.message ?? error).split("\n")[0]}`;
}

const ready = load().catch((error) => postMessage({ kind: "broken", message: sentence(error) }));

// In: { kind: "speak", id, given, options }, { kind: "cancel", id }.
// Out: loading, ready or broken once; begun, state, wave, progress of a task, and at its end done,
// cancelled or failed.
addEventListener("message", ({ data }) => {
  if (data.kind === "cancel") {
    cancelled = data.id;
    return;
  }
  waiting = Promise.all([waiting, ready]).then(async () => {
    try {
      if (cancelled === data.id) throw new Cancelled();
      await speak(data);
    } catch (error) {
      if (error instanceof Cancelled) postMessage({ kind: "cancelled", id: data.id });
      else postMessage({ kind: "failed", id: data.id, message: sentence(error) });
    }
  });
});
