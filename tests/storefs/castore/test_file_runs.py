from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from storefs.castore.host_tree import HostTreeError, host_events, host_runs
from storefs.formats.nar import Directory, EndDirectory, FileRun, Regular, write_nar
from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

LIMIT = 256 << 10


@pytest.fixture(params=VARIANTS)
def runs(request: pytest.FixtureRequest) -> ModuleType:
    return variant("storefs.castore.file_runs", request.param)


def folder_of(scratch: Path, contents: dict[str, bytes]) -> tuple[bytes, list[bytes]]:
    for name, content in contents.items():
        (scratch / name).write_bytes(content)
    return os.fsencode(scratch), sorted(map(os.fsencode, contents))


def entries_of(contents: dict[str, bytes], executable: str = "") -> bytes:
    events: list[object] = [Directory(b"")]
    for name, content in sorted(contents.items()):
        events += [Regular(name.encode(), name == executable, len(content)), *([content] if content else [])]
    whole = b"".join(write_nar([*events, EndDirectory()]))  # type: ignore[list-item]
    around = len(b"".join(write_nar([Directory(b""), EndDirectory()])))
    end = len(whole) - 16  # of a directory: one string
    return whole[around - 16 : end]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 255])
def test_a_run_is_what_the_files_are_in_a_nar(runs: ModuleType, scratch: Path, length: int) -> None:
    contents = {
        name * length: bytes([size & 255]) * size for name, size in zip("abcdef", (0, 1, 7, 8, 9, 70_000), strict=True)
    }
    folder, names = folder_of(scratch, contents)
    (scratch / ("b" * length)).chmod(0o755)
    os.link(scratch / ("c" * length), scratch / "second")
    text, files = runs.read_run(folder, names, LIMIT, [])
    assert bytes(text) == entries_of(contents, "b" * length)
    assert [(name, executable, size, links) for name, executable, size, _, links in files] == [
        (name.encode(), name[0] == "b", len(content), 1 + (name[0] == "c")) for name, content in contents.items()
    ]
    for name, _, size, start, _ in files:
        assert text[start : start + size] == contents[name.decode()]


def test_a_run_ends_when_it_is_full(runs: ModuleType, scratch: Path) -> None:
    contents = {f"{number:03}": bytes(10_000) for number in range(120)}
    folder, names = folder_of(scratch, contents)
    text, files = runs.read_run(folder, names, LIMIT, [])
    assert runs.RUN_SIZE - 10_400 < len(text) <= runs.RUN_SIZE
    assert bytes(text) == entries_of(dict(list(contents.items())[: len(files)]))


def test_a_run_has_so_many_files_at_most(runs: ModuleType, scratch: Path) -> None:
    folder, names = folder_of(scratch, {f"{number:03}": b"" for number in range(runs.MOST_FILES + 10)})
    assert len(runs.read_run(folder, names, LIMIT, [])[1]) == runs.MOST_FILES


def test_a_run_ends_before_what_cannot_be_in_it(runs: ModuleType, scratch: Path) -> None:
    folder, _ = folder_of(scratch, {"file": b"x", "large": b"y" * 101})
    os.mkfifo(scratch / "pipe")
    (scratch / "link").symlink_to("file")
    (scratch / "folder").mkdir()
    descriptors = len(os.listdir("/proc/self/fd"))
    for name in (b"large", b"pipe", b"link", b"folder", b"missing", b"n" * 256):
        assert len(runs.read_run(folder, [b"file", name, b"file"], 100, [])[1]) == 1
        assert runs.read_run(folder, [name, b"file"], 100, []) == (b"", [])
    assert runs.read_run(folder + b"/gone", [b"file"], 100, []) == (b"", [])
    # A file of the kernel says a page and has less.
    assert runs.read_run(b"/sys/kernel", [b"uevent_seqnum"], LIMIT, []) == (b"", [])
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_text_stays_what_it_is_while_somebody_has_it(runs: ModuleType, scratch: Path) -> None:
    folder, _ = folder_of(scratch, {"a": b"a" * 100, "b": b"b" * 100})
    buffers: list[bytearray] = []
    first, files = runs.read_run(folder, [b"a"], LIMIT, buffers)
    part = first[files[0][3] :][:100]
    del first
    for _ in range(5):
        runs.read_run(folder, [b"b"], LIMIT, buffers)
    assert part == b"a" * 100
    with pytest.raises(TypeError):
        part[0] = 0
    assert len(buffers) <= 2


def test_a_tree_in_runs_is_the_tree(scratch: Path) -> None:
    """Whatever stands between files that could be in one run."""
    top = scratch / "top"
    for folder in ("", "c", "f/g"):
        (top / folder).mkdir(parents=True, exist_ok=True)
        for number, size in enumerate((0, 10, LIMIT, LIMIT + 1, 20, 2 * LIMIT, 30)):
            (top / folder / f"b{number}").write_bytes(bytes([number]) * size)
        (top / folder / "b4").chmod(0o755)
        (top / folder / "b5x").symlink_to("b5")
        (top / folder / "z").write_bytes(b"last")
    events = list(host_runs(str(top)))
    assert any(isinstance(event, FileRun) and len(event.files) == 3 for event in events)
    assert b"".join(write_nar(events)) == b"".join(write_nar(host_events(str(top))))
    kept = b"".join(write_nar(host_runs(str(top), lambda path, _: not path.endswith((b"b3", b"c")))))
    for path in (top / "b3", top / "f/b3", top / "f/g/b3"):
        path.unlink(missing_ok=True)
    for path in sorted((top / "c").iterdir()):
        path.unlink()
    (top / "c").rmdir()
    assert b"".join(write_nar(host_events(str(top)))) == kept


def test_what_cannot_be_read_is_named(scratch: Path) -> None:
    for name in "ab":
        (scratch / name).write_bytes(b"x")
    os.mkfifo(scratch / "pipe")
    with pytest.raises(HostTreeError, match=r"pipe' has an unsupported type"):
        list(host_runs(str(scratch)))
    events = host_runs(str(scratch))
    next(events)
    (scratch / "a").unlink()
    with pytest.raises(HostTreeError, match=r"cannot read '.*/a': No such file"):
        list(events)
