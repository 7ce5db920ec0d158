"""`diffwave train`; real runs in processes of their own are in test_train_durability.py."""

from __future__ import annotations

import sys

import pytest
from told import Refuses


def test_a_wrong_setting_is_named_before_any_work(refuses: Refuses) -> None:
    refuses(["train", "--set", "optim.learning_rate=1"], "optim.learning_rate")


def test_a_missing_package_is_told(refuses: Refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("diffwave.train.loop")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "diffwave.train.logbook", raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    refuses(["train"], "pip install 'diffwave[train]'")
