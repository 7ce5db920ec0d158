"""Audio files; the rest of the package sees float32 tensors [L], mono, nominally within [-1, 1]."""

from diffwave.audio.formats import AUDIO_SUFFIXES, SUBTYPES, subtype_of
from diffwave.audio.read import Audio, read_audio, read_whole, resample
from diffwave.audio.write import write_audio

__all__ = [
    "AUDIO_SUFFIXES",
    "SUBTYPES",
    "Audio",
    "read_audio",
    "read_whole",
    "resample",
    "subtype_of",
    "write_audio",
]
