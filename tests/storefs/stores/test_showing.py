"""What commands print can be opened: with the store mounted nowhere, for root and for ordinary users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.stores.mount_table import store_mounts
from tests.conftest import BIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Runner, UserRunner

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.slow]

EXPRESSION = """derivation {
    name = "shown"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo built > $out" ];
}"""


@pytest.fixture
def mounting(environ: dict[str, str], run: Runner) -> Iterator[dict[str, str]]:
    """The environment of a user who has no settings, with a store that was never mounted."""
    environ["NIX_CONFIG"] = environ["NIX_CONFIG"].replace("auto-mount = false\n", "")
    yield environ
    run("verglas", "umount", "--lazy", status=None)


@pytest.fixture
def shown(run: Runner, scratch: Path, mounting: dict[str, str]) -> dict[str, str]:
    """A source, a derivation and its output, none of which can be seen."""
    (scratch / "source").write_text("source\n")
    (scratch / "shown.nix").write_text(EXPRESSION)
    quiet = ("--option", "auto-mount", "false")
    paths = {
        "source": run("nix-store", "--add", scratch / "source", *quiet).stdout.strip(),
        "derivation": run("nix-instantiate", scratch / "shown.nix", *quiet).stdout.strip(),
        "output": run("nix-build", "--no-out-link", scratch / "shown.nix", *quiet).stdout.strip(),
    }
    run("verglas", "umount", status=None)  # the build may have needed one
    assert not any(map(os.path.exists, paths.values()))
    return paths


@pytest.mark.parametrize(
    "words",
    [
        ("nix-build", "--no-out-link", "shown.nix"),
        ("nix-store", "-r", "{derivation}"),
        ("nix-store", "--add", "source"),
        ("nix-store", "--add-fixed", "sha256", "source"),
        ("nix-instantiate", "shown.nix"),
        ("nix-prefetch-url", "--print-path", "file://{scratch}/source"),
        ("verglas", "build", "--no-link", "--print-out-paths", "-f", "shown.nix"),
        ("nix", "store", "add-path", "source"),
        ("nix", "store", "add-file", "source"),
        ("verglas", "make-content-addressed", "{source}"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_is_printed_is_there(run: Runner, scratch: Path, shown: dict[str, str], words: tuple[str, ...]) -> None:
    done = run(*(word.format(scratch=scratch, **shown) for word in words))
    assert Path(done.stdout.split()[-1].strip("'")).read_text() in {
        "source\n",
        "built\n",
        Path(shown["derivation"]).read_text(),
    }
    assert "can't be seen" not in done.stderr


def test_a_remembered_answer_is_there_too(run: Runner, shown: dict[str, str]) -> None:
    assert run("nix-instantiate", "shown.nix", "--option", "eval-cache", "true").stdout.strip() == shown["derivation"]
    assert os.path.exists(shown["derivation"])


def test_so_is_what_a_copy_brings(run: Runner, scratch: Path, shown: dict[str, str]) -> None:
    run("verglas", "copy", "--to", f"file://{scratch}/cache", shown["source"])
    assert not os.path.exists(shown["source"]), "nothing came here"
    run("verglas", "copy", "--from", f"file://{scratch}/cache", shown["source"])
    assert os.path.exists(shown["source"])


@pytest.mark.parametrize(
    "words", [("nix-env", "-i", "{source}"), ("verglas", "profile", "add", "--file", "p.yaml", "{source}")]
)
def test_so_are_the_programs_of_a_profile(
    run: Runner, scratch: Path, shown: dict[str, str], words: tuple[str, ...]
) -> None:
    (scratch / "tree/bin").mkdir(parents=True)
    (scratch / "tree/bin/greet").write_text("#!/bin/sh\necho hello\n")
    (scratch / "tree/bin/greet").chmod(0o755)
    tree = run("nix-store", "--add", "tree", "--option", "auto-mount", "false").stdout.strip()
    (scratch / "p.yaml").write_text("packages: []\n")
    run(*(word.format(source=tree) for word in words))
    program = scratch / "home/.nix-profile/bin/greet"
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "hello\n"


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (("nix-store", "-q", "--outputs", "{derivation}"), {}),
        (("nix-store", "--add", "source", "--option", "auto-mount", "false"), {}),
        (("nix-instantiate", "--eval", "-E", "1 + 1"), {}),
        (("nix-instantiate", "--eval", "--read-write-mode", "-E", 'builtins.toFile "a" "b"'), {}),
        (("nix-store", "--add", "source"), {"NIX_BUILD_TOP": "/build"}),
    ],
    ids=("query", "setting", "eval", "eval that writes", "inside a build"),
)
def test_who_only_asks_mounts_nothing(
    run: Runner, shown: dict[str, str], words: tuple[str, ...], variables: dict[str, str]
) -> None:
    assert not run(*(word.format(**shown) for word in words), **variables).stderr
    assert not os.path.exists(shown["source"])


def test_a_daemon_is_left_alone(run: Runner, environ: dict[str, str], shown: dict[str, str], scratch: Path) -> None:
    """It has mounted its store for all its clients, if it could; they would mount a store that is not theirs."""
    with subprocess.Popen(
        [BIN / "nix-daemon", "--stdio"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=scratch
    ) as daemon:
        assert daemon.stdin is not None
        daemon.stdin.close()
    before = store_mounts(load_config(environ).verglas_dir)
    assert before
    assert run("nix-store", "--add", "source").stdout.strip() == shown["source"]
    assert [mount.target for mount in store_mounts(load_config(environ).verglas_dir)] == [
        mount.target for mount in before
    ]


def test_pipes_are_not_held_by_the_mount(environ: dict[str, str], mounting: dict[str, str], scratch: Path) -> None:
    """Whoever reads to the end of what a command says is not kept waiting for as long as the store is mounted."""
    (scratch / "source").write_text("source\n")
    done = subprocess.run(
        ["sh", "-c", f"{BIN}/nix-store --add source 2>&1 | cat; echo over"],
        env=environ, cwd=scratch, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("-source\nover\n")
    assert os.path.exists(done.stdout.split()[0])


class TestWhereItCannotBeMounted:
    """The command does what it is there for all the same, and says it once."""

    def test_without_the_device(self, run_as: UserRunner, scratch: Path, mounting: dict[str, str]) -> None:
        (scratch / "one").write_text("1")
        (scratch / "two").write_text("2")
        done = run_as("nix-store", "--add", "one", "two", fuse=None)
        assert len(done.stdout.splitlines()) == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"warning: the files in '{scratch}/store' can't be seen: mounting it takes /dev/fuse")

    def test_in_a_container_without_privileges(
        self, run_as: UserRunner, scratch: Path, mounting: dict[str, str]
    ) -> None:
        (scratch / "one").write_text("1")
        words = ["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", str(BIN / "nix-store"), "--add", "one"]
        done = run_as(shutil.which("setpriv") or "setpriv", *words, uid=0, fuse=0o600, namespaces=False)
        assert done.stdout.endswith("-one\n")
        (line,) = done.stderr.splitlines()
        assert line == (
            f"warning: the files in '{scratch}/store' can't be seen: mounting it takes CAP_SYS_ADMIN, which root does "
            "not have here ('auto-mount = false' stops trying)"
        )

    def test_ordinary_users_are_told_on_a_terminal(
        self, run_as: UserRunner, environ: dict[str, str], scratch: Path, mounting: dict[str, str]
    ) -> None:
        (scratch / "one").write_text("1")
        environ["NIX_STORE_DIR"] = "/somebody-elses/store"
        assert run_as("nix-store", "--add", "one").stderr == ""
        terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:], stdin_read=lambda fd: b''))"
        done = run_as(sys.executable, "-c", terminal, BIN / "nix-store", "--add", "one")
        path, line = sorted(done.stdout.replace("\r", "").splitlines())
        assert path.endswith("-one")
        assert line == (
            "the files in '/somebody-elses/store' can't be seen there by everybody; "
            "'verglas run' and 'verglas shell' show them"
        )
