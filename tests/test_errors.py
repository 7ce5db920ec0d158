"""The one exception: a caller that knows nothing of it still catches it as a bad value."""

from __future__ import annotations

import pytest

from diffwave.errors import InputError


def test_a_bad_input_is_a_bad_value() -> None:
    with pytest.raises(ValueError, match="^A mel needs 80 bands\\.$"):
        raise InputError("A mel needs 80 bands.")


def test_importing_it_costs_no_library() -> None:
    import subprocess
    import sys

    code = "import diffwave.errors, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
