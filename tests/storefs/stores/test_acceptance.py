"""Acceptance checks of the specification's rows on the store: those that no other test makes, and where the others are.

| rows     | shown by                                                                                                 |
|----------|----------------------------------------------------------------------------------------------------------|
| S1       | `metadata/test_environment.py`: maps that grow, dead readers; `tests/crash/test_concurrency.py`          |
| S2 S3    | `tests/crash/test_kill.py`, `test_power_cut.py`; `gc/test_collector.py`: a referrer that appears late    |
| S4 S6 O4 | here                                                                                                     |
| S5       | `tests/storefs/daemon`; in one snapshot: `tests/contracts/test_store.py`                                 |
| S7       | `metadata/test_migrations.py`                                                                            |
| S8 S9    | `tests/contracts/test_mount.py`; what is not canonical is made so: `tests/contracts/test_store.py`       |
| S10      | `castore/test_ingest.py`, `test_large_transfers.py`: in little memory; `tests/contracts/test_mount.py`   |
| S11      | `test_verify.py`: a missing size is filled in                                                            |
| S12      | `tests/contracts/test_store.py`, `test_mount.py`                                                         |
| G1 G9    | `gc/test_collector.py`: left-overs first, victims differ, cycles, chains of any length                   |
| G2 G3    | `gc/test_collector.py`, `tests/crash/test_concurrency.py`; `bench_store.py`: the slowest concurrent add  |
| G4       | `gc/test_collector.py`, `castore/test_blobs.py`: shared contents stay, nothing of the last user does     |
| G5       | `gc/test_reserve.py`                                                                                     |
| G6       | `test_verify.py`: an interrupted check or collection ends soon                                           |
| G7       | `gc/test_temp_roots.py`                                                                                  |
| G8       | `gc/test_roots.py`; durable: `tests/crash/test_power_cut.py`                                             |
| G10      | `tests/builder/test_scheduler.py`, `test_upstream_equivalents.py`                                        |
| O1 O2 O5 | `castore/test_blobs.py`, `tests/crash/test_concurrency.py`: the same contents by many, once              |
| O3       | `tests/contracts/test_mount.py`; of one that is missing: `test_verify.py`                                |
| O6       | `commands/test_store_verbs.py`, `tests/builder/commands/test_nix_store.py`                               |
| V1 V2 V3 | `test_verify.py`                                                                                         |
| V4       | `tests/crash/test_concurrency.py`: verifying beside additions and collections                            |
| V5 V6    | `test_verify.py`, `tests/contracts/test_mount.py`; killed at any call: `tests/crash/test_kill.py`        |
| V7 V9    | `tests/builder/test_upstream_equivalents.py`, `test_derivation_builder.py`                               |
| V8       | `tests/storefs/daemon`                                                                                   |
| X1       | `tests/oracle/test_real_nix.py`: exports travel both ways                                                |
| X2 X3    | `test_large_transfers.py`, `test_ssh_copy.py`                                                            |
| X4 X5    | `tests/builder/test_ssh_machines.py`, `test_derivation_builder.py`                                       |
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import Directory, EndDirectory, Regular
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import path_infos
from storefs.stores.verify import verify_store

if TYPE_CHECKING:
    from pathlib import Path

    from storefs.formats.nar import Event
    from storefs.metadata.environment import Transaction
    from storefs.stores.local import LocalStore

pytestmark = pytest.mark.slow


def path_of(number: int) -> StorePath:
    return StorePath.from_digest(hash_bytes("sha1", b"%d" % number).digest, f"p{number}")


def test_a_hash_part_is_found_at_once_among_many(local_store: LocalStore, request: pytest.FixtureRequest) -> None:
    """Row S4."""
    count = 200_000 if request.config.getoption("--deep") else 20_000
    first = local_store.add_text("first", b"x")
    info, root = local_store.path_info(first), local_store.root_inode(first)
    env = local_store.environment

    def fill(txn: Transaction) -> None:
        for number in range(count):
            path_infos.insert(env, txn, PathInfo(path_of(number), info.nar_hash, info.nar_size), root)

    env.update(fill)
    begun = time.process_time()
    for number in range(0, count, count // 100):
        assert local_store.from_hash_part(path_of(number).hash_part) == path_of(number)
    assert local_store.from_hash_part(path_of(count).hash_part) is None
    assert (time.process_time() - begun) / 100 < 0.005
    with pytest.raises(StoreError, match="invalid hash part 'abc'"):
        local_store.from_hash_part("abc")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
def test_every_directory_is_the_one_that_was_named(environ: dict[str, str], scratch: Path) -> None:
    """Row S6."""
    (scratch / "file").write_bytes(b"x")
    log = scratch / "strace"
    for words in (["nix-store", "--add", scratch / "file"], ["nix-store", "--gc"], ["nix-store", "--verify"]):
        command = ["strace", "-f", "-qq", "-o", log, "-e", "trace=%file", *words]
        subprocess.run(command, env=environ, check=True, capture_output=True)
        # What is asked for; answers may name what other processes use.
        assert re.findall(r'(?:\(|AT_FDCWD, )"(/nix/[^"]*)"', log.read_text()) == []


def test_any_number_of_paths_may_have_the_same_contents(
    local_store: LocalStore, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row O4: no limit of links."""
    count = 40_000 if request.config.getoption("--deep") else 4000
    large = b"large" * 4000
    events: list[Event] = [
        Directory(b""),
        Regular(b"empty", False, 0),
        Regular(b"large", False, len(large)),
        large,
        Regular(b"one", False, 1),
        b"1",
        EndDirectory(),
    ]
    for start in range(0, count, 1000):
        with local_store.intake() as intake:
            trees = [intake.add_events(events) for _ in range(1000)]
            intake.register(
                [
                    (tree, PathInfo(path_of(start + number), tree.nar_hash, tree.nar_size))
                    for number, tree in enumerate(trees)
                ]
            )
    assert len(list(local_store.blobs.all_digests())) <= 1
    assert verify_store(local_store, check_contents=False).unfixed == []
    shown = capsys.readouterr().err
    assert "error" not in shown
    assert "warning" not in shown
    collector = local_store.collector()
    collector.collect()
    collector.close()
    assert list(local_store.all_valid_paths()) == []
    assert list(local_store.blobs.all_digests()) == []
