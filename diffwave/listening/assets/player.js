"use strict";
// All versions of an utterance run in step and all but one are mute, so that switching between them
// keeps the position to the sample. Nothing of what is played stands in the document.

const FADE = 0.004; // s, time constant: a cut within a wave would click
const arrivals = new Map(); // utterance -> what to call with its waves
const decoded = new Map(); // utterance -> promise of AudioBuffers, the few last used

function receiveAudio(utterance, tracks) {
  arrivals.get(utterance)?.(tracks);
}

function loadScript(utterance) {
  return new Promise((resolve, reject) => {
    arrivals.set(utterance, resolve);
    const script = h("script", { src: `audio/${utterance}.js` });
    script.onload = () => script.remove();
    script.onerror = () => {
      script.remove();
      reject(new Error(`audio/${utterance}.js cannot be loaded`));
    };
    document.head.append(script);
  });
}

class Player {
  constructor() {
    this.context = new AudioContext();
    this.buffers = []; // by slot: what the view calls first, second...; null: there is none
    this.slot = 0;
    this.position = 0; // s, while paused
    this.playing = null; // the running sources and their common volume
    this.loop = true;
    this.matched = true; // play at the level of the reference
    this.loading = 0; // counts requests, so that a late answer to an old one is dropped
    this.problem = null;
    this.listener = () => {};
  }

  // Slot i is to play track order[i] of the utterance.
  async load(utterance, order, slot = 0) {
    const request = ++this.loading;
    const resume = this.playing !== null;
    this.stop();
    Object.assign(this, { buffers: [], slot, position: 0, problem: null });
    this.listener();
    try {
      const buffers = await this.decode(utterance);
      if (request !== this.loading) return;
      this.buffers = order.map((track) => buffers[track]);
      this.gains = order.map((track) => DATA.utterances[utterance].gains[track] ?? 1);
      if (resume) await this.play();
    } catch (error) {
      if (request !== this.loading) return;
      decoded.delete(utterance);
      this.problem = `This utterance cannot be played: ${error.message}.`;
    }
    this.listener();
  }

  decode(utterance) {
    const promise = decoded.get(utterance) ?? this.loadWaves(utterance);
    decoded.delete(utterance); // and put at the end, as the last used
    decoded.set(utterance, promise);
    if (decoded.size > 4) decoded.delete(decoded.keys().next().value);
    return promise;
  }

  async loadWaves(utterance) {
    const tracks = await loadScript(utterance);
    return Promise.all(tracks.map((text) => {
      if (text === null) return null;
      const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      return this.context.decodeAudioData(bytes.buffer);
    }));
  }

  get ready() {
    return this.buffers.length > 0;
  }

  get duration() {
    return this.buffers.find((buffer) => buffer)?.duration ?? 0;
  }

  get time() {
    if (!this.playing) return this.position;
    const time = Math.max(this.context.currentTime - this.playing.zero, this.position);
    return this.loop ? time % this.duration : Math.min(time, this.duration);
  }

  async toggle() {
    if (this.playing) this.stop();
    else await this.play();
    this.listener();
  }

  async play() {
    if (!this.ready || this.playing) return;
    const request = this.loading;
    await this.context.resume(); // browsers start sound only when asked by hand
    if (this.playing || request !== this.loading) return;
    const master = this.context.createGain();
    master.connect(this.context.destination);
    const start = this.context.currentTime + 0.01;
    const sources = this.buffers.map((buffer) => buffer && this.context.createBufferSource());
    const volumes = sources.map((source, slot) => {
      if (!source) return null;
      const volume = this.context.createGain();
      volume.gain.value = this.volume(slot);
      Object.assign(source, { buffer: this.buffers[slot], loop: this.loop });
      source.connect(volume).connect(master);
      source.start(start, this.position);
      return volume;
    });
    const playing = { master, sources, volumes, zero: start - this.position };
    sources.find((source) => source).onended = () => {
      if (this.playing !== playing) return;
      this.playing = null;
      this.position = 0;
      this.listener();
    };
    this.playing = playing;
  }

  stop() {
    if (!this.playing) return;
    const { master, sources } = this.playing;
    this.position = this.time;
    this.playing = null;
    master.gain.setTargetAtTime(0, this.context.currentTime, FADE);
    for (const source of sources) source?.stop(this.context.currentTime + 8 * FADE);
  }

  async seek(time) {
    const resume = this.playing !== null;
    this.stop();
    this.position = Math.min(Math.max(time, 0), Math.max(this.duration - 0.01, 0));
    if (resume) await this.play();
    this.listener();
  }

  choose(slot) {
    if (!this.buffers[slot]) return;
    this.slot = slot;
    this.mix();
    this.listener();
  }

  setMatched(matched) {
    this.matched = matched;
    this.mix();
  }

  setLoop(loop) {
    if (this.playing) {
      this.position = this.time;
      this.playing.zero = this.context.currentTime - this.position;
      for (const source of this.playing.sources) if (source) source.loop = loop;
    }
    this.loop = loop;
  }

  volume(slot) {
    return slot === this.slot ? (this.matched ? this.gains[slot] : 1) : 0;
  }

  mix() {
    this.playing?.volumes.forEach((volume, slot) =>
      volume?.gain.setTargetAtTime(this.volume(slot), this.context.currentTime, FADE),
    );
  }
}

const player = new Player();

// One switch for all views, open and blind.
function levelSwitch() {
  return checkbox("Same level", player.matched, (value) => player.setMatched(value),
    "Play every version at the original's RMS");
}

// Of some buttons the one that is pressed.
function press(buttons, pressed) {
  buttons.forEach((each, i) => each.setAttribute("aria-pressed", String(i === pressed)));
}

// What plays a slot in a blind test, and its key.
function pad(label, slot) {
  const content = [h("b", label), slot < 9 ? h("kbd", String(slot + 1)) : null];
  return button(content, () => listenTo(slot), { class: "pad", "aria-label": `Listen to ${label}` });
}

function listenTo(slot) {
  player.choose(slot);
  if (!player.playing) player.toggle();
}

function showPads(pads) {
  for (const each of pads) each.disabled = !player.ready;
  press(pads, player.slot);
}

// Play button, position and options. onchange is called whenever the player's state changes,
// ontime also as time goes by.
function transport({ onchange, ontime = () => {}, options = [] }) {
  const play = button("", () => player.toggle(), { class: "play" });
  const position = h("input.position", {
    type: "range", min: 0, step: 0.01, value: 0, "aria-label": "Position",
    oninput: () => player.seek(Number(position.value)),
  });
  const clock = h("span.clock");
  const problem = h("p.problem", { role: "alert" });
  const loop = checkbox("Repeat", player.loop, (value) => player.setLoop(value));
  const element = h("div.transport", play, position, clock, h("div.options", loop, options), problem);
  const showTime = () => {
    const text = `${seconds(player.time)} / ${seconds(player.duration)}`;
    position.value = player.time;
    clock.textContent = text;
    position.setAttribute("aria-valuetext", text);
    ontime();
    if (player.playing && element.isConnected) requestAnimationFrame(showTime);
  };
  player.listener = () => {
    play.disabled = position.disabled = !player.ready;
    play.replaceChildren(icon(player.playing ? "pause" : "play"));
    play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    position.max = player.duration;
    problem.textContent = player.problem ?? "";
    onchange();
    showTime();
  };
  return element;
}
