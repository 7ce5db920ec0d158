from __future__ import annotations

import builtins
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from diffwave.errors import InputError
from diffwave.eval.libraries import import_library, needed_for, version_of


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


@pytest.mark.parametrize("error", ["RuntimeError", "OSError", "ValueError", "ImportError"])
def test_whatever_an_import_raises_is_an_import_error_on_one_line(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_library.py").write_text(f"raise {error}('built for\\nanother torch')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as caught:
        import_library("broken_library")
    assert str(caught.value) == "broken_library cannot be imported (built for another torch)"
    if error != "ValueError":
        with (
            pytest.raises(InputError, match=r"^Beauty needs pip install 'diffwave\[eval\]': .*\.$"),
            needed_for("Beauty"),
        ):
            import broken_library  # noqa: F401


@pytest.mark.parametrize("name", ["torchcrepe", "distillmos"])
def test_a_torchaudio_that_does_not_fit_does_not_take_others_with_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    for module in [m for m in sys.modules if m.split(".")[0] in (name, "torchaudio")]:
        monkeypatch.delitem(sys.modules, module)
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == "torchaudio._extension":
            raise RuntimeError("different CUDA versions")
        return real(module, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio._extension", None)
        patch.setattr(builtins, "__import__", without)
        assert import_library(name).__name__ == name
    assert "torchaudio" not in sys.modules
