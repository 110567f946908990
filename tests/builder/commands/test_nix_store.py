"""`nix-store` as users type it, beside real Nix where the output is Nix's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Runner
from tests.oracle.real_nix import RealNix


@pytest.fixture
def tree(scratch: Path) -> Path:
    top = scratch / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "run").write_bytes(b"#!/bin/sh\necho hi\n")
    (top / "run").chmod(0o755)
    (top / "sub" / "large").write_bytes(os.urandom(50_000))
    (top / "link").symlink_to("sub/large")
    return top


def pipe(environ: dict[str, str], *arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run([BIN / "nix-store", *arguments], env=environ, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.slow
@pytest.mark.oracle
def test_adding_gives_the_paths_of_nix(run: Runner, real_nix: RealNix, tree: Path) -> None:
    theirs = real_nix.line("nix-store", "--add", str(tree))
    assert run("nix-store", "--add", tree).stdout.strip() == theirs
    for query in ("--hash", "--size", "--references", "--requisites", "--referrers", "--deriver", "--tree", "--graph"):
        expected = real_nix.run("nix-store", "-q", query, theirs).decode()
        assert run("nix-store", "-q", query, theirs).stdout == expected, query
    file = tree / "sub" / "large"
    for algo in ("sha256", "sha1", "md5", "sha512"):
        for flags in ([], ["--recursive"]):
            theirs = real_nix.line("nix-store", "--add-fixed", *flags, algo, str(file))
            assert run("nix-store", "--add-fixed", *flags, algo, file).stdout.strip() == theirs


def test_only_a_file_has_a_flat_hash(run: Runner, scratch: Path) -> None:
    """Row D3."""
    (scratch / "file").write_text("x")
    (scratch / "link").symlink_to("file")
    for source in (scratch, scratch / "link"):
        assert "no regular file" in run("nix-store", "--add-fixed", "sha256", source, status=1).stderr


@pytest.mark.slow
@pytest.mark.oracle
def test_exports_travel_both_ways(run: Runner, real_nix: RealNix, environ: dict[str, str], tree: Path) -> None:
    base = run("nix-store", "--add", tree).stdout.strip()
    expression = f'builtins.toFile "text" "see ${{builtins.storePath "{base}"}}"'
    theirs_tree = real_nix.line("nix-store", "--add", str(tree))
    text = real_nix.line("nix-instantiate", "--eval", "--read-write-mode", "-E", expression).strip('"')
    exported = real_nix.run("nix-store", "--export", text, theirs_tree)
    run("nix-store", "--gc")
    assert pipe(environ, "--import", stdin=exported).decode().split() == [theirs_tree, text]
    assert run("nix-store", "-qR", text).stdout.split() == [theirs_tree, text]
    assert pipe(environ, "--export", theirs_tree, text) == exported
    real_nix.run("nix-store", "--delete", text, theirs_tree)
    back = real_nix.run("nix-store", "--import", stdin=pipe(environ, "--export", theirs_tree, text))
    assert back.decode().split() == [theirs_tree, text]


@pytest.mark.slow
def test_broken_imports_register_nothing(run: Runner, environ: dict[str, str], tree: Path) -> None:
    path = run("nix-store", "--add", tree).stdout.strip()
    exported = pipe(environ, "--export", path)
    run("nix-store", "--delete", path)
    for broken in (exported[:-20], exported[:100], b"\1" + bytes(7) + b"nonsense" * 10, b"\2" + exported[1:], b""):
        done = subprocess.run(
            [BIN / "nix-store", "--import"], env=environ, input=broken, capture_output=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.decode().startswith("error: ")
        assert "Traceback" not in done.stderr.decode()
        assert run("nix-store", "--dump-db").stdout == ""


@pytest.mark.slow
def test_dump_and_restore_are_inverse(run: Runner, environ: dict[str, str], tree: Path, scratch: Path) -> None:
    nar = pipe(environ, "--dump", str(tree))
    pipe(environ, "--restore", str(scratch / "copy"), stdin=nar)
    subprocess.run(["diff", "-r", "--no-dereference", tree, scratch / "copy"], check=True)
    assert os.access(scratch / "copy" / "run", os.X_OK)
    assert pipe(environ, "--dump", str(scratch / "copy")) == nar
    refused = subprocess.run(
        [BIN / "nix-store", "--restore", scratch / "copy"], env=environ, input=nar, capture_output=True, check=False
    )
    assert refused.returncode == 1
    assert b"File exists" in refused.stderr


@pytest.mark.slow
def test_what_is_in_the_store_is_dumped_without_a_mount(environ: dict[str, str], run: Runner, tree: Path) -> None:
    path = run("nix-store", "--add", tree).stdout.strip()
    assert not os.path.exists(path)
    assert pipe(environ, "--dump", path) == pipe(environ, "--dump", str(tree))
    assert pipe(environ, "--dump", f"{path}/sub/large") == pipe(environ, "--dump", str(tree / "sub" / "large"))


@pytest.mark.slow
@pytest.mark.oracle
def test_databases_travel(run: Runner, real_nix: RealNix, environ: dict[str, str], tree: Path, scratch: Path) -> None:
    theirs = real_nix.line("nix-store", "--add", str(tree))
    dumped = real_nix.run("nix-store", "--dump-db")
    # a store of another program is taken over from its files and its records
    store = Path(environ["NIX_STORE_DIR"])
    store.mkdir()
    subprocess.run(["cp", "-a", real_nix.physical(theirs), store], check=True)
    pipe(environ, "--load-db", stdin=dumped)
    assert run("nix-store", "--dump-db").stdout == dumped.decode()
    assert run("nix-store", "-q", "--hash", theirs).stdout == real_nix.run("nix-store", "-q", "--hash", theirs).decode()
    run("nix-store", "--verify-path", theirs)


@pytest.mark.slow
def test_many_paths_with_one_hash_part(run: Runner, environ: dict[str, str]) -> None:
    """Upstream's referrers test registers hundreds of names behind one hash part."""
    store = Path(environ["NIX_STORE_DIR"])
    store.mkdir()
    count = 300
    paths = [f"{store}/{'a' * 32}-{number}" for number in range(count)]
    lines = []
    for number, path in enumerate(paths):
        Path(path).touch()
        lines.append(f"{path}\n\n1\n{paths[min(number + 1, count - 1)]}\n")
    pipe(environ, "--register-validity", stdin="".join(lines).encode())
    assert len(run("nix-store", "-q", "--referrers-closure", paths[-1]).stdout.split()) == count
    assert run("nix-store", "-q", "--references", paths[5]).stdout.split() == [paths[6]]
    run("nix-store", "--gc")
    assert run("nix-store", "--dump-db").stdout == ""


