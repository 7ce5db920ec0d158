from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from diffwave.eval.libraries import import_library, version_of


def test_versions_of_what_is_installed_and_of_what_is_not() -> None:
    import numpy

    assert version_of("numpy") == f"numpy {numpy.__version__}"
    assert version_of("no_such_library") == "no_such_library"


def test_warnings_of_an_import_are_not_the_readers_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud_library.py").write_text("import warnings\nwarnings.warn('old')\nx = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert import_library("loud_library").x == 1
    monkeypatch.delitem(sys.modules, "loud_library")
    with pytest.raises(ImportError):
        import_library("no_such_library")
