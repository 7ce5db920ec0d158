from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diffwave import files
from diffwave.errors import InputError
from diffwave.files import atomic_folder, atomic_path, find_files, remove_leftovers

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and limits")


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Writing past `size` bytes fails, as on a full disk (with EFBIG in place of ENOSPC)."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def one_sentence(error: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    for part in parts:
        assert part in message


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(entry.relative_to(folder)): entry.read_bytes()
        for entry in folder.rglob("*")
        if entry.is_file()
    }


def test_writes_a_new_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert everything(tmp_path) == {"a.txt": b"new"}


def test_replaces_a_file_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert everything(tmp_path) == {"a.txt": b"new"}


def test_temporary_is_hidden_beside_unique_and_no_audio(tmp_path: Path) -> None:
    target = tmp_path / "a.b.flac"
    with atomic_path(target) as one, atomic_path(target) as two:
        assert one != two
        for temporary in (one, two):
            assert temporary.parent == tmp_path.resolve()
            assert temporary.name.startswith(".")
            assert temporary.suffix == ".tmp"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_failure_keeps_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "a.txt").write_text("old")

    def fail() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert everything(tmp_path) == {"a.txt": b"old"}


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("write", ["atomic_path", "atomic_folder"])
def test_a_signal_that_ends_the_process_leaves_nothing(
    tmp_path: Path, number: signal.Signals, write: str
) -> None:
    code = (
        f"import os, signal, time; from diffwave.files import {write}\n"
        f"with {write}('a.wav'): os.kill(os.getpid(), {int(number)}); time.sleep(9)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path)
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


def test_signal_handlers_are_as_before(tmp_path: Path) -> None:
    def mine(number: int, frame: object) -> None:
        raise NotImplementedError

    for handler in (signal.SIG_DFL, mine):
        before = signal.signal(signal.SIGTERM, handler)
        try:
            with atomic_path(tmp_path / "a"):
                assert (signal.getsignal(signal.SIGTERM) is mine) == (handler is mine)
            assert signal.getsignal(signal.SIGTERM) == handler
        finally:
            signal.signal(signal.SIGTERM, before)


def test_files_of_a_folder_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.wav", "deep/a.WAV", "._b.wav", ".0123.tmp", ".git/c.wav", "a.txt", "d.wav/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "f.wav").symlink_to("nothing")
    names = [tmp_path / "b.wav", tmp_path / "deep" / "a.WAV", tmp_path / "f.wav"]
    assert find_files(tmp_path, {".wav"}) == names
    assert find_files(tmp_path, {".wav"}, deep=False) == [names[0], names[2]]
    with pytest.raises(InputError, match="Cannot read .*none: No such file"):
        find_files(tmp_path / "none", {".wav"})


@pytest.mark.parametrize("write", [atomic_path, atomic_folder])
def test_missing_folder_is_told_before_any_work(
    tmp_path: Path, write: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with pytest.raises(InputError) as error, write(tmp_path / "no" / "a.txt"):
        pytest.fail("the block ran")
    one_sentence(error, str(tmp_path / "no" / "a.txt"), f"no folder {tmp_path / 'no'}")


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError) as error, atomic_path(tmp_path / "file" / "a.txt"):
        pytest.fail("the block ran")
    one_sentence(error, "no folder")


@pytest.mark.parametrize(("name", "words"), [("", "empty"), ("a\0b", "NUL")])
def test_names_of_no_file(name: str, words: str) -> None:
    with pytest.raises(InputError) as error, atomic_path(name):
        pytest.fail("the block ran")
    one_sentence(error, words)


def test_a_folder_is_not_a_file_nor_a_file_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="not a regular file"), atomic_path(tmp_path / "folder"):
        pytest.fail("the block ran")
    with pytest.raises(InputError, match="not a folder"), atomic_folder(tmp_path / "file"):
        pytest.fail("the block ran")
    assert everything(tmp_path) == {"file": b"old"}


@posix
def test_a_device_is_refused_not_replaced() -> None:
    with pytest.raises(InputError, match="not a regular file"), atomic_path(os.devnull):
        pytest.fail("the block ran")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.usefixtures("as_anybody")
def test_read_only_places(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o444)
    with pytest.raises(InputError, match="read-only"), atomic_path(tmp_path / "a.txt"):
        pytest.fail("the block ran")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match="permission denied"), atomic_path(tmp_path / "b.txt"):
            pytest.fail("the block ran")
    finally:
        tmp_path.chmod(0o755)


