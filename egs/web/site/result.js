// The speech: the film of the chain, the chosen state large, the wave, and what it cost.

import { button, h, icon, save, seconds } from "./dom.js";
import { GRADIENT, Picture, paintWave, scale, show } from "./film.js";
import { wavBytes } from "./runtime/wav.js";

export const RECORDING = -1; // the stage that shows what was analysed

/** One generation after another in the same place of the page. */
export class Result {
  /**
   * @param {HTMLElement} element to fill.
   * @param {Player} player of the waves, by stage.
   * @param {object} voice `mel`, its convention.
   */
  constructor(element, player, { mel }) {
    Object.assign(this, { element, player, mel });
    this.stages = new Map(); // { picture, panel, canvas } by number
    this.film = h("div", { class: "film", role: "group", "aria-label": "States of the chain" });
    this.canvas = h("canvas", { role: "img" });
    this.tag = h("div", { class: "tag" });
    this.heads = [h("div", { class: "playhead" }), h("div", { class: "playhead" })];
    this.wave = h("canvas", { role: "img", "aria-label": "Waveform" });
    this.xAxis = h("div", { class: "x-axis", "aria-hidden": "true" });
    this.legend = h("span", { class: "legend" });
    this.play = button("", () => player.toggle(), { class: "play" });
    this.position = h("input", {
      type: "range", class: "position", min: 0, step: 0.01, value: 0, "aria-label": "Position",
      oninput: () => player.seek(this.position.valueAsNumber),
    }); // prettier-ignore
    this.clock = h("span", { class: "clock" });
    this.cost = h("p", { class: "cost", role: "status" });
    this.download = button("Download wav", () => this.save(), { class: "download" });
    const nyquist = mel.sample_rate / 2000;
    const marks = [0, 2, 4, 6, 8, 10, 15, 20].filter((kHz) => kHz < nyquist);
    const place = (kHz) => `bottom: ${(100 * kHz) / nyquist}%`;
    const seek = (event) => this.seek(event);
    element.replaceChildren(
      this.film,
      h(
        "figure",
        { class: "plot" },
        h("span", { class: "unit" }, "kHz"),
        h(
          "div",
          { class: "y-axis", "aria-hidden": "true" },
          marks.map((kHz) => h("span", { style: place(kHz) }, String(kHz))),
        ),
        h("div", { class: "picture", onpointerdown: seek }, this.canvas, this.tag, this.heads[0]),
        h("div", { class: "picture wave", onpointerdown: seek }, this.wave, this.heads[1]),
        this.xAxis,
        h("figcaption", {}, h("span", {}, "seconds"), this.legend),
      ),
      h("div", { class: "transport" }, this.play, this.position, this.clock, this.download),
      this.cost,
      h(
        "p",
        { class: "keys" },
        key("Space", "plays and pauses"),
        key("1", "2", "…", "choose a state"),
      ),
    );
    player.listener = () => this.showPlayer();
    new ResizeObserver(() => this.paintWave()).observe(this.wave);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paintWave());
  }

  /** Make room for the film of an utterance. */
  begin({ frames, name, steps, nIter, hasRecording }) {
    const { player, mel } = this;
    player.clear();
    Object.assign(this, { name, frames, followed: true, chosen: null, top: null });
    this.last = steps + 1;
    this.stages.clear();
    const titles = [
      ...(hasRecording ? [[RECORDING, "Recording"]] : []),
      [0, "Source"],
      ...Array.from({ length: steps }, (_, i) => [i + 1, `Step ${i + 1}`]),
      [steps + 1, nIter === 1 ? "1 iteration" : `${nIter} iterations`],
    ];
    for (const [stage, title] of titles) {
      const picture = new Picture(frames, mel.n_fft / 2);
      const canvas = h("canvas", {});
      const panel = button([canvas, h("span", {}, title)], () => this.choose(stage, true), {
        class: "panel",
        "aria-pressed": "false",
        disabled: true,
      });
      this.stages.set(stage, { picture, panel, canvas, title });
    }
    this.film.replaceChildren(...[...this.stages.values()].map(({ panel }) => panel));
    this.cost.textContent = "";
    this.download.disabled = true;
    this.duration = (frames * mel.hop_length) / mel.sample_rate;
    this.showSeconds();
    this.showPlayer();
    const { element } = this;
    element.hidden = false;
    this.paintWave();
    // On a small screen the controls fill it.
    if (element.getBoundingClientRect().top > 0.7 * innerHeight) element.scrollIntoView();
  }

  /** The spectrogram of a state from frame `start` on. */
  state(stage, start, levels) {
    const { picture, panel, canvas } = this.stages.get(stage);
    picture.take(start, levels);
    panel.disabled = false;
    if (this.top === null) this.setTop(picture.top());
    picture.paint(this.top);
    show(picture, canvas);
    if (stage === this.chosen) show(picture, this.canvas);
    else if (this.followed) this.choose(stage);
  }

  setTop(top) {
    this.top = top;
    const { low, high } = scale(top);
    const dB = (value) => `${value < 0 ? "−" : ""}${Math.abs(value)} dB`;
    const bar = h("i", { style: `background: ${GRADIENT}` });
    this.legend.replaceChildren(h("span", {}, dB(low)), bar, h("span", {}, dB(high)));
  }

  /** Samples of a state, from `start` on. */
  sound(stage, start, samples) {
    const { hop_length: hop } = this.mel;
    const wave = this.player.waves.get(stage) ?? new Float32Array(this.frames * hop);
    wave.set(samples.subarray(0, wave.length - start), start);
    this.player.add(stage, wave);
    if (stage === this.chosen) this.paintWave();
  }

  /** The end of a generation. */
  done({ samples, spent, factor, engine }) {
    this.player.add(this.last, samples);
    this.download.disabled = false;
    if (this.followed) this.choose(this.last);
    this.paintWave();
    const how = engine === "webgpu" ? "WebGPU" : "WebAssembly, one thread";
    const pace = 1 / factor;
    this.cost.replaceChildren(
      `${this.duration.toFixed(2)} s of speech in ${spent.toFixed(2)} s: real-time factor `,
      h("b", { class: "factor", "data-factor": factor }, factor.toFixed(factor < 0.0995 ? 3 : 2)),
      pace >= 1 ? `, ${pace.toFixed(1)} times as fast as real time (${how}).` : ` (${how}).`,
    );
  }

  choose(stage, byHand = false) {
    const found = this.stages.get(stage);
    if (!found || found.panel.disabled) return;
    if (byHand) this.followed = false;
    this.chosen = stage;
    for (const [number, { panel }] of this.stages) {
      panel.setAttribute("aria-pressed", String(number === stage));
    }
    show(found.picture, this.canvas);
    this.tag.textContent = found.title;
    this.canvas.setAttribute("aria-label", `Spectrogram: ${found.title}`);
    this.player.choose(stage);
    this.paintWave();
  }

  /** The key of a digit chooses a state. */
  key(key) {
    const stage = [...this.stages.keys()][Number(key) - 1];
    if (!/^[1-9]$/.test(key) || stage === undefined) return false;
    this.choose(stage, true);
    return true;
  }

  showSeconds() {
    const step = [0.25, 0.5, 1, 2, 5, 10, 30, 60, 120].find((s) => this.duration / s <= 8) ?? 300;
    const marks = [];
    for (let at = 0; at <= this.duration; at += step) {
      marks.push(h("span", { style: `left: ${(100 * at) / this.duration}%` }, String(at)));
    }
    this.xAxis.replaceChildren(...marks);
  }

  showPlayer() {
    const { player, play, position } = this;
    play.disabled = position.disabled = !player.wave;
    play.replaceChildren(icon(player.playing ? "pause" : "play"));
    play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    position.max = player.duration;
    this.showTime();
  }

  showTime() {
    const { player, position } = this;
    const text = `${seconds(player.time)} / ${seconds(player.duration)}`;
    position.value = player.time;
    position.setAttribute("aria-valuetext", text);
    this.clock.textContent = text;
    for (const head of this.heads) {
      head.hidden = !player.wave;
      head.style.left = `${(100 * player.time) / (player.duration || 1)}%`;
    }
    if (player.playing) requestAnimationFrame(() => this.showTime());
  }

  paintWave() {
    const colour = getComputedStyle(this.element).getPropertyValue("--accent");
    paintWave(this.player.wave, this.wave, colour);
  }

  seek(event) {
    const box = event.currentTarget.getBoundingClientRect();
    if (this.player.wave)
      this.player.seek(((event.clientX - box.left) / box.width) * this.duration);
  }

  save() {
    const bytes = wavBytes(this.player.waves.get(this.last), this.mel.sample_rate);
    save(`${this.name.replace(/\.[^.]*$/, "")}-diffwave.wav`, bytes, "audio/wav");
  }
}

function key(...words) {
  const text = words.pop();
  return h(
    "span",
    {},
    words.map((word) => h("kbd", {}, word)),
    ` ${text}`,
  );
}
