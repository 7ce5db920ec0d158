"""White noise addressed by its absolute position, so that any stretch can be drawn on its own.

Sample n of stream i under a seed is always the same number, whichever stretch it is asked for in:
chunks of a long utterance then meet without a seam, and an utterance sounds the same alone and in a
batch. Philox (Salmon et al. 2011) is a counter-based generator: each block has its own counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 8192  # samples drawn together
_ORIGIN = 1 << 32  # block number of sample 0; positions may be negative


def white_noise(seed: int, stream: int, start: int, length: int) -> Tensor:
    """As :func:`noise_samples`, a tensor."""
    import torch  # here: the runtime of ONNX has no PyTorch

    return torch.from_numpy(noise_samples(seed, stream, start, length))


def noise_samples(seed: int, stream: int, start: int, length: int) -> NDArray[np.float32]:
    """Samples start .. start + length - 1 of a unit Gaussian white noise, float32, [length].

    Args:
        seed: which noise, any integer.
        stream: independent noise under the same seed (a sampler's step number).
        start: absolute position of the first sample; may be negative.
        length: number of samples.
    """
    key = np.array((seed % (1 << 64), stream % (1 << 64)), np.uint64)

    def block(number: int) -> np.ndarray:
        # The lowest counter word runs within the block; the block's number sits above it.
        counter = np.array([0, _ORIGIN + number, 0, 0], np.uint64)
        philox = np.random.Philox(key=key, counter=counter)
        return np.random.Generator(philox).standard_normal(BLOCK, np.float32)

    first, last = start // BLOCK, (start + length - 1) // BLOCK
    samples = np.concatenate([block(number) for number in range(first, last + 1)])
    return samples[start - first * BLOCK :][:length]
