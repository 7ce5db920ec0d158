"""Stage 2: which frames each phoneme has; hidden Markov models learn it from the recordings alone.

python recipes/tts/align.py WORK [--picture FOLDER]

The classical flat start (Young et al., The HTK Book, chapter 3; Viterbi training): of every phoneme
of a speaker two states, each a mixture of Gaussians over mel cepstra and their differences; at
first all phonemes of an utterance are equally long, then the best path through the states and the
mixtures are found in turn, while the mixtures grow. Pauses and word boundaries share one state and
may be skipped, so that a pause is found wherever the reader made one. The durations, and the mean
pitch and energy of every phoneme, are added to WORK/labels.json.
"""

from __future__ import annotations

import argparse
import functools
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from common import MEL, Labels, Utterance  # first: it makes phonemes.py known

from phonemes import END, SPECIAL, START, STRESS  # isort: skip
from safetensors.numpy import load_file
from scipy.fft import dct
from scipy.special import logsumexp

from diffwave.base.errors import InputError, run_script

MIXTURES = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 6, 6, 6)
"""Gaussians of a state in every turn; those of silence are twice as many."""
CEPSTRA = 13
SMALLEST_VARIANCE = 0.02  # the features have a variance of 1
NEVER = -1e30


def observations(mel: np.ndarray) -> np.ndarray:
    """Cepstra [T, 39] of a log-mel [T, n_mels], with first and second differences."""
    cepstra = dct(mel, norm="ortho", axis=1)[:, :CEPSTRA]
    slopes = np.gradient(cepstra, axis=0)
    return np.concatenate([cepstra, slopes, np.gradient(slopes, axis=0)], axis=1)


