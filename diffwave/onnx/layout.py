"""What an exported folder holds: names that its writer and its reader share."""

from __future__ import annotations

FORMAT = 1  # of the folder
OPSET = 18  # of the graphs
ABOUT = "onnx.json"  # format, opset, receptive fields in frames, and the `config.json` of the model
CONSTANTS = "constants.npz"
"""`filters` [n_mels, K + 1], from magnitudes to mel amplitudes; `ends`, the range of these; of a
voice with a source `share_weights` [bands, K] (:func:`diffwave.dsp.source.band_weights`)."""

GRAPHS = {
    "enhancer": (("mel",), ("enhanced",)),
    "source": (("mel",), ("f0", "voiced", "share")),
    "condition": (("mel",), ("cond", "log_envelope", "band_levels")),
    "step": (("x", "t", "cond"), ("prediction",)),
}
"""Inputs and outputs of each NAME.onnx, float32, of one utterance of T frames:

| name | shape | |
|---|---|---|
| mel, enhanced | [1, n_mels, T] | values of the mel convention |
| f0, voiced | [1, T] | Hz; a truth value |
| share | [1, T, bands] | of the power that pulses have |
| cond | [1, T, C] | what the network makes of the mel, for all steps |
| log_envelope | [1, T, K] | logarithm of the deviation that a signal is expected to have |
| band_levels | [1, T, n_mels] | logarithms of the mel's amplitudes, within its convention's range |
| x, prediction | [1, T, 2, K] | noisy state; v or noise |
| t | [1] | noise level, an angle in quarter turns |
| mean | [1, T, 2, K] | of the prior of a voice with a source |
| deviation, envelope | [1, T, 1, K] | of that prior |
"""
PRIOR = ("mean", "deviation", "envelope")  # further inputs of the step of a voice with a source
