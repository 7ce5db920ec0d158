"""A chapter on diffusion, in cells. Run and rendered by render.py; see README.md."""

# %% [markdown]
# # From a Markov chain to a voice
#
# A diffusion model (扩散模型) is a Markov chain (马尔可夫链) that destroys data, and a network that walks it backwards.
# This chapter goes from a chain of two states to a chain that speaks. Every figure is computed here, by the functions
# that the vocoder itself uses (`diffwave.chain`); run it with `python egs/theory/render.py egs/theory/chapter.py
# out.ipynb`, or cell by cell in an editor.
#
# 1. [Chains that forget](#1.-Chains-that-forget) · 2. [The Gaussian chain](#2.-The-Gaussian-chain) ·
# 3. [What it does to speech](#3.-What-it-does-to-speech) · 4. [Where it ends](#4.-Where-it-ends) ·
# 5. [One step back](#5.-One-step-back,-if-the-data-are-known) · 6. [A deep VAE](#6.-A-deep-VAE) ·
# 7. [Which noise is hard](#7.-Which-noise-is-hard) · 8. [Backwards](#8.-Backwards)

# %%
import base64
import math
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from diffwave import Vocoder
from diffwave.analysis.search import level_errors
from diffwave.analysis.states import data_of
from diffwave.analysis.trace import Trace
from diffwave.base.audio import write_audio
from diffwave.chain import gaussian, schedule, terminal
from diffwave.chain.bound import bound_terms, gaussian_denoiser
from diffwave.data.corpus import sixteen_bit
from diffwave.listening.pictures import common_top, levels_db

show = globals().get("show", print)  # what a notebook makes of HTML
torch.manual_seed(0)
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
plt.rcParams.update(
    {
        "figure.dpi": 100,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e6e6e6",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.axisbelow": True,
    }
)
BLUE, RED, GREEN, GREY = "#2f6db5", "#c8452f", "#3c8d5a", "#777777"

# %% [markdown]
# ## 1. Chains that forget
#
# A chain is a rule for the next state that looks at the present one only (马尔可夫性, the Markov property). With states
# 1 .. n the rule is a transition matrix (转移矩阵) $P$: row $i$ is the distribution of the next state after state $i$. A
# distribution $\pi$, a row, becomes $\pi P$, then $\pi P^2$, and so on.
#
# First the smallest one: a machine that works or is broken. Then a market that is *bull* (牛市), *bear* (熊市) or
# *sideways* (横盘), from week to week:

# %%
MACHINE = np.array([[0.9, 0.1], [0.5, 0.5]])
MARKET = np.array([[0.9, 0.075, 0.025], [0.15, 0.8, 0.05], [0.25, 0.25, 0.5]])


def stationary(matrix):
    """The distribution that a step does not change: a left eigenvector of the eigenvalue 1."""
    values, vectors = np.linalg.eig(matrix.T)
    vector = np.real(vectors[:, np.argmin(abs(values - 1))])
    return vector / vector.sum()


def walk(matrix, start, steps):
    """Distributions [steps + 1, n] after 0, 1, .. steps."""
    path = [np.asarray(start, float)]
    for _ in range(steps):
        path.append(path[-1] @ matrix)
    return np.array(path)


for name, matrix in (("machine", MACHINE), ("market", MARKET)):
    second = np.sort(abs(np.linalg.eigvals(matrix)))[-2]
    print(f"{name}: stationary {np.round(stationary(matrix), 4)}, second eigenvalue {second:.3f}")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3))
for start, colour in (([1, 0], BLUE), ([0, 1], RED), ([0.5, 0.5], GREEN)):
    left.plot(
        walk(MACHINE, start, 12)[:, 0], "o-", color=colour, markersize=3, label=f"start {start}"
    )
left.axhline(stationary(MACHINE)[0], color=GREY, linestyle="--", linewidth=1)
left.set(title="machine: probability that it works", xlabel="step", ylim=(0, 1.03))
left.legend(frameon=False)
for start, style in (([1, 0, 0], "-"), ([0, 1, 0], "--"), ([0, 0, 1], ":")):
    path = walk(MARKET, start, 30)
    for i, (state, colour) in enumerate((("bull", GREEN), ("bear", RED), ("sideways", BLUE))):
        label = state if style == "-" else None
        middle.plot(path[:, i], style, color=colour, linewidth=1.4, label=label)
