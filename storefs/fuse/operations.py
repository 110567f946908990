"""Transport `pyfuse3`: serves a `View` through libfuse. The standard one, for every kernel and every machine.

The only importer of pyfuse3. Handlers translate and nothing else; what a name or an inode means is said in `view.py`.
Compared with `kernel.py` the kernel sends a message for each open and release, and does not cache listings.

One session per process: pyfuse3 keeps it in module variables. Threads as in `kernel.py`.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING

import cython
import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, StatvfsData

from storefs.errors import StoreError
from storefs.fuse import synchronous
from storefs.fuse.at_once import ATTRIBUTES, Answer, LookUps
from storefs.fuse.view import ROOT, AbsentError, CorruptBlobError, GoneError, NotHereYetError
from storefs.metadata.trees import DIRENT_NAME, ENTRY_HEAD, MODE_DIRECTORY, NAME_LENGTH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import NoReturn, TypeVar

    from storefs.fuse.view import Inode, Record, View

    T = TypeVar("T")

_AFTER_PATHS = 1 << 62  # the root's listing position behind all paths
_MAX_READ = 1 << 20
# libfuse turns seconds into what the kernel wants; this many fit in every step.
_FOR_EVER = float(0xFFFFFFFF)
_NAME_LENGTH = struct.Struct("<I")


def request(handler: Callable[..., T]) -> Callable[..., Coroutine[object, None, T]]:
    """Make a handler of a method: count it, and turn whatever goes wrong into an errno. Nothing may escape.

    An exception that reached pyfuse3 would end the mount. No coroutine is made where nothing has to be waited for.
    """
    name = handler.__name__.replace("_", "")  # as pyfuse3 calls it

    @cython.binding(True)  # type: ignore[untyped-decorator]  # a method, and not a function that is found in a class
    def answer(self: Operations, *arguments: object) -> Coroutine[object, None, T]:
        counts = self.counts
        counts[name] = counts.get(name, 0) + 1
        try:
            result = handler(self, *arguments)
        except NotHereYetError as missing:
            return answer_later(self, missing.wait, arguments)
        except Exception as error:
            raise self.refusal(name, arguments, error) from None
        finally:
            self.view.release()
        return self.answer.give(result)  # type: ignore[return-value]  # it is one for whoever awaits it

    async def answer_later(self: Operations, wait: Callable[[], None], arguments: tuple[object, ...]) -> T:
        try:
            while True:
                await self.wait_for(wait, getattr(arguments[len(arguments) - 1], "pid", 0))
                try:
                    return handler(self, *arguments)
                except NotHereYetError as missing:
                    wait = missing.wait
                finally:
                    self.view.release()
        except Exception as error:
            raise self.refusal(name, arguments, error) from None

    return answer  # type: ignore[no-any-return]


class Operations(pyfuse3.Operations):
    """pyfuse3's handlers over a view.

    Attributes:
        view: what is served.
        report: told of requests that failed.
        counts: requests by kind.
        bytes_read: through this process.
        ready: called when the kernel has said hello.
    """

    supports_dot_lookup = True
    enable_writeback_cache = False

    def __init__(self, view: View, report: Callable[[str, Inode | None], None]) -> None:
        super().__init__()
        self.view = view
        self.report = report
        self.counts: dict[str, int] = {}
        self.bytes_read = 0
        self.ready: Callable[[], None] = lambda: None
        self._buffer = memoryview(bytearray(_MAX_READ))
        self.answer = Answer()
        # Changed for each answer: pyfuse3 has copied it before the next request is taken.
        self._entry = _make_attributes(ROOT, 0, 0, MODE_DIRECTORY)
        self._root = _make_attributes(ROOT, 0, 0, MODE_DIRECTORY)
        self._negative = _make_attributes(0, 0, 0, 0)
        self._look_ups = LookUps(view.recent, self.look_up, self.answer, self._entry, self._negative)
        self.lookup: Callable[..., Awaitable[EntryAttributes]] = self._look_ups.lookup  # type: ignore[assignment]

    async def wait_for(self, wait: Callable[[], None], thread: int) -> None:
        """Wait for what a lazy mount has to fetch first; other mounts have everything.

        `thread` is the kernel's number of who asks, 0 where libfuse does not say. Raises InterruptedError when that one
        was interrupted.
        """
        raise RuntimeError("this mount can't wait")

    def init(self) -> None:
        """Called by pyfuse3 when the kernel has said hello."""
        self.ready()

    def refusal(self, name: str, arguments: tuple[object, ...], error: Exception) -> FUSEError:
        """Return what a request is refused with because of `error`; report what a person should know."""
        if isinstance(error, FUSEError):
            return error
        if isinstance(error, GoneError):
            return FUSEError(errno.ESTALE)
        if isinstance(error, AbsentError):
            return FUSEError(errno.ENOENT)
        if isinstance(error, InterruptedError):
            return FUSEError(errno.EINTR)
        if isinstance(error, CorruptBlobError):
            self.report(str(error), error.inode)
        elif isinstance(error, StoreError):
            inode = arguments[0]
            self.report(str(error), inode if isinstance(inode, int) and inode != ROOT else None)
        else:
            self.report(f"request {name} failed: {type(error).__name__}: {error}", None)
        return FUSEError(errno.EIO)

    @request
    def look_up(self, parent: Inode, name: bytes, ctx: object = None) -> EntryAttributes:
        """Find a name in a directory, whichever it is; `lookup` asks only if no copy of it is at hand."""
        if len(name) > 255:
            raise FUSEError(errno.ENAMETOOLONG)
        entry = self.view.lookup(parent, name)
        if entry is not None:
            return self._attributes_of(entry, ENTRY_HEAD)
        if parent == ROOT:
            raise FUSEError(errno.ENOENT)
        return self._negative

    @request
    def getattr(self, inode: Inode, ctx: object = None) -> EntryAttributes:
        """Return what stat(2) says."""
        if inode == ROOT:
            return self._root
        return self._attributes_of(self.view.attributes(inode), 0)

    @request
    def readlink(self, inode: Inode, ctx: object = None) -> bytes:
        """Return where a symbolic link points."""
        return bytes(self.view.symlink(inode))

    @request
    def open(self, inode: Inode, flags: int, ctx: object = None) -> FileInfo:
        """Open a file; its bytes may stay in the kernel's cache."""
        # libfuse leaves truncating to us. Saying yes would empty the file in the kernel's eyes, for root in the moment
        # between a remount and our undoing it.
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
            raise FUSEError(errno.EROFS)
        return FileInfo(inode, False, True)

    @request
    def read(self, inode: Inode, offset: int, size: int) -> Record:  # type: ignore[override]  # any buffer will do
        """Read a range of bytes; less of them only at the end."""
        content, blob = self.view.content(inode)
        if content is not None:
            data = bytes(content[offset : offset + size])  # a copy: the record ends before libfuse has sent it
            self.bytes_read += len(data)
            return data
        assert blob is not None
        size = max(0, min(size, blob.size - offset, _MAX_READ))
        target = self._buffer[:size]
        done = 0
        while done < size:
            count = os.preadv(blob.fd, [target[done:]], offset + done)
            if count == 0:
                raise CorruptBlobError(inode, f"its blob ends at byte {offset + done} of {blob.size}")
            done += count
        self.bytes_read += size
        return target  # a copy of 1 MiB costs

    @request
    def opendir(self, inode: Inode, ctx: object = None) -> Inode:
        """Begin a listing, which needs no state."""
        return inode

    @request
    def readdir(self, inode: Inode, offset: int, token: ReaddirToken) -> None:
        """List a directory from a position on, with attributes; "." and ".." come last."""
        if inode == ROOT:
            if offset < _AFTER_PATHS:
                for position, name, entry in self.view.paths(offset):
                    if not pyfuse3.readdir_reply(token, name, self._attributes_of(entry, ENTRY_HEAD), position):
                        return
            self._list_dots(inode, token, _AFTER_PATHS, offset)
            return
        data, positions = self.view.entries(inode)
        end = len(data)
        # Positions are those of the ready-made listing: the next entry's, or the end.
        first = _first_from(positions, offset)
        for index in range(first, len(positions)):
            at = positions[index]
            (length,) = _NAME_LENGTH.unpack_from(data, at + NAME_LENGTH)
            name = bytes(data[at + DIRENT_NAME : at + DIRENT_NAME + length])
            following = positions[index + 1] if index + 1 < len(positions) else end
            if not pyfuse3.readdir_reply(token, name, self._attributes_of(data, at + ENTRY_HEAD), following):
                return
        self._list_dots(inode, token, end, offset)

    @request
    def statfs(self, ctx: object = None) -> StatvfsData:
        """Return how much room there is where the blobs are."""
        space, answer = self.view.space(), StatvfsData()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail"):
            setattr(answer, f"f_{name}", getattr(space, f"f_{name}"))
        answer.f_namemax = 255
        return answer

    def forget(self, inodes: Sequence[tuple[Inode, int]]) -> None:  # type: ignore[override]  # and nothing to wait for
        """Nothing to do: what is in use is asked of the kernel when it matters."""

    async def _refuse(self, *arguments: object) -> NoReturn:
        raise FUSEError(errno.EROFS)

    # Stopped by the kernel, unless root has remounted it.
    setattr = mknod = mkdir = unlink = rmdir = symlink = rename = link = write = create = _refuse  # type: ignore[assignment]
    setxattr = removexattr = _refuse  # type: ignore[assignment]

    def statistics(self) -> dict[str, int]:
        """Return the number of requests by kind, and the bytes read through this process."""
        counts = {f"requests {name}": count for name, count in self.counts.items()}
        counts["requests lookup"] = counts.get("requests lookup", 0) + self._look_ups.found
        return counts | {"bytes read": self.bytes_read}

    def _list_dots(self, inode: Inode, token: ReaddirToken, end: int, offset: int) -> None:
        for step, name in enumerate((b".", b"..")):
            if offset <= end + step:
                pyfuse3.readdir_reply(token, name, _make_attributes(inode, 0, 0, MODE_DIRECTORY), end + step + 1)

    def _attributes_of(self, record: Record, at: int) -> EntryAttributes:
        attributes = self._entry
        attributes.st_ino, attributes.st_size, attributes.st_blocks, attributes.st_mode = ATTRIBUTES.unpack_from(
            record, at
        )
        return attributes


