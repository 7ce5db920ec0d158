"""Root without root's rights over files, so that tests of permissions test something as root too.

Linux lets a thread put its capabilities down and take them up again (capabilities(7)).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

import pytest

PR_GET_SECUREBITS, PR_SET_SECUREBITS = 27, 28
NO_ROOT, NO_FIXUP = 1, 4
"""Programs that root starts gain no capabilities; access(2) asks for those in effect."""
VERSION = 0x20080522
OVER_FILES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

_Words = ctypes.c_uint32 * 6  # effective, permitted, inheritable of capabilities 0..31, then 32..63


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Within it, permissions bind this thread and the programs it starts, whoever runs the test."""
    if os.name != "posix":
        pytest.skip("permissions work otherwise here")
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root may do anything here")
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = (ctypes.c_uint32 * 2)(VERSION, 0), _Words()
    if libc.capget(header, words):
        pytest.skip("capabilities cannot be read here")
    less = _Words(*words)
    less[0] &= ~OVER_FILES
    bits = libc.prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)
    fewer = bits | NO_ROOT | NO_FIXUP
    if libc.prctl(PR_SET_SECUREBITS, fewer, 0, 0, 0) or libc.capset(header, less):
        pytest.skip("capabilities cannot be put down here")
    try:
        yield
    finally:
        assert libc.capset(header, words) == 0
        assert libc.prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) == 0
