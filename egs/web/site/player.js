// Plays one of several waves of the same length; which one may change while it plays.

const FADE = 0.004; // s, time constant: a cut within a wave would click

export class Player {
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.context = null; // made when first asked to play: browsers want a hand in that
    this.waves = new Map(); // Float32Array by name
    this.name = null;
    this.position = 0; // s, while paused
    this.playing = null; // the running source, its volume, and when it would have begun at 0
    this.listener = () => {};
  }

  get wave() {
    return this.waves.get(this.name) ?? null;
  }

  get duration() {
    return (this.wave?.length ?? 0) / this.sampleRate;
  }

  get time() {
    if (!this.playing) return this.position;
    return Math.min(Math.max(this.context.currentTime - this.playing.zero, 0), this.duration);
  }

  clear() {
    this.stop();
    this.waves.clear();
    Object.assign(this, { name: null, position: 0 });
    this.listener();
  }

  add(name, wave) {
    this.waves.set(name, wave);
    this.listener();
  }

  choose(name) {
    const resume = this.playing !== null;
    this.stop();
    this.name = name;
    if (resume && this.wave) this.start();
    this.listener();
  }

  async toggle() {
    if (this.playing) {
      this.stop();
    } else if (this.wave) {
      this.context ??= new AudioContext();
      await this.context.resume();
      if (this.playing || !this.wave) return;
      if (this.position >= this.duration - 0.01) this.position = 0;
      this.start();
    }
    this.listener();
  }

  start() {
    const { context, wave, position } = this;
    const buffer = context.createBuffer(1, wave.length, this.sampleRate);
    buffer.copyToChannel(wave, 0);
    const source = context.createBufferSource();
    const volume = context.createGain();
    source.buffer = buffer;
    source.connect(volume).connect(context.destination);
    const begin = context.currentTime + 0.01;
    source.start(begin, Math.min(position, this.duration));
    const playing = { source, volume, zero: begin - position };
    source.onended = () => {
      if (this.playing !== playing) return;
      this.playing = null;
      this.position = 0;
      this.listener();
    };
    this.playing = playing;
  }

  stop() {
    if (!this.playing) return;
    const { source, volume } = this.playing;
    this.position = this.time;
    this.playing = null;
    volume.gain.setTargetAtTime(0, this.context.currentTime, FADE);
    source.stop(this.context.currentTime + 8 * FADE);
  }

  seek(time) {
    const resume = this.playing !== null;
    this.stop();
    this.position = Math.min(Math.max(time, 0), Math.max(this.duration - 0.01, 0));
    if (resume) this.start();
    this.listener();
  }
}
