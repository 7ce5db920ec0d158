"""Text to speech: a text in, a sound file out; acoustic model and vocoder are both bundled.

python egs/tts/speak.py "Any text." out.wav [--speaker kathleen] [--rate 0.9]
python egs/tts/speak.py - out.wav < chapter.txt
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import torch
from acoustic import Voices, load, predict
from phonemes import NO_WORD, TITLES, encode, phonemes
from spelling import read_aloud
from torch import Tensor

from diffwave import Vocoder
from diffwave.base.audio import FORMATS, write_audio
from diffwave.base.errors import InputError
from diffwave.mel.files import write_mel

MODEL = Path(__file__).resolve().parents[2] / "pretrained" / "tts-22k"
LONGEST = 300  # characters spoken in one go; longer texts than those of training sound worse
RATES = (0.5, 2.0)
TITLE = "".join(rf"(?<!\b{title}\.)" for title in TITLES)  # after which nothing ends
SENTENCE = re.compile(
    rf"(?<=[.!?;:]){TITLE}\s+(?=[\"'\u201c\u2018(]*[A-Z0-9])"
)  # the gap between two


def clauses(text: str) -> list[str]:
    """The text in pieces of at most `LONGEST` characters: sentences, or where those are long, less.

    A blank line ends a sentence. What is longer without white space is cut as it is.
    """
    found: list[str] = []
    paragraphs = [" ".join(lines.split()) for lines in re.split(r"\n\s*\n", text)]
    for sentence in (s for paragraph in paragraphs for s in SENTENCE.split(paragraph)):
        rest = sentence
        while len(rest) > LONGEST:
            head = rest[:LONGEST]
            places = [m.end() for m in re.finditer(r"[,;:)\u2014\u2013-]\s", head)]
            cut = places[-1] if places else (head.rfind(" ") + 1 or LONGEST)
            found.append(rest[:cut].strip())
            rest = rest[cut:]
        found.append(rest)
    return [piece for piece in found if re.search(r"\w", piece)]


@torch.inference_mode()
def text_to_mel(
    model: Any, voices: Voices, text: str, speaker: str | None = None, rate: float = 1.0
) -> Tensor:
    """The mel [n_mels, T] that the model predicts for a text.

    Args:
        model, voices: as `acoustic.load` returns them.
        text: English.
        speaker: one of `voices.speakers`; the first by default.
        rate: speaking rate, 1 is the reader's own.

    Raises:
        InputError: for an unknown speaker, a rate out of bounds, or a text that holds no word or a
            foreign letter.
    """
    if speaker is not None and speaker not in voices.speakers:
        raise InputError(
            f"There is no speaker {speaker!r}; there are {', '.join(voices.speakers)}."
        )
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(f"The rate must be from {RATES[0]:g} to {RATES[1]:g}, not {rate:g}.")
    number = voices.speakers.index(speaker) if speaker else 0
    pieces = clauses(read_aloud(text))
    if not pieces:
        raise InputError(NO_WORD)
    mels = []
    for piece in pieces:
        tokens = torch.tensor([encode(phonemes(piece), voices.symbols)])
        counts = torch.tensor([tokens.shape[1]])
        prediction = predict(model, tokens, counts, torch.tensor([number]), rate=rate)
        mels.append(prediction.mel[0])
    return torch.cat(mels, dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", help="in English; - for standard input")
    parser.add_argument("out", type=Path, help="sound file to write: .wav, .flac, .ogg, ..")
    parser.add_argument("--speaker", help="the first of the model by default")
    parser.add_argument("--rate", type=float, default=1.0, help="speaking rate, 0.5 to 2")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of an acoustic model")
    parser.add_argument("--voice", default="universal-22k", help="checkpoint of the vocoder")
    parser.add_argument("--steps", type=int, help="network calls of the vocoder")
    parser.add_argument("--no-enhance", action="store_true", help="leave its mel enhancer out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mel", type=Path, help="write the predicted mel as well (.npy)")
    options = parser.parse_args()
    # What can be seen to be wrong is refused before anything large is loaded.
    if not options.out.parent.is_dir():
        raise InputError(f"Cannot write {options.out}: there is no folder {options.out.parent}.")
    if options.out.suffix.lower() not in FORMATS:
        raise InputError(f"Cannot write {options.out}: the name must end in {', '.join(FORMATS)}.")
    if options.mel and options.mel.suffix != ".npy":
        raise InputError(f"Cannot write {options.mel}: the name of a mel must end in .npy.")
    text = standard_input() if options.text == "-" else options.text
    if not clauses(read_aloud(text)):
        raise InputError(NO_WORD)
    model, voices = load(options.model)
    mel = text_to_mel(model, voices, text, options.speaker, options.rate)
    vocoder = Vocoder.from_pretrained(options.voice, "cpu")
    wave = vocoder(mel, steps=options.steps, seed=options.seed, enhance=not options.no_enhance)
    if options.mel:
        write_mel(options.mel, mel)
    write_audio(options.out, wave, vocoder.sample_rate)
    print(f"{options.out}: {len(wave) / vocoder.sample_rate:.1f} s of speech")


def standard_input() -> str:
    """The whole of it; raises `InputError` where it is no UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"The text on standard input is not UTF-8 ({error.reason}).") from None


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"speak.py: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("speak.py: stopped.", file=sys.stderr)
        sys.exit(130)
