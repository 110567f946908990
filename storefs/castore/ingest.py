"""From a stream of NAR events to a tree whose contents are safe in an intake area: the one way into a store.

One pass: each file's BLAKE3 decides where its bytes go.  Of what is large, the NAR's SHA-256 is computed on a second
thread, and files are hashed and written on a third, while this one reads on.  Nothing is visible and nothing is in the
database afterwards.  Called by the stores only; each call in one thread.
"""

from __future__ import annotations

import os
from itertools import chain

import cython

from storefs.castore.contents import ENTRY_WEIGHT
from storefs.castore.digest import Digester, digest_bytes
from storefs.castore.host_tree import OPEN_FOLDER, WHOLE_LIMIT, HostRegular
from storefs.castore.intake_area import BLOB_MODE, write_error
from storefs.castore.nar_hash import BATCH, LARGE, THREAD_PAYS, NarHash, kept
from storefs.castore.side_thread import SideThread
from storefs.castore.trees import IngestedTree
from storefs.formats.hashes import Hash, new_hashlib
from storefs.formats.nar import (
    BadNarError,
    Directory,
    EndDirectory,
    FileRun,
    NarWriter,
    Regular,
    Symlink,
    check_entry_name,
)

if cython.compiled:
    from cython.cimports.storefs.castore.contents import Contents
    from cython.cimports.storefs.castore.trees import DirectoryNode, FileNode, LinkNode, file_key
else:
    from storefs.castore.trees import DirectoryNode, FileNode, LinkNode, file_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from storefs.castore.contents import Contents
    from storefs.castore.intake_area import IntakeArea
    from storefs.castore.trees import Node
    from storefs.formats.nar import EventOrRun

    Buffer = bytes | bytearray | memoryview
    # Bytes, and of each file in them that becomes a blob the node, whether it is executable, where it begins, its size;
    # of files that may be moved the folder and their names.
    _Job = tuple[bytes | memoryview, list[tuple[FileNode, bool, int, int]], bytes, list[bytes]]

# Files up to WHOLE_LIMIT are held in memory once. Larger ones go to disk piece by piece, each hashed and written while
# it is in the processor's cache: twice as fast as doing one after the other with megabytes.
_WRITE_BEHIND = 32 << 20  # bytes of a large file after which the disk begins to write them


def ingest_events(
    events: Iterable[EventOrRun],
    area: Callable[[], IntakeArea],
    contents: Contents,
    *,
    make_room: Callable[[list[DirectoryNode]], None],
    move: bool = False,
    nar_sink: Callable[[Buffer], object] | None = None,
) -> IngestedTree:
    """Take in the tree that ``events`` tell.

    ``area`` gives the intake area and is asked only when something needs it.  ``make_room`` is called, with the
    directories that are not complete, the outermost first, when ``contents`` are more than their room.  With ``move``,
    files of the host that are large and have one name may be renamed away.  ``nar_sink`` may be called on another
    thread, in order, and not after this has ended.  Raises what the source and the sink raise, BlobError where bytes
    can't be written, BadNarError for events that are no tree.
    """
    nar = NarHash(nar_sink)
    ingest = _Ingest(area, contents, make_room, move, nar)
    try:
        root = ingest.run(events)
        nar_hash, nar_size = nar.finish()
    finally:
        ingest.abort()
        nar.abort()
    return IngestedTree(root, nar_hash, nar_size)


def ingest_bytes(content: bytes, executable: bool, contents: Contents) -> IngestedTree:
    """Take in one regular file."""
    writer = NarWriter()
    size = len(content)
    state = new_hashlib("sha256")
    head = writer.regular(b"", executable, size)
    tail = writer.end_regular(size)
    for piece in (head, content, tail):
        state.update(piece)
    digest = contents.add(content)
    nar_hash = Hash("sha256", state.digest())
    return IngestedTree(FileNode(file_key(digest, executable), size), nar_hash, len(head) + size + len(tail))


