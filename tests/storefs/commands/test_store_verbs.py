"""The `verglas` verbs of the store, and `nix-hash`, as users type them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Runner
from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.slow


@pytest.fixture
def tree(scratch: Path) -> Path:
    top = scratch / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "run").write_bytes(b"#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "sub" / "large").write_bytes(b"x" * 50_000)
    (top / "link").symlink_to("sub/large")
    return top


@pytest.mark.oracle
def test_listing_looks_as_with_nix(run: Runner, real_nix: RealNix, tree: Path) -> None:
    theirs = real_nix.line("nix-store", "--add", str(tree))
    assert run("verglas", "add-path", tree).stdout.strip() == theirs
    for flags in ([], ["-R"], ["-l"], ["-lR"], ["-d"]):
        words = [word for flag in flags for word in ([f"-{letter}" for letter in flag[1:]])]
        expected = real_nix.run("nix", "store", "ls", *words, theirs).decode()
        assert run("verglas", "ls", *flags, theirs).stdout == expected, flags
    expected = json.loads(real_nix.run("nix", "store", "ls", "--json", "-R", theirs))
    assert _without_offsets(json.loads(run("verglas", "ls", "--json", "-R", theirs).stdout)) == _without_offsets(
        expected
    )
    assert run("verglas", "cat", f"{theirs}/run").stdout == "#!/bin/sh\n"
    assert "does not exist" in run("verglas", "cat", f"{theirs}/nothing", status=1).stderr
    assert "not a regular file" in run("verglas", "cat", f"{theirs}/sub", status=1).stderr


def _without_offsets(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_offsets(inner) for key, inner in value.items() if key != "narOffset"}
    return value


@pytest.mark.oracle
def test_hashes_are_those_of_nix(run: Runner, real_nix: RealNix, tree: Path) -> None:
    file = str(tree / "sub" / "large")
    for flags in (
        [str(tree)],
        ["--type", "sha256", "--base32", str(tree)],
        ["--type", "sha512", file],
        ["--flat", "--type", "sha1", file],
        ["--flat", "--type", "sha256", "--base32", "--truncate", file],
        ["--type", "sha256", "--to-base16", "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"],
        ["--type", "sha1", "--to-base32", "e4fd8ba5f7bbeaea5ace89fe10255536cd60dab6"],
    ):
        assert run("nix-hash", *flags).stdout == real_nix.run("nix-hash", *flags).decode(), flags
    for flags in (["file", file], ["path", str(tree)], ["file", "--base32", "--type", "sha512", file]):
        assert run("nix", "hash", *flags).stdout == real_nix.run("nix", "hash", *flags).decode(), flags


def test_what_is_registered_is_shown(run: Runner, tree: Path) -> None:
    path = run("verglas", "add-path", tree).stdout.strip()
    assert run("verglas", "add-path", "--dry-run", tree).stdout.strip() == path
    assert run("verglas", "path-info", path).stdout == path + "\n"
    (row,) = json.loads(run("verglas", "path-info", "--json", "-S", path).stdout)
    size = int(run("nix-store", "-q", "--size", path).stdout)
    assert row["narSize"] == row["closureSize"] == size
    assert row["narHash"].startswith("sha256-")
    assert row["ca"].startswith("fixed:r:sha256:")
    assert f"{size:>11}" in run("verglas", "path-info", "-s", path).stdout
    assert "K" in run("verglas", "path-info", "-sH", path).stdout
    assert run("verglas", "path-info", "--all").stdout == path + "\n"


def test_a_damaged_store_is_found_and_named(run: Runner, tree: Path, environ: dict[str, str]) -> None:
    path = run("verglas", "add-path", tree).stdout.strip()
    run("verglas", "verify")
    run("verglas", "verify", path)
    run("nix-store", "--verify", "--check-contents")
    (blob,) = (Path(environ["NIX_STATE_DIR"]) / "verglas" / "blobs").glob("*/*")
    blob.chmod(0o600)
    blob.write_bytes(b"y" * 50_000)
    run("verglas", "verify", "--quick")
    for command in (["verglas", "verify"], ["verglas", "verify", path], ["nix-store", "--verify-path", path]):
        done = run(*command, status=1)
        assert f"path '{path}' was modified! expected hash 'sha256:" in done.stderr
        assert f"'{path}/sub/large' are damaged" in done.stderr
    blob.unlink()
    assert "disappeared, removing from database" in run("verglas", "verify", "--quick").stderr


def test_sharing_is_reported(run: Runner, tree: Path, scratch: Path) -> None:
    run("verglas", "add-path", tree)
    (scratch / "again").write_bytes(b"x" * 50_000)
    run("verglas", "add-file", scratch / "again")
    assert run("nix-store", "--optimise").stderr.startswith("0.00 MiB freed by hard-linking 0 files\n")
    assert "saves 0.05 MiB" in run("verglas", "optimise").stderr
    assert os.listdir(scratch / "state" / "verglas" / "tmp") == []


def test_collecting_has_a_dry_run(run: Runner, tree: Path) -> None:
    path = run("verglas", "add-path", tree).stdout.strip()
    assert run("verglas", "gc", "--dry-run").stdout == path + "\n"
    assert run("verglas", "gc", "--max", "0").stdout == "0 store paths deleted, 0.00 MiB freed\n"
    assert run("verglas", "delete", path).stdout.startswith("1 store paths deleted")
    assert run("nix-collect-garbage").stdout.startswith("0 store paths deleted")


def test_why_alive_explains_itself_to_programs(run: Runner, tree: Path, scratch: Path) -> None:
    path = run("verglas", "add-path", tree).stdout.strip()
    run("nix-store", "-r", path, "--add-root", scratch / "result")
    (row,) = json.loads(run("verglas", "why-alive", "--json", path).stdout)
    assert row == {"path": path, "alive": True, "roots": [f"{scratch}/result"], "rootPath": path, "chain": []}


def test_chroot_stores_have_the_same_paths(run: Runner, tree: Path, scratch: Path) -> None:
    one = run("nix-store", "--store", f"{scratch}/root", "--add", tree).stdout
    two = run("nix-store", "--add", tree, NIX_REMOTE=f"{scratch}/other").stdout
    assert one == two
    assert (scratch / "root" / "nix" / "var" / "nix" / "verglas").is_dir()
    assert (scratch / "other" / "nix" / "var" / "nix" / "verglas").is_dir()
    assert not (scratch / "state").exists()
