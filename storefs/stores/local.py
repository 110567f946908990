"""The store of this machine: paths, trees and blobs below one state directory.

Implements `storefs.api.Store`, and what only a local store can do: deleting, and reading trees without a mount.  Opened
with stores/open.py.  Usable from any thread; every method may block on the disk, the queries hardly.
"""

from __future__ import annotations

import os

from storefs.castore.blobs import BlobStore
from storefs.errors import StoreError, SystemRefusedError
from storefs.formats import nixbase32
from storefs.formats.derivation import parse_derivation
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.formats.store_path import HASH_PART_LENGTH, StoreDir, StorePath
from storefs.gc.reserve import keep_reserve
from storefs.gc.temp_roots import TempRoots
from storefs.metadata import path_infos
from storefs.metadata.environment import DEFAULT_MAP_SIZE, open_environment
from storefs.metadata.schema import INLINE_LIMIT
from storefs.metadata.tree_reader import TreeReader
from storefs.stores.local_intake import LocalIntake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.metadata.environment import Environment
    from storefs.stores.local_intake import Registered

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
            if not os.path.isdir(config.verglas_dir):
                os.makedirs(config.state_dir, exist_ok=True)
                # The bytes are nobody's business but through the mount or the daemon.
                os.makedirs(config.verglas_dir, mode=0o700, exist_ok=True)
        except OSError as error:
            raise SystemRefusedError("making the store", error) from error
        self.environment: Environment = open_environment(
            f"{config.verglas_dir}/db", map_size=map_size, sync=config.boolean("fsync-metadata")
        )
        self.blobs = BlobStore(config.verglas_dir)
        self.reader = TreeReader(self.environment, self.blobs)
        self._temp_roots = TempRoots(config.state_dir, self.directory)
        self._inline_limit = inline_limit
        if not collecting and not self.environment.read_only:
            keep_reserve(config)

    def __enter__(self) -> LocalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the temporary roots and the database."""
        self._temp_roots.close()
        self.environment.close()

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

    def closure(self, paths: Iterable[StorePath]) -> set[StorePath]:
        """All paths that ``paths`` reach by references, themselves included; raises InvalidPathError."""
        env = self.environment
        with env.snapshot() as txn:
            seen: set[int] = set()
            todo = []
            for path in paths:
                path_id = path_infos.find_id(env, txn, path)
                if path_id is None:
                    raise InvalidPathError(self.directory, path)
                todo.append(path_id)
            seen.update(todo)
            while todo:
                new = set(path_infos.reference_ids(env, txn, todo.pop())) - seen
                seen |= new
                todo.extend(new)
            return {path_infos.path_of_id(env, txn, each) for each in seen}

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
        return self.reader.read(self.root_inode(path))

    def derivation(self, path: StorePath) -> Derivation:
        """See `storefs.api.Store`."""
        return parse_derivation(self.read_path(path), self.directory, path.name.removesuffix(".drv"))

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """See `storefs.api.Store`."""
        return self.reader.nar(self.root_inode(path))

    # Changes

    def intake(self, *, repair: bool = False) -> LocalIntake:
        """See `storefs.api.Store`.

        With ``repair``, contents that are there already are compared with what is taken in, and replaced if damaged.
        """
        return LocalIntake(
            self.environment,
            self.blobs,
            self.directory,
            repair=repair,
            inline_limit=self._inline_limit,
            on_registered=self._after_registration,
        )

    def add_text(self, name: str, content: bytes, references: Iterable[StorePath] = ()) -> StorePath:
        """See `storefs.api.Store`."""
        references = tuple(references)
        sha256 = hash_bytes("sha256", content)
        path = self.directory.make_text_path(name, sha256, references)
        self.add_temp_root(path)
        if self.is_valid(path):
            return path
        with self.intake() as intake:
            tree = intake.add_bytes(content)
            ca = "text:" + sha256.to_string("base32", True)
            info = PathInfo(path, tree.nar_hash, tree.nar_size, references, ca=ca)
            intake.register([(tree, info)])
        return path

    def add_temp_root(self, path: StorePath) -> None:
        """See `storefs.api.Store`."""
        self._temp_roots.add(path)

    def _after_registration(self, registered: Registered) -> None:
        """Finish what a replacement left: the old trees are nobody's."""
