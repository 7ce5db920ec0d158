"""Stage 3: train the acoustic model on the aligned corpora, on a GPU or a CPU.

python recipes/tts/train.py CORPORA WORK/labels.json --out FOLDER --minutes 9

CORPORA/SPEAKER/wavs/ID.flac or CORPORA/SPEAKER/ID.flac are the recordings; mels are computed here
and kept on the device. Every minute the averaged weights are written into FOLDER in half precision,
and, where --state names a file, all that --resume needs. SIGTERM ends training well.
"""

from __future__ import annotations

import argparse
import copy
import math
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import MEL, Labels, Utterance, clip  # first: it makes acoustic.py known

from acoustic import MEL_MEAN, MEL_STD, Prediction, Voices, build, load, predict, save  # isort: skip
from torch import Tensor, nn

from diffwave.base.device import choose_device
from diffwave.base.errors import InputError, run_script
from diffwave.base.files import atomic_folder, atomic_path
from diffwave.mel import MelSpectrogram

EVERY = 60  # utterances, of which one is kept from training, to see when it stops learning


class Data:
    """All utterances on the device, one after another, so that a batch is a few gathers."""

    def __init__(self, corpora: Path, labels: Labels, device: torch.device) -> None:
        frontend = MelSpectrogram(MEL).to(device)

        def read(utterance: Utterance) -> Tensor | str:
            try:
                return clip(corpora, utterance)
            except InputError as error:
                return str(error)

        chosen = [u for u in labels.utterances if not u.held_out and u.durations]
        mels, kept, lost = [], [], []
        with ThreadPoolExecutor(8) as pool, torch.inference_mode():
            for utterance, wave in zip(chosen, pool.map(read, chosen), strict=True):
                if isinstance(wave, str):
                    lost.append(wave)
                    continue
                mel = frontend(wave.to(device)).T
                if len(mel) != sum(utterance.durations):
                    lost.append(f"{utterance.id} has {len(mel)} frames, not those of its labels")
                    continue
                mels.append(mel)
                kept.append(utterance)
        if lost:
            print(f"{len(lost)} utterances are left out; the first: {lost[0]}", flush=True)
        if not kept:
            raise InputError(f"There is nothing to train on in {corpora}.")
        self.utterances = kept
        # Cloned: tensors of inference mode cannot be saved for a backward pass.
        self.mels = torch.cat([*mels, mels[0].new_full((1, MEL.n_mels), MEL_MEAN)]).clone()
        self.mels = (self.mels - MEL_MEAN) / MEL_STD
        self.frame_starts = self._starts([len(m) for m in mels])
        self.token_starts = self._starts([len(u.tokens) for u in kept])
        self.device = device
        self.tokens = self._flat("tokens", torch.long)
        self.durations = self._flat("durations", torch.long)
        self.pitch = self._flat("pitch", torch.float32)
        self.energy = self._flat("energy", torch.float32)
        self.speakers = torch.tensor([labels.speakers.index(u.speaker) for u in kept])
        self.frames = np.array([u.frames for u in kept])
        self.counts = np.array([len(u.tokens) for u in kept])

    @staticmethod
    def _starts(lengths: list[int]) -> np.ndarray:
        return np.cumsum([0, *lengths[:-1]])

    def _flat(self, name: str, kind: torch.dtype) -> Tensor:
        values = [value for u in self.utterances for value in getattr(u, name)]
        return torch.tensor([*values, 0], dtype=kind, device=self.device)

    def batch(self, rows: np.ndarray) -> dict[str, Any]:
        """Padded tensors of the utterances `rows`: what is beyond an end reads the last element."""
        longest, most = int(self.frames[rows].max()), int(self.counts[rows].max())

        def index(starts: np.ndarray, lengths: np.ndarray, width: int, padding: int) -> Tensor:
            places = np.arange(width)[None]
            inside = places < lengths[rows][:, None]
            found = np.where(inside, starts[rows][:, None] + places, padding)
            return torch.from_numpy(found).to(self.device)

        text = index(self.token_starts, self.counts, most, len(self.tokens) - 1)
        sound = index(self.frame_starts, self.frames, longest, len(self.mels) - 1)
        return {
            "tokens": self.tokens[text],
            "durations": self.durations[text],
            "pitch": self.pitch[text],
            "energy": self.energy[text],
            "counts": torch.from_numpy(self.counts[rows]).to(self.device),
            "speakers": self.speakers[torch.from_numpy(rows)].to(self.device),
            "frames": longest,
            "mel": self.mels[sound].transpose(1, 2),
        }

    def batches(
        self, rows: np.ndarray, size: int, random: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Utterances of similar length, for ever, `size` of them or fewer of long ones."""
        budget = size * float(np.mean(self.frames[rows])) * 1.3
        while True:
            order = rows[np.argsort(self.frames[rows] * random.uniform(0.85, 1.15, len(rows)))]
            groups: list[list[int]] = [[]]
            longest = 0
            for row in order.tolist():
                longest = max(longest, int(self.frames[row]))
                if groups[-1] and longest * (len(groups[-1]) + 1) > budget:
                    groups.append([])
                    longest = int(self.frames[row])
                groups[-1].append(row)
            random.shuffle(groups)
            yield from (np.array(group) for group in groups)


def losses(prediction: Prediction, batch: dict[str, Any]) -> dict[str, Tensor]:
    """The terms of FastSpeech 2 (Ren et al. 2021), means over what is no padding.

    L1 of mels before and after the last convolutions, squared errors of ln durations, pitch
    and energy.
    """
    present = torch.arange(batch["tokens"].shape[1], device=batch["tokens"].device)[None]
    present = (present < batch["counts"][:, None]).float()
    spoken = torch.arange(batch["frames"], device=present.device)[None]
    spoken = (spoken < prediction.frames[:, None]).float()[:, None]

    def distance(mel: Tensor) -> Tensor:
        error = ((mel - MEL_MEAN) / MEL_STD - batch["mel"]).abs() * spoken
        return error.sum() / (spoken.sum() * MEL.n_mels)

    def squared(predicted: Tensor, target: Tensor) -> Tensor:
        return ((predicted - target).square() * present).sum() / present.sum()

    return {
        "mel": distance(prediction.mel),
        "coarse": distance(prediction.coarse),
        "duration": squared(prediction.log_durations, batch["durations"].float().log1p()),
        "pitch": squared(prediction.pitch, batch["pitch"]),
        "energy": squared(prediction.energy, batch["energy"]),
    }


def forced(model: Any, batch: dict[str, Any]) -> Prediction:
    """The model's mels under the durations, pitch and energy of the recordings."""
    names = ("tokens", "counts", "speakers", "durations", "pitch", "energy", "frames")
    return predict(model, **{name: batch[name] for name in names})


class Trainer:
    """Model, averaged model and optimizer; what is needed to go on is their state."""

    def __init__(
        self, model: nn.Module, device: torch.device, rate: float, warm: int = 300
    ) -> None:
        self.device, self.rate, self.warm = device, rate, warm
        self.model = model.to(device).train()
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        fused = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.02, fused=fused
        )
        self.step, self.seconds, self.skipped = 0, 0.0, 0
        half = device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.precision = torch.autocast(device.type, torch.bfloat16, enabled=half)
        self.pairs = [
            [a for a in module.state_dict().values() if a.is_floating_point()]
            for module in (self.averaged, self.model)
        ]

    def update(self, batch: dict[str, Any], passed: float) -> dict[str, Tensor]:
        """One step at `passed` (0 to 1) of the training; returns the terms of the loss."""
        warm = min(1.0, (self.step + 1) / self.warm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * passed)))
        with self.precision:
            prediction = forced(self.model, batch)
        terms = losses(prediction, batch)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if math.isfinite(norm.item()):
            self.optimizer.step()
            self.step += 1
            share = 1 - min(0.9985, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.pairs[0], self.pairs[1], share)
        else:
            self.skipped += 1
            if self.skipped > 200:
                raise InputError("The gradient is not finite; try a smaller --rate.")
        return {name: term.detach() for name, term in terms.items()}

    def save(self, path: Path) -> None:
        with atomic_path(path) as place:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "averaged": self.averaged.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": self.step,
                    "seconds": self.seconds,
                },
                place,
            )

    def load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except Exception as error:  # torch.load raises what it likes
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path} is no state of this training: {reason}.") from None


