"""Mirrors of repositories when several evaluations want one at once, and when one of them is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


class SlowRepository:
    """A repository of another machine, which answers when it is told to.

    Args:
        kind: 'git' or 'hg'.
        scratch: where it and the program that asks it lie; the program waits in a first fetch until `answer`.
    """

    def __init__(self, kind: str, scratch: Path, environ: dict[str, str]) -> None:
        self.kind = kind
        self.source = scratch / "source"
        self.log = scratch / "fetches"
        self.environ = {**environ, "PATH": f"{scratch}/bin:{environ['PATH']}", "_NIX_FORCE_HTTP": "1"}
        self._begun, self._go = scratch / "begun", scratch / "go"
        self._users: list[subprocess.Popen[str]] = []
        for pipe in (self._begun, self._go):
            os.mkfifo(pipe)
        self.source.mkdir()
        (self.source / "file").write_text("content")
        identity = ["-c", "user.name=n", "-c", "user.email=n"] if kind == "git" else ["--config", "ui.username=n"]
        for words in (["init"], ["add", "file"], ["commit", "-m", "first"]):
            subprocess.run([kind, *identity, *words], cwd=self.source, capture_output=True, check=True)
        (scratch / "bin").mkdir()
        program = scratch / "bin" / kind
        program.write_text(
            "#!/bin/sh\n"
            'for word; do case "$word" in fetch | clone | pull) fetches=yes ;; esac; done\n'
            'if [ -n "$fetches" ]; then\n'
            f"    echo fetch >> {self.log}\n"
            f"    if mkdir {scratch}/asked 2>/dev/null; then echo > {self._begun}; read -r go < {self._go}; fi\n"
            "fi\n"
            f'exec {shutil.which(kind)} "$@"\n'
        )
        program.chmod(0o755)

    def close(self) -> None:
        """End everybody who still uses it."""
        for user in self._users:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(user.pid, signal.SIGKILL)
            user.communicate()

    def use(self, *options: str) -> subprocess.Popen[str]:
        """Start to evaluate an expression that reads the file in it."""
        fetch = "fetchGit" if self.kind == "git" else "fetchMercurial"
        expression = f'builtins.readFile (builtins.{fetch} {{ url = "file://{self.source}"; name = "x"; }} + "/file")'
        if self.kind == "hg":
            expression = expression.replace("name =", 'rev = "default"; name =')
        user = subprocess.Popen(
            [BIN / "nix-instantiate", "--eval", "-E", expression, *options],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._users.append(user)
        return user

    def wait_for_a_fetch(self) -> None:
        """Wait until the first fetch has begun."""
        self._begun.read_text()

    def answer(self) -> None:
        """Let it end."""
        self._go.write_text("\n")

    @property
    def mirror(self) -> Path:
        """Where it is mirrored."""
        url = f"file://{self.source}" if self.kind == "git" else str(self.source)
        return Path(self.environ["HOME"], ".cache/verglas", self.kind, hashlib.sha256(url.encode()).hexdigest())


@pytest.fixture(params=["git", "hg"])
def repository(request: pytest.FixtureRequest, scratch: Path, environ: dict[str, str]) -> Iterator[SlowRepository]:
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    repository = SlowRepository(request.param, scratch, environ)
    yield repository
    repository.close()


def wait_until_it_waits(user: subprocess.Popen[str]) -> None:
    assert user.stderr is not None
    assert user.stderr.readline().startswith("waiting until somebody else has fetched '")


def ends_well(user: subprocess.Popen[str]) -> None:
    out, err = user.communicate(timeout=60)
    assert (user.returncode, out) == (0, '"content"\n'), err


@pytest.mark.parametrize("options", [(), ("--refresh",)])
def test_one_fetches_for_all(repository: SlowRepository, options: tuple[str, ...]) -> None:
    first = repository.use(*options)
    repository.wait_for_a_fetch()
    others = [repository.use(*options) for _ in range(4)]
    for other in others:
        wait_until_it_waits(other)
    repository.answer()
    for user in (first, *others):
        ends_well(user)
    # Who wants what is there now, and not what was there when the first one asked, is served by the second.
    assert repository.log.read_text() == "fetch\n" * (2 if options else 1)


def test_a_fetch_goes_on_without_who_wanted_it(repository: SlowRepository) -> None:
    first = repository.use()
    repository.wait_for_a_fetch()
    first.kill()
    second = repository.use()
    wait_until_it_waits(second)
    repository.answer()
    ends_well(second)


def test_a_first_fetch_that_was_killed_is_begun_anew(repository: SlowRepository) -> None:
    first = repository.use()
    repository.wait_for_a_fetch()
    half = repository.mirror if repository.kind == "git" else repository.mirror / ".hg"
    half.mkdir(parents=True, exist_ok=True)
    for name in ("HEAD", "config", "requires"):
        (half / name).write_text("")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    ends_well(repository.use())


def test_a_repository_that_is_gone_for_now(repository: SlowRepository) -> None:
    first = repository.use()
    repository.wait_for_a_fetch()
    repository.answer()
    ends_well(first)
    repository.source.rename(repository.source.with_name("away"))
    ends_well(repository.use())
    out, err = repository.use("--refresh").communicate(timeout=60)
    if repository.kind == "git":  # Mercurial's is an error, as with Nix
        assert out == '"content"\n'
        assert err.startswith(f"warning: could not update local clone of Git repository 'file://{repository.source}'; ")
    else:
        assert err.startswith("error: program 'hg' failed with exit code 255: ")


def test_locks_that_a_killed_git_has_left(repository: SlowRepository) -> None:
    first = repository.use()
    repository.wait_for_a_fetch()
    repository.answer()
    ends_well(first)
    if repository.kind == "git":
        for name in ("HEAD.lock", "packed-refs.lock", "refs/heads/new.lock", "objects/pack/tmp_pack_x"):
            (repository.mirror / name).write_text("")
        subprocess.run(["git", "branch", "new"], cwd=repository.source, check=True)
    ends_well(repository.use("--refresh"))
    if repository.kind == "git":
        assert not (repository.mirror / "objects/pack/tmp_pack_x").exists()
