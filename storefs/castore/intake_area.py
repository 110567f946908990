"""Intake areas: where contents are until the addition that brings them registers them.

    <verglas_dir>/tmp/<pid>-<n>/        an intake area: what one running addition has written or counts on

Only when the addition registers do its contents get their names in ``blobs``, so an addition that fails leaves nothing
there. An area's directory is locked (flock) by its process while it lives, so a collector can tell left-overs from
work. In it stands a hard link to every blob that the addition relies on, its own and those that were there before:
whatever a collector takes away meanwhile, the addition puts back (`IntakeArea.ensure`) before it commits.

Knows nothing of trees, paths or the database.  For castore/ingest.py, the stores and gc/sweep.py.
"""

from __future__ import annotations

import errno
import fcntl
import os
from itertools import islice

from storefs.castore.blobs import BlobError
from storefs.castore.left_overs import remove_area
from storefs.castore.many_blobs import FOUND, REPLACES, first_missing, link_all, move_all, unlink_all, write_all
from storefs.castore.taking_over import take_over
from storefs.castore.whole_files import write_new
from storefs.castore.write_behind import WriteBehind
from storefs.durable import sync_directory, sync_file
from storefs.placement import spread_folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized
    from typing import TypeVar

    from storefs.castore.blobs import BlobStore
    from storefs.castore.many_blobs import File, MovableFile

    Buffer = bytes | bytearray | memoryview
    F = TypeVar("F", File, MovableFile)

BLOB_MODE = 0o444
# Up to this many new files are synced one by one; more, and one syncfs is cheaper, though it also writes back what
# others have dirtied on the same file system (measured: 0.3 ms for an fsync, 2-20 ms for a quiet syncfs).
SYNC_ONE_BY_ONE = 64

_FULL = (errno.ENOSPC, errno.EDQUOT)


def new_area(blobs: BlobStore, repair: bool = False) -> IntakeArea:
    """Begin an addition; with ``repair`` blobs that are there already are read and replaced if damaged.

    Raises BlobError.
    """
    number = 0
    while True:
        number += 1
        path = f"{blobs.temporary}/{os.getpid()}-{number}"
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            os.makedirs(blobs.temporary, exist_ok=True)
            spread_folders(blobs.temporary)
            continue
        except FileExistsError:
            continue  # left over by a killed process that had our number
        except OSError as error:
            raise write_error(path, error) from error
        try:
            area = IntakeArea(blobs, path, repair)
        except FileNotFoundError:
            continue  # a collector took the directory for a left-over before it was locked
        if area.is_ours():
            return area
        area.abandon()


