// The Gaussian chain and ways to walk it backwards: diffwave/chain. States are Float32Arrays; levels
// are alpha_bar, rising.

/** alpha_bar of an angle u in quarter turns. */
export function alphaBarOf(u) {
  return u === 1 ? 0 : Math.cos((u * Math.PI) / 2) ** 2;
}

/** The angle in quarter turns of an alpha_bar. */
export function angleOf(alphaBar) {
  return Math.acos(Math.sqrt(Math.min(Math.max(alphaBar, 0), 1))) * (2 / Math.PI);
}

/** x_0 of a network's v (Salimans and Ho 2022, section 4): alpha x - sigma v. */
export function x0FromV(x, v, alphaBar) {
  return mixed(Math.sqrt(alphaBar), x, -Math.sqrt(1 - alphaBar), v);
}

/** x_0 of the noise that a network sees: (x - sigma eps) / alpha. */
export function x0FromEps(x, eps, alphaBar) {
  const alpha = Math.sqrt(alphaBar);
  return mixed(1 / alpha, x, -Math.sqrt(1 - alphaBar) / alpha, eps);
}

function mixed(a, x, b, y) {
  return x.map((value, i) => a * value + b * y[i]);
}

// Algorithm 2 of DDPM (Ho et al. 2020, eq. 7): x_{t-1} from its posterior, given x_0.
function ancestral({ x, x0, bar, next, noise }) {
  const beta = 1 - bar / next;
  const mean = mixed(
    (Math.sqrt(next) * beta) / (1 - bar),
    x0,
    (Math.sqrt(1 - beta) * (1 - next)) / (1 - bar),
    x,
  );
  return mixed(1, mean, Math.sqrt((beta * (1 - next)) / (1 - bar)), noise());
}

// DDIM, eta = 0 (Song et al. 2021, eq. 12).
function ddim({ x, x0, bar, next }) {
  const sigma = Math.sqrt(1 - bar);
  const eps = mixed(1 / sigma, x, -Math.sqrt(bar) / sigma, x0);
  return mixed(Math.sqrt(next), x0, Math.sqrt(1 - next), eps);
}

// DPM-Solver++(2M) (Lu et al. 2022, algorithm 2); of first order beside pure noise.
function dpmSolver2M({ x, x0, bar, next, before, previous }) {
  const lambda = (level) => 0.5 * Math.log(level / (1 - level));
  const h = lambda(next) - lambda(bar);
  if (before !== null) {
    const hBefore = lambda(bar) - lambda(previous);
    if (Number.isFinite(hBefore)) {
      const change = h / (2 * hBefore);
      x0 = mixed(1 + change, x0, -change, before);
    }
  }
  const sigma = Math.sqrt((1 - next) / (1 - bar));
  return mixed(sigma, x, -Math.sqrt(next) * Math.expm1(-h), x0);
}

export const SAMPLERS = { ancestral, ddim, "dpm-solver++": dpmSolver2M };

/**
 * Walk a chain backwards; S levels cost S network calls.
 *
 * @param {Function} step one of SAMPLERS.
 * @param {Function} denoise async (x, alphaBar, i) -> x_0.
 * @param {Float32Array} x state at levels[0].
 * @param {number[]} levels alpha_bar to visit, noisiest first.
 * @param {Function} noise i -> the unit noise of step i, for steps that add any.
 * @returns {Promise<Float32Array>} the estimate of x_0 at the last level.
 */
export async function sample(step, denoise, x, levels, noise) {
  let before = null;
  for (let i = 0; ; i++) {
    const x0 = await denoise(x, levels[i], i);
    if (i + 1 === levels.length) return x0;
    const [bar, next, previous] = [levels[i], levels[i + 1], levels[i - 1]];
    x = step({ x, x0, bar, next, before, previous, noise: () => noise(i) });
    before = x0;
  }
}
