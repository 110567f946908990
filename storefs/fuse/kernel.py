"""Transport `kernel`: serves a `View` by speaking the FUSE wire protocol on /dev/fuse itself.

For root, and for anybody inside a user namespace of their own. Only this transport can tell the kernel never to ask
about opens at all, and let it cache directories and symbolic links: a warm tree costs this process not one message.
It knows nothing of stores or mounting; `mount.py` gives it a descriptor whose file system is mounted already.

Threads: `serve` runs in one thread, which never waits for a disk where it can avoid it: what the page cache does not
hold is read by helper threads. The notifications and `statistics` are for other threads. The serving thread must never
write a notification: the kernel takes the lock of the directory first, and whoever holds it may be waiting for us.

Rules of the kernel (fs/fuse, Linux 6.18) that shaped this:

- ENOSYS to the first OPEN and OPENDIR means "never ask again, everything may be cached" - for the whole connection.
- With that, the root's listing would be cached too. A listing is complete for the cache when a READDIRPLUS returns
  nothing; at the root's end we return eight zero bytes instead, too short for an entry: the reader sees the end, the
  cache never becomes complete, so the next `ls` asks again and sees what was committed meanwhile.
- A short READ reply means end of file: every reply has exactly the bytes that the size promises.
- A file that was opened for passing through must be opened so every time, so opens must be asked about: with
  `passthrough` each open costs a message, which pays for large files only.
- The error reply to a LOOKUP is not cached; an entry with node 0 is, which is right everywhere but in the root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import threading
from bisect import bisect_right
from queue import SimpleQueue

from storefs.errors import StoreError
from storefs.fuse import kernel_wire as wire
from storefs.fuse.kernel_device import Device
from storefs.fuse.view import ROOT, AbsentError, CorruptBlobError, GoneError
from storefs.metadata.trees import MODE_DIRECTORY, encode_attr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.fuse.view import Inode, OpenBlob, View

    Job = tuple[int, Inode, OpenBlob, int, int]  # unique, node, blob, offset, size

MAX_PAGES = 256  # of 4 KiB in one READ: the kernel's default limit (sysctl fs.fuse.max_pages_limit)
_MAX_READ = MAX_PAGES * 4096
# Sizes the requests that the kernel sends. readv into a reused buffer of this order takes 8 us a look-up; the 1 MiB
# that libfuse uses, freshly allocated, takes 29.
_MAX_WRITE = 4096
_REQUEST_BUFFER = 64 << 10
_HELPERS = 4
_PASS_FROM = 256 << 10  # bytes: smaller files are read faster through the page cache of the mount
_AFTER_PATHS = 1 << 62  # the root's listing position behind all paths
_END_OF_ROOT = bytes(8)
_ROOT_ATTRIBUTES = encode_attr(ROOT, 0, MODE_DIRECTORY)


class UnsupportedKernelError(Exception):
    """The kernel is older than this transport can work with."""


class KernelServer:
    """One connection.

    Args:
        fd: /dev/fuse, mounted already.
        view: what is served.
        passthrough: let the kernel read large files itself. Needs CAP_SYS_ADMIN in the initial user namespace; where
            that is missing, files are read as without it.
        report: called, in any thread, with a line of text and an inode when a request failed: a person should know.
    """

    wakes_for_signals = False

    def __init__(self, fd: int, view: View, report: Callable[[str, Inode | None], None], *, passthrough: bool) -> None:
        if sys.byteorder != "little":
            raise UnsupportedKernelError("records are little-endian; this machine is not")
        self._fd = fd
        self._view = view
        self._report = report
        self._opens = passthrough
        self._passthrough = passthrough
        self._backing: dict[Inode, tuple[int, int]] = {}  # inode -> backing id, opens
        self._device = Device(fd, _REQUEST_BUFFER)
        self._request = self._device.request
        self._send = self._device.send
        self._send_error = self._device.send_error
        self._buffer = memoryview(bytearray(_MAX_READ))
        self._nowait = getattr(os, "RWF_NOWAIT", 0)
        self._jobs: SimpleQueue[Job | None] | None = None
        self._counts = [0] * wire.OPCODES
        self._bytes_read = 0
        self._ready: Callable[[], None] | None = None
        handlers: dict[int, Callable[[int, int, int], None]] = {
            wire.LOOKUP: self._lookup,
            wire.GETATTR: self._getattr,
            wire.READLINK: self._readlink,
            wire.READ: self._read,
            wire.READDIRPLUS: self._readdirplus,
            wire.FORGET: self._ignore,
            wire.BATCH_FORGET: self._ignore,
            wire.STATFS: self._statfs,
            wire.INIT: self._init,
            wire.DESTROY: self._done,
            wire.INTERRUPT: self._ignore,
            wire.NOTIFY_REPLY: self._ignore,
        }
        if passthrough:
            handlers |= {wire.OPEN: self._open, wire.RELEASE: self._release}
        handlers |= dict.fromkeys(wire.MUTATING, self._refuse)
        self._handlers = [handlers.get(opcode, self._unknown) for opcode in range(wire.OPCODES)]
        # What has no handler is not looked into.
        read = handlers.keys() & wire.SMALLEST
        self._smallest = [
            wire.SMALLEST[opcode] if opcode in read else wire.REQUEST_SIZE for opcode in range(wire.OPCODES)
        ]

    def serve(self, ready: Callable[[], None] | None = None) -> None:
        """Answer requests until the file system is unmounted everywhere.

        Blocks. The descriptor stays the caller's. `ready` is called once the kernel and we have agreed on how to talk.

        Raises:
            UnsupportedKernelError: the kernel is too old.
        """
        self._ready = ready
        try:
            self._device.serve(
                self._view.recent, self._handlers, self._smallest, self._counts, self._view.release, self._failed
            )
        finally:
            if self._jobs is not None:
                for _ in range(_HELPERS):
                    self._jobs.put(None)

    # Requests. Each handler answers exactly once, with a single write, while the records are valid.

    def _lookup(self, unique: int, node: int, length: int) -> None:
        name = bytes(self._request[wire.REQUEST_SIZE : length - 1])
        if len(name) > 255:  # the kernel lets 1023 bytes pass
            self._send_error(unique, errno.ENAMETOOLONG)
            return
        entry = self._view.lookup(node, name)
        if entry is not None:
            self._send(unique, entry)
        elif node == ROOT:
            self._send_error(unique, errno.ENOENT)
        else:
            self._send(unique, wire.NO_SUCH_ENTRY)

    def _getattr(self, unique: int, node: int, length: int) -> None:
        attributes = _ROOT_ATTRIBUTES if node == ROOT else self._view.attributes(node)
        self._send(unique, wire.ATTR_REPLY_PREFIX, attributes)

    def _readlink(self, unique: int, node: int, length: int) -> None:
        self._send(unique, self._view.symlink(node))

    def _read(self, unique: int, node: int, length: int) -> None:
        _, offset, size = wire.READ_REQUEST.unpack_from(self._request, wire.REQUEST_SIZE)
        content, blob = self._view.content(node)
        if content is not None:
            data = content[offset : offset + size]
            self._bytes_read += len(data)
            self._send(unique, data)
            return
        assert blob is not None
        size = max(0, min(size, blob.size - offset, _MAX_READ))
        self._bytes_read += size
        target = self._buffer[:size]
        if not self._read_cached(blob, target, offset):
            self._read_later((unique, node, blob, offset, size))
            return
        self._send(unique, target)

    def _read_cached(self, blob: OpenBlob, target: memoryview, offset: int) -> bool:
        """Fill `target` if that needs no waiting for the disk."""
        try:
            return os.preadv(blob.fd, [target], offset, self._nowait) == len(target)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
            self._nowait = 0  # a file system that cannot tell, as tmpfs: it does not wait either
            return os.preadv(blob.fd, [target], offset) == len(target)

    def _readdirplus(self, unique: int, node: int, length: int) -> None:
        _, offset, size = wire.READ_REQUEST.unpack_from(self._request, wire.REQUEST_SIZE)
        if node == ROOT:
            self._send(unique, self._list_root(offset, size))
            return
        data, positions = self._view.entries(node)
        total = len(data)
        end = offset + size
        if end < total:
            self._send(unique, data[offset : positions[bisect_right(positions, end) - 1]])
            return
        dots = wire.dot_entries(node, total)
        if offset > total:
            self._send(unique, dots[wire.DOT_SIZE * (offset - total) :][:size])
        elif end - total >= len(dots):
            self._send(unique, data[offset:], dots)
        else:
            self._send(unique, data[offset:])

    def _list_root(self, offset: int, size: int) -> bytes:
        parts: list[bytes] = []
        room = size
        if offset < _AFTER_PATHS:
            for position, name, entry in self._view.paths(offset):
                record = wire.directory_entry(entry, name, position)
                room -= len(record)
                if room < 0:
                    return b"".join(parts)
                parts.append(record)
            offset = _AFTER_PATHS
        dots = wire.dot_entries(ROOT, _AFTER_PATHS)[wire.DOT_SIZE * (offset - _AFTER_PATHS) :]
        if room >= len(dots):
            parts.append(dots)
        return b"".join(parts) or _END_OF_ROOT

    def _statfs(self, unique: int, node: int, length: int) -> None:
        space = self._view.space()
        self._send(
            unique,
            wire.STATFS_REPLY.pack(
                space.f_blocks, space.f_bfree, space.f_bavail, space.f_files, space.f_ffree,
                space.f_bsize, 255, space.f_frsize, 0,
            ),
        )  # fmt: skip

    def _open(self, unique: int, node: int, length: int) -> None:
        (flags,) = wire.OPEN_REQUEST.unpack_from(self._request, wire.REQUEST_SIZE)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._send_error(unique, errno.EROFS)
            return
        backing = self._begin_passing(node) if self._passthrough else 0
        how = wire.FOPEN_PASSTHROUGH if backing else wire.FOPEN_KEEP_CACHE
        self._send(unique, wire.OPEN_REPLY.pack(node, how | wire.FOPEN_NOFLUSH, backing))

    def _begin_passing(self, node: int) -> int:
        """Return the backing id for an open of `node`, 0 to read it the usual way."""
        known = self._backing.get(node)
        if known is not None:
            self._backing[node] = (known[0], known[1] + 1)
            return known[0]
        blob = self._view.content(node)[1]
        if blob is None or blob.size < _PASS_FROM:
            return 0
        try:
            # Of a bytearray, unlike bytes, ioctl returns what the system call returned: the id.
            backing: int = fcntl.ioctl(
                self._fd, wire.IOCTL_BACKING_OPEN, bytearray(wire.BACKING_MAP.pack(blob.fd, 0, 0)), True
            )
        except OSError as error:
            # EPERM without the capability, EOPNOTSUPP or ELOOP for a backing file system that itself is stacked.
            self._passthrough = False
            self._report(f"large files are not passed through: {error.strerror}", None)
            return 0
        self._backing[node] = (backing, 1)
        return backing

    def _release(self, unique: int, node: int, length: int) -> None:
        known = self._backing.get(node)
        if known is not None:
            # Opens of files that were passed through are the only ones counted, and a node is always opened one way.
            if known[1] > 1:
                self._backing[node] = (known[0], known[1] - 1)
            else:
                del self._backing[node]
                fcntl.ioctl(self._fd, wire.IOCTL_BACKING_CLOSE, known[0].to_bytes(4, "little"))
        self._send(unique)

    def _init(self, unique: int, node: int, length: int) -> None:
        offer = wire.InitRequest(memoryview(self._request)[wire.REQUEST_SIZE : length])
        if not offer.is_new_enough:
            self._send_error(unique, errno.EPROTO)
            raise UnsupportedKernelError(
                f"this kernel speaks FUSE {offer.major}.{offer.minor}; transport 'kernel' needs 7.31 (Linux 5.4)"
            )
        self._passthrough = self._passthrough and bool(offer.flags2 & wire.PASSTHROUGH)
        self._send(unique, offer.reply(opens=self._opens, max_write=_MAX_WRITE, max_pages=MAX_PAGES))
        if self._ready is not None:
            self._ready()

    def _refuse(self, unique: int, node: int, length: int) -> None:
        self._send_error(unique, errno.EROFS)

    def _unknown(self, unique: int, node: int, length: int) -> None:
        self._send_error(unique, errno.ENOSYS)  # for OPEN, OPENDIR, GETXATTR, ... the kernel never asks again

    def _ignore(self, unique: int, node: int, length: int) -> None:
        pass

    def _done(self, unique: int, node: int, length: int) -> None:
        self._send(unique)

    def _failed(self, opcode: int, unique: int, node: int, error: Exception) -> None:
        if isinstance(error, UnsupportedKernelError):
            raise error
        if isinstance(error, GoneError):
            # Makes the kernel walk the path again from the root: after a repair the new tree is found, and a
            # collected path is not.
            self._send_error(unique, errno.ESTALE)
            return
        if isinstance(error, AbsentError):
            self._send_error(unique, errno.ENOENT)
            return
        if isinstance(error, OSError) and error.errno == errno.ENOENT and error.filename is None:
            return  # our write: the caller was interrupted and waits no more
        if isinstance(error, CorruptBlobError):
            self._report(str(error), node)
        elif isinstance(error, StoreError):
            self._report(str(error), None if node == ROOT else node)
        else:
            name = wire.OPCODE_NAMES.get(opcode, str(opcode))
            self._report(f"request {name} failed: {type(error).__name__}: {error}", node)
        if opcode not in wire.SILENT:
            self._send_error(unique, errno.EIO)

    # Reads that wait for the disk.

    def _read_later(self, job: Job) -> None:
        if self._jobs is None:
            self._jobs = SimpleQueue()
            for _ in range(_HELPERS):
                threading.Thread(target=self._help, name="reader", daemon=True).start()
        self._jobs.put(job)

    def _help(self) -> None:
        buffer = memoryview(bytearray(_MAX_READ))
        assert self._jobs is not None
        while (job := self._jobs.get()) is not None:
            unique, node, blob, offset, size = job
            try:
                done = 0
                while done < size:
                    count = os.preadv(blob.fd, [buffer[done:size]], offset + done)
                    if count == 0:
                        raise CorruptBlobError(node, f"its blob ends at byte {offset + done} of {blob.size}")
                    done += count
                self._send(unique, buffer[:size])
            except Exception as error:  # as in `serve`
                self._failed(wire.READ, unique, node, error)
            finally:
                del blob, job  # or an idle thread would keep the bytes of a collected file

    # For other threads.

    def invalidate_entry(self, directory: Inode, name: bytes) -> None:
        """Make the kernel forget a name and everything unused beneath it; see `invalidation.Notifier`."""
        os.write(self._fd, wire.invalidate_entry(directory, name))

    def invalidate_bytes(self, inode: Inode) -> None:
        """Make the kernel read a file's bytes again; see `invalidation.Notifier`."""
        os.write(self._fd, wire.invalidate_bytes(inode))

    def is_in_use(self, inode: Inode) -> bool:
        """Ask the kernel whether it knows an inode. Makes it ask for the attributes again."""
        try:
            os.write(self._fd, wire.invalidate_attributes(inode))
        except FileNotFoundError:
            return False
        return True

    def statistics(self) -> dict[str, int]:
        """Return the number of requests by kind, and the bytes read through this process."""
        named = ((wire.OPCODE_NAMES.get(opcode, str(opcode)), count) for opcode, count in enumerate(self._counts))
        return {f"requests {name}": count for name, count in named if count} | {"bytes read": self._bytes_read}