class IntakeArea:
    """The working directory of one addition.  Used in one thread at a time; ends with `close`."""

    __slots__ = (
        "_counter",
        "_damaged",
        "_fd",
        "_fresh",
        "_handed",
        "_links",
        "_repair",
        "_store",
        "behind",
        "path",
        "published",
    )

    def __init__(self, store: BlobStore, path: str, repair: bool) -> None:
        self._store = store
        self._repair = repair
        self._counter = 0
        self._links: dict[bytes, None] = {}  # digests of what has a link here, in order
        self._damaged: set[bytes] = set()
        self._fresh: set[bytes] = set()  # what was written or moved here, and not found among the blobs
        self._handed = 0  # how many of the links, which are in order, somebody else makes durable
        self.published: set[bytes] = set()  # digests that got their names, which no committed row may name yet
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.behind = WriteBehind(store, path)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def is_ours(self) -> bool:
        """Whether the name still leads to the directory that is locked."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def abandon(self) -> None:
        """Let go of a directory that is not ours."""
        os.close(self._fd)

    @property
    def digests(self) -> list[bytes]:
        """Every blob that this addition relies on."""
        return list(self._links)

    @property
    def syncs_all(self) -> bool:
        """Whether these are so many that syncing them may be syncing the file system."""
        return self.takes_long_to_sync(self._links)

    def takes_long_to_sync(self, digests: Sized) -> bool:
        """Whether these are so many that something else should be done meanwhile."""
        return self._store.synced and len(digests) > SYNC_ONE_BY_ONE

    def temporary_name(self) -> str:
        """A fresh name in the area."""
        self._counter += 1
        return f"{self.path}/{self._counter}"

    def put(self, digest: bytes, content: Buffer) -> None:
        """Make ``content`` a blob."""
        if not self._adopt_existing(digest, len(content)):
            link = self._link_name(digest)
            self._write(link, content)
            self._keep_link(digest)
            self.behind.wrote(link, len(content))

    def put_all(self, text: memoryview, files: Sequence[File]) -> None:
        """Make each of these files, whose contents are in ``text``, a blob; together they are small."""
        if self._repair:
            for digest, start, size in files:
                self.put(digest, text[start : start + size])
            return
        self._take_all(files, lambda new, area, blobs, digits: write_all(text, new, area, blobs, digits, BLOB_MODE))

    def keep(self, digest: bytes, temporary: str, size: int) -> None:
        """Make the complete file ``temporary``, which lies in the area, the contents with this digest."""
        if digest in self._links:
            os.unlink(temporary)
            return
        # The name tells a collector what a killed process was about to add.
        link = self._link_name(digest)
        os.rename(temporary, link)
        self._keep_link(digest)
        self.behind.wrote(link, size)

    def keep_written(self, digest: bytes, temporary: str, size: int) -> None:
        """Like `keep`, but an equal blob that is there already is used instead."""
        if self._adopt_existing(digest, size):
            os.unlink(temporary)
        else:
            self.keep(digest, temporary, size)

    def keep_moved(self, digest: bytes, source: str, size: int) -> None:
        """Take the file ``source`` of somewhere else by renaming it, or by copying where that is impossible."""
        if self._adopt_existing(digest, size):
            return
        temporary = self.temporary_name()
        try:
            take_over(source, temporary, BLOB_MODE)
        except OSError as error:
            raise write_error(source, error) from error
        self.keep(digest, temporary, size)

    def move_all(self, folder: bytes, files: Sequence[MovableFile]) -> None:
        """Like `keep_moved` with each of these files of a folder; together they are small."""
        if self._repair:
            for digest, name, size in files:
                self.keep_moved(digest, os.fsdecode(folder + b"/" + name), size)
            return
        self._take_all(files, lambda new, area, blobs, digits: move_all(folder, new, area, blobs, digits, BLOB_MODE))

    def publish(self) -> None:
        """Give what was taken in its names among the blobs; it takes the place of damaged ones."""
        fresh = self._fresh - self.published
        self.published |= fresh  # before: where this is cut short, whoever takes names back looks for all of them
        for digest in fresh & self._damaged:
            self._replace(digest, self._link_name(digest))
        digests = list(fresh - self._damaged)
        stop = 0
        while (stop := link_all(digests, stop, os.fsencode(self.path), *self._store.place)) < len(digests):
            self._link(digests[stop])  # its folder is not there, or this says what is wrong

    def hand_over(self) -> list[bytes]:
        """Publish, and return every blob that this addition relies on and that was not handed over before.

        For `sync`, which another thread may call while this one goes on; then `let_go`, in the same order.
        """
        self.publish()
        digests = list(islice(self._links, self._handed, None))
        self._handed = len(self._links)
        return digests

    def let_go(self, digests: list[bytes]) -> None:
        """Forget blobs that committed rows name: those keep them."""
        for digest in digests:
            del self._links[digest]
        unlink_all(digests, os.fsencode(self.path))
        self._fresh.difference_update(digests)
        self.published.difference_update(digests)
        self._handed -= len(digests)

    def read(self, digest: bytes) -> bytes:
        """Contents that this addition relies on."""
        with open(self._link_name(digest), "rb") as file:
            return file.read()

    def ensure(self, digests: list[bytes]) -> list[bytes]:
        """Give those of the blobs their names again that a collector has removed meanwhile, and return them."""
        restored = []
        stop = 0
        while (stop := first_missing(digests, stop, *self._store.place)) < len(digests):
            self._link(digests[stop])
            restored.append(digests[stop])
        return restored

    def withdraw(self, digest: bytes) -> None:
        """Take a blob that no committed node names out of the store into this area, whose end frees its bytes.

        Only with the write lock of the database held, see `storefs.metadata.schema`.
        """
        try:
            # A name of its own: the area may hold a link to the very same file, and rename(2) between two links to one
            # file does nothing.
            os.rename(self._store.path(digest), self.temporary_name())
        except FileNotFoundError:
            pass

    def sync(self, digests: list[bytes]) -> None:
        """Make these blobs, bytes and names, durable; does nothing where blobs are not waited for, see `BlobStore`."""
        self.begin_sync(digests)()

    def begin_sync(self, digests: list[bytes]) -> Callable[[], None]:
        """Have the disk begin with that, if they are many; the result waits for the end, once, in any thread."""
        if not self._store.synced:
            return lambda: None
        many = self.behind.begin_sync_all() if self.takes_long_to_sync(digests) else None
        return lambda: self._end_sync(many, digests)

    def close(self) -> int:
        """Give up everything that was not published and return the bytes that this frees."""
        self.behind.finish()
        freed = remove_area(self.path)
        os.close(self._fd)
        return freed

    def _end_sync(self, many: Callable[[], None] | None, digests: list[bytes]) -> None:
        try:
            if many is not None:
                many()
                return
            self.behind.settle()
            folders = set()
            for digest in digests:
                sync_file(self._link_name(digest))
                folders.add(os.path.dirname(self._store.path(digest)))
            for folder in folders:
                sync_directory(folder)
            if digests:
                sync_directory(self._store.directory)
        except OSError as error:
            raise write_error(self._store.directory, error) from error

    def _adopt_existing(self, digest: bytes, size: int) -> bool:
        """Rely on a blob that is there already; False where there is none, or only a damaged one."""
        if digest in self._links:
            return True
        link = self._link_name(digest)
        try:
            os.link(self._store.path(digest), link)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EMLINK:
                return False  # tens of thousands of additions at once; ours becomes a second copy for a moment
            raise write_error(link, error) from error
        if os.lstat(link).st_size != size or (self._repair and not self._store.is_intact(digest)):
            # What stands there can't be what was written: the right bytes take its place.
            os.unlink(link)
            self._damaged.add(digest)
            return False
        self._links[digest] = None
        return True

    def _take_all(self, files: Sequence[F], take: Callable[[list[F], bytes, bytes, int], list[int]]) -> None:
        new = list({file[0]: file for file in files if file[0] not in self._links}.values())
        try:
            done = take(new, os.fsencode(self.path), *self._store.place)
        except OSError as error:
            raise write_error(os.fsdecode(error.filename or self.path), error) from error
        written = 0
        for (digest, _, size), what in zip(new, done, strict=True):
            if what == FOUND:
                self._links[digest] = None
                continue
            if what == REPLACES:
                self._damaged.add(digest)
            self._keep_link(digest)
            written += size
        self.behind.wrote_small(written)

    def _keep_link(self, digest: bytes) -> None:
        self._links[digest] = None
        self._fresh.add(digest)

    def _link_name(self, digest: bytes) -> str:
        return f"{self.path}/{digest.hex()}"

    def _replace(self, digest: bytes, temporary: str) -> None:
        # A second link is renamed over the old blob: readers see the old bytes or the new ones.
        second = self.temporary_name()
        try:
            os.link(temporary, second)
            path = self._store.path(digest)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(second, path)
        except OSError as error:
            raise write_error(second, error) from error

    def _link(self, digest: bytes) -> None:
        path = self._store.path(digest)
        while True:
            try:
                os.link(self._link_name(digest), path)
                return
            except FileExistsError:
                return  # another addition was faster with the same contents
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except OSError as error:
                raise write_error(path, error) from error

    def _write(self, path: str, content: Buffer) -> None:
        try:
            write_new(os.fsencode(path), content, BLOB_MODE)
        except OSError as error:
            raise write_error(path, error) from error


def write_error(path: str, error: OSError) -> BlobError:
    """The error of a write that failed, with a way out where there is one."""
    if error.errno in _FULL:
        return BlobError(
            f"no space left on the disk that holds '{path}'; nothing was registered. "
            "Free some, for example with 'nix-collect-garbage'"
        )
    return BlobError(f"'{path}' can't be written: {error.strerror}")
