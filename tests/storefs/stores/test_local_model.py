"""A model of the local store: what is valid, what refers to what, what is collected, which contents are shared."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storefs.castore import contents
from storefs.castore.host_tree import host_events
from storefs.config import load_config
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes, write_nar
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.formats.store_path import StorePath
from storefs.gc.collector import StillAliveError
from storefs.stores.local import LocalStore
from tests.store_invariants import check_invariants, check_nothing_is_left

NUMBERS = st.integers(0, 7)
# few contents, so that paths share them; both sides of the border between database and blob
FILES = [b"", b"small", b"other", b"large" * 20, b"larger" * 30]
# and directories, some of which have the same files
MANY = {f"{number:02}": FILES[number % len(FILES)] for number in range(12)}
TREES: dict[str, dict[str, dict[str, bytes]]] = {
    "one": {"a": MANY},
    "twice": {"a": MANY, "b": MANY, "few": {"x": b"small"}},
    "changed": {"a": MANY, "b": {**MANY, "00": b"other"}},
}
CONTENTS = st.sampled_from([*FILES, *TREES])


def path_of(number: int) -> StorePath:
    return StorePath.from_digest(hash_bytes("sha1", b"%d" % number).digest, f"p{number}")


class Model(RuleBasedStateMachine):
    """``valid``: number -> (content, references); ``roots``: the numbers that links keep."""

    @initialize(room=st.sampled_from([1, contents.ROOM]))
    def open(self, room: int) -> None:
        self.room, contents.ROOM = contents.ROOM, room  # with little room everything is written ahead
        self.folder = Path(tempfile.mkdtemp(prefix="vg-"))
        self.config = load_config(
            {
                "NIX_STATE_DIR": f"{self.folder}/state",
                "NIX_STORE_DIR": f"{self.folder}/store",
                "NIX_CONF_DIR": f"{self.folder}/etc",
                "HOME": str(self.folder),
                "NIX_CONFIG": "fsync-metadata = false",
            }
        )
        self.nars: dict[bytes | str, bytes] = {content: nar_of_bytes(content) for content in FILES}
        for name, folders in TREES.items():
            for folder, files in folders.items():
                (self.folder / name / folder).mkdir(parents=True)
                for file, content in files.items():
                    (self.folder / name / folder / file).write_bytes(content)
            self.nars[name] = b"".join(write_nar(host_events(f"{self.folder}/{name}")))
        self.store = LocalStore(self.config, map_size=1 << 20, inline_limit=64)
        self.valid: dict[int, tuple[bytes | str, frozenset[int]]] = {}
        self.roots: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            contents.ROOM = self.room
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(number=NUMBERS, content=CONTENTS, references=st.frozensets(NUMBERS, max_size=3), replace=st.booleans())
    def register(self, number: int, content: bytes | str, references: frozenset[int], replace: bool) -> None:
        with self.store.intake(repair=replace) as intake:
            is_file = isinstance(content, bytes)
            tree = intake.add_bytes(content) if is_file else intake.add_tree(f"{self.folder}/{content}")
            info = PathInfo(path_of(number), tree.nar_hash, tree.nar_size, [path_of(each) for each in references])
            if number in self.valid and not replace:
                intake.register([(tree, info)])
                return
            if not references <= self.valid.keys() | {number}:
                with pytest.raises(InvalidPathError):
                    intake.register([(tree, info)], replace=replace)
                return
            intake.register([(tree, info)], replace=replace)
        self.valid[number] = (content, references)

    @rule(number=NUMBERS)
    def root(self, number: int) -> None:
        link = f"{self.config.state_dir}/gcroots/{number}"
        if number in self.roots:
            os.unlink(link)
            self.roots.remove(number)
        else:
            os.symlink(self.store.directory.print(path_of(number)), link)
            self.roots.add(number)

    def live(self) -> set[int]:
        live: set[int] = set()
        todo = [number for number in self.roots if number in self.valid]
        while todo:
            number = todo.pop()
            if number not in live:
                live.add(number)
                todo.extend(self.valid[number][1])
        return live

    @rule()
    def collect(self) -> None:
        collector = self.store.collector()
        collector.collect()
        collector.close()
        live = self.live()
        self.valid = {number: self.valid[number] for number in live}
        check_nothing_is_left(self.store)

    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        collector = self.store.collector()
        used = any(number in references for other, (_, references) in self.valid.items() if other != number)
        try:
            if number in self.valid and (used or number in self.live()):
                with pytest.raises(StillAliveError):
                    collector.delete([path_of(number)])
            else:
                collector.delete([path_of(number)])
                self.valid.pop(number, None)
        finally:
            collector.close()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = LocalStore(self.config, map_size=1 << 20, inline_limit=64)

    @rule()
    def abandon(self) -> None:
        with self.store.intake() as intake:
            intake.add_bytes(b"never registered" * 10)

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def agrees(self) -> None:
        store = self.store
        check_invariants(store)
        assert set(store.all_valid_paths()) == {path_of(number) for number in self.valid}
        for number, (content, references) in self.valid.items():
            info = store.path_info(path_of(number))
            assert set(info.references) == {path_of(each) for each in references}
            assert b"".join(store.nar(path_of(number))) == self.nars[content]
            referrers = {path_of(other) for other, (_, its) in self.valid.items() if number in its}
            assert set(store.referrers(path_of(number))) == referrers


TestModel = pytest.mark.slow(Model.TestCase)
TestModel.settings = settings(max_examples=8, stateful_step_count=25)
