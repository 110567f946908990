"""Commands on stores that are named by a URI: binary caches, other machines, other directories."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.formats.path_info import PathInfo
from storefs.formats.signatures import SecretKey
from storefs.stores.local import LocalStore

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
