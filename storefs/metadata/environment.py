"""The LMDB environment, with its moods kept from everybody else: the only importer of lmdb.

What callers see: snapshots that are consistent and never block, and updates that happen completely or not at all and
are durable when they return.  What they never see: a full map (it grows and the update runs again), a map that another
process grew, a full table of readers, readers left behind by a killed process, an address space limit.  What they may
see, as a StoreError: a full disk, a damaged file, a database of a newer version.

Rules for callers: an update's function may run more than once, so it has no effect but on its transaction; nobody holds
a snapshot while starting an update in the same thread (growing the map waits for all snapshots of the process), nor
for longer than a moment (a snapshot pins the pages that later updates free).  Usable in any thread; not after fork.

Source for the rules of LMDB: its lmdb.h, "Caveats".
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock  # not threading: this module is on the path of every query command

import lmdb

from storefs.errors import StoreError
from storefs.metadata import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Database = lmdb._Database
    # Values are bytes, but memoryviews in a snapshot with buffers: only code that slices them asks for that.
    Transaction = lmdb.Transaction[bytes]
    T = TypeVar("T")

# Address space, not memory and not disk: the file grows as it is used. Doubled when it is full; halved at opening until
# the process's own limit (ulimit -v) allows it.
DEFAULT_MAP_SIZE = 64 << 30
_SMALLEST_MAP = 1 << 20
_MAX_READERS = 1024
_TURN = 0.001  # seconds: who waits for LMDB's lock is woken meanwhile
_FULL = 1 << 20  # bytes: with less than this a write that was cut short was cut short by the disk's end


class DatabaseError(StoreError):
    """The database can't be opened or read."""