middle.set(title="market, from each of the three states", xlabel="week", ylim=(0, 1.03))
middle.legend(frameon=False)
for matrix, colour, name in ((MACHINE, BLUE, "machine"), (MARKET, RED, "market")):
    start = np.eye(len(matrix))[0]
    distance = abs(walk(matrix, start, 30) - stationary(matrix)).sum(1) / 2
    right.semilogy(np.maximum(distance, 1e-16), color=colour, label=name)
    second = np.sort(abs(np.linalg.eigvals(matrix)))[-2]
    at = np.arange(0, 31, 3)
    right.semilogy(at, distance[0] * second**at, "o", color=colour, markersize=3)
right.set(title="distance from the stationary distribution", xlabel="step", ylim=(1e-12, 1))
right.legend(frameon=False)

# %% [markdown]
# From any start the chain runs into one and the same distribution, its *stationary distribution* (平稳分布)
# $\pi P = \pi$, and it does so geometrically, at the rate of the second eigenvalue (dots). After enough steps nothing
# of the start is left. That is all a diffusion model needs: **a chain whose stationary distribution is easy to draw
# from, and whose every step is small enough to be undone.**

# %% [markdown]
# ## 2. The Gaussian chain
#
# States are now real numbers, or vectors of them. A step takes a little of the signal away and adds as much noise:
#
# $$q(x_t \mid x_{t-1}) = \mathcal N\big(\sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\big)$$
#
# the *forward process* (前向过程, diffusion process 扩散过程). Its stationary distribution is $\mathcal N(0, I)$: variance
# $(1-\beta) \cdot 1 + \beta = 1$. Below a chain starts at one of two points and forgets which.

# %%
betas = schedule.linear_betas(200, 1e-4, 0.06)
bars = schedule.alpha_bars(betas)
x = torch.where(torch.rand(60_000) < 0.7, 1.2, -1.2)
edges = np.linspace(-3.5, 3.5, 141)
density, simulated = [], [x.clone()]
for beta in betas:
    x = gaussian.q_step(x, beta, torch.randn_like(x))
    density.append(np.histogram(x.numpy(), edges, density=True)[0])
    simulated.append(x)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), width_ratios=(1.6, 1))
left.grid(False)
left.imshow(
    np.sqrt(np.array(density).T),
    origin="lower",
    aspect="auto",
    cmap="magma",
    extent=(1, 200, edges[0], edges[-1]),
    vmax=1.1,
)
left.set(title="simulated density of x_t", xlabel="step t", ylabel="x")
middle_of = (edges[1:] + edges[:-1]) / 2
for t, colour in ((20, RED), (80, GREEN), (200, BLUE)):
    right.plot(middle_of, density[t - 1], color=colour, label=f"t = {t}")
bell = np.exp(-(middle_of**2) / 2) / math.sqrt(2 * math.pi)
right.plot(middle_of, bell, "--", color=GREY, label="N(0, 1)")
right.set(title="the last one is normal", xlabel="x")
right.legend(frameon=False)

# %% [markdown]
# **The closed form** (闭式解). Sums of Gaussians are Gaussian, so all steps up to $t$ are one:
#
# $$q(x_t \mid x_0) = \mathcal N\big(\sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t) I\big),\qquad \bar\alpha_t=\prod_{s\le t}(1-\beta_s).$$
#
# This is what makes training possible: any noise level (噪声水平) in one draw. Lines are the formula, dots the simulation:

# %%
figure, axis = plt.subplots(figsize=(7, 3))
shown_at = list(range(0, 201, 12))
first = simulated[0]
for value, colour in ((1.2, RED), (-1.2, BLUE)):
    of_start = torch.tensor(value)
    mean, variance = zip(*(gaussian.q_mean_variance(of_start, bar) for bar in bars), strict=True)
    mean, deviation = np.array(mean), np.sqrt(np.array(variance))
    t, own = np.arange(1, 201), first == of_start
    axis.plot(t, mean, color=colour)
    axis.fill_between(t, mean - deviation, mean + deviation, color=colour, alpha=0.12)
    for step in shown_at[1:]:
        drawn = simulated[step][own]
        axis.plot(step, drawn.mean(), "o", color=colour, markersize=4)
        for side in (-1, 1):
            axis.plot(step, drawn.mean() + side * drawn.std(), "_", color=colour, markersize=8)