class Pyfuse3Server:
    """One connection through libfuse; see `KernelServer`, whose contract it shares.

    Args:
        fd: /dev/fuse, mounted already.
        view: what is served.
        report: called, in any thread, with a line of text and an inode when a request failed: a person should know.
    """

    wakes_for_signals = False

    def __init__(self, fd: int, view: View, report: Callable[[str, Inode | None], None]) -> None:
        self._operations = self.make_operations(view, report)
        self._fd = fd

    def make_operations(self, view: View, report: Callable[[str, Inode | None], None]) -> Operations:
        """Return the handlers."""
        return Operations(view, report)

    def serve(self, ready: Callable[[], None] | None = None) -> None:
        """Answer requests until the file system is unmounted everywhere. Blocks."""
        if ready is not None:
            self._operations.ready = ready
        fd = os.dup(self._fd)  # libfuse closes what it is given
        self.prepare_loop(fd)
        pyfuse3.init(self._operations, f"/dev/fd/{fd}", set())
        try:
            self.drive(pyfuse3.main)
        finally:
            pyfuse3.close(unmount=False)

    def prepare_loop(self, fd: int) -> None:
        """Decide what drives the handlers of the requests that come from `fd`, before pyfuse3 is initialised."""
        synchronous.install(pyfuse3, fd)

    def drive(self, main: Callable[[int, int], Coroutine[object, None, None]]) -> None:
        """Run pyfuse3's main coroutine (of at least and at most so many tasks) until the file system is unmounted."""
        synchronous.run(main(1, 1))

    def invalidate_entry(self, directory: Inode, name: bytes) -> None:
        """Make the kernel forget a name and everything unused beneath it; see `invalidation.Notifier`."""
        pyfuse3.invalidate_entry(directory, name)

    def invalidate_bytes(self, inode: Inode) -> None:
        """Make the kernel read a file's bytes again; see `invalidation.Notifier`."""
        pyfuse3.invalidate_inode(inode, attr_only=False)

    def is_in_use(self, inode: Inode) -> bool:
        """Ask the kernel whether it knows an inode. Makes it ask for the attributes again."""
        try:
            pyfuse3.invalidate_inode(inode, attr_only=True)
        except FileNotFoundError:
            return False
        return True

    def statistics(self) -> dict[str, int]:
        """Return the number of requests by kind, and the bytes read through this process."""
        return self._operations.statistics()


def _make_attributes(inode: Inode, size: int, blocks: int, mode: int) -> EntryAttributes:
    attributes = EntryAttributes()
    attributes.st_ino = inode
    attributes.st_size = size
    attributes.st_blocks = blocks
    attributes.st_mode = mode
    attributes.st_nlink = 1
    attributes.st_uid = attributes.st_gid = 0
    attributes.st_blksize = 4096
    attributes.st_atime_ns = attributes.st_mtime_ns = attributes.st_ctime_ns = 1_000_000_000
    attributes.entry_timeout = attributes.attr_timeout = _FOR_EVER
    assert stat.S_IFMT(mode) or not inode
    return attributes


def _first_from(positions: memoryview, offset: int) -> int:
    """Return the index of the first entry at `offset` or behind."""
    low, high = 0, len(positions)
    while low < high:
        middle = (low + high) >> 1
        if positions[middle] < offset:
            low = middle + 1
        else:
            high = middle
    return low
