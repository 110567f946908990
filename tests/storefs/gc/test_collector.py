from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.config import Config, load_config
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import Directory, EndDirectory, Regular
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.gc.collector import Collector, StillAliveError
from storefs.gc.roots import add_indirect_root
from storefs.gc.temp_roots import TempRoots
from storefs.metadata.tree_release import dying_roots
from storefs.stores.local import LocalStore
from tests.store_invariants import check_invariants, check_nothing_is_left


def path_named(name: str) -> StorePath:
    return StorePath.from_digest(hash_bytes("sha1", name.encode()).digest, name)


def add(
    store: LocalStore, name: str, content: bytes = b"", references: tuple[str, ...] = (), deriver: str = ""
) -> StorePath:
    """Register a path of this name that refers to the paths of those names; leaves no temporary root."""
    path = path_named(name)
    with store.intake() as intake:
        tree = intake.add_bytes(content or name.encode())
        info = PathInfo(
            path,
            tree.nar_hash,
            tree.nar_size,
            [path_named(each) for each in references],
            path_named(deriver) if deriver else None,
        )
        intake.register([(tree, info)])
    return path


def root(store: LocalStore, name: str) -> None:
    link = f"{store.config.state_dir}/gcroots/{name}"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.symlink(store.directory.print(path_named(name)), link)


def names(paths: object) -> set[str]:
    return {path.name for path in paths}  # type: ignore[attr-defined]


@pytest.fixture
def collector(local_store: LocalStore) -> Iterator[Collector]:
    collector = local_store.collector()
    yield collector
    collector.close()


def test_what_a_root_needs_is_kept(local_store: LocalStore, collector: Collector) -> None:
    add(local_store, "lib")
    add(local_store, "app", references=("lib",))
    add(local_store, "old", references=("lib",))
    root(local_store, "app")
    assert names(collector.live()) == {"app", "lib"}
    assert names(collector.dead()) == {"old"}
    result = collector.collect()
    assert names(result.paths) == {"old"}
    assert names(local_store.all_valid_paths()) == {"app", "lib"}
    check_invariants(local_store)
    check_nothing_is_left(local_store)


def test_everything_goes_without_roots(local_store: LocalStore, collector: Collector) -> None:
    for number in range(20):
        add(local_store, f"p{number}", b"x" * 100 * number, references=(f"p{number - 1}",) if number else ())
    result = collector.collect()
    order = [path.name for path in result.paths]
    assert order == [f"p{number}" for number in reversed(range(20))], "referrers go first"
    assert result.bytes_freed > 0
    check_invariants(local_store)
    check_nothing_is_left(local_store)


def test_contents_that_are_shared_stay(local_store: LocalStore, collector: Collector) -> None:
    big = os.urandom(5000)
    add(local_store, "one", big)
    add(local_store, "two", big)
    assert len(list(local_store.blobs.all_digests())) == 1
    root(local_store, "two")
    result = collector.collect()
    assert names(result.paths) == {"one"}
    assert result.bytes_freed == 0, "nothing was freed, because the contents are still in use"
    assert b"".join(local_store.nar(path_named("two")))
    os.unlink(f"{local_store.config.state_dir}/gcroots/two")
    assert collector.collect().bytes_freed >= 5000
    check_nothing_is_left(local_store)


def test_temporary_roots_keep(local_store: LocalStore, collector: Collector) -> None:
    add(local_store, "lib")
    add(local_store, "app", references=("lib",))
    other = TempRoots(local_store.config.state_dir, local_store.directory)
    other.add(path_named("app"))
    assert list(collector.roots()) == [path_named("app")]
    assert list(collector.roots().values()) == [[f"{{temp:{os.getpid()}}}"]]
    assert collector.collect().paths == []
    with pytest.raises(StillAliveError, match="why-alive"):
        collector.delete([path_named("app")], ignore_liveness=True)
    other.close()
    assert names(collector.collect().paths) == {"app", "lib"}


def test_a_root_that_appears_late_keeps_its_path(local_store: LocalStore) -> None:
    """Somebody names a path as a temporary root between the marking and the removing transaction."""
    add(local_store, "lib")
    add(local_store, "app", references=("lib",))
    late = TempRoots(local_store.config.state_dir, local_store.directory)

    class Patient(Collector):
        def _referrers_first(self, order, dead):  # type: ignore[no-untyped-def]
            late.add(path_named("app"))
            return super()._referrers_first(order, dead)

    collector = Patient(local_store.config, local_store.directory, local_store.environment, local_store.blobs)
    assert collector.collect().paths == []
    assert names(local_store.all_valid_paths()) == {"app", "lib"}
    late.close()
    collector.close()


