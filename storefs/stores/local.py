"""The store of this machine: paths, trees and blobs below one state directory.

Implements `storefs.api.Store`, and what only a local store can do: deleting, and reading trees without a mount.  Opened
with stores/open.py.  Usable from any thread; every method may block on the disk, the queries hardly.

A command that asks one question must start in milliseconds, so what only changes and contents need is imported by the
methods that need it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from storefs.errors import StoreError, SystemRefusedError
from storefs.formats import nixbase32
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.formats.store_path import HASH_PART_LENGTH, StoreDir, StorePath
from storefs.gc.reserve import keep_reserve
from storefs.metadata import path_infos
from storefs.metadata.environment import DEFAULT_MAP_SIZE, open_environment
from storefs.metadata.schema import INLINE_LIMIT, KEY
from storefs.metadata.trees import inline_content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from storefs.castore.blobs import BlobStore
    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.formats.derivation_hash import DerivationHash
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.gc.automatic import AutomaticCollection
    from storefs.gc.collector import Collector
    from storefs.gc.temp_roots import TempRoots
    from storefs.metadata.environment import Environment, Transaction
    from storefs.metadata.tree_reader import TreeReader
    from storefs.stores.local_intake import LocalIntake, Registered

_PAGE = 1000  # paths listed from one snapshot


class LocalStore:
    """See the module.  ``environment``, ``blobs`` and ``reader`` are for the collector, the verifier and the mount."""

    uri = "local"

    def __init__(
        self,
        config: Config,
        *,
        map_size: int = DEFAULT_MAP_SIZE,
        inline_limit: int = INLINE_LIMIT,
        collecting: bool = False,
    ) -> None:
        """Open the store of ``config``, making it if there is none; pair with `close`.

        ``map_size`` and ``inline_limit`` (bytes) are made small by tests.  ``collecting`` leaves the reserve alone.
        Raises DatabaseError, NewerSchemaError.
        """
        self.config = config
        self.directory = StoreDir(config.store_dir)
        try:
            # A mount makes the innermost one alone, and people remove the whole state directory while it serves.
            state = config.state_dir
            if not all(map(os.path.isdir, (config.verglas_dir, f"{state}/profiles"))) or not os.path.lexists(
                f"{state}/gcroots/profiles"  # the last but the innermost
            ):
                from storefs.stores.new_store import lay_out  # noqa: PLC0415  most stores are there

                lay_out(config)
        except OSError as error:
            raise SystemRefusedError("making the store", error) from error
        self.environment: Environment = open_environment(
            f"{config.verglas_dir}/db", map_size=map_size, sync=config.boolean("fsync-metadata")
        )
        self._inline_limit = inline_limit
        self._blobs: BlobStore | None = None
        self._reader: TreeReader | None = None
        self._temp_roots: TempRoots | None = None
        self._making_temp_roots = allocate_lock()
        self._automatic: AutomaticCollection | None = None
        self._collecting = collecting
        # What a path's derivation hashes to follows from its contents, which the path itself is a hash of.
        self._derivation_hashes: dict[StorePath, DerivationHash] = {}
        if not collecting and not self.environment.read_only:
            keep_reserve(config)

    def __enter__(self) -> LocalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the temporary roots and the database."""
        if self._temp_roots is not None:
            self._temp_roots.close()
        self.environment.close()

    @property
    def blobs(self) -> BlobStore:
        """The blob files."""
        if self._blobs is None:
            from storefs.castore.blobs import BlobStore  # noqa: PLC0415

            self._blobs = BlobStore(self.config.verglas_dir, synced=self.config.boolean("fsync-store-paths"))
        return self._blobs

    @property
    def reader(self) -> TreeReader:
        """What reads trees without a mount."""
        if self._reader is None:
            from storefs.metadata.tree_reader import TreeReader  # noqa: PLC0415

            self._reader = TreeReader(self.environment, lambda: self.blobs)
        return self._reader

    # Questions

    def is_valid(self, path: StorePath) -> bool:
        """See `storefs.api.Store`."""
        with self.environment.snapshot() as txn:
            return path_infos.find_id(self.environment, txn, path) is not None

    def valid_paths(self, paths: Iterable[StorePath]) -> set[StorePath]:
        """See `storefs.api.Store`."""
        env = self.environment
        with env.snapshot() as txn:
            return {path for path in paths if path_infos.find_id(env, txn, path) is not None}

    def all_valid_paths(self) -> Iterator[StorePath]:
        """See `storefs.api.Store`.  Paths that come or go meanwhile are listed or not."""
        after = b""
        while True:
            with self.environment.snapshot() as txn:
                page = path_infos.page_of_paths(self.environment, txn, after, _PAGE)
            for _, path, _ in page:
                yield path
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def path_info(self, path: StorePath) -> PathInfo:
        """See `storefs.api.Store`."""
        info = self.find_path_info(path)
        if info is None:
            raise InvalidPathError(self.directory, path)
        return info

    def find_path_info(self, path: StorePath) -> PathInfo | None:
        """See `storefs.api.Store`."""
        env = self.environment
        with env.snapshot() as txn:
            record = path_infos.find(env, txn, path)
            return None if record is None else path_infos.to_path_info(env, txn, path, record)

    def path_infos(self, paths: Iterable[StorePath]) -> dict[StorePath, PathInfo]:
        """What is registered about those of ``paths`` that are valid, from one snapshot."""
        env = self.environment
        result = {}
        with env.snapshot() as txn:
            for path in paths:
                record = path_infos.find(env, txn, path)
                if record is not None:
                    result[path] = path_infos.to_path_info(env, txn, path, record)
        return result

    def from_hash_part(self, hash_part: str) -> StorePath | None:
        """See `storefs.api.Store`."""
        if len(hash_part) != HASH_PART_LENGTH:
            raise StoreError(f"invalid hash part '{hash_part}'")
        digest = nixbase32.decode(hash_part)
        with self.environment.snapshot() as txn:
            return path_infos.from_digest(self.environment, txn, digest)

    def references(self, path: StorePath) -> tuple[StorePath, ...]:
        """The paths that a valid path refers to, sorted; raises InvalidPathError."""
        return self.path_info(path).references

    def referrers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`."""
        env = self.environment
        with env.snapshot() as txn:
            path_id = path_infos.find_id(env, txn, path)
            if path_id is None:
                raise InvalidPathError(self.directory, path)
            ids = path_infos.referrer_ids(env, txn, path_id)
            if path_id in path_infos.reference_ids(env, txn, path_id):
                ids.append(path_id)
            return sorted(path_infos.path_of_id(env, txn, each) for each in ids)

    def valid_derivers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`."""
        env = self.environment
        with env.snapshot() as txn:
            ids = path_infos.deriver_ids(env, txn, path)
            return sorted(path_infos.path_of_id(env, txn, each) for each in ids)

    def ranked_closure(self, paths: Iterable[StorePath]) -> tuple[list[StorePath], list[list[int]]]:
        """Everything that ``paths`` reach by references, themselves included, sorted by name.

        The second list has, for each of them, the places in the first of those that it refers to, ascending.  From one
        snapshot.  Raises InvalidPathError.
        """
        env = self.environment
        with env.snapshot() as txn:
            start = []
            for path in paths:
                path_id = path_infos.find_id(env, txn, path)
                if path_id is None:
                    raise InvalidPathError(self.directory, path)
                start.append(path_id)
            graph, names = path_infos.reference_graph(env, txn, start)
        ids = sorted(names, key=names.__getitem__)
        rank = {path_id: place for place, path_id in enumerate(ids)}.__getitem__
        ranked = [sorted(map(rank, graph[path_id])) for path_id in ids]
        return [StorePath.trusted(names[path_id].decode("ascii")) for path_id in ids], ranked

    # Contents

    def root_inode(self, path: StorePath) -> int:
        """The inode of a valid path's tree, for ``reader``; raises InvalidPathError."""
        with self.environment.snapshot() as txn:
            record = path_infos.find(self.environment, txn, path)
        if record is None:
            raise InvalidPathError(self.directory, path)
        return record.root

    def read_path(self, path: StorePath) -> bytes:
        """The contents of a valid path that is a regular file."""
        root = self.root_inode(path)
        with self.environment.snapshot() as txn:
            content = inline_content(txn.get(KEY.pack(root), db=self.environment.nodes))
        return self.reader.read(root) if content is None else content

    def derivation(self, path: StorePath) -> Derivation:
        """See `storefs.api.Store`."""
        from storefs.formats.derivation import read_derivation  # noqa: PLC0415

        return read_derivation(self.read_path(path), self.directory, path)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """See `storefs.api.Store`."""
        return self.reader.nar(self.root_inode(path))

    # Changes

    def intake(self, *, repair: bool = False) -> LocalIntake:
        """See `storefs.api.Store`.

        With ``repair``, contents that are there already are compared with what is taken in, and replaced if damaged.
        """
        from storefs.stores.local_intake import LocalIntake  # noqa: PLC0415

        self.collect_if_low()
        return LocalIntake(
            self.environment,
            self.blobs,
            self.directory,
            repair=repair,
            inline_limit=self._inline_limit,
            check_derivations=self._check_derivations,
            on_registered=self._after_registration,
        )

    def add_text(self, name: str, content: bytes, references: Iterable[StorePath] = ()) -> StorePath:
        """See `storefs.api.Store`."""
        from storefs.stores.text_paths import add_text_path  # noqa: PLC0415  queries do without

        return add_text_path(self, name, content, references)

    def add_signatures(self, path: StorePath, signatures: Iterable[str]) -> None:
        """Add signatures to what is registered about a valid path; raises InvalidPathError."""
        env = self.environment
        signatures = tuple(signatures)

        def write(txn: Transaction) -> None:
            record = path_infos.find(env, txn, path)
            if record is None:
                raise InvalidPathError(self.directory, path)
            info = path_infos.to_path_info(env, txn, path, record)
            signed = info.replace(signatures=(*info.signatures, *signatures))
            path_infos.put_record(env, txn, signed, record.id, record.root)

        env.update(write)

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `storefs.api.Store`."""
        from storefs.metadata import realisations  # noqa: PLC0415  imports json, for what most stores have none of

        with self.environment.snapshot() as txn:
            return realisations.find(self.environment, txn, output)

    def register_realisations(self, realisations: Sequence[Realisation], drv_path: StorePath | None = None) -> None:
        """See `storefs.api.Store`; with ``drv_path`` the last, and those of its hash, are that derivation's outputs."""
        from storefs.metadata.realisations import put_all  # noqa: PLC0415  see above

        env = self.environment
        env.update(lambda txn: put_all(env, txn, realisations, self.directory, drv_path))

    def update_path_info(self, info: PathInfo) -> None:
        """Replace what is registered about a valid path; its contents stay.  Raises InvalidPathError."""

        def work(txn: Transaction) -> None:
            env = self.environment
            record = path_infos.find(env, txn, info.path)
            if record is None:
                raise InvalidPathError(self.directory, info.path)
            path_infos.put_record(env, txn, info, record.id, record.root)
            ids = []
            for reference in info.references:
                path_id = path_infos.find_id(env, txn, reference)
                if path_id is None:
                    raise InvalidPathError(self.directory, reference)
                ids.append(path_id)
            path_infos.set_references(env, txn, record.id, ids)

        self.environment.update(work)

    def add_temp_root(self, path: StorePath) -> None:
        """See `storefs.api.Store`."""
        with self._making_temp_roots:
            if self._temp_roots is None:
                from storefs.gc.temp_roots import TempRoots  # noqa: PLC0415

                self._temp_roots = TempRoots(self.config.state_dir, self.directory)
        self._temp_roots.add(path)

    def release_temp_roots(self) -> None:
        """Give up the temporary roots early: for a process that lives on after its work is done, in one thread."""
        with self._making_temp_roots:
            if self._temp_roots is not None:
                self._temp_roots.close()
                self._temp_roots = None

    def _check_derivations(self, derivations: dict[StorePath, Derivation]) -> None:
        """Refuse derivations that claim outputs which do not follow from their contents, however they came (row Y1)."""
        from storefs.formats.derivation_hash import DerivationHasher, check_output_paths  # noqa: PLC0415

        def read(path: StorePath) -> Derivation:
            return derivations.get(path) or self.derivation(path)

        hasher = DerivationHasher(self.directory, read, self._derivation_hashes)
        for path, derivation in derivations.items():
            check_output_paths(derivation, self.directory, hasher, path)

    def collect_if_low(self) -> None:
        """Collect garbage if the disk has less room than the setting `min-free` asks for; mostly does nothing."""
        if not self.config.integer("min-free") or self._collecting:
            return
        if self._automatic is None:
            from storefs.gc.automatic import AutomaticCollection  # noqa: PLC0415

            self._automatic = AutomaticCollection(self.config, self.collector)
        self._automatic.run_if_low()

    def collector(self) -> Collector:
        """What collects this store and lists its roots; pair with its ``close``."""
        from storefs.gc.collector import Collector  # noqa: PLC0415

        return Collector(self.config, self.directory, self.environment, self.blobs, self._forget)

    def _forget(self, names: Sequence[str], roots: Sequence[int]) -> None:
        if not os.path.isdir(f"{self.config.verglas_dir}/mounts"):
            return  # nothing was ever mounted
        from storefs.stores.mount_control import forget_paths  # noqa: PLC0415  sockets and json: for removals only

        forget_paths(self.config.verglas_dir, names, roots)

    def _after_registration(self, registered: Registered) -> None:
        if registered.replaced:
            collector = self.collector()
            try:
                collector.take_down(registered.replaced)
            finally:
                collector.close()
