// The controls: what to ask of the vocoder.

import { button, h } from "./dom.js";

const SEMITONES = 12; // of transposition, up and down
const MAX_ITERATIONS = 1000;
const LARGEST_SEED = 2 ** 32; // beyond it browsers round before they look for fractions

/** The form's controls, for a voice that the worker described. */
export class Settings {
  /**
   * @param {HTMLFormElement} form to fill; submitting it calls `onspeak`.
   * @param {object} voice `sampling`, `hasSource`, `hasEnhancer`.
   * @param {object} handlers onspeak, oncancel.
   */
  constructor(form, { sampling, hasSource, hasEnhancer }, { onspeak, oncancel }) {
    Object.assign(this, { form, sampling });
    this.steps = sampling.default;
    const numbers = sampling.presets.map((preset) => preset.steps);
    this.choices = (numbers.length ? numbers : [1, 2, 4]).map((steps) =>
      button(String(steps), () => this.setSteps(steps), { "aria-pressed": "false" }),
    );
    this.iterations = number("iterations", 0, MAX_ITERATIONS, sampling.n_iter);
    this.seed = number("seed", -LARGEST_SEED, LARGEST_SEED, 0);
    this.pitch = h("input", {
      type: "range", name: "pitch", min: -SEMITONES, max: SEMITONES, step: 0.5, value: 0,
      oninput: () => this.showPitch(), disabled: !hasSource,
    }); // prettier-ignore
    this.shownPitch = h("span", { class: "amount" });
    this.enhance = h("input", { type: "checkbox", name: "enhance", checked: hasEnhancer });
    this.enhance.disabled = !hasEnhancer;
    this.speak = h("button", { class: "primary speak" }, "Speak");
    this.cancel = button("Stop", oncancel, { class: "cancel" });
    this.progress = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
    form.append(
      h(
        "div",
        { class: "field", role: "group", "aria-label": "Network steps" },
        h("span", {}, "Network steps"),
        h("div", { class: "segments steps" }, this.choices),
      ),
      field("Iterations", this.iterations, "Mel-consistency iterations after the network"),
      h(
        "label",
        { class: "field wide", title: "Transposes the voice; speed and timbre stay" },
        h("span", { class: "spread" }, h("span", {}, "Pitch"), this.shownPitch),
        this.pitch,
      ),
      field("Seed", this.seed, "The same seed gives the same wave"),
      h(
        "label",
        { class: "check", title: "Adds detail to mels that an acoustic model predicted" },
        this.enhance,
        "Mel enhancer",
      ),
      h("div", { class: "row wide" }, this.speak, this.cancel, this.progress),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      onspeak();
    });
    this.setSteps(this.steps);
    this.showPitch();
    this.busy = false;
    this.given = false;
    this.show();
  }

  /** Choose the steps, with the iterations that the voice was tuned to beside them. */
  setSteps(steps) {
    this.steps = steps;
    const preset = this.sampling.presets.find((preset) => preset.steps === steps);
    this.iterations.value = preset?.n_iter ?? this.sampling.n_iter;
    for (const choice of this.choices) {
      choice.setAttribute("aria-pressed", String(choice.textContent === String(steps)));
    }
  }

  showPitch() {
    const value = Number(this.pitch.value);
    const amount = `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value)}`;
    this.shownPitch.textContent = value === 0 ? "as it is" : `${amount} semitones`;
    this.pitch.setAttribute("aria-valuetext", this.shownPitch.textContent);
  }

  /** Which buttons can be pressed. */
  show({ busy = this.busy, given = this.given, part = null } = {}) {
    Object.assign(this, { busy, given });
    this.speak.disabled = busy || !given;
    this.cancel.hidden = this.progress.hidden = !busy;
    if (part !== null) this.progress.value = part;
  }

  /** Whether every number is one; the browser says what is wrong with one that is not. */
  valid() {
    return this.form.reportValidity();
  }

  get options() {
    return {
      steps: this.steps,
      nIter: this.iterations.valueAsNumber,
      seed: BigInt(this.seed.value),
      enhance: this.enhance.checked,
      transpose: Number(this.pitch.value),
    };
  }
}

function number(name, min, max, value) {
  return h("input", {
    type: "number", name, min, max, step: 1, value, required: true, inputmode: "numeric",
  }); // prettier-ignore
}

function field(label, input, hint) {
  return h("label", { class: "field", title: hint }, h("span", {}, label), input);
}
