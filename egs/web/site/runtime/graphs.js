// The networks of a voice in ONNX, by ONNX Runtime Web. Names and shapes: diffwave/onnx/layout.py.

/** Sessions of the graphs, each made of the bytes of its file. */
export class Graphs {
  /**
   * @param {object} ort the module of onnxruntime-web.
   * @param {string[]} providers "wasm" or "webgpu", the first that works with a graph is used.
   */
  constructor(ort, providers) {
    this.ort = ort;
    this.providers = providers;
    this.sessions = new Map();
  }

  /** Make the session of a graph. */
  async add(name, bytes) {
    const options = { executionProviders: this.providers, logSeverityLevel: 3 };
    this.sessions.set(name, await this.ort.InferenceSession.create(bytes, options));
  }

  has(name) {
    return this.sessions.has(name);
  }

  /**
   * The outputs of a graph, typed arrays by name.
   *
   * @param {string} name of the graph.
   * @param {object} inputs [Float32Array, dimensions] by name.
   */
  async run(name, inputs) {
    const feeds = {};
    for (const [input, [data, dimensions]] of Object.entries(inputs)) {
      feeds[input] = new this.ort.Tensor("float32", data, dimensions);
    }
    const outputs = {};
    for (const [output, tensor] of Object.entries(await this.sessions.get(name).run(feeds))) {
      outputs[output] = await tensor.getData();
      tensor.dispose();
    }
    return outputs;
  }
}