@posix
def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@posix
def test_permissions_follow_the_umask_or_the_old_file(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "new") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    with atomic_path(tmp_path / "new") as temporary:
        temporary.write_text("y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


@posix
@pytest.mark.parametrize(
    "writer",
    [
        lambda path, data: path.write_bytes(data.tobytes()),
        lambda path, data: data.tofile(path),  # an OSError without a number
        lambda path, data: soundfile.write(path, data, 8000, format="WAV"),  # not an OSError
    ],
)
def test_no_room(tmp_path: Path, writer: Callable[[Path, np.ndarray], None]) -> None:
    (tmp_path / "a.bin").write_text("old")
    target = tmp_path / "a.bin"
    with files_limited_to(4096), pytest.raises(InputError) as error, atomic_path(target) as temp:
        writer(temp, np.zeros(10_000))
    one_sentence(error, str(tmp_path / "a.bin"), "larger than is allowed")
    assert everything(tmp_path) == {"a.bin": b"old"}


def test_full_disk_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error, atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    one_sentence(error, str(tmp_path / "a.bin"), "the disk is full")
    assert everything(tmp_path) == {}


def test_full_disk_told_by_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_full", lambda folder: OSError(errno.ENOSPC, "No space"))
    with pytest.raises(InputError, match="the disk is full"), atomic_path(tmp_path / "a.bin"):
        raise RuntimeError("unexpected pos 704 vs 598")


def test_errors_about_other_files_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="other"), atomic_path(tmp_path / "a.bin"):
        (tmp_path / "other").read_bytes()
    with pytest.raises(BrokenPipeError), atomic_path(tmp_path / "a.bin"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    with pytest.raises(InputError, match="as it was"), atomic_path(tmp_path / "a.bin"):
        raise InputError("as it was")
    assert everything(tmp_path) == {}


def test_folder_is_new_or_old_never_between(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint-1.5"
    with atomic_folder(target) as temporary:
        assert temporary.parent == tmp_path.resolve()
        assert temporary.name.startswith(".")
        (temporary / "deep").mkdir()
        (temporary / "deep" / "config.json").write_text("1")
        assert not target.exists()
    with atomic_folder(target) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "config.json").write_text("2")
        assert (target / "deep" / "config.json").read_text() == "1"
    assert everything(tmp_path) == {"checkpoint-1.5/deep/config.json": b"2"}
    assert os.listdir(tmp_path) == ["checkpoint-1.5"]


def test_folder_keeps_what_others_put_there(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    target.mkdir()
    (target / "README.md").write_text("mine")
    (target / "config.json").write_text("old")
    with atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("new")
    assert everything(tmp_path) == {
        "checkpoint/README.md": b"mine",
        "checkpoint/config.json": b"new",
    }
    assert os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_folder_failure_keeps_the_old(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "checkpoint"
    target.mkdir()
    (target / "config.json").write_text("old")

    def fail() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "config.json").write_text("new")
            raise failure

    with pytest.raises(failure):
        fail()
    assert everything(tmp_path) == {"checkpoint/config.json": b"old"}
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_folder_swap_that_fails_half_way_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "checkpoint"
    target.mkdir()
    (target / "config.json").write_text("old")
    rename = os.rename

    def second_fails(source: Path, destination: Path) -> None:
        if Path(source).suffix != ".old" and Path(destination) == target:
            raise OSError(errno.EIO, "Input/output error", str(source))
        rename(source, destination)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(InputError) as error, atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("new")
    one_sentence(error, str(target), "Input/output error")
    assert everything(tmp_path) == {"checkpoint/config.json": b"old"}
    assert os.listdir(tmp_path) == ["checkpoint"]


@posix
def test_folder_no_room(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with files_limited_to(4096), pytest.raises(InputError) as error, atomic_folder(target) as temp:
        (temp / "model.bin").write_bytes(bytes(10_000))
    one_sentence(error, str(target), "larger than is allowed")
    assert os.listdir(tmp_path) == []


def test_the_current_folder_is_not_swapped_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for path in (".", tmp_path):
        with pytest.raises(InputError, match="current folder"), atomic_folder(path):
            pytest.fail("the block ran")


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """Exactly the names that the writers give, and nobody else's hidden files."""
    stack = contextlib.ExitStack()
    temporary = stack.enter_context(atomic_path(tmp_path / "speech.wav"))
    (stack.enter_context(atomic_folder(tmp_path / "checkpoint")) / "model.bin").touch()
    old = tmp_path / ".0123456789abcdef.old"
    (old / "deep").mkdir(parents=True)
    kept = [".hidden", ".0123.tmp", "0123456789abcdef.tmp", "speech.tmp"]
    for name in kept:
        (tmp_path / name).touch()
    assert temporary.exists()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    with pytest.raises(KeyError), stack:
        raise KeyError  # nothing is there to be renamed; nor does the clean-up mind


@pytest.mark.parametrize(
    ("content", "words"), [("{", "is not valid JSON"), ("[1]", "does not hold a JSON object")]
)
def test_json_that_is_none(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match="Cannot read .*a.json: No such file"):
        files.read_json(path)
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        files.read_json(path)
    path.write_text('{"a": 1}')
    assert files.read_json(path) == {"a": 1}