@torch.inference_mode()
def validate(trainer: Trainer, data: Data, rows: np.ndarray) -> str:
    """Terms of the averaged model on what was kept from training, one utterance at a time."""
    sums: dict[str, float] = {}
    for row in rows:
        batch = data.batch(np.array([row]))
        for name, term in losses(forced(trainer.averaged, batch), batch).items():
            sums[name] = sums.get(name, 0.0) + float(term) / len(rows)
    return " ".join(f"{name} {value:.4f}" for name, value in sums.items())


def export(trainer: Trainer, voices: Voices, folder: Path) -> None:
    """Write the averaged weights beside `folder`, and rename."""
    with atomic_folder(folder) as place:
        save(place, trainer.averaged, voices)


def run(options: argparse.Namespace) -> None:
    device = choose_device(options.device)
    torch.manual_seed(0)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    labels = Labels.load(options.labels)
    started = time.monotonic()
    data = Data(options.corpora, labels, device)
    count = len(data.utterances)
    kept = np.arange(count) % EVERY == EVERY - 1 if count >= EVERY else np.zeros(count, bool)
    rows, validation = np.flatnonzero(~kept), np.flatnonzero(kept)
    voices = Voices(labels.symbols, labels.speakers, labels.statistics)
    if options.init:
        model, there = load(options.init)
        if (there.symbols, there.speakers) != (voices.symbols, voices.speakers):
            raise InputError(f"{options.init} has other symbols or speakers than the labels.")
    else:
        settings = {key: int(value) for key, value in (s.split("=") for s in options.set)}
        model = build(len(labels.symbols), len(labels.speakers), **settings)
    trainer = Trainer(model, device, options.rate, options.warm)
    if options.resume and options.state and options.state.is_file():
        trainer.load(options.state)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    minutes = data.frames[rows].sum() * MEL.hop_length / MEL.sample_rate / 60
    print(
        f"{device}: {len(rows)} utterances, {minutes:.1f} minutes, read in "
        f"{time.monotonic() - started:.0f} s; {parameters / 1e6:.2f}M parameters, step "
        f"{trainer.step}",
        flush=True,
    )
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))
    last_print = last_save = time.monotonic()
    sums: dict[str, Tensor] = {}
    shown, before = 0, trainer.seconds
    started = time.monotonic()
    for group in data.batches(rows, options.batch, np.random.default_rng(trainer.step)):
        trainer.seconds = before + time.monotonic() - started
        passed = trainer.seconds / (60 * options.minutes)
        enough = options.steps is not None and trainer.step >= options.steps
        if passed >= 1 or stopped or enough:
            break
        for name, term in trainer.update(data.batch(group), passed).items():
            sums[name] = sums.get(name, torch.zeros_like(term)) + term
        shown += 1
        now = time.monotonic()
        if now - last_print >= options.every:
            line = " ".join(f"{name} {float(value) / shown:.4f}" for name, value in sums.items())
            print(f"step {trainer.step} {100 * passed:.1f} % {line}", flush=True)
            sums, shown, last_print = {}, 0, now
        if now - last_save >= options.save_every:
            export(trainer, voices, options.out)
            if options.state:
                trainer.save(options.state)
            if len(validation):
                line = validate(trainer, data, validation)
                print(f"step {trainer.step} validation {line}", flush=True)
            last_save = time.monotonic()
    export(trainer, voices, options.out)
    if options.state:
        trainer.save(options.state)
    if len(validation):
        print(f"step {trainer.step} validation {validate(trainer, data, validation)}")
    why = "stopped by a signal" if stopped else "done"
    print(f"{why} after {trainer.step} steps and {trainer.seconds / 60:.2f} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("labels", type=Path, help="labels.json of align.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--steps", type=int, help="end after so many, if that is earlier")
    parser.add_argument("--batch", type=int, default=32, help="utterances of mean length")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--warm", type=int, default=300, help="steps in which it is reached")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--state", type=Path, help="file for all that --resume needs")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--init", type=Path, help="checkpoint to start from")
    parser.add_argument("--every", type=float, default=10, help="seconds between two lines")
    parser.add_argument(
        "--save-every", type=float, default=60, help="seconds between two checkpoints"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=NUMBER", help="size of a new model"
    )
    options = parser.parse_args()
    if options.minutes <= 0 or options.warm < 1 or options.batch < 1:
        raise InputError("--minutes, --warm and --batch must be positive.")
    if any(not s.partition("=")[2].isdigit() for s in options.set):
        raise InputError("--set takes NAME=NUMBER, such as decoder_layers=2.")
    run(options)


if __name__ == "__main__":
    run_script(main)