@pytest.mark.slow
def test_wrong_use_is_one_clear_line(run: Runner, scratch: Path) -> None:
    missing = f"{scratch}/store/{'0' * 32}-x"
    for arguments, status, message in (
        ([], 1, "no operation specified"),
        (["--gc", "--query"], 1, "only one operation may be specified"),
        (["--optimise", "x"], 1, "no arguments expected"),
        (["-q", "--hash", missing], 1, "is not valid"),
        (["-q", "--hash", "/etc"], 1, "is not in the Nix store"),
        (["-q", "--hash", "--size", missing], 1, "conflicts with earlier flag"),
        (["--add", f"{scratch}/missing"], 1, "cannot read"),
        (["--add-fixed", "sha3", "x"], 1, "unknown hash algorithm"),
        (["--print-fixed-path", "sha256"], 1, "requires three arguments"),
        (["--check-validity", missing], 1, "is not valid"),
        (["--verify-path", missing], 1, "is not valid"),
        (["--dump"], 1, "only one argument allowed"),
        (["--max-freed", "lots", "--gc"], 1, "a whole number"),
    ):
        done = run("nix-store", *arguments, status=status)
        assert message in done.stderr, arguments
        assert len(done.stderr.strip().splitlines()) == 1
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_validity_is_checked(run: Runner, tree: Path, scratch: Path) -> None:
    path = run("nix-store", "--add", tree).stdout.strip()
    missing = f"{scratch}/store/{'0' * 32}-x"
    assert run("nix-store", "--check-validity", "--print-invalid", path, missing).stdout == missing + "\n"
    link = scratch / "link"
    link.symlink_to(path)
    assert run("nix-store", "-q", "--resolve", link).stdout == path + "\n"


@pytest.mark.slow
def test_roots_and_collection(run: Runner, tree: Path, scratch: Path) -> None:
    path = run("nix-store", "--add", tree).stdout.strip()
    assert run("nix-store", "--gc", "--print-dead").stdout == path + "\n"
    result = scratch / "result"
    assert run("nix-store", "-r", path, "--add-root", result).stdout == f"{result}\n"
    assert run("nix-store", "--gc", "--print-live").stdout == path + "\n"
    assert f"{result} -> {path}\n" in run("nix-store", "--gc", "--print-roots").stdout
    assert f"{result} -> {path}\n" in run("nix-store", "-q", "--roots", path).stdout
    shown = run("verglas", "why-alive", path).stdout
    assert shown.startswith(f"{result}\n")
    assert path in shown
    assert "still alive" in run("nix-store", "--delete", path, status=1).stderr
    result.unlink()
    assert run("nix-store", "--gc").stdout.startswith("1 store paths deleted, ")
    assert "kept by nothing" not in run("verglas", "why-alive", path, status=1).stdout
