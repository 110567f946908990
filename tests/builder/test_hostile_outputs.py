"""Outputs that try to get something into the store, or out of the host, while they are taken in."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builder.sandbox.test_hostile import PRELUDE, PYTHON, SETTINGS

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists(PYTHON), reason="the host has no Python in /usr"),
]

IN_CLOSE_NOWRITE = 0x10  # inotify(7)
GOOD, BAD = b"good\n", b"evil\n"


@pytest.mark.parametrize(
    "script",
    [
        "os.mkfifo(out)",
        "os.mkdir(out); os.mkfifo(out + '/pipe')",
        "os.mkdir(out); socket.socket(socket.AF_UNIX).bind(out + '/socket')",
        "socket.socket(socket.AF_UNIX).bind(out)",
    ],
    ids=["pipe", "pipe inside", "socket inside", "socket"],
)
def test_what_a_store_can_not_hold_is_refused_and_not_opened(bench: Workbench, script: str) -> None:
    """Opening a pipe would wait for ever for somebody at its other end."""
    result = bench.fail(bench.derive("odd", PRELUDE + script, builder=PYTHON), **SETTINGS)
    assert "has an unsupported type" in result.message or "suspicious ownership" in result.message
    assert os.listdir(f"{bench.config.verglas_dir}/builds") == []


def test_links_in_an_output_are_never_followed(bench: Workbench, scratch: Path) -> None:
    secret = scratch / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    script = f"""
os.mkdir(out)
os.symlink("{secret}", out + "/directory")
os.symlink("{secret}/file", out + "/file")
os.symlink("/etc/shadow", out + "/shadow")
os.symlink("../../../../../../etc/shadow", out + "/relative")
os.symlink("{secret}", "/build/link")
os.symlink("{secret}", "/tmp/link")
"""
    target = bench.derive("links", PRELUDE + script, builder=PYTHON)
    (result,) = bench.build(target, **SETTINGS)
    assert result.ok, result.message
    nar = b"".join(bench.store.nar(bench.out(target)))
    assert nar.count(b"symlink") == 4
    assert b"root:" not in nar
    assert (secret / "file").read_text() == "secret"


def test_an_output_that_is_itself_a_link_is_one_in_the_store(bench: Workbench) -> None:
    target = bench.derive("link", PRELUDE + 'os.symlink("/etc/shadow", out)', builder=PYTHON)
    (result,) = bench.build(target, **SETTINGS)
    assert result.ok, result.message
    assert b"/etc/shadow" in b"".join(bench.store.nar(bench.out(target)))
    # Of a file with a promised hash it is none.
    digest = hashlib.sha256(Path("/etc/hostname").read_bytes()).hexdigest()
    fixed = bench.derive(
        "fixed", PRELUDE + 'os.symlink("/etc/hostname", out)', builder=PYTHON, fixed=("sha256", digest)
    )
    assert "should be a non-executable regular file" in bench.fail(fixed, **SETTINGS).message


@pytest.mark.parametrize("name", ["input", "/etc/passwd", "/dev/null", "/bin/sh"])
def test_nothing_can_be_linked_into_an_output(bench: Workbench, name: str) -> None:
    source = bench.store.add_text("source", b"input\n")
    path = bench.store.directory.print(source) if name == "input" else name
    script = f"""
os.mkdir(out)
say = lambda text: print(text, file=open(out + "/said", "a"))
say(attempt(os.link, {path!r}, out + "/linked"))
say(attempt(os.rename, {path!r}, out + "/moved"))
fd = os.open({path!r}, os.O_RDONLY)
say(attempt(os.link, f"/proc/self/fd/{{fd}}", out + "/by-descriptor", follow_symlinks=True))
"""
    target = bench.derive("linker", PRELUDE + script, builder=PYTHON, sources=(source,))
    (result,) = bench.build(target, **SETTINGS)
    assert result.ok, result.message
    said = b"".join(bench.store.nar(bench.out(target)))
    assert b"done" not in said
    assert said.count(b"EXDEV") + said.count(b"EPERM") + said.count(b"EROFS") + said.count(b"EBUSY") >= 3


def test_whoever_survives_the_builder_does_not_survive_its_end(bench: Workbench) -> None:
    """Not even in namespaces of its own, with a session of its own, holding the output open."""
    script = """
out_fd = os.open(out, os.O_CREAT | os.O_RDWR, 0o644)
os.write(out_fd, b"good\\n")
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    libc.unshare(0x10000000 | 0x20000000 | 0x20000)
    if os.fork() == 0:
        os.close(ready)
        os.write(tell, b"x")
        while True:
            os.pwrite(out_fd, b"evil\\n", 0)
            os.pwrite(out_fd, b"good\\n", 0)
    os._exit(0)
os.read(ready, 1)
time.sleep(0.1)
os.pwrite(out_fd, b"good\\n", 0)
"""
    target = bench.derive("survivor", PRELUDE + script, builder=PYTHON)
    (result,) = bench.build(target, **SETTINGS)
    assert result.ok, result.message
    mine = [path for path in Path("/proc").glob("[0-9]*/environ") if _has(path, bench.shown(target).encode())]
    assert mine == []


def _has(path: Path, text: bytes) -> bool:
    try:
        return text in path.read_bytes()
    except OSError:
        return False


@pytest.mark.root
@pytest.mark.parametrize("mode", ["flat", "recursive"])
def test_a_fixed_output_has_the_promised_contents_whoever_has_it_open(bench: Workbench, mode: str) -> None:
    """CVE-2024-27297: an accomplice changes the file between the check of its hash and the copy.

    The accomplice here changes it as soon as anybody has read it to its end.
    """
    if mode == "flat":
        fixed = ("sha256", hashlib.sha256(GOOD).hexdigest())
    else:
        from storefs.formats.nar import Regular, write_nar

        nar = b"".join(write_nar([Regular(b"", False, len(GOOD)), GOOD]))
        fixed = ("r:sha256", hashlib.sha256(nar).hexdigest())
    for attempt in range(10):
        target = bench.derive(f"fixed{attempt}", f"printf 'good\\n' > $out; : {attempt}", fixed=fixed)
        accomplice = _Accomplice(Path(bench.config.verglas_dir, "builds"), bench.out(target).base_name)
        accomplice.start()
        try:
            (result,) = bench.build(target)
        finally:
            accomplice.stop()
        assert result.ok, result.message
        assert bench.store.read_path(bench.out(target)) == GOOD


class _Accomplice(threading.Thread):
    """Waits for an output, has it open, and changes it when somebody has read and closed it."""

    def __init__(self, builds: Path, name: str) -> None:
        super().__init__()
        self._builds = builds
        self._name = name
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        found: list[Path] = []
        while not found and not self._ended.is_set():
            with contextlib.suppress(FileNotFoundError):  # a directory of the build went meanwhile
                found = [path for path in self._builds.glob(f"*/*/store/{self._name}") if path.stat().st_size]
        if not found:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with found[0].open("r+b", buffering=0) as file:
                libc.inotify_add_watch(watch, os.fsencode(found[0]), IN_CLOSE_NOWRITE)
                while not self._ended.is_set():
                    try:
                        os.read(watch, 4096)
                    except BlockingIOError:
                        continue
                    file.write(BAD)
                    return
        except FileNotFoundError:
            pass  # it was faster
        finally:
            os.close(watch)
