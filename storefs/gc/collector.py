"""The garbage collector: finds what nothing needs and removes it, beside running builds and additions.

    roots -> mark -> for each batch: re-check, invalidate (one transaction) -> mounts forget -> trees and blobs go

Every transaction is small, so nobody who adds waits long, and a collector that is killed leaves a consistent store and
work that the next one finishes. Paths go in random order, but referrers before what they refer to. Left-overs of killed
processes go first: with a limit they are better garbage than paths that might be wanted again.

Why a path that somebody begins to need in the middle is safe: see `storefs.gc.temp_roots` for paths named as temporary
roots; links are looked at again before each removal; a path that a new valid path refers to is in ``referrers``, which
the removing transaction looks at. The whole argument, and what to mind when changing it, is in CONCURRENCY.md.
"""

from __future__ import annotations

import random

from storefs import logs
from storefs.errors import StoreError
from storefs.formats.store_path import StorePath
from storefs.gc.liveness import find_liveness, names_of
from storefs.gc.roots import LinkedRoots
from storefs.gc.runtime_roots import find_runtime_roots
from storefs.gc.sweep import collect_left_overs, saved_by_sharing, sweep_blobs
from storefs.gc.temp_roots import CollectorLock, TempRootReader
from storefs.metadata import path_infos
from storefs.metadata.environment import DiskFullError
from storefs.metadata.schema import KEY
from storefs.metadata.tree_release import (
    ENTRIES_AT_ONCE,
    begin_release,
    continue_release,
    dying_roots,
    dying_rows,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from storefs.castore.blobs import BlobStore
    from storefs.config import Config
    from storefs.formats.store_path import StoreDir
    from storefs.gc.liveness import Liveness
    from storefs.metadata.environment import Environment, Transaction

    Forget = Callable[[Sequence[str], Sequence[int]], None]
    Roots = dict[StorePath, list[str]]

NO_LIMIT = 2**64 - 1
_PATHS_AT_ONCE = 200  # paths invalidated in one transaction: some milliseconds


class StillAliveError(StoreError):
    """A path that was to be deleted is needed."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"cannot delete path '{path}' since it is still alive. To find out why, use: verglas why-alive {path}"
        )


class Collected:
    """What a collection did: the paths that it removed, in order, and the bytes of disk that this freed."""

    __slots__ = ("bytes_freed", "paths")

    def __init__(self) -> None:
        self.paths: list[StorePath] = []
        self.bytes_freed = 0


class Collector:
    """Collects one local store.  Used in one thread; several processes may collect at once.

    ``forget`` is told the base names and root inodes of removed paths, and returns when no mount depends on their
    records any more (`storefs.stores.mount_control.forget_paths`).
    """

    def __init__(
        self, config: Config, store_dir: StoreDir, env: Environment, blobs: BlobStore, forget: Forget | None = None
    ) -> None:
        self._config = config
        self._store_dir = store_dir
        self._env = env
        self._blobs = blobs
        self._forget = forget or (lambda _names, _roots: None)
        self._temp_roots = TempRootReader(config.state_dir, store_dir)
        self._linked_roots = LinkedRoots(config.state_dir, store_dir)
        self._lock = CollectorLock(config.state_dir, exclusive=True)
        self._told: set[bytes] = set()  # rows of dying trees that every mount has let go of

    def close(self) -> None:
        """Close the lock file."""
        self._lock.close()

    def roots(self, *, temporary: bool = True, runtime: bool = True) -> Roots:
        """All valid roots, each with what makes it one: links, "{temp:PID}", files below /proc; sorted."""
        found: dict[StorePath, set[str]] = {}
        for path, link in self._linked_roots.find():
            found.setdefault(path, set()).add(link)
        if runtime:
            for path, user in find_runtime_roots(self._store_dir):
                found.setdefault(path, set()).add(user)
        if temporary:
            with self._lock:
                named = self._temp_roots.read()
            for base_name, label in named.items():
                found.setdefault(StorePath.trusted(base_name), set()).add(label)
        with self._env.snapshot() as txn:
            valid = {path: path_infos.find_id(self._env, txn, path) is not None for path in found}
        for path in sorted(found):
            if not valid[path]:
                for link in sorted(found[path]):
                    if link.startswith(self._config.state_dir):
                        logs.info(f"skipping invalid root from '{link}' to '{self._store_dir.print(path)}'")
        return {path: sorted(found[path]) for path in sorted(found) if valid[path]}

    def live(self) -> Iterator[StorePath]:
        """Yield what a collection would keep."""
        return iter(names_of(self._env, sorted(self._find_liveness().live_ids)))

    def dead(self) -> Iterator[StorePath]:
        """Yield what a collection would remove."""
        return iter(names_of(self._env, self._find_liveness().dead_ids))

    def collect(self, max_freed: int = NO_LIMIT) -> Collected:
        """Remove what is dead until ``max_freed`` bytes of disk are freed; left-overs go first and all of them."""
        result = Collected()
        result.bytes_freed += self._finish_interrupted()
        if max_freed and result.bytes_freed < max_freed:
            logs.info("finding garbage collector roots...")
            liveness = self._find_liveness()
            dead = liveness.dead_ids
            random.shuffle(dead)
            told = self._config.variable("_NIX_TEST_GC_SYNC")
            if told:  # Nix's tests hold a collection here, to see that it blocks nobody
                with open(told, "rb") as file:
                    file.read()
            logs.info("deleting garbage...")
            self._delete(dead, set(dead), max_freed, result, spare_linked=True)
        self._report_sharing()
        return result

    def delete(self, paths: Iterable[StorePath], *, ignore_liveness: bool = False) -> Collected:
        """Remove these paths and nothing else; those that are not valid are passed over.

        Raises StillAliveError, before anything is removed, if one is needed by a root (unless ``ignore_liveness``), by
        a process's temporary root, or by a valid path that is not to be deleted as well.
        """
        env = self._env
        paths = list(paths)
        with env.snapshot() as txn:
            ids = {path: path_infos.find_id(env, txn, path) for path in paths}
        chosen = {path_id for path_id in ids.values() if path_id is not None}
        roots = [path for path, reasons in self.roots().items() if not ignore_liveness or _is_temporary(reasons)]
        live = find_liveness(
            env,
            roots,
            keep_derivations=not ignore_liveness and self._config.boolean("keep-derivations"),
            keep_outputs=not ignore_liveness and self._config.boolean("keep-outputs"),
        ).live_ids
        with env.snapshot() as txn:
            for path, path_id in ids.items():
                if path_id is not None and (
                    path_id in live or not chosen.issuperset(path_infos.referrer_ids(env, txn, path_id))
                ):
                    raise StillAliveError(self._store_dir.print(path))
        result = Collected()
        result.bytes_freed += self._finish_interrupted()
        self._delete(sorted(chosen), chosen, NO_LIMIT, result, spare_linked=not ignore_liveness)
        self._report_sharing()
        return result

    def _find_liveness(self) -> Liveness:
        return find_liveness(
            self._env,
            self.roots(),
            keep_derivations=self._config.boolean("keep-derivations"),
            keep_outputs=self._config.boolean("keep-outputs"),
        )

    def _finish_interrupted(self) -> int:
        """Complete what killed collectors and additions left; returns the bytes freed."""
        freed = collect_left_overs(self._env, self._blobs)
        with self._env.snapshot() as txn:
            dying = dying_roots(self._env, txn)
        if dying:
            self._tell_mounts(dying)
        return freed + self._release_trees() + sweep_blobs(self._env, self._blobs)

    def _delete(
        self, order: Sequence[int], dead: set[int], max_freed: int, result: Collected, *, spare_linked: bool
    ) -> None:
        batch: list[int] = []
        estimate = 0
        for path_id, may_cut in self._referrers_first(order, dead):
            batch.append(path_id)
            if max_freed != NO_LIMIT:
                estimate += self._nar_size(path_id)
            if may_cut and (len(batch) >= _PATHS_AT_ONCE or result.bytes_freed + estimate >= max_freed):
                self._delete_batch(batch, result, spare_linked)
                batch = []
                estimate = 0
                if result.bytes_freed >= max_freed:
                    logs.info(f"deleted more than {max_freed} bytes; stopping")
                    return
        if batch:
            self._delete_batch(batch, result, spare_linked)

    def _nar_size(self, path_id: int) -> int:
        with self._env.snapshot() as txn:
            name = txn.get(KEY.pack(path_id), db=self._env.ids)
            record = name and path_infos.find(self._env, txn, StorePath.trusted(name.decode("ascii")))
            return record.nar_size if record else 0

    def _delete_batch(self, batch: list[int], result: Collected, spare_linked: bool) -> None:
        """Remove these paths with everything that is theirs; smaller steps where the disk is full."""
        try:
            removed = self._invalidate(batch, spare_linked)
        except DiskFullError:
            if len(batch) == 1:
                raise
            middle = len(batch) // 2
            self._delete_batch(batch[:middle], result, spare_linked)
            self._delete_batch(batch[middle:], result, spare_linked)
            return
        for path, _ in removed:
            logs.info(f"deleting '{self._store_dir.print(path)}'")
            result.paths.append(path)
        if removed:
            result.bytes_freed += self.take_down(removed)

    def take_down(self, removed: Sequence[tuple[StorePath, int]]) -> int:
        """Finish what a committed removal or replacement began: these trees are nobody's; returns the bytes freed.

        Trees that others are taking down, and have perhaps not told the mounts of yet, stay.
        """
        self.announce(removed)
        return self._release_trees() + sweep_blobs(self._env, self._blobs)

    def announce(self, removed: Sequence[tuple[StorePath, int]]) -> None:
        """Let mounts forget paths of which a commit has removed these trees; they are taken down later."""
        self._tell_mounts([(path.base_name, root) for path, root in removed])

    def _invalidate(self, batch: list[int], spare_linked: bool) -> list[tuple[StorePath, int]]:
        # Between this look at the temporary roots and the commit nobody can add one: see temp_roots.py.  The links come
        # after them: whoever got a temporary root after the dead were found may have made a link and ended since.
        with self._lock:
            rooted = set(self._temp_roots.read())
            if spare_linked:
                rooted.update(path.base_name for path, _ in self._linked_roots.find())
            return self._env.update(lambda txn: self._invalidate_in(txn, batch, rooted))

    def _invalidate_in(self, txn: Transaction, batch: list[int], rooted: set[str]) -> list[tuple[StorePath, int]]:
        env = self._env
        removed = []
        together = set(batch)
        for path_id in batch:
            name = txn.get(KEY.pack(path_id), db=env.ids)
            if name is None:
                continue  # another collector was faster
            path = StorePath.trusted(name.decode("ascii"))
            record = path_infos.find(env, txn, path)
            try:
                if record is None or path.base_name in rooted:
                    together.discard(path_id)
                    continue
                path_infos.remove(env, txn, path, record, together)
            except path_infos.PathInUseError:
                together.discard(path_id)
                continue
            begin_release(env, txn, record.root, path.base_name)
            removed.append((path, record.root))
        return removed

    def _referrers_first(self, order: Sequence[int], dead: set[int]) -> Iterator[tuple[int, bool]]:
        """Yield dead ids so that referrers come first, and whether a transaction may end behind each.

        It may not inside a cycle of references, which a damaged or foreign database can contain: that goes as a whole.
        """
        done: set[int] = set()
        for start in order:
            if start in done:
                continue
            stack = [(start, iter(self._dead_referrers(start, dead)))]
            entered = {start}
            cyclic = False
            while stack:
                path_id, referrers = stack[-1]
                for referrer in referrers:
                    if referrer in done:
                        continue
                    if referrer in entered:
                        cyclic = True
                        continue
                    entered.add(referrer)
                    stack.append((referrer, iter(self._dead_referrers(referrer, dead))))
                    break
                else:
                    stack.pop()
                    done.add(path_id)
                    yield path_id, not stack or not cyclic

    def _dead_referrers(self, path_id: int, dead: set[int]) -> list[int]:
        with self._env.snapshot() as txn:
            return [each for each in path_infos.referrer_ids(self._env, txn, path_id) if each in dead]

    def _tell_mounts(self, removed: Sequence[tuple[str, int]]) -> None:
        # Looked up before they are told: what is removed again meanwhile is news to them.
        with self._env.snapshot() as txn:
            rows = dying_rows(self._env, txn, removed)
        try:
            self._forget([name for name, _ in removed], [root for _, root in removed])
        except StoreError as error:
            # Their records stay, and with them the bytes that a stuck mount may be serving, until the next collection.
            logs.warn(f"{error}; the contents of {len(removed)} removed paths are kept for now")
            return
        self._told.update(rows)

    def _may_go(self, row: bytes, is_root: bool) -> bool:
        return not is_root or row in self._told

    def _release_trees(self) -> int:
        freed = 0
        budget = ENTRIES_AT_ONCE
        while True:
            try:
                released = self._env.update(
                    lambda txn, budget=budget: continue_release(self._env, txn, self._may_go, budget=budget)  # type: ignore[misc]
                )
            except DiskFullError:
                if budget == 1:
                    raise
                budget //= 8
                continue
            freed += released.inline_bytes
            if not released.more:
                self._told.clear()
                return freed
            self._env.give_way()

    def _report_sharing(self) -> None:
        if logs.enabled(logs.INFO):
            saved = saved_by_sharing(self._env) / (1 << 20)
            logs.info(f"note: currently sharing equal files saves {saved:.2f} MiB")


def _is_temporary(reasons: list[str]) -> bool:
    return any(reason.startswith("{temp:") for reason in reasons)
