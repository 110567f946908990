from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.metadata import trees
from storefs.metadata.schema import KEY
from storefs.stores.local import LocalStore
from storefs.stores.readings import Readings
from storefs.stores.verify import is_intact, verify_paths, verify_store
from tests.conftest import BIN
from tests.store_invariants import check_invariants, check_nothing_is_left

if TYPE_CHECKING:
    from storefs.config import Config


def add(store: LocalStore, name: str, content: bytes, references: tuple[StorePath, ...] = ()) -> StorePath:
    path = StorePath.from_digest(hash_bytes("sha1", name.encode()).digest, name)
    with store.intake() as intake:
        tree = intake.add_bytes(content)
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, references))])
    return path


def blob_file(store: LocalStore, path: StorePath) -> Path:
    with store.environment.snapshot() as txn:
        node = txn.get(KEY.pack(store.root_inode(path)), db=store.environment.nodes)
    assert node is not None
    return Path(store.blobs.path(trees.node_payload(node)))


def tamper(store: LocalStore, path: StorePath) -> None:
    """Change one byte of a path that is one large file."""
    file = blob_file(store, path)
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    file.chmod(0o444)


def put_again(store: LocalStore, path: StorePath, content: bytes) -> None:
    """What a repair does, whatever it got the contents from."""
    info = store.path_info(path)
    with store.intake(repair=True) as intake:
        intake.register([(intake.add_bytes(content), info)], replace=True)


def test_a_whole_store_is_whole(local_store: LocalStore) -> None:
    add(local_store, "small", b"x")
    add(local_store, "large", os.urandom(5000))
    for check_contents in (False, True):
        result = verify_store(local_store, check_contents=check_contents)
        assert (result.unfixed, result.repaired) == ([], [])


