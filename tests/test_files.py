"""Files and folders are written whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from told import everything, refused

from diffwave.base import files
from diffwave.base.errors import InputError
from diffwave.base.files import atomic_folder, atomic_path, find_files, remove_leftovers

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and limits")
BOTH = pytest.mark.parametrize("write", [atomic_path, atomic_folder])
Write = Callable[[Path], contextlib.AbstractContextManager[Path]]


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


def put(place: Path, text: str) -> None:
    """Write a file, or a file in a folder."""
    if place.is_dir():
        (place / "deep").mkdir(exist_ok=True)
        place = place / "deep" / "config.json"
    place.write_text(text)


def got(place: Path) -> str:
    return (place / "deep" / "config.json" if place.is_dir() else place).read_text()


@BOTH
def test_a_reader_sees_the_old_or_the_new_and_nothing_else_is_left(
    tmp_path: Path, write: Write
) -> None:
    target = tmp_path / "a-1.5.flac"
    with write(target) as temporary, write(target) as other:
        assert temporary != other
        assert temporary.parent == tmp_path.resolve()
        assert temporary.name.startswith(".") and temporary.suffix == ".tmp"  # no audio
        put(other, "lost")
        put(temporary, "1")
        assert not target.exists()
    with write(target) as temporary:
        put(temporary, "2")
        assert got(target) == "1"
    for failure in (RuntimeError, KeyboardInterrupt, SystemExit):
        with contextlib.suppress(failure), write(target) as temporary:
            put(temporary, "half")
            raise failure
    assert got(target) == "2"
    assert os.listdir(tmp_path) == ["a-1.5.flac"]


def test_files_of_a_folder_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.wav", "deep/a.WAV", "._b.wav", ".0123.tmp", ".git/c.wav", "a.txt", "d.wav/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "f.wav").symlink_to("nothing")
    names = [tmp_path / "b.wav", tmp_path / "deep" / "a.WAV", tmp_path / "f.wav"]
    assert find_files(tmp_path, {".wav"}) == names
    assert find_files(tmp_path, {".wav"}, deep=False) == [names[0], names[2]]
    with refused(f"There is no folder {tmp_path / 'none'}"):
        find_files(tmp_path / "none", {".wav"})
    with refused(f"There is no song (.mid) below {tmp_path}"):
        find_files(tmp_path, {".mid"}, kind="song")


@pytest.mark.parametrize(
    ("write", "place", "words"),
    [
        (atomic_path, "", "empty"),
        (atomic_path, "a\0b", "NUL"),
        (atomic_path, "../no/a", "../no/a: there is no folder ../no"),
        (atomic_folder, "../no/a", "there is no folder ../no"),
        (atomic_path, "../file/a", "no folder"),
        (atomic_path, 300 * "a", "File name too long"),
        (atomic_path, "../folder", "not a regular file"),
        (atomic_path, os.devnull, "not a regular file"),
        (atomic_folder, "../file", "not a folder"),
        (atomic_folder, ".", "current folder"),
        (atomic_folder, "..", "current folder"),
        (atomic_path, "../read-only/a", "is read-only"),
        (atomic_path, "../read-only/b", "Permission denied"),
        (atomic_folder, "../read-only/b", "Permission denied"),
    ],
)
@pytest.mark.usefixtures("as_anybody")
def test_places_that_cannot_be_written_are_refused_before_any_work(
    write: Write, place: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("folder", "read-only"):
        (tmp_path / name).mkdir()
    for name in ("file", "read-only/a"):
        (tmp_path / name).write_text("old")
    (tmp_path / "read-only/a").chmod(0o444)
    (tmp_path / "read-only").chmod(0o555)
    monkeypatch.chdir(tmp_path / "folder")
    with refused("Cannot write ", words), write(place):  # type: ignore[arg-type]
        pytest.fail("the block ran")
    (tmp_path / "read-only").chmod(0o755)
    assert everything(tmp_path) == {"file": b"old", "read-only/a": b"old"}


@posix
def test_links_are_followed_and_permissions_kept(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "real"):
            pass
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    (tmp_path / "real").chmod(0o604)
    (tmp_path / "link").symlink_to("real")
    with atomic_path(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o604


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
    data = np.zeros(10_000)
    told = (str(tmp_path / "a.bin"), "File too large")
    with files_limited_to(4096), refused(*told), atomic_path(tmp_path / "a.bin") as temporary:
        writer(temporary, data)
    with files_limited_to(4096), refused("too large"), atomic_folder(tmp_path / "b") as temporary:
        writer(temporary / "model.bin", data)
    assert everything(tmp_path) == {"a.bin": b"old"}


def test_full_disk_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(str(tmp_path / "a"), "the disk is full"), atomic_path(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with refused("the disk quota is used up"), atomic_path(tmp_path / "a"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    monkeypatch.setattr(files, "_full", lambda folder: OSError(errno.ENOSPC, "No space"))
    with refused("the disk is full"), atomic_path(tmp_path / "a"):
        raise RuntimeError("unexpected pos 704 vs 598")  # as torch.save tells it


def test_errors_about_other_files_pass(tmp_path: Path) -> None:
    other = FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "other"))
    for error in (other, BrokenPipeError(errno.EPIPE, "Broken pipe"), InputError("as it was")):
        with pytest.raises(type(error)) as found, atomic_path(tmp_path / "a.bin"):
            raise error
        assert found.value is error
    assert everything(tmp_path) == {}


def test_folder_keeps_what_others_put_there_and_a_swap_that_fails_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a"
    target.mkdir()
    for name in ("README.md", "config.json"):
        (target / name).write_text("old")
    with atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("new")
    kept = {"a/README.md": b"old", "a/config.json": b"new"}
    assert everything(tmp_path) == kept
    rename = os.rename

    def second_fails(source: Path, destination: Path) -> None:
        if Path(source).suffix != ".old" and Path(destination) == target:
            raise OSError(errno.EIO, "Input/output error", str(source))
        rename(source, destination)

    monkeypatch.setattr(os, "rename", second_fails)
    with refused(str(target), "Input/output error"), atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("newer")
    assert everything(tmp_path) == kept
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """Exactly the names that the writers give, and nobody else's hidden files."""
    stack = contextlib.ExitStack()
    temporary = stack.enter_context(atomic_path(tmp_path / "speech.wav"))
    (stack.enter_context(atomic_folder(tmp_path / "checkpoint")) / "model.bin").touch()
    (tmp_path / ".0123456789abcdef.old" / "deep").mkdir(parents=True)
    kept = [".hidden", ".0123.tmp", "0123456789abcdef.tmp", "speech.tmp"]
    for name in [*kept, ".0123456789abcdef.tmp.wav"]:  # the last as earlier versions named it
        (tmp_path / name).touch()
    assert temporary.exists()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    with pytest.raises(KeyError), stack:
        raise KeyError  # nothing is there to be renamed; nor does the clean-up mind


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with refused(f"Cannot read {path}: No such file"):
        files.read_json(path)
    for content, words in (("{", "not valid"), ("[" * 10**5, "not valid"), ("[1]", "JSON object")):
        path.write_text(content)
        with refused(words):
            files.read_json(path)
    path.write_text('{"a": 1}')
    assert files.read_json(path) == {"a": 1}
