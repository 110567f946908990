"""Commands on stores that are named by a URI: binary caches, other machines, other directories."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.formats.path_info import PathInfo
from storefs.formats.signatures import SecretKey
from storefs.stores.local import LocalStore
from tests.conftest import BIN

if TYPE_CHECKING:
    from pathlib import Path

    from storefs.config import Config
    from tests.conftest import Runner


@pytest.fixture
def hello(run: Runner, scratch: Path) -> str:
    (scratch / "hello").write_text("hello\n")
    return run("nix-store", "--add", scratch / "hello").stdout.strip()


@pytest.fixture
def key(scratch: Path) -> SecretKey:
    secret = SecretKey.generate("here-1")
    (scratch / "secret").write_text(secret.to_string())
    return secret


def test_a_binary_cache_is_a_store_to_add_to_and_to_ask(run: Runner, scratch: Path) -> None:
    cache = f"file://{scratch}/cache"
    (scratch / "file").write_text("text")
    added = run("nix", "--store", cache, "store", "add-file", scratch / "file").stdout.strip()
    assert not (scratch / "store" / os.path.basename(added)).exists()
    info = json.loads(run("nix", "path-info", "--store", cache, "--json", added).stdout)
    assert [each["path"] for each in info] == [added]
    assert info[0]["ca"].startswith("fixed:sha256:")
    assert run("nix", "path-info", "--store", cache, "--all").stdout == added + "\n"
    (scratch / "builder.sh").write_text("echo")
    inner = f'derivation {{ name = "i"; system = "s"; builder = {scratch}/builder.sh; }}'
    outer = f'derivation {{ name = "d"; system = "s"; builder = "b"; input = {inner}; }}'
    drv = run("nix-instantiate", "--store", cache, "-E", outer)
    assert run("nix", "path-info", "--store", cache, "--derivation", drv.stdout.strip()).stdout == drv.stdout
    missing = added.replace("-file", "-lost")
    assert "is not valid" in run("nix", "path-info", "--store", cache, missing, status=1).stderr


def test_signatures_are_added_to_a_binary_cache(run: Runner, scratch: Path, hello: str, key: SecretKey) -> None:
    cache = f"file://{scratch}/cache"
    run("nix", "copy", "--to", cache, hello)
    run("nix", "store", "sign", "--store", cache, "-k", scratch / "secret", hello)
    (info,) = json.loads(run("nix", "path-info", "--store", cache, "--json", hello).stdout)
    assert [text.partition(":")[0] for text in info["signatures"]] == ["here-1"]


def test_verify_counts_signatures(run: Runner, scratch: Path, config: Config, key: SecretKey) -> None:
    with LocalStore(config) as store:
        path = add_input_addressed(store)
    keys = ("--trusted-public-keys", key.public_key())
    verify = ("nix", "store", "verify", path)
    run(*verify, status=2)
    run(*verify, "--no-trust")
    run("nix", "store", "sign", "-k", scratch / "secret", path)
    run(*verify, status=2)
    run(*verify, *keys)
    run(*verify, *keys, "--sigs-needed", "2", status=2)
    assert "takes a number" in run(*verify, "-n", "x", status=1).stderr
    run("verglas", "verify", path)
    run("verglas", "verify", path, "--sigs-needed", "1", status=2)


def add_input_addressed(store: LocalStore) -> str:
    path = store.directory.parse(f"{store.directory.path}/{'a' * 32}-unsigned")
    with store.intake() as intake:
        tree = intake.add_bytes(b"content")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    return store.directory.print(path)


def test_another_store_believes_only_signatures_and_names(
    run: Runner, scratch: Path, config: Config, key: SecretKey, expects_warnings: object
) -> None:
    with LocalStore(config) as store:
        path = add_input_addressed(store)
    copy = ("nix", "copy", path, "--to")
    assert "does not have a valid signature" in run(*copy, scratch / "one", status=1).stderr
    run(*copy, f"{scratch}/two?require-sigs=false")
    run("nix", "store", "sign", "-k", scratch / "secret", path)
    run(*copy, scratch / "three", "--trusted-public-keys", key.public_key())
    # What it was built by is not copied with it.
    run("nix", "store", "verify", path, "--store", scratch / "three", status=2)


@pytest.mark.parametrize(("algo", "recursive"), [("md5", False), ("sha256", False), ("sha512", True)])
def test_what_is_named_by_its_content_is_believed_and_compared(
    run: Runner, scratch: Path, algo: str, recursive: bool, expects_warnings: object
) -> None:
    (scratch / "file").write_text("text")
    words = ["--recursive"] if recursive else []
    path = run("nix-store", "--add-fixed", *words, algo, scratch / "file").stdout.strip()
    cache = scratch / "cache"
    run("nix", "copy", "--to", f"file://{cache}?compression=none", path)
    run("nix", "copy", "--from", f"file://{cache}", path, NIX_STATE_DIR=f"{scratch}/fresh")
    assert run("verglas", "cat", path, NIX_STATE_DIR=f"{scratch}/fresh").stdout == "text"

    # A NAR with other content, and a narinfo that has its hash: only the name tells.
    (nar,) = (cache / "nar").iterdir()
    nar.write_bytes(nar.read_bytes().replace(b"text", b"evil"))
    (narinfo,) = cache.glob("*.narinfo")
    lines = [line for line in narinfo.read_text().splitlines() if not line.startswith(("NarHash", "FileHash"))]
    lines.append(f"NarHash: sha256:{hashlib.sha256(nar.read_bytes()).hexdigest()}")
    narinfo.write_text("\n".join(lines) + "\n")
    refused = run("nix", "copy", "--from", f"file://{cache}", path, status=None, NIX_STATE_DIR=f"{scratch}/other")
    assert refused.returncode != 0
    assert "ca hash mismatch importing path" in refused.stderr
    run("nix-store", "--check-validity", path, status=1, NIX_STATE_DIR=f"{scratch}/other")


def test_the_store_of_another_machine(run: Runner, scratch: Path, hello: str) -> None:
    uri = f"ssh-ng://localhost?remote-store={scratch}/remote"  # localhost is a child process, as with Nix
    try:
        run("nix", "store", "add-path", scratch / "hello", "--store", uri)
        listed = run("nix", "path-info", "--all", "--store", f"{scratch}/remote").stdout
        assert listed == hello + "\n"
        assert run("nix", "path-info", "--store", uri, hello).stdout == hello + "\n"
    finally:
        run("verglas", "umount", "--store", f"{scratch}/remote", status=None)  # its daemon mounts it for its clients


def test_a_machine_behind_another_machine(run: Runner, environ: dict[str, str], scratch: Path, hello: str) -> None:
    far = f"{scratch}/far"
    try:
        near = f"ssh://localhost?remote-store=ssh://localhost?remote-store=ssh://localhost?remote-store={far}"
        assert run("nix", "store", "add-path", scratch / "hello", "--store", near).stdout == hello + "\n"
        assert run("nix", "path-info", "--all", "--store", far).stdout == hello + "\n"
        run("nix", "copy", "--from", near, "--no-check-sigs", hello, NIX_STATE_DIR=f"{scratch}/fresh")
        assert run("verglas", "cat", hello, NIX_STATE_DIR=f"{scratch}/fresh").stdout == "hello\n"
        # Who may not write here may not write behind it.
        words = [BIN / "nix-store", "--serve", "--store", f"ssh://localhost?remote-store={far}"]
        addition = b"".join(number.to_bytes(8, "little") for number in (0x390C9DEB, 0x207, 4))
        done = subprocess.run(words, env=environ, input=addition, capture_output=True, check=False)
        assert done.returncode == 1
        assert b"may not change the store" in done.stderr
    finally:
        run("verglas", "umount", "--store", far, status=None)  # whoever serves mounts it


def test_files_in_a_binary_cache_are_read_from_its_nars(run: Runner, scratch: Path) -> None:
    tree = scratch / "tree"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir" / "file").write_text("some text")
    (tree / "run").write_text("#!")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("run")
    path = run("nix-store", "--add", tree).stdout.strip()
    cache = f"file://{scratch}/cache"
    run("nix", "copy", "--to", f"{cache}?compression=none", path)

    assert run("nix", "store", "cat", "--store", cache, f"{path}/dir/file").stdout == "some text"
    here, there = (run("nix", "store", "ls", "-lR", *words, path).stdout for words in ((), ("--store", cache)))
    assert there == here
    assert run("nix", "store", "ls", "--store", cache, f"{path}/dir/file").stdout == "file\n"
    listing = json.loads(run("nix", "store", "ls", "--json", "-R", "--store", cache, path).stdout)
    (nar,) = (scratch / "cache" / "nar").iterdir()
    offset = listing["entries"]["dir"]["entries"]["file"]["narOffset"]
    assert nar.read_bytes()[offset:][:9] == b"some text"
    assert "is not a regular file" in run("nix", "store", "cat", "--store", cache, f"{path}/dir", status=1).stderr
    assert "does not exist" in run("nix", "store", "cat", "--store", cache, f"{path}/no", status=1).stderr

    # What is kept is used when the cache has lost it, and what was changed on the way is not kept.
    kept = f"{cache}?local-nar-cache={scratch}/kept"
    content = nar.read_bytes()
    nar.write_bytes(content.replace(b"some", b"evil"))
    assert "has another hash" in run("nix", "store", "cat", "--store", kept, f"{path}/dir/file", status=1).stderr
    assert list((scratch / "kept").iterdir()) == []
    nar.write_bytes(content)
    run("nix", "store", "ls", "--store", kept, path)
    nar.unlink()
    assert run("nix", "store", "cat", "--store", kept, f"{path}/dir/file").stdout == "some text"
    assert json.loads(next((scratch / "kept").glob("*.ls")).read_text())["root"] == listing
    run("nix", "store", "cat", "--store", cache, f"{path}/dir/file", status=1)


def test_debug_information_is_indexed(run: Runner, scratch: Path) -> None:
    folder = scratch / "debug" / "lib" / "debug" / ".build-id"
    name = "623eda209c26a59b1a8638ff7752f6b945c26b.debug"
    for made in ("02", "zz"):
        (folder / made).mkdir(parents=True)
        (folder / made / name).touch()
    (folder / "02" / "short.debug").touch()
    (folder / "02" / ("f" * 38)).touch()
    path = run("nix-store", "--add", scratch / "debug").stdout.strip()
    run("nix", "copy", "--to", f"file://{scratch}/cache?index-debug-info=1&compression=none", path)
    (index,) = (scratch / "cache" / "debuginfo").iterdir()
    (nar,) = (scratch / "cache" / "nar").iterdir()
    assert index.name == "02" + name
    expected = {"archive": f"../nar/{nar.name}", "member": f"lib/debug/.build-id/02/{name}"}
    assert json.loads(index.read_text()) == expected
    assert not list((scratch / "cache").glob("*.ls"))


def test_directories_of_a_store_are_parameters_of_its_name(environ: dict[str, str], scratch: Path) -> None:
    uri = f"{scratch}/root?store=/logical&state={scratch}/s%20t&log=/l&system-features=kvm"
    config = load_config(environ, store_uri=uri)
    assert (config.root, config.store_dir, config.state_dir) == (f"{scratch}/root", "/logical", f"{scratch}/s t")
    assert config.physical_store_dir == f"{scratch}/root/nix/store"
    assert (config.log_dir, config.words("system-features")) == ("/l", ("kvm",))
    real = load_config(environ, store_uri=f"local?real={scratch}/real")
    assert (real.root, real.physical_store_dir, real.store_uri) == ("", f"{scratch}/real", "local")


def test_a_relative_directory_is_a_store(run: Runner, scratch: Path) -> None:
    (scratch / "file").write_text("text")
    path = run("nix-store", "--store", "./here", "--add", scratch / "file").stdout
    assert run("nix", "path-info", "--store", f"{scratch}/here", path.strip()).stdout == path
    assert (scratch / "here/nix/var/nix/verglas").is_dir()


def test_a_store_to_work_in_must_be_one(run: Runner, scratch: Path) -> None:
    error = run("nix-store", "--gc", "--store", f"file://{scratch}/cache", status=1).stderr
    assert error.startswith(f"error: can't work in the store 'file://{scratch}/cache'; name a directory"), error


def test_all_kinds_of_stores_are_described(run: Runner) -> None:
    stores = json.loads(run("nix", "describe-stores", "--json").stdout)
    assert stores["SSH Store"]["compress"]["defaultValue"] is False
    text = run("verglas", "describe-stores").stdout
    for name, parameters in stores.items():
        assert f"{name}: " in text
        for parameter in parameters:
            assert f"  {parameter} " in text


def test_what_was_removed_of_the_state_directory_is_made_again(run: Runner, scratch: Path, hello: str) -> None:
    for name in ("profiles", "gcroots"):
        shutil.rmtree(scratch / "state" / name)
    run("nix-store", "-q", "--hash", hello)
    assert os.readlink(scratch / "state/gcroots/profiles") == f"{scratch}/state/profiles"
    assert (scratch / "state/gcroots/auto").is_dir()