def test_a_referrer_that_appears_late_keeps_its_references(local_store: LocalStore) -> None:
    add(local_store, "lib")

    class Patient(Collector):
        def _referrers_first(self, order, dead):  # type: ignore[no-untyped-def]
            add(local_store, "new", references=("lib",))
            return super()._referrers_first(order, dead)

    collector = Patient(local_store.config, local_store.directory, local_store.environment, local_store.blobs)
    assert collector.collect().paths == []
    collector.close()
    check_invariants(local_store)


def test_deleting_single_paths(local_store: LocalStore, collector: Collector) -> None:
    add(local_store, "lib")
    add(local_store, "app", references=("lib",))
    add(local_store, "other")
    with pytest.raises(StillAliveError, match="lib"):
        collector.delete([path_named("lib")])
    assert names(collector.delete([path_named("lib"), path_named("app")]).paths) == {"lib", "app"}
    root(local_store, "other")
    with pytest.raises(StillAliveError, match="other"):
        collector.delete([path_named("other")])
    assert names(collector.delete([path_named("other")], ignore_liveness=True).paths) == {"other"}
    assert collector.delete([path_named("never")]).paths == []


def test_a_limit_stops_it(local_store: LocalStore, collector: Collector) -> None:
    for number in range(10):
        add(local_store, f"p{number}", os.urandom(100_000))
    result = collector.collect(max_freed=250_000)
    assert 2 <= len(result.paths) <= 4
    assert collector.collect(max_freed=0).paths == []
    assert len(list(local_store.all_valid_paths())) == 10 - len(result.paths)


def test_a_limit_is_met_by_left_overs_first(local_store: LocalStore, collector: Collector) -> None:
    add(local_store, "dead", os.urandom(100_000))
    left = f"{local_store.blobs.temporary}/999999-1"
    os.makedirs(left)
    Path(left, "1").write_bytes(os.urandom(300_000))
    result = collector.collect(max_freed=200_000)
    assert result.paths == []
    assert result.bytes_freed >= 300_000
    assert not os.path.exists(left)


def test_the_victims_of_a_limit_differ(local_store: LocalStore, collector: Collector) -> None:
    survivors = set()
    for _ in range(4):
        for number in range(6):
            add(local_store, f"p{number}", b"%d" % number * 50_000)
        collector.collect(max_freed=100_000)
        survivors.add(frozenset(names(local_store.all_valid_paths())))
        collector.collect()
    assert len(survivors) > 1


def test_chains_of_any_length(local_store: LocalStore, collector: Collector) -> None:
    with local_store.intake() as intake:
        tree = intake.add_bytes(b"x")
        paths = [path_named(f"p{number}") for number in range(2000)]
        infos = [
            PathInfo(path, tree.nar_hash, tree.nar_size, [paths[number - 1]] if number else [])
            for number, path in enumerate(paths)
        ]
        intake.register([(tree, info) for info in infos])
    assert len(collector.collect().paths) == 2000
    check_invariants(local_store)


def test_a_cycle_goes_as_a_whole(local_store: LocalStore, collector: Collector) -> None:
    with local_store.intake() as intake:
        tree = intake.add_bytes(b"x")
        a, b, c = (path_named(name) for name in "abc")
        infos = [PathInfo(p, tree.nar_hash, tree.nar_size, [q, p]) for p, q in ((a, b), (b, c), (c, a))]
        intake.register([(tree, info) for info in infos])
    add(local_store, "user", references=("a",))
    root(local_store, "user")
    assert collector.collect().paths == []
    os.unlink(f"{local_store.config.state_dir}/gcroots/user")
    assert names(collector.collect().paths) == {"a", "b", "c", "user"}
    check_invariants(local_store)


def derivation_and_output(store: LocalStore) -> tuple[StorePath, StorePath]:
    """A derivation whose fixed output is valid."""
    content = b"made"
    digest = hash_bytes("sha256", content)
    out = store.directory.make_fixed_output_path(False, digest, "made")
    shown = store.directory.print(out)
    text = (
        f'Derive([("out","{shown}","sha256","{digest.to_string("base16", False)}")],[],[],"x","/bin/sh",[],'
        f'[("out","{shown}")])'
    )
    with store.intake() as intake:
        drv_tree, tree = intake.add_bytes(text.encode()), intake.add_bytes(content)
        drv = store.directory.make_text_path("made.drv", hash_bytes("sha256", text.encode()))
        intake.register(
            [
                (drv_tree, PathInfo(drv, drv_tree.nar_hash, drv_tree.nar_size)),
                (tree, PathInfo(out, tree.nar_hash, tree.nar_size, deriver=drv)),
            ]
        )
    return drv, out