class _Ingest:
    def __init__(
        self,
        area: Callable[[], IntakeArea],
        contents: Contents,
        make_room: Callable[[list[DirectoryNode]], None],
        move: bool,
        nar: NarHash,
    ) -> None:
        self._area = area
        self._contents = contents
        self._make_room = make_room
        self._move = move
        self._nar = nar
        self._storing: SideThread | None = None

    def abort(self) -> None:
        if self._storing is not None:
            self._storing.abort()
            self._storing = None

    def run(self, events: Iterable[EventOrRun]) -> FileNode | LinkNode | DirectoryNode:
        stream = iter(events)
        writer = NarWriter()
        add, add_file = self._nar.add, self._nar.add_file
        contents: Contents = self._contents
        stack: list[DirectoryNode] = []
        root: FileNode | LinkNode | DirectoryNode | None = None
        for event in stream:
            kind = type(event)
            node: FileNode | LinkNode | DirectoryNode
            if isinstance(event, Regular):
                name, executable, size = event.name, event.executable, event.size
                if stack and size < LARGE and contents.is_inline(size):
                    content = self._small(size, stream)
                    check_entry_name(name)
                    add_file(name, executable, content)
                    node = FileNode(file_key(contents.add(content), executable), size)
                else:
                    add(writer.regular(name, executable, size))
                    node = FileNode(b"", size)
                    self._regular(node, event, stream)
                    add(writer.end_regular(size))
            elif kind is EndDirectory:
                add(writer.end_directory())
                stack.pop()
                continue
            elif isinstance(event, FileRun):
                add(event.text)
                self._run_of_files(event, stack[len(stack) - 1].entries)
                if contents.weight > contents.room:
                    self._settle()
                    self._make_room(stack)
                continue
            elif isinstance(event, Directory):
                add(writer.directory(event.name))
                node = DirectoryNode()
                name = event.name
            elif isinstance(event, Symlink):
                add(writer.symlink(event.name, event.target))
                node = LinkNode(event.target)
                name = event.name
            else:
                raise BadNarError("contents without a file")
            if stack:
                stack[len(stack) - 1].entries.append((name, node))
            else:
                root = node
            if type(node) is DirectoryNode:
                stack.append(node)
            contents.weight += ENTRY_WEIGHT
            if contents.weight > contents.room:
                self._settle()
                self._make_room(stack)
        if root is None:
            raise BadNarError("it is empty")
        self._settle()
        return root

    def _settle(self) -> None:
        """Wait for what is being stored: every node has its key then, and the area is this thread's."""
        if self._storing is not None:
            self._storing.drain()

    def _run_of_files(self, run: FileRun, entries: list[tuple[bytes, Node]]) -> None:
        text = run.text
        contents: Contents = self._contents
        written: list[tuple[FileNode, bool, int, int]] = []
        moved: list[tuple[FileNode, bool, int, int]] = []
        names: list[bytes] = []
        for name, executable, size, start, links in run.files:
            if contents.is_inline(size):
                node = FileNode(file_key(contents.add(bytes(text[start : start + size])), executable), size)
            else:
                node = FileNode(b"", size)
                if self._move and links == 1:
                    moved.append((node, executable, start, size))
                    names.append(name)
                else:
                    written.append((node, executable, start, size))
            entries.append((name, node))
        contents.weight += ENTRY_WEIGHT * len(run.files)
        if written:
            self._store_aside((text, written, b"", []))
        if moved:
            self._store_aside((text, moved, run.folder, names))
            if run.folder.startswith(OPEN_FOLDER):
                self._settle()

    def _regular(self, node: FileNode, event: Regular, stream: Iterator[EventOrRun]) -> None:
        """Consume the contents that follow ``event``, and give the node its key, now or soon."""
        size = event.size
        movable = self._move and isinstance(event, HostRegular) and event.links == 1
        is_inline = self._contents.is_inline(size)
        if size > WHOLE_LIMIT or (movable and not is_inline):
            self._settle()
            digest = self._moved(event, stream) if movable else self._written(size, stream)
            node.key = file_key(digest, event.executable)
            return
        content = self._whole(size, stream)
        if is_inline:
            node.key = file_key(self._contents.add(content), event.executable)
        else:
            self._store_aside((content, [(node, event.executable, 0, size)], b"", []))

    def _store_aside(self, job: _Job) -> None:
        """Make blobs of files that are in memory, and give their nodes their keys, now or soon."""
        if self._nar.size < THREAD_PAYS:
            self._store(job)
            return
        if self._storing is None:
            self._storing = SideThread(self._store)
        self._storing.put(job)

    def _store(self, job: _Job) -> None:
        text, files, folder, names = job
        view = memoryview(text)
        area = self._area()
        stored = [(digest_bytes(view[start : start + size]), start, size) for _, _, start, size in files]
        if folder:
            area.move_all(folder, [(digest, name, size) for (digest, _, size), name in zip(stored, names, strict=True)])
        elif len(files) == 1:
            area.put(stored[0][0], view[stored[0][1] : stored[0][1] + stored[0][2]])
        else:
            area.put_all(view, stored)
        for (node, executable, _, _), (digest, _, _) in zip(files, stored, strict=True):
            node.key = file_key(digest, executable)

    def _moved(self, event: Regular, stream: Iterator[EventOrRun]) -> bytes:
        """Take in a file that need not be copied, and return its digest."""
        assert isinstance(event, HostRegular)
        digester = Digester()
        for piece in self._pieces(event.size, stream):
            digester.update(piece)
        digest = digester.finish()
        self._area().keep_moved(digest, os.fsdecode(event.path), event.size)
        return digest

    def _written(self, size: int, stream: Iterator[EventOrRun]) -> bytes:
        """Write contents as they come, and return their digest."""
        digester = Digester()
        area = self._area()
        temporary = area.temporary_name()
        hashing = SideThread(digester.update) if size >= THREAD_PAYS else None
        unasked = 0
        try:
            with _NewFile(temporary) as file:
                for piece in self._pieces(size, stream):
                    if hashing is None:
                        digester.update(piece)
                    else:
                        hashing.put(kept(piece))
                    file.write(piece)
                    unasked += len(piece)
                    if unasked >= _WRITE_BEHIND:
                        area.behind.growing(temporary, unasked)
                        unasked = 0
            if hashing is not None:
                hashing.finish()
        finally:
            if hashing is not None:
                hashing.abort()
        digest = digester.finish()
        area.keep_written(digest, temporary, size)
        return digest

    def _small(self, size: int, stream: Iterator[EventOrRun]) -> bytes:
        """Contents that are not given to the NAR here."""
        if not size:
            return b""
        piece = next(stream, None)
        if isinstance(piece, bytes) and len(piece) == size:
            return piece
        taken: list[Buffer] = []
        left = size
        while True:
            if not isinstance(piece, (bytes, memoryview, bytearray)):
                raise BadNarError("the contents of a file are cut short")
            left -= len(piece)
            if left < 0:
                raise BadNarError("a file is longer than announced")
            taken.append(kept(piece))
            if not left:
                return b"".join(taken)
            piece = next(stream, None)

    def _whole(self, size: int, stream: Iterator[EventOrRun]) -> bytes:
        if not size:
            return b""
        piece = next(stream, None)
        if isinstance(piece, bytes) and len(piece) == size:
            self._nar.add(piece)
            return piece
        if piece is not None:
            stream = chain([piece], stream)
        return b"".join(self._pieces(size, stream))

    def _pieces(self, size: int, stream: Iterator[EventOrRun]) -> Iterable[Buffer]:
        """Yield the contents; small pieces, as they come from a socket, are joined to batches."""
        left = size
        add = self._nar.add
        small: list[Buffer] = []
        joined = 0
        while left > 0:
            piece = next(stream, None)
            if not isinstance(piece, (bytes, memoryview, bytearray)):
                raise BadNarError("the contents of a file are cut short")
            left -= len(piece)
            if left < 0:
                raise BadNarError("a file is longer than announced")
            if small or len(piece) < LARGE:
                small.append(kept(piece))
                joined += len(piece)
                if joined < BATCH and left:
                    continue
                piece = b"".join(small)
                small.clear()
                joined = 0
            add(piece)
            yield piece


class _NewFile:
    """A file that is written: only what the disk says is an error of writing, not what the source or the sink raise."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, BLOB_MODE)
        except OSError as error:
            raise write_error(path, error) from error

    def __enter__(self) -> _NewFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            os.close(self._fd)
        except OSError as error:
            if kind is None:
                raise write_error(self._path, error) from error

    def write(self, piece: Buffer) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise write_error(self._path, error) from error
