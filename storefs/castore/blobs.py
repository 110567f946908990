"""Blob files: contents too large for the database, one read-only file each, named by their BLAKE3.

    <verglas_dir>/blobs/a/bcdef...      mode 0444; complete from the moment the name exists
    <verglas_dir>/tmp/<pid>-<n>/        an intake area, see castore/intake_area.py

A folder for each first digit: the 256 for two digits, which stores of older releases have and keep, take a megabyte
before there is anything in them, and an addition has that many more to sync.

Reading them, and telling what is there: what writes is in `intake_area`. Knows nothing of trees, paths or the database.
For castore, the stores and gc/sweep.py; imports little, because queries read manifests and derivations through it.
"""

from __future__ import annotations

import os

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

READ_SIZE = 1 << 20
_HEX = frozenset("0123456789abcdef")


class BlobError(StoreError):
    """A blob can't be written or read."""


class BlobStore:
    """The blob files below one directory; usable from any thread.

    Who adds to them waits until the disk has them, unless ``synced`` is False (the setting `fsync-store-paths`).

    Attributes:
        cached: bytes on their way to the disk that may be in its own cache only; for castore/write_behind.py.
    """

    __slots__ = ("_digits", "cached", "directory", "synced", "temporary")

    def __init__(self, verglas_dir: str, *, synced: bool = True) -> None:
        self.directory = f"{verglas_dir}/blobs"
        self.temporary = f"{verglas_dir}/tmp"
        self.synced = synced
        self.cached = 0
        self._digits = _digits_of_folders(self.directory)

    @property
    def place(self) -> tuple[bytes, int]:
        """The directory, and how many digits of a name are a folder's in it: for castore/many_blobs.py."""
        return os.fsencode(self.directory), self._digits

    def path(self, digest: bytes) -> str:
        """Where the blob with this digest is, or would be."""
        text = digest.hex()
        return f"{self.directory}/{text[: self._digits]}/{text[self._digits :]}"

    def open(self, digest: bytes) -> int:
        """A descriptor to read the blob; raises BlobError where it is missing."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise BlobError(f"the contents '{self.path(digest)}' can't be read: {error.strerror}") from error

    def read(self, digest: bytes, piece_size: int = READ_SIZE) -> Iterator[bytes]:
        """Yield the contents in pieces; raises BlobError."""
        fd = self.open(digest)
        try:
            while piece := os.read(fd, piece_size):
                yield piece
        except OSError as error:
            raise BlobError(f"the contents '{self.path(digest)}' can't be read: {error.strerror}") from error
        finally:
            os.close(fd)

    def size(self, digest: bytes) -> int | None:
        """The size of the blob file, None where there is none."""
        try:
            return os.stat(self.path(digest), follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def is_intact(self, digest: bytes) -> bool:
        """Whether the file is there and has the contents that its name promises; reads all of it."""
        from storefs.castore.digest import digest_pieces  # noqa: PLC0415  a millisecond that no reader needs

        try:
            return digest_pieces(self.read(digest)) == digest
        except BlobError:
            return False

    def all_digests(self) -> Iterator[bytes]:
        """Yield what is there, named or not, in no particular order; foreign files are skipped."""
        from storefs.castore.digest import DIGEST_SIZE  # noqa: PLC0415  see above

        try:
            folders = os.listdir(self.directory)
        except FileNotFoundError:
            return
        for folder in folders:
            try:
                names = os.listdir(f"{self.directory}/{folder}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                try:
                    digest = bytes.fromhex(folder + name)
                except ValueError:
                    continue
                if len(digest) == DIGEST_SIZE:
                    yield digest

    def stale_areas(self) -> Iterator[str]:
        """Yield the directories of additions whose processes are gone; each is locked while it is out."""
        for path, alive in self._areas():
            if not alive:
                yield path

    def additions_run(self) -> bool:
        """Whether any addition is under way, whose blobs may not be named yet."""
        return any(alive for _, alive in self._areas())

    def _areas(self) -> Iterator[tuple[str, bool]]:
        import fcntl  # noqa: PLC0415  not for readers, either

        try:
            names = os.listdir(self.temporary)
        except FileNotFoundError:
            return
        for name in names:
            path = f"{self.temporary}/{name}"
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    alive = False
                except BlockingIOError:
                    alive = True
                if os.fstat(fd).st_nlink:  # else its owner, or another collector, removed it before we had the lock
                    yield path, alive
            finally:
                os.close(fd)


def _digits_of_folders(directory: str) -> int:
    """How many digits the names of folders have: two where there are such folders and no others."""
    try:
        lengths = {len(name) for name in os.listdir(directory) if _HEX.issuperset(name)}
    except OSError:
        return 1  # there are none, or what asks for them says why they can't be read
    return 2 if 2 in lengths and 1 not in lengths else 1