@pytest.mark.parametrize(
    ("rooted", "settings", "kept"),
    [
        ("made", "keep-derivations = false", {"made"}),
        ("made", "keep-derivations = true", {"made", "made.drv"}),
        ("made.drv", "keep-outputs = false", {"made.drv"}),
        ("made.drv", "keep-outputs = true", {"made", "made.drv"}),
        ("", "keep-outputs = true\nkeep-derivations = true", set()),
    ],
)
def test_derivations_and_outputs_keep_each_other(
    environ: dict[str, str], rooted: str, settings: str, kept: set[str]
) -> None:
    config: Config = load_config(environ | {"NIX_CONFIG": settings})
    with LocalStore(config, map_size=1 << 20) as store:
        drv, out = derivation_and_output(store)
        if rooted:
            path = drv if rooted.endswith(".drv") else out
            add_indirect_root(config.state_dir, store.directory, f"{config.state_dir}/result", path)
        collector = store.collector()
        collector.collect()
        assert names(store.all_valid_paths()) == kept
        collector.close()
        check_invariants(store)


def test_mounts_hear_of_removed_paths_before_their_trees_go(local_store: LocalStore) -> None:
    path = add(local_store, "x", os.urandom(1000))
    inode = local_store.root_inode(path)
    heard = []

    def forget(base_names: object, roots: object) -> None:
        assert not local_store.is_valid(path)
        assert local_store.reader.read(inode)
        heard.append((base_names, roots))

    collector = Collector(local_store.config, local_store.directory, local_store.environment, local_store.blobs, forget)
    collector.collect()
    assert heard == [([path.base_name], [inode])]
    collector.close()
    check_nothing_is_left(local_store)


def test_what_a_killed_collector_left_is_finished(local_store: LocalStore) -> None:
    path = add(local_store, "x", os.urandom(1000))

    class Killed(BaseException):
        pass

    def forget(base_names: object, roots: object) -> None:
        raise Killed

    parts = local_store.config, local_store.directory, local_store.environment, local_store.blobs
    collector = Collector(*parts, forget)
    with pytest.raises(Killed):
        collector.collect()
    check_invariants(local_store)
    assert not local_store.is_valid(path)
    heard = []
    again = Collector(*parts, lambda base_names, roots: heard.append(list(base_names)))
    assert again.collect().bytes_freed >= 1000
    assert heard == [[path.base_name]], "the mounts are told once more"
    check_nothing_is_left(local_store)
    collector.close()
    again.close()


def test_a_replacement_leaves_trees_alone_that_no_mount_was_told_of(local_store: LocalStore) -> None:
    """Here it comes between the commit of a collector and its word to the mounts."""
    mended, removed = (add(local_store, name, os.urandom(1000)) for name in ("mended", "removed"))
    info = local_store.path_info(mended)
    content = local_store.reader.read(local_store.root_inode(mended))
    inode = local_store.root_inode(removed)
    asked = []

    def forget(base_names: object, roots: object) -> None:
        with local_store.intake(repair=True) as intake:
            intake.register([(intake.add_bytes(content), info)], replace=True)
        asked.append(len(local_store.reader.read(inode)))

    collector = Collector(local_store.config, local_store.directory, local_store.environment, local_store.blobs, forget)
    collector.delete([removed])
    collector.close()
    assert asked == [1000]
    check_invariants(local_store)
    with local_store.environment.snapshot() as txn:
        assert dying_roots(local_store.environment, txn) == []


def test_large_directories_are_taken_down_in_steps(local_store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storefs.gc.collector.ENTRIES_AT_ONCE", 7)
    content = [b"%d" % (number % 50) for number in range(300)]
    events = [Directory(b"")]
    for number in range(300):
        events += [Regular(b"f%03d" % number, False, len(content[number])), content[number]]  # type: ignore[list-item]
    events.append(EndDirectory())  # type: ignore[arg-type]
    path = path_named("wide")
    with local_store.intake() as intake:
        tree = intake.add_events(events)
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size))])
    steps = []
    update = local_store.environment.update

    def counting(work: object) -> object:
        result = update(work)  # type: ignore[arg-type]
        steps.append(None)
        check_invariants(local_store)
        return result

    monkeypatch.setattr(local_store.environment, "update", counting)
    collector = local_store.collector()
    collector.collect()
    collector.close()
    assert len(steps) > 300 / 7
    check_nothing_is_left(local_store)


def test_a_root_whose_process_ended_while_the_collector_was_busy(
    local_store: LocalStore, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process began to need the path after the dead were found, and is gone before they are deleted."""
    add(local_store, "below")
    path = add(local_store, "wanted", references=("below",))
    add(local_store, "dead")
    state_dir = local_store.config.state_dir

    def need_it(_dead: list[int]) -> None:
        roots = TempRoots(state_dir, local_store.directory)
        roots.add(path)
        add_indirect_root(state_dir, local_store.directory, f"{state_dir}/result", path)
        roots.close()

    monkeypatch.setattr(random, "shuffle", need_it)
    assert names(collector.collect().paths) == {"dead"}
    assert names(local_store.all_valid_paths()) == {"wanted", "below"}