class DiskFullError(StoreError):
    """An update did not happen because there is no space; nothing of it is visible."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"no space left on the disk that holds '{path}'; nothing was registered. "
            "Free some, for example with 'nix-collect-garbage'"
        )


class NewerSchemaError(StoreError):
    """The database was written by a later release."""

    def __init__(self, path: str, version: int) -> None:
        super().__init__(
            f"the store database '{path}' has format {version}, and this release knows formats up to "
            f"{schema.SCHEMA_VERSION}; upgrade verglas"
        )
        self.version = version


# LMDB's locks belong to the process, so a second open of one file in it is forbidden: whoever opens gets a share.
_open_environments: dict[tuple[int, str], Environment] = {}
_registry_lock = allocate_lock()


def open_environment(path: str, *, map_size: int = DEFAULT_MAP_SIZE, sync: bool = True) -> Environment:
    """Open the database in the directory ``path``, making it if there is none; shared within the process.

    ``map_size`` is the address space to begin with, in bytes; ``sync`` False gives up durability (and, after a power
    cut, possibly the database): for scratch stores.  Where the caller may not write, the result is read-only.
    Every success is paired with one ``close``.  Raises DatabaseError, NewerSchemaError, DiskFullError.
    """
    key = (os.getpid(), os.path.realpath(path))
    with _registry_lock:
        environment = _open_environments.get(key)
        if environment is None:
            environment = Environment(path, map_size, sync)
            environment._registry_key = key
            _open_environments[key] = environment
        environment._shares += 1
        return environment


class Environment:
    """One open database. Its attributes ``paths``, ``ids`` ... are the databases of `storefs.metadata.schema`."""

    dead_blobs: Database
    dirs: Database
    dying: Database
    files: Database
    ids: Database
    listings: Database | None
    makes: Database
    meta: Database
    narinfo: Database
    nodes: Database
    outputs: Database
    paths: Database
    realisations: Database | None
    realised: Database | None
    references: Database
    referrers: Database
    staged: Database | None
    unindexed: Database | None
    uses: Database

    def __init__(self, path: str, map_size: int, sync: bool) -> None:
        """Use `open_environment`."""
        self.path = path
        self.read_only = False
        self._registry_key = (0, "")
        self._shares = 0
        self._sync = sync
        self._readers_checked = False
        self._gate = allocate_lock()  # held while the map changes: nobody begins a transaction
        self._counting = allocate_lock()
        self._active = 0
        self._drained = allocate_lock()
        self._someone_waits = False
        self._lmdb = self._open(map_size)
        try:
            self._open_databases()
        except BaseException:
            self._lmdb.close()
            raise

    def close(self) -> None:
        """Give one share back; the last one closes the database."""
        with _registry_lock:
            self._shares -= 1
            if self._shares:
                return
            _open_environments.pop(self._registry_key, None)
        self._lmdb.close()

    def snapshot(self, buffers: bool = False) -> Snapshot:
        """A context manager that gives a read transaction on the latest committed state.

        With ``buffers`` values are memoryviews into the map, to be dropped before the snapshot ends.
        """
        return Snapshot(self, buffers)

    def update(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in the write transaction, commit durably and return its result.

        Blocks while another process or thread has the write transaction.  If ``work`` raises, nothing is changed.  It
        may run several times.  Raises DiskFullError, DatabaseError and whatever ``work`` raises.
        """
        if self.read_only:
            raise DatabaseError(f"you may not change the store database '{self.path}'")
        if not self._readers_checked:
            # Readers of killed processes would pin every page that this update frees.
            self._lmdb.reader_check()
            self._readers_checked = True
        while True:
            try:
                return self._update_once(work)
            except lmdb.MapFullError:
                self._change_map(lambda: self._lmdb.set_mapsize(self._lmdb.info()["map_size"] * 2))
            except lmdb.MapResizedError:
                self._change_map(lambda: self._lmdb.set_mapsize(0))
            except lmdb.ReadersFullError as error:
                self._recover_readers(error)
            except lmdb.Error as error:
                raise self._explain(error) from error

    def give_way(self) -> None:
        """Let whoever waits write first, between two updates of many: LMDB's lock never goes to whoever must wake."""
        time.sleep(_TURN)

    def _update_once(self, work: Callable[[Transaction], T]) -> T:
        self._enter()
        try:
            with self._lmdb.begin(write=True) as txn:
                return work(txn)
        finally:
            self._leave()

    @property
    def map_size(self) -> int:
        """The address space in use, in bytes."""
        return int(self._lmdb.info()["map_size"])

    @property
    def file(self) -> str:
        """The host path of the database file."""
        return f"{self.path}/data.mdb"

    @property
    def readers(self) -> str:
        """LMDB's table of readers, for people."""
        return self._lmdb.readers()

    def begin_read(self, buffers: bool) -> Transaction:
        """What `Snapshot` does on entering: for code that can't afford a context manager. Pair with `end_read`."""
        while True:
            self._enter()
            try:
                if buffers:
                    return self._lmdb.begin(buffers=True)  # type: ignore[return-value]  # see Transaction above
                return self._lmdb.begin()
            except lmdb.MapResizedError:
                self._leave()
                self._change_map(lambda: self._lmdb.set_mapsize(0))
            except lmdb.ReadersFullError as error:
                self._leave()
                self._recover_readers(error)
            except lmdb.Error as error:
                self._leave()
                raise self._explain(error) from error

    def end_read(self, txn: Transaction) -> None:
        """End what `begin_read` began."""
        try:
            txn.abort()
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._gate, self._counting:
            self._active += 1

    def _leave(self) -> None:
        with self._counting:
            self._active -= 1
            if self._someone_waits and not self._active:
                self._someone_waits = False
                self._drained.release()

    def _change_map(self, change: Callable[[], None]) -> None:
        """Run ``change`` while no transaction of this process is open (lmdb.h: mdb_env_set_mapsize)."""
        with self._gate:
            with self._counting:
                wait = self._active > 0
                if wait:
                    self._drained.acquire()
                    self._someone_waits = True
            if wait:
                self._drained.acquire()
                self._drained.release()
            try:
                change()
            except lmdb.Error as error:
                raise self._explain(error) from error

    def _recover_readers(self, error: Exception) -> None:
        if self._lmdb.reader_check() == 0:
            raise DatabaseError(
                f"more than {_MAX_READERS} programs read the store database '{self.path}' at once"
            ) from error

    def _open(self, map_size: int) -> lmdb.Environment:
        if not os.path.exists(f"{self.path}/lock.mdb"):
            from storefs.metadata.database_files import prepare_directory  # noqa: PLC0415  for new databases only

            try:
                prepare_directory(self.path, _MAX_READERS)
            except OSError as error:
                raise self._cannot_be_made(error) from error
        attempts = [(False, True), (True, True), (True, False)]  # (read-only, with locks)
        while True:
            self.read_only, locked = attempts[0]
            try:
                return lmdb.open(
                    self.path,
                    map_size=map_size,
                    max_dbs=len(schema.DATABASES) + 4,
                    max_readers=_MAX_READERS,
                    sync=self._sync,
                    metasync=self._sync,
                    readonly=self.read_only,
                    lock=locked,
                    # The kernel's read-ahead helps scans and hurts look-ups in a database larger than memory.
                    readahead=True,
                    max_spare_txns=8,
                )
            except lmdb.MemoryError as error:
                if map_size <= _SMALLEST_MAP:
                    raise DatabaseError(f"too little address space for the store database '{self.path}'") from error
                map_size //= 2
            except lmdb.Error as error:
                if len(attempts) == 1 or not _says(str(error), "EACCES", "EROFS", "EPERM"):
                    raise self._explain(error) from error
                attempts.pop(0)

    def _open_databases(self) -> None:
        version = self._version()
        if version is None:
            if self.read_only:
                raise DatabaseError(f"the store database '{self.path}' is empty, and you may not write to it")
            if self._sync:
                from storefs.metadata.database_files import sync_names  # noqa: PLC0415  see above

                try:
                    sync_names(self.path)
                except OSError as error:
                    raise self._cannot_be_made(error) from error
            self.update(self._initialise)
        elif version > schema.SCHEMA_VERSION:
            raise NewerSchemaError(self.path, version)
        for name in schema.DATABASES:
            handle, later = self._handle(name), name in schema.LATER
            if handle is None and later and not self.read_only:
                handle = self.update(self._initialise) or self._handle(name)
            if handle is None and not later:
                raise DatabaseError(f"the store database '{self.path}' lacks the table '{name}'")
            setattr(self, name, handle)
        if version is not None and version < schema.SCHEMA_VERSION and not self.read_only:
            from storefs.metadata.migrations import upgrade  # noqa: PLC0415  for old databases only

            self.update(lambda txn: upgrade(self, txn, schema.SCHEMA_VERSION))

    def _version(self) -> int | None:
        handle = self._handle(schema.META)
        if handle is None:
            return None
        self.meta = handle
        with self.snapshot() as txn:
            value = txn.get(schema.KEY_VERSION, db=handle)
        return None if value is None else int.from_bytes(value, "little")

    def _handle(self, name: str) -> Database | None:
        """Open one database; None where there is none. Never waits for a writer."""
        duplicates = name in schema.SORTED_DUPLICATES
        while True:
            try:
                return self._lmdb.open_db(name.encode(), create=False, dupsort=duplicates, dupfixed=duplicates)
            except lmdb.NotFoundError:
                return None
            except lmdb.MapResizedError:
                self._lmdb.set_mapsize(0)
            except lmdb.ReadersFullError as error:
                self._recover_readers(error)
            except lmdb.Error as error:
                raise self._explain(error) from error

    def _initialise(self, txn: Transaction) -> None:
        # Handles made inside the transaction: all databases appear with one commit, and a process that comes first to
        # an empty file finds them here when the other one won the race.
        for name in schema.DATABASES:
            duplicates = name in schema.SORTED_DUPLICATES
            handle = self._lmdb.open_db(name.encode(), txn=txn, dupsort=duplicates, dupfixed=duplicates)
            if name == schema.META and txn.get(schema.KEY_VERSION, db=handle) is None:
                txn.put(schema.KEY_VERSION, schema.SCHEMA_VERSION.to_bytes(4, "little"), db=handle)

    def _explain(self, error: Exception) -> StoreError:
        text = str(error)
        if isinstance(error, lmdb.DiskError) or _says(text, "ENOSPC", "EDQUOT") or self._was_cut_short(text):
            return DiskFullError(self.path)
        if isinstance(error, (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.PanicError)):
            return DatabaseError(f"the store database '{self.path}' is damaged: {text}")
        if isinstance(error, lmdb.VersionMismatchError):
            return DatabaseError(f"the store database '{self.path}' was made by another version of LMDB: {text}")
        return DatabaseError(f"the store database '{self.path}' can't be used: {text}")

    def _cannot_be_made(self, error: OSError) -> StoreError:
        if _says(str(error), "ENOSPC", "EDQUOT"):
            return DiskFullError(self.path)
        return DatabaseError(f"the store database '{self.path}' can't be made: {error.strerror}")

    def _was_cut_short(self, text: str) -> bool:
        # A write that the disk's end cut short is EIO to LMDB.
        status = os.statvfs(self.path) if _says(text, "EIO") else None
        return status is not None and status.f_bavail * status.f_frsize < _FULL


class Snapshot:
    """The latest committed state, for the length of a ``with`` block."""

    __slots__ = ("_buffers", "_environment", "_txn")

    def __init__(self, environment: Environment, buffers: bool) -> None:
        self._environment = environment
        self._buffers = buffers

    def __enter__(self) -> Transaction:
        self._txn = self._environment.begin_read(self._buffers)
        return self._txn

    def __exit__(self, *_: object) -> None:
        self._environment.end_read(self._txn)
        del self._txn


def _says(text: str, *names: str) -> bool:
    """Whether one of the system's errors, as in "ENOSPC", is what a text is about: LMDB tells no numbers."""
    import errno  # noqa: PLC0415  most commands have nothing to explain

    return any(os.strerror(getattr(errno, name)) in text for name in names)