axis.set(title="mean and deviation of x_t from each start", xlabel="step t", ylabel="x")
upper, count = first > 0, int((first > 0).sum())
formula = [float(gaussian.q_mean_variance(torch.tensor(1.2), bar)[0]) for bar in bars]
worst = max(abs(float(simulated[t + 1][upper].mean()) - formula[t]) for t in range(200))
print(f"largest difference of a mean: {worst:.4f} (standard error {1 / math.sqrt(count):.4f})")

# %% [markdown]
# ## 3. What it does to speech
#
# The speech is what the bundled voice makes of `egs/mel.npy` (a mel-spectrogram, 梅尔频谱). The chain is DiffWave's,
# $T = 50$, $\beta$ from $10^{-4}$ to $0.05$. The whole forward process is one line, `q_sample(x_0, alpha_bar, eps)`.

# %%
HERE = Path("egs") if Path("egs/mel.npy").exists() else Path("..")
voice = Vocoder.from_pretrained(device="cpu")
mel = torch.from_numpy(np.load(HERE / "mel.npy"))[:, :300]
speech = voice(mel)
rate = voice.sample_rate
published = schedule.alpha_bars(schedule.named_betas("diffwave-base"))


def player(wave, title):
    """A sound to play in the notebook."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.ogg"
        write_audio(path, 0.9 * wave / max(1e-6, float(wave.abs().max())), rate)
        data = base64.b64encode(path.read_bytes()).decode()
    return f'<p>{title}<br><audio controls src="data:audio/ogg;base64,{data}"></audio></p>'


eps = torch.randn(len(speech), generator=torch.Generator().manual_seed(1))
shown = (0, 5, 15, 30, 50)
states = [speech if t == 0 else gaussian.q_sample(speech, published[t - 1], eps) for t in shown]
pictures = [levels_db(state, rate) for state in states]
top = common_top(pictures[:1])
figure, axes = plt.subplots(1, 5, figsize=(12, 2.7), sharey=True)
for axis, picture, t in zip(axes, pictures, shown, strict=True):
    axis.grid(False)
    axis.imshow(
        picture,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top - 80,
        vmax=top,
        extent=(0, len(speech) / rate, 0, rate / 2000),
    )
    bar = 1.0 if t == 0 else float(published[t - 1])
    power = bar * float(speech.square().mean())
    ratio = f"SNR {10 * math.log10(power / (1 - bar)):.0f} dB" if t else "speech"
    axis.set(title=f"t = {t}\n{ratio}", xlabel="s")
axes[0].set_ylabel("kHz")
show("".join(player(state, f"t = {t}") for state, t in list(zip(states, shown, strict=True))[:3]))

# %% [markdown]
# Speech is quiet (its rms is below 0.1) and its power lies at low frequencies, so the chain drowns it from the top
# down: the high partials are gone after five steps, the strong low ones are still seen at $t = 30$.

# %% [markdown]
# ## 4. Where it ends
#
# Sampling starts from $\mathcal N(0, I)$. Does the chain end there? The *terminal distribution* (终端分布) of DiffWave's
# chain is *not* $\mathcal N(0, 1)$: $\sqrt{\bar\alpha_T} = 0.529$, more than half of the amplitude is left. What that is
# worth is the *prior term* (先验项) $\mathrm{KL}(q(x_T \mid x_0)\,\|\,\mathcal N(0, I))$ of section 6.

# %%
data = data_of([sixteen_bit(speech.numpy())])
head = ("T", "sqrt(alpha_bar_T)", "deviation of x_T", "prior term, bits", "T needed")
print(f"{'schedule':16}" + "".join(f"{name:>18}" for name in head))
for name in ("diffwave-base", "diffwave-large", "wavegrad", "ddpm"):
    named = schedule.named_betas(name)
    last = schedule.alpha_bars(named)[-1]
    deviation = math.sqrt(float(terminal.terminal(data, last)[1].mean()))
    term = float(terminal.prior_term(data, last)) / math.log(2)
    needed = terminal.smallest_length(
        lambda steps, named=named: schedule.stretched(named, steps),
        data,
        terminal.HO_THRESHOLD * math.log(2),
    )
    root = float(last) ** 0.5
    print(f"{name:16}{len(named):18}{root:18.3f}{deviation:18.4f}{term:18.2e}{needed:18}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 2.9))
grid = np.linspace(-3.5, 3.5, 400)
for axis, name in zip(axes, ("diffwave-base", "ddpm"), strict=True):
    last = schedule.alpha_bars(schedule.named_betas(name))[-1]
    # Louder than speech, so that the eye sees it: one sample value drawn from {-1, 1}.
    signs = torch.where(torch.rand(200_000) < 0.5, 1.0, -1.0)
    ends = {
        "x_T from x_0 = ±1": (gaussian.q_sample(signs, last, torch.randn(200_000)), BLUE, "bar"),
        "x_T from speech": (gaussian.q_sample(speech, last, eps), RED, "step"),
    }
    for label, (end, colour, kind) in ends.items():
        settings = {"color": colour, "histtype": kind, "alpha": 0.45 if kind == "bar" else 1}
        axis.hist(end.numpy(), 100, range=(-3.5, 3.5), density=True, label=label, **settings)
    bell = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    axis.plot(grid, bell, "--", color=GREY, label="N(0, 1)")
    axis.set(title=f"{name}, T = {len(schedule.named_betas(name))}", xlabel="x")
    axis.legend(frameon=False, loc="upper left", fontsize=7)

# %% [markdown]
# The curve of $\beta$ would need hundreds of steps. There are three ways out, all in `docs/chain.md`: longer chains, a
# chain that is rescaled to end in pure noise (zero terminal SNR), or a chain that ends where the speech nearly is
# already, a prior made from the mel.

# %% [markdown]
# ## 5. One step back, if the data are known
#
# Backwards the chain is not known: $q(x_{t-1} \mid x_t)$ depends on all the data. But with $x_0$ it is, by *Bayes' rule*
# (贝叶斯公式): the *posterior* (后验分布)
#
# $$q(x_{t-1}\mid x_t,x_0)=\frac{q(x_t\mid x_{t-1})\,q(x_{t-1}\mid x_0)}{q(x_t\mid x_0)}=\mathcal N(\tilde\mu_t,\tilde\beta_t).$$
#
# Where the chain could have been given its start (blue) times where it must have come from (green) is the posterior
# (red); the dashed line is the formula.

# %%
t, x_0, x_t = 8, 1.2, 1.05
before, bar, beta = bars[t - 2], bars[t - 1], betas[t - 1]
grid = torch.linspace(0.8, 1.5, 1201, dtype=torch.float64)


def normal(mean, variance):
    return torch.exp(-gaussian.normal_nll(grid, torch.as_tensor(mean), torch.as_tensor(variance)))


prior = normal(*gaussian.q_mean_variance(torch.tensor(x_0).double(), before))
# As a function of x_{t-1}: N(x_t; sqrt(1 - beta) x_{t-1}, beta).
likelihood = torch.exp(-gaussian.normal_nll(torch.tensor(x_t), (1 - beta).sqrt() * grid, beta))
product = prior * likelihood / torch.trapezoid(prior * likelihood, grid)
pair = torch.tensor([x_0, x_t], dtype=torch.float64)
formula = normal(*gaussian.q_posterior_mean_variance(pair[0], pair[1], bar, before))
figure, axis = plt.subplots(figsize=(7, 2.8))
axis.plot(grid, prior, color=BLUE, label="q(x_{t-1} | x_0)")
axis.plot(grid, likelihood, color=GREEN, label="q(x_t | x_{t-1})")
axis.plot(grid, product, color=RED, linewidth=3, alpha=0.5, label="their product, normalised")
axis.plot(grid, formula, "--", color="black", linewidth=1, label="the formula")
axis.axvline(x_t, color=GREY, linewidth=0.8)
axis.axvline(x_0, color=GREY, linewidth=0.8)
for name, place in (("x_t ", x_t), ("x_0 ", x_0)):
    axis.annotate(name, (place, axis.get_ylim()[1] * 0.93), color=GREY, ha="right")
axis.set(xlabel="x", xlim=(0.8, 1.5))
axis.legend(frameon=False)
print(
    f"largest difference from Bayes' rule on a grid: {float((product - formula).abs().max()):.1e}"
)

# %% [markdown]
# The *reverse process* (逆过程) $p(x_{t-1}\mid x_t)$ puts a network's estimate of $x_0$ in the place of $x_0$. Whether
# the network says $x_0$, the noise $\epsilon$ or $v$ is a change of variables (`diffwave/chain/gaussian.py`).

# %% [markdown]
# ## 6. A deep VAE
#
# The chain is a variational autoencoder (变分自编码器, VAE) of $T$ layers whose encoder is fixed. Its *evidence lower
# bound* (证据下界, ELBO; here with the sign of a code length) is a sum:
#
# $$-\log p(x_0)\ \le\ \underbrace{L_T}_{\text{prior 先验项}}+\underbrace{L_{T-1}+\dots+L_1}_{\text{one KL each step 每步的 KL 散度}}+\underbrace{L_0}_{\text{decoder 解码项}}$$
#
# Measured here on a Gaussian source with the power spectrum of the speech, for which the best denoiser is known exactly
# and so is the entropy (熵). Bars: terms measured with noise drawn (`bound_terms`); dots: their exact values.

# %%
variances = data.variances
generator = torch.Generator().manual_seed(3)


def noise(t):
    return torch.randn(64, len(variances), generator=generator, dtype=torch.float64)


source = noise(0) * variances.sqrt()
denoise = gaussian_denoiser(torch.zeros(()).double(), variances)
short = schedule.alpha_bars(schedule.named_betas("diffwave-base"))
dense = torch.sigmoid(torch.linspace(-6, 14, 200, dtype=torch.float64)).flip(0)
figure, axes = plt.subplots(1, 2, figsize=(11, 3.1))
entropy = terminal.entropy(data) / math.log(2) + 15
chains = {"diffwave-base": short, "200 equal steps of SNR": dense}
for axis, (name, levels) in zip(axes, chains.items(), strict=True):
    terms = bound_terms(denoise, source, levels.flip(0), noise)
    measured = np.array([float(term.mean()) / math.log(2) for term in terms])
    exact = terminal.step_terms(data, levels).numpy() / math.log(2)
    axis.bar(
        range(1, len(levels)), measured[1:-1], color=BLUE, width=1.0, alpha=0.6, label="measured"
    )
    axis.plot(range(1, len(levels)), exact[1:], ".", color=RED, markersize=3, label="exact")
    axis.set(title=name, xlabel="step t", ylabel="bits per sample")
    axis.legend(frameon=False)
    print(
        f"{name:24} decoder {measured[0] + 15:6.2f}  steps {measured[1:-1].sum():6.2f}  "
        f"prior {measured[-1]:.4f}  total {measured.sum() + 15:6.2f} bits per 16-bit sample"
    )
print(f"entropy {entropy:.2f} bits per 16-bit sample")

# %% [markdown]
# A finer chain is a tighter bound, down to the entropy. DiffWave's first $\beta$ of $10^{-4}$ makes its decoder blur
# everything below a deviation of 0.01, hundreds of steps of 16-bit audio: the decoder alone takes more bits than the
# entropy, and the step beside it most of the others.

# %% [markdown]
# ## 7. Which noise is hard
#
# A step's term is $\tfrac12\,(\mathrm{SNR}_{t-1}-\mathrm{SNR}_t)\,\lVert x_0-D(x_t)\rVert^2$: the error of the denoiser
# (去噪器) at a noise level, weighted. Below is that error of the bundled voice, on speech, in the whitened spectrum in
# which its chain runs, beside that of a denoiser that knows nothing but the variance.

# %%
angles = torch.linspace(1.0, 0.05, 16, dtype=torch.float64)
levels = schedule.alpha_bar_of_angle(angles)
errors, power = level_errors(voice.model, [sixteen_bit(speech.numpy())], levels)
ignorant = power / (1 + schedule.snr(levels) * power)
figure, axis = plt.subplots(figsize=(7, 2.9))
axis.plot(angles, errors, "o-", color=BLUE, markersize=4, label="the bundled voice")
axis.plot(angles, ignorant, "--", color=GREY, label="knows the variance alone")
axis.set(xlabel="noise level u (0: clean, 1: pure noise)", ylabel="squared error of x_0")
axis.legend(frameon=False)
top_axis = axis.secondary_xaxis("top")
ticks = [0.1, 0.3, 0.5, 0.7, 0.9]
ratios = 10 * schedule.snr(schedule.alpha_bar_of_angle(ticks)).log10()
top_axis.set_xticks(ticks, [f"{ratio:.0f} dB" for ratio in ratios.tolist()])

# %% [markdown]
# At low noise the state itself is nearly the answer; what is learned lies above. At pure noise the error jumps: there
# this voice was trained to answer with a *sample*, one of the many waves that fit the mel, and not with their mean (by
# the energy distance, an unrolled loss), and a sample is farther from the recording than the mean is.

# %% [markdown]
# ## 8. Backwards
#
# Start from the end of the chain and walk it backwards, a network call each step: here with eight steps of the ancestral
# sampler (祖先采样). Above the state $x_t$, below it what the network takes $x_0$ to be, and both as waves. This chain
# does not end in white noise but in pulses and noise with the mel's envelope, so the first state has the shape of speech
# already; what the steps bring is the phase, and order between the partials.

# %%
trace = Trace(rate, 0)
pieces = voice.stream(mel, steps=8, sampler="ancestral", n_iter=0, watch=trace.watch)
result = torch.cat(list(trace.kept(pieces)))
shown = (0, 2, 4, 6, 7)
cut = slice(int(0.9 * rate), int(1.4 * rate))
close = slice(int(1.315 * rate), int(1.345 * rate))
figure, axes = plt.subplots(3, 5, figsize=(12, 6), sharex="row", sharey="row")
top = common_top([levels_db(result[cut], rate)])
milliseconds = 1000 * torch.arange(close.stop - close.start) / rate
for column, i in enumerate(shown):
    visited = trace.steps[i]
    for axis, wave in zip(axes[:2, column], (visited.state, visited.estimate), strict=True):
        axis.grid(False)
        axis.imshow(
            levels_db(wave[cut], rate), origin="lower", aspect="auto", cmap="magma",
            vmin=top - 60, vmax=top, extent=(0, 0.5, 0, rate / 2000),
        )  # fmt: skip
    axes[2, column].plot(milliseconds, visited.state[close], color=RED, linewidth=0.8, label="x_t")
    axes[2, column].plot(
        milliseconds, visited.estimate[close], color=BLUE, linewidth=1, label="x_0"
    )
    for axis in axes[:2, column]:
        axis.set_xticks([0, 0.2, 0.4])
    ratio = f"{visited.snr_db:.0f} dB" if visited.snr_db > -math.inf else "pure noise"
    axes[0, column].set_title(f"step {i + 1}, {ratio}")
axes[0, 0].set_ylabel("x_t\nkHz")
axes[1, 0].set_ylabel("estimate of x_0\nkHz")
axes[1, 2].set_xlabel("s")
axes[2, 0].set_ylabel("30 ms of both")
axes[2, 2].set_xlabel("ms")
axes[2, 0].legend(frameon=False, fontsize=7)
figure.tight_layout()
sounds = {
    "step 1: where the chain starts, pulses and noise with the mel's envelope": trace.steps[
        0
    ].state,
    "step 1: the network's estimate": trace.steps[0].estimate,
    "step 5: the state": trace.steps[4].state,
    "what the vocoder makes of it: one step, 25 mel-consistency iterations": speech,
}
show("".join(player(wave, title) for title, wave in sounds.items()))

# %% [markdown]
# Sampling is slower than one pass of a GAN by the number of steps. That is why this vocoder starts from a prior that is
# nearly speech, in coordinates in which a network call is cheap, and is trained for one and two steps:
# `docs/chain.md` has the figures, `diffwave synthesize --trace` shows the chain of your own mel, and
# `recipes/schedule` looks for the cheapest chain of your own voice.
