"""The program that is killed: one piece of work on the store of its environment, then it ends."""

from __future__ import annotations

import os
import random
import sys

from storefs.castore import contents, intake_area, write_behind
from storefs.castore.intake_area import IntakeArea
from storefs.config import load_config
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.gc.roots import add_indirect_root
from storefs.stores.adding import add_host_path
from storefs.stores.local import LocalStore
from storefs.stores.transfer import export_paths, import_paths


def path_named(name: str) -> StorePath:
    return StorePath.from_digest(hash_bytes("sha1", name.encode()).digest, name)


def register(
    store: LocalStore, name: str, content: bytes, references: tuple[str, ...] = (), replace: bool = False
) -> None:
    with store.intake(repair=replace) as intake:
        tree = intake.add_bytes(content)
        info = PathInfo(path_named(name), tree.nar_hash, tree.nar_size, [path_named(each) for each in references])
        intake.register([(tree, info)], replace=replace)


def make_tree(top: str) -> str:
    source = random.Random(1)
    for number in range(12):
        os.makedirs(f"{top}/d{number % 3}", exist_ok=True)
        with open(f"{top}/d{number % 3}/f{number}", "wb") as file:
            file.write(source.randbytes(20 if number % 2 else 3000))
    os.mkdir(f"{top}/shared")  # which has a listing that other paths have
    for number in range(12):
        with open(f"{top}/shared/f{number}", "wb") as file:
            file.write(b"%d" % number)
    return top


def main(workload: str) -> None:
    config = load_config()
    if workload == "add-unsynced":
        IntakeArea.sync = lambda self, digests: None  # type: ignore[method-assign]
        workload = "add"
    if workload == "ahead-unsynced":
        IntakeArea.begin_sync = lambda self, digests: lambda: None  # type: ignore[method-assign]
        workload = "ahead together"
    if workload in ("ahead", "ahead together"):
        contents.ROOM = 5000  # so most of the tree is written before it is registered
        if workload == "ahead together":
            # so the files of one batch are synced, by a thread, beside the rows of another
            intake_area.SYNC_ONE_BY_ONE = 0
            write_behind.MANY = 1
        workload = "add"
    if workload == "add, not waiting":
        config = config.with_settings([("fsync-store-paths", "false")])
        workload = "add"
    with LocalStore(config, map_size=1 << 20, inline_limit=64) as store:
        if workload == "prepare":
            register(store, "library", os.urandom(2000))
            register(store, "precious", b"p" * 3000, ("library",))
            register(store, "garbage", b"g" * 3000)
            register(store, "rubbish", b"p" * 3000, ("garbage",))
            os.symlink(store.directory.print(path_named("precious")), f"{config.state_dir}/gcroots/precious")
            archive = b"".join(export_paths(store, [path_named("rubbish"), path_named("garbage")]))
            with open(f"{config.state_dir}/archive", "wb") as file:
                file.write(archive)
            make_tree(f"{config.state_dir}/tree")
            for name in ("kept", "dropped"):
                path = add_host_path(store, f"{config.state_dir}/tree/shared", name)
                if name == "kept":
                    os.symlink(store.directory.print(path), f"{config.state_dir}/gcroots/kept")
        elif workload == "add":
            add_host_path(store, f"{config.state_dir}/tree", "tree")
        elif workload == "import":
            collector = store.collector()
            collector.delete([path_named("rubbish"), path_named("garbage")])
            collector.close()
            with open(f"{config.state_dir}/archive", "rb") as file:
                list(import_paths(store, [file.read()]))
        elif workload == "text":
            store.add_text("text", b"text", [path_named("precious")])
        elif workload == "root":
            add_indirect_root(
                config.state_dir, store.directory, f"{config.state_dir}/new/folders/link", path_named("library")
            )
        elif workload == "first":
            register(store, "first", b"f" * 3000)
        elif workload == "replace":
            register(store, "garbage", b"new" * 1000, replace=True)
        elif workload in ("collect", "delete"):
            collector = store.collector()
            if workload == "collect":
                collector.collect()
            else:
                collector.delete([path_named("rubbish")])
            collector.close()

    # From here on whoever waits for this program relies on what it did: see test_power_cut.py.
    os.write(1, b"finished\n")


if __name__ == "__main__":
    main(sys.argv[1])