def test_every_path_is_checked_and_named(local_store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [add(local_store, f"p{number}", os.urandom(5000)) for number in range(3)]
    tamper(local_store, paths[0])
    tamper(local_store, paths[2])
    assert verify_paths(local_store, paths) == [paths[0], paths[2]]
    shown = capsys.readouterr().err
    assert f"{paths[0]}' was modified! expected hash 'sha256:" in shown
    assert f"the contents of '{local_store.directory.print(paths[2])}' are damaged" in shown
    assert str(paths[1]) not in shown
    assert [is_intact(local_store, path) for path in paths] == [False, True, False]
    assert verify_store(local_store, check_contents=False).unfixed == []
    assert verify_store(local_store, check_contents=True).unfixed == sorted(
        [paths[0], paths[2]], key=lambda p: p.digest
    )


def test_contents_that_two_paths_share_are_reported_for_both(local_store: LocalStore) -> None:
    content = os.urandom(5000)
    one, two = add(local_store, "one", content), add(local_store, "two", content)
    tamper(local_store, one)
    assert set(verify_store(local_store, check_contents=True).unfixed) == {one, two}


def test_a_path_whose_contents_are_gone_is_forgotten(
    local_store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    path = add(local_store, "x", os.urandom(5000))
    other = add(local_store, "y", os.urandom(5000))
    blob_file(local_store, path).unlink()
    assert verify_store(local_store, check_contents=False).unfixed == []
    assert (
        f"path '{local_store.directory.print(path)}' disappeared, removing from database..." in capsys.readouterr().err
    )
    assert list(local_store.all_valid_paths()) == [other]


def test_contents_that_are_gone_are_not_called_modified(
    local_store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are read while it is looked for what is gone."""
    gone = add(local_store, "x", os.urandom(5000))
    damaged = add(local_store, "y", os.urandom(5000))
    blob_file(local_store, gone).unlink()
    tamper(local_store, damaged)
    result = verify_store(local_store, check_contents=True)
    assert (result.checked, result.unfixed) == (1, [damaged])
    shown = capsys.readouterr().err
    assert "x' disappeared" in shown
    assert "x' was modified" not in shown
    assert "y' was modified" in shown


def test_what_was_replaced_since_it_was_read_is_not_wrong(local_store: LocalStore, scratch: Path) -> None:
    (scratch / "tree").mkdir()
    (scratch / "tree" / "file").write_bytes(os.urandom(5000))
    path = StorePath("0" * 32 + "-x")
    with local_store.intake() as intake:
        tree = intake.add_tree(f"{scratch}/tree")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    env = local_store.environment
    key = KEY.pack(local_store.root_inode(path))
    env.update(lambda txn: txn.put(key, (txn.get(key, db=env.dirs) or b"")[:-8], db=env.dirs))
    with Readings(local_store) as readings:
        readings.begin([path])
        assert list(readings.results()) == [(path, True)]
        with local_store.intake(repair=True) as intake:
            intake.register([(intake.add_tree(f"{scratch}/tree"), local_store.path_info(path))], replace=True)
        assert list(readings.results()) == [(path, False)]
    assert is_intact(local_store, path)


def test_what_an_executable_shares_with_a_plain_file_is_missed_in_both(local_store: LocalStore) -> None:
    content = os.urandom(5000)
    plain = add(local_store, "plain", content)
    program = StorePath("1" * 32 + "-program")
    with local_store.intake() as intake:
        tree = intake.add_bytes(content, executable=True)
        intake.register([(tree, PathInfo(program, tree.nar_hash, tree.nar_size))])
    whole = add(local_store, "whole", os.urandom(5000))
    blob_file(local_store, plain).unlink()
    verify_store(local_store, check_contents=False)
    assert list(local_store.all_valid_paths()) == [whole]


def test_referrers_decide_what_is_forgotten(local_store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    lib = add(local_store, "lib", os.urandom(5000))
    app = add(
        local_store, "app", os.urandom(5000), (lib, StorePath.from_digest(hash_bytes("sha1", b"app").digest, "app"))
    )
    blob_file(local_store, lib).unlink()
    assert verify_store(local_store, check_contents=False).unfixed == [lib]
    assert "lib' disappeared, but it still has valid referrers!" in capsys.readouterr().err
    assert local_store.is_valid(lib)
    blob_file(local_store, app).unlink()
    assert verify_store(local_store, check_contents=False).unfixed == []
    assert list(local_store.all_valid_paths()) == []


def test_a_wrong_size_is_noticed_without_reading(local_store: LocalStore) -> None:
    path = add(local_store, "x", os.urandom(5000))
    file = blob_file(local_store, path)
    file.chmod(0o600)
    os.truncate(file, 100)
    verify_store(local_store, check_contents=False)
    assert not local_store.is_valid(path)


def test_contents_of_a_wrong_size_are_modified_when_they_are_read(
    local_store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("shorter", 4999), ("longer", 5001)):
        path = add(local_store, name, os.urandom(5000))
        file = blob_file(local_store, path)
        file.chmod(0o600)
        os.truncate(file, size)
        assert verify_paths(local_store, [path]) == [path]
    assert len(verify_store(local_store, check_contents=True).unfixed) == 2
    assert capsys.readouterr().err.count("do not have 5000 bytes") == 4


def test_repair_is_asked_for_what_is_damaged(local_store: LocalStore) -> None:
    contents = {add(local_store, name, content): content for name in "abc" if (content := os.urandom(5000))}
    damaged, gone, good = contents
    tamper(local_store, damaged)
    blob_file(local_store, gone).unlink()
    asked = []

    def repair(path: StorePath) -> None:
        asked.append(path)
        put_again(local_store, path, contents[path])

    result = verify_store(local_store, check_contents=True, repair=repair)
    assert set(result.repaired) == set(asked) == {damaged, gone}
    assert result.unfixed == []
    assert verify_store(local_store, check_contents=True).unfixed == []
    assert all(is_intact(local_store, path) for path in (damaged, gone, good))
    check_invariants(local_store)
    check_nothing_is_left(local_store)


def test_what_can_not_be_repaired_is_reported_and_kept(local_store: LocalStore, expects_warnings: list[object]) -> None:
    path = add(local_store, "x", os.urandom(5000))
    tamper(local_store, path)

    def repair(path: StorePath) -> None:
        raise StoreError("nobody has it")

    assert verify_store(local_store, check_contents=True, repair=repair).unfixed == [path]
    assert local_store.is_valid(path)
    assert len(expects_warnings) == 1


def test_a_missing_size_is_filled_in(local_store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    path = add(local_store, "x", b"x" * 100)
    info = local_store.path_info(path)
    local_store.update_path_info(info.replace(nar_size=0))
    verify_store(local_store, check_contents=True)
    assert local_store.path_info(path).nar_size == info.nar_size
    assert f"updating size field on '{local_store.directory.print(path)}' to {info.nar_size}" in capsys.readouterr().err


def test_readers_see_the_old_or_the_new_bytes_while_a_path_is_repaired(local_store: LocalStore) -> None:
    content = os.urandom(5000)
    path = add(local_store, "x", content)
    small = add(local_store, "y", b"y" * 30)
    for _ in range(20):
        tamper(local_store, path)
        inode = local_store.root_inode(path)
        before = local_store.reader.read(inode)
        put_again(local_store, path, content)
        put_again(local_store, small, b"y" * 30)
        assert before != content
        assert local_store.read_path(path) == content
        assert local_store.read_path(small) == b"y" * 30
    check_invariants(local_store)


def test_blobs_that_nothing_names_are_removed(local_store: LocalStore) -> None:
    add(local_store, "x", os.urandom(5000))
    orphan = Path(local_store.blobs.path(bytes(32)))
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left by nobody")
    verify_store(local_store, check_contents=False)
    assert not orphan.exists()
    check_nothing_is_left(local_store)


@pytest.mark.parametrize("table", ["dirs", "nodes", "paths"])
def test_damaged_rows_are_an_error_and_no_traceback(local_store: LocalStore, scratch: Path, table: str) -> None:
    (scratch / "tree" / "sub").mkdir(parents=True)
    (scratch / "tree" / "sub" / "file").write_bytes(b"x")
    path = StorePath("0" * 32 + "-x")
    with local_store.intake() as intake:
        tree = intake.add_tree(f"{scratch}/tree")
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    env = local_store.environment
    database = getattr(env, table)
    with env.snapshot() as txn:
        key, value = next(iter(txn.cursor(database).iternext()))
    env.update(lambda txn: txn.put(key, value[:60], db=database))
    with pytest.raises(StoreError):
        verify_paths(local_store, [path])
        raise StoreError("it was reported")


def test_a_damaged_directory_condemns_its_own_path_only(
    local_store: LocalStore, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scratch / "tree").mkdir()
    (scratch / "tree" / "file").write_bytes(b"x")
    damaged = StorePath("0" * 32 + "-damaged")
    with local_store.intake() as intake:
        tree = intake.add_tree(f"{scratch}/tree")
        intake.register([(tree, PathInfo(damaged, tree.nar_hash, tree.nar_size))])
    whole = add(local_store, "whole", b"y")
    env = local_store.environment
    key = KEY.pack(local_store.root_inode(damaged))
    env.update(lambda txn: txn.put(key, (txn.get(key, db=env.dirs) or b"")[:-8], db=env.dirs))
    assert verify_paths(local_store, [damaged, whole]) == [damaged]
    assert "damaged' was modified! a directory record" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_check_ends_soon(environ: dict[str, str], local_store: LocalStore) -> None:
    for number in range(30):
        add(local_store, f"p{number}", os.urandom(1 << 20))
    for arguments in (["--verify", "--check-contents"], ["--gc", "--print-dead"], ["--gc"]):
        process = subprocess.Popen(
            [BIN / "nix-store", *arguments], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)
        assert process.returncode in (0, 1)
        assert "Traceback" not in shown
    check_invariants(local_store)


@pytest.mark.slow
@pytest.mark.fuse
@pytest.mark.root
def test_mounts_forget_what_is_no_longer_valid(environ: dict[str, str], local_store: LocalStore) -> None:
    path = add(local_store, "x", os.urandom(100_000))
    shown = Path(local_store.directory.print(path))
    subprocess.run([BIN / "verglas", "mount", "--background"], env=environ, check=True)
    try:
        assert shown.stat().st_size == 100_000
        blob_file(local_store, path).unlink()
        subprocess.run([BIN / "nix-store", "--verify"], env=environ, check=True, capture_output=True)
        assert not shown.exists()
    finally:
        subprocess.run([BIN / "verglas", "umount"], env=environ, check=True)
    collector = local_store.collector()
    collector.collect()
    collector.close()
    check_nothing_is_left(local_store)


def test_a_store_of_an_older_release_keeps_its_folders(config: Config) -> None:
    """Its blobs lie in folders of two digits, those that are added do too, and all are checked and collected."""
    with LocalStore(config, map_size=1 << 20, inline_limit=64) as store:
        add(store, "first", os.urandom(500))
        for blob in list(Path(store.blobs.directory).glob("*/*")):
            folder = blob.parent.parent / (blob.parent.name + blob.name[0])
            folder.mkdir()
            blob.rename(folder / blob.name[1:])
            blob.parent.rmdir()
    with LocalStore(config, map_size=1 << 20, inline_limit=64) as store:
        for number in range(5):
            add(store, f"second{number}", os.urandom(500))
        assert {len(folder.name) for folder in Path(store.blobs.directory).iterdir()} == {2}
        check_invariants(store)
        for check_contents in (False, True):
            assert verify_store(store, check_contents=check_contents).unfixed == []
        collector = store.collector()
        assert len(collector.collect().paths) == 6
        collector.close()
        check_nothing_is_left(store)
