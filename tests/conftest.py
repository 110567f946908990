"""What every test gets: scratch directories, a clean environment, and a check that it leaves nothing behind.

Fixtures for tests of any topic:

- `scratch`: an empty directory with a short name (unix sockets have room for 107 bytes), removed afterwards.
- `environ`: an environment in which all directories of Nix lie below `scratch`; for `load_config` and subprocesses.
  Commands mount nothing in it for the sake of paths that they print; `builder/` does for builds that need it.
- `config`: the `Config` of that environment.
- `run`: runs one of our commands in that environment, as in `run("nix-store", "-q", "--hash", path).stdout`.
- `run_as`: the same as an ordinary user, on a machine that lacks things: see `tests.ordinary_user`; for root only.
- `real_nix`: real Nix 2.8 on the same logical store directory, for oracle tests; skips where there is none.
- `expects_warnings`: the WARNING records logged so far; asking for it allows them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import settings

from storefs import logs
from storefs.config import Config, load_config
from tests import isolation, leaks, ordinary_user
from tests.oracle.real_nix import RealNix, why_no_real_nix

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
# Our own: an ordinary user's tests see the mounts of others, such as another worker's, and answer for theirs alone.
SCRATCH_PREFIX = f"vg-{os.getpid()}-"

settings.register_profile("default", derandomize=True, database=None, deadline=None, max_examples=50)
settings.register_profile("deep", database=None, deadline=None, max_examples=5000)

_namespaces_are_ours = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="run long randomised and endurance tests, with fresh seeds")


def pytest_configure(config: pytest.Config) -> None:
    global _namespaces_are_ours  # noqa: PLW0603  a fact about the process
    isolation.clean_environment()
    isolation.usual_signals()
    isolation.refuse_network()
    _namespaces_are_ours = isolation.own_namespaces()
    if _namespaces_are_ours:
        isolation.open_way_to(ordinary_user.ROOT)
    leaks.adopt_orphans()
    settings.load_profile("deep" if config.getoption("--deep") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {
        "deep": None if config.getoption("--deep") else "long; --deep runs it",
        "root": None if os.geteuid() == 0 else "needs root",
        "fuse": _why_no_fuse(),
        "oracle": why_no_real_nix(),
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_fuse() -> str | None:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/fuse can't be opened: {error.strerror}"
    return None


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []
        self.allowed = False

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Records]:
    """Fail a test that leaves a mount, a process, a descriptor or a warning.

    What is shown is set back: a program or a connection that runs in this process sets it for good, as it may.
    """
    shown = {name: getattr(logs.sink, name) for name in logs.sink.__slots__}
    handler = _Records()
    logging.getLogger().addHandler(handler)
    environment = dict(os.environ)
    ours = (str(tmp_path_factory.getbasetemp()), f"{tempfile.gettempdir()}/{SCRATCH_PREFIX}")
    before = leaks.Snapshot(None if _namespaces_are_ours else ours)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)
        for name, value in shown.items():
            setattr(logs.sink, name, value)
        left = before.leaks()
        changed = {
            name for name in environment.keys() | os.environ.keys() if environment.get(name) != os.environ.get(name)
        }
        left += [f"environment variable {name}" for name in sorted(changed - {"PYTEST_CURRENT_TEST"})]
        if not handler.allowed:
            left += [f"log record {record.levelname}: {record.getMessage()}" for record in handler.records]
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def expects_warnings(_leaves_nothing: _Records) -> list[logging.LogRecord]:
    """The WARNING records logged so far; a test that asks for them is not failed because of them."""
    _leaves_nothing.allowed = True
    return _leaves_nothing.records


@pytest.fixture
def scratch(_leaves_nothing: _Records) -> Iterator[Path]:
    """An empty directory with a short name, removed after the test whatever modes the test gave to what is in it."""
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
    try:
        yield folder
    finally:
        remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove a directory with read-only directories in it."""
    with contextlib.suppress(FileNotFoundError):
        for parent, names, _ in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def environ(scratch: Path) -> dict[str, str]:
    """An environment that keeps all of Nix's directories below `scratch`."""
    home = scratch / "home"
    home.mkdir()
    return {
        "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "NIX_STORE_DIR": f"{scratch}/store",
        "NIX_STATE_DIR": f"{scratch}/state",
        "NIX_LOG_DIR": f"{scratch}/log",
        "NIX_CONF_DIR": f"{scratch}/etc",
        "NIX_CONFIG": "substituters =\nbuild-users-group =\nauto-mount = false\n",
    }


@pytest.fixture
def config(environ: dict[str, str]) -> Config:
    """The configuration of `environ`."""
    return load_config(environ)


class Runner(Protocol):
    def __call__(
        self, program: str, *arguments: str | Path, status: int | None = 0, stdin: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run(environ: dict[str, str], scratch: Path) -> Runner:
    """Run one of our commands as a user would; checks the exit status (None: any) and decodes what it printed."""

    def call(
        program: str, *arguments: str | Path, status: int | None = 0, stdin: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        words = [str(BIN / program), *map(str, arguments)]
        return _finish(words, environ | variables, scratch, status, stdin)

    return call


class UserRunner(Protocol):
    def __call__(
        self,
        program: str,
        *arguments: str | Path,
        status: int | None = 0,
        uid: int = ...,
        fuse: int | None = 0o666,
        without: tuple[str, ...] = (),
        namespaces: bool = True,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run_as(environ: dict[str, str], scratch: Path) -> UserRunner:
    """Like `run`, as an ordinary user who owns `scratch`. Tests that use it are marked `root`."""
    for folder in (scratch, scratch / "home"):
        os.chown(folder, ordinary_user.UID, ordinary_user.UID)

    def call(
        program: str,
        *arguments: str | Path,
        status: int | None = 0,
        uid: int = ordinary_user.UID,
        fuse: int | None = 0o666,
        without: tuple[str, ...] = (),
        namespaces: bool = True,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        words = [str(BIN / program) if (BIN / program).exists() else program, *map(str, arguments)]
        words = ordinary_user.command_line(words, uid=uid, fuse=fuse, without=without, namespaces=namespaces)
        return _finish(words, environ | variables, scratch, status, "")

    return call


def _finish(
    words: list[str], environ: dict[str, str], folder: Path, status: int | None, stdin: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words,
        env=environ,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        cwd=folder,
        timeout=300,
        check=False,
    )
    assert status is None or done.returncode == status, (
        f"{shlex.join(words)} ended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}"
    )
    return done


@pytest.fixture
def real_nix(scratch: Path, environ: dict[str, str]) -> RealNix:
    """Real Nix 2.8 with the same logical store directory as `environ`, everything physical apart from ours."""
    if reason := why_no_real_nix():
        pytest.skip(reason)
    return RealNix(scratch / "real-nix", environ["NIX_STORE_DIR"])
