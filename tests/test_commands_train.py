"""`diffwave train`; real runs in processes of their own are in test_train_durability.py."""

from __future__ import annotations

import sys

import pytest
from told import one_line

from diffwave import cli


@pytest.mark.parametrize(
    ("setting", "word"),
    [("run.folder=", "run.folder"), ("optim.learning_rate=1", "optim.learning_rate")],
)
def test_a_wrong_setting_is_named_before_any_work(
    setting: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--set", setting]) == 2
    one_line(capsys, word)


def test_a_missing_package_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("diffwave.train.loop")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "diffwave.train.logbook", raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert cli.main(["train"]) == 2
    one_line(capsys, "pip install 'diffwave[train]'")