class Mixture:
    """Gaussians with diagonal covariances over frames of one state."""

    def __init__(self, frames: np.ndarray) -> None:
        self.weights = np.ones(1)
        self.means = frames.mean(0)[None]
        self.variances = np.maximum(frames.var(0), SMALLEST_VARIANCE)[None]

    def fit(self, frames: np.ndarray, size: int, turns: int = 3) -> None:
        """Split the heaviest Gaussians until there are `size` of them, and let EM settle them."""
        size = min(size, max(1, len(frames) // 40))
        while len(self.weights) < size:
            which = int(np.argmax(self.weights))
            shift = 0.3 * np.sqrt(self.variances[which])
            self.weights = np.append(self.weights, self.weights[which] / 2)
            self.weights[which] /= 2
            self.means = np.vstack([self.means, self.means[which] + shift])
            self.means[which] -= shift
            self.variances = np.vstack([self.variances, self.variances[which]])
        for _ in range(turns if size > 1 else 1):
            logs = self.components(frames)
            share = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
            mass = share.sum(0) + 1e-3
            self.weights = mass / mass.sum()
            self.means = (share.T @ frames) / mass[:, None]
            squares = (share.T @ frames**2) / mass[:, None]
            self.variances = np.maximum(squares - self.means**2, SMALLEST_VARIANCE)

    def components(self, frames: np.ndarray) -> np.ndarray:
        """ln of weight times density, [T, Gaussians]."""
        precise = 1 / self.variances
        constant = np.log(self.weights) - 0.5 * (
            np.log(2 * math.pi * self.variances).sum(1) + (self.means**2 * precise).sum(1)
        )
        return constant + frames @ (self.means * precise).T - 0.5 * frames**2 @ precise.T

    def score(self, frames: np.ndarray) -> np.ndarray:
        """ln of the density, [T]."""
        logs = self.components(frames)
        return logs[:, 0] if logs.shape[1] == 1 else logsumexp(logs, axis=1)


class States:
    """The states of all utterances of a speaker: 0 is silence, two more for every phoneme."""

    def __init__(self, symbols: list[str], tokens: list[list[int]]) -> None:
        bare = [symbol.lstrip(STRESS) for symbol in symbols]  # stress is no matter of the aligner
        sounds = sorted({bare[n] for line in tokens for n in line} - set(SPECIAL))
        self.count = 1 + 2 * len(sounds)
        self.paths: list[np.ndarray] = []
        """Of each utterance, the numbers of its states in order."""
        self.owners: list[np.ndarray] = []
        """Of each utterance, which of its phonemes each of those states belongs to."""
        self.optional: list[np.ndarray] = []
        """Of each utterance, which of its states may be skipped."""
        for line in tokens:
            path, owner, optional = [], [], []
            for place, number in enumerate(line):
                silent = symbols[number] in SPECIAL
                first = 0 if silent else 1 + 2 * sounds.index(bare[number])
                path += [0] if silent else [first, first + 1]
                owner += [place] if silent else [place, place]
                skip = silent and symbols[number] not in (START, END)
                optional += [skip] if silent else [False, False]
            self.paths.append(np.array(path))
            self.owners.append(np.array(owner))
            self.optional.append(np.array(optional))


def equal_parts(path: np.ndarray, optional: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """A first guess [T] at the state of every frame: places in `path`.

    What is not `loud` at both ends belongs to the silence there, the rest is divided equally.
    """
    frames = len(loud)
    found = np.flatnonzero(loud)
    begin, end = (int(found[0]), int(found[-1]) + 1) if len(found) else (1, frames - 1)
    begin, end = max(1, begin), min(frames - 1, end)
    places = np.flatnonzero(~optional)[1:-1]
    guess = np.full(frames, len(path) - 1)
    guess[:begin] = 0
    if len(places) and end > begin:
        guess[begin:end] = places[np.arange(end - begin) * len(places) // (end - begin)]
    return guess


def best_path(scores: np.ndarray, optional: np.ndarray) -> np.ndarray:
    """The most probable places [T] in a path, for scores [T, S] of its states (Viterbi).

    Each frame stays, goes on by one, or by two over a place that is `optional`; the path begins
    with the first place and ends with the last.
    """
    frames, count = scores.shape
    total = np.full(count, NEVER)
    total[0] = scores[0, 0]
    may_skip = np.zeros(count, bool)
    may_skip[2:] = optional[1:-1]
    steps = np.zeros((frames, count), np.int8)
    one, two = np.full(count, NEVER), np.full(count, NEVER)
    for t in range(1, frames):
        one[1:] = total[:-1]
        two[2:] = np.where(may_skip[2:], total[:-2], NEVER)
        best = np.maximum(np.maximum(total, one), two)
        steps[t] = np.where(best == total, 0, np.where(best == one, 1, 2))
        total = best + scores[t]
    place, found = count - 1, np.zeros(frames, int)
    for t in range(frames - 1, -1, -1):
        found[t] = place
        place -= int(steps[t, place])
    return found


def align_speaker(
    symbols: list[str], tokens: list[list[int]], mels: list[np.ndarray]
) -> list[list[int]]:
    """Durations of every phoneme of every utterance of one speaker."""
    states = States(symbols, tokens)
    raw = [observations(mel) for mel in mels]
    every = np.concatenate(raw)
    mean, std = every.mean(0), every.std(0)
    frames = [((o - mean) / std).astype(np.float32) for o in raw]
    levels = [mel.mean(1) for mel in mels]
    low, high = np.quantile(np.concatenate(levels), [0.05, 0.9])
    together = np.concatenate(frames)
    ends = np.cumsum([len(f) for f in frames])[:-1]
    loud = [level > low + 0.3 * (high - low) for level in levels]
    places = [
        equal_parts(path, optional, level)
        for path, optional, level in zip(states.paths, states.optional, loud, strict=True)
    ]
    mixtures: dict[int, Mixture] = {}
    for turn, size in enumerate(MIXTURES):
        owned = np.concatenate([p[f] for p, f in zip(states.paths, places, strict=True)])
        order = np.argsort(owned, kind="stable")
        borders = np.searchsorted(owned[order], np.arange(states.count + 1))
        for state in range(states.count):
            mine = together[order[borders[state] : borders[state + 1]]]
            if len(mine) < 8:  # too rare to be learned: the mean of all, or what it was
                mixtures.setdefault(state, Mixture(together))
                continue
            if state not in mixtures or size == 1:
                mixtures[state] = Mixture(mine)
            mixtures[state].fit(mine, size if state else 2 * size)
        table = np.stack([mixtures[s].score(together) for s in range(states.count)], axis=1)
        scores = np.split(table, ends)
        total = 0.0
        for index, path in enumerate(states.paths):
            if len(frames[index]) < (~states.optional[index]).sum():
                continue  # faster than two frames a phoneme: as it was guessed
            chosen = scores[index][:, path]
            places[index] = best_path(chosen, states.optional[index])
            total += float(chosen[np.arange(len(chosen)), places[index]].sum())
        print(
            f"turn {turn + 1} of {len(MIXTURES)}: {total / len(together):.3f} per frame", flush=True
        )
    return [
        np.bincount(owner[place], minlength=len(line)).tolist()
        for owner, place, line in zip(states.owners, places, tokens, strict=True)
    ]


class Corpus:
    """The features of all utterances."""

    def __init__(self, labels: Labels, features: dict[str, np.ndarray]) -> None:
        ends = np.cumsum([u.frames for u in labels.utterances])
        if not len(ends) or ends[-1] != len(features["mel"]):
            raise InputError("The features do not belong to the labels; run prepare.py again.")
        self.mels = np.split(features["mel"].astype(np.float32), ends[:-1])
        self.f0 = np.split(features["f0"], ends[:-1])


def align(labels: Labels, corpus: Corpus, jobs: int) -> None:
    """Give every utterance its durations."""
    tokens, mels, groups = [], [], []
    for speaker in labels.speakers:
        groups.append([i for i, u in enumerate(labels.utterances) if u.speaker == speaker])
        tokens.append([labels.utterances[i].tokens for i in groups[-1]])
        mels.append([corpus.mels[i] for i in groups[-1]])
    with ProcessPoolExecutor(jobs) as pool:
        work = pool.map(functools.partial(align_speaker, labels.symbols), tokens, mels)
        for group, found in zip(groups, work, strict=True):
            for index, durations in zip(group, found, strict=True):
                # The mark before the end and the silence there are one pause.
                durations[-1] += durations[-2] if _is_mark(labels, index) else 0
                durations[-2] = 0 if _is_mark(labels, index) else durations[-2]
                labels.utterances[index].durations = durations


def _is_mark(labels: Labels, index: int) -> bool:
    return labels.symbols[labels.utterances[index].tokens[-2]] in SPECIAL


def token_means(values: np.ndarray, durations: list[int]) -> np.ndarray:
    """Means [N] of a track [T] over each phoneme's frames; where it has none, the next frame."""
    ends = np.cumsum(durations)
    starts = np.minimum(np.concatenate([[0], ends[:-1]]), len(values) - 1)
    sums = np.append(0, np.cumsum(values))
    counts = np.array(durations)
    return np.where(
        counts > 0, (sums[ends] - sums[ends - counts]) / np.maximum(counts, 1), values[starts]
    )


def add_prosody(labels: Labels, corpus: Corpus) -> None:
    """Mean ln F0, carried through what is unvoiced, and mean log amplitude, of every phoneme."""
    tracks: dict[int, dict[str, np.ndarray]] = {}
    for index, u in enumerate(labels.utterances):
        f0, places = corpus.f0[index], np.arange(u.frames)
        voiced = f0 > 0
        pitch = np.full(u.frames, math.log(200.0))
        if voiced.any():
            pitch = np.interp(places, places[voiced], np.log(f0[voiced]))
        energy = corpus.mels[index].mean(-1)
        tracks[index] = {
            "pitch": token_means(pitch, u.durations),
            "energy": token_means(energy, u.durations),
        }
    for speaker in labels.speakers:
        mine = [i for i, u in enumerate(labels.utterances) if u.speaker == speaker]
        labels.statistics[speaker] = {}
        for name in ("pitch", "energy"):
            together = np.concatenate([tracks[i][name] for i in mine])
            mean, std = float(together.mean()), max(float(together.std()), 1e-3)
            labels.statistics[speaker][name] = [round(mean, 4), round(std, 4)]
            for i in mine:
                normal = np.clip((tracks[i][name] - mean) / std, -4, 4)
                setattr(labels.utterances[i], name, [round(float(v), 3) for v in normal])


def picture(
    path: Path, labels: Labels, utterance: Utterance, mel: np.ndarray, f0: np.ndarray
) -> None:
    """The mel, with the boundaries that were found, and the F0."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(max(12, len(mel) / 22), 4.5))
    axes.imshow(mel.T, origin="lower", aspect="auto", cmap="magma", vmin=-10, vmax=1)
    end = 0
    for token, duration in zip(utterance.tokens, utterance.durations, strict=True):
        axes.text(end + duration / 2 - 0.5, 80.5, labels.symbols[token], ha="center", fontsize=9)
        end += duration
        axes.axvline(end - 0.5, color="white", linewidth=0.6)
    axes.plot(np.where(f0 > 0, f0 / 8, np.nan), color="cyan")
    axes.set_ylim(-0.5, 86)
    axes.set_title(f"{utterance.id}: {utterance.text}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder that prepare.py filled")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="folder for pictures of eight alignments")
    options = parser.parse_args()
    labels = Labels.load(options.work / "labels.json")
    try:
        features = load_file(options.work / "features.safetensors")
    except OSError as error:
        raise InputError(f"Cannot read the features in {options.work}: {error}.") from None
    corpus = Corpus(labels, features)
    align(labels, corpus, options.jobs)
    add_prosody(labels, corpus)
    labels.save(options.work / "labels.json")
    report(labels)
    if options.picture:
        options.picture.mkdir(parents=True, exist_ok=True)
        for index in range(0, len(labels.utterances), max(1, len(labels.utterances) // 8)):
            u = labels.utterances[index]
            place = options.picture / f"{u.id}.png"
            picture(place, labels, u, corpus.mels[index], corpus.f0[index])


def report(labels: Labels) -> None:
    """Mean durations, by which a failed alignment shows."""
    seconds = MEL.hop_length / MEL.sample_rate
    for speaker in labels.speakers:
        pairs = [
            (labels.symbols[token], duration)
            for u in labels.utterances
            if u.speaker == speaker
            for token, duration in zip(u.tokens, u.durations, strict=True)
        ]
        kinds = {"phonemes": [d for s, d in pairs if s not in SPECIAL]}
        kinds |= {repr(k): [d for s, d in pairs if s == k] for k in SPECIAL[1:]}
        for kind, found in kinds.items():
            if found:
                low, middle, high = np.quantile(found, [0.05, 0.5, 0.95]) * seconds * 1000
                print(f"{speaker} {kind}: {middle:.0f} ms ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    run_script(main)
