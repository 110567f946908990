"""NAR, the archive format whose SHA-256 identifies a store object's contents (Dolstra's thesis, section 5.2.1).

A tree of regular files (with or without the executable bit), symbolic links and directories whose entries are sorted
bytewise; nothing else, so equal trees have equal archives. Strings are an 8-byte little-endian length, the bytes, and
zeros up to a multiple of eight. Sans-I/O: bytes in, events out, and back. The reader is strict: it takes only what the
writer here would have written, so the hash of what was read is the hash of what can be written again.
"""

from __future__ import annotations

from storefs.errors import StoreError, on_one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.formats.byte_reader import Buffer, ByteReader

MAX_NAME_LENGTH = 255  # NAME_MAX: no Linux file system can hold a longer one
MAX_TARGET_LENGTH = 4095  # PATH_MAX without the terminating NUL
_MAX_SIZE = 2**63 - 1


class BadNarError(StoreError):
    """Bytes that are not a canonical NAR."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"bad archive: {reason}")


class Directory:
    """A directory begins; its entries follow, sorted, then EndDirectory. ``name`` is empty for the root."""

    __slots__ = ("name",)

    def __init__(self, name: bytes) -> None:
        self.name = name


class EndDirectory:
    """The innermost open directory ends."""

    __slots__ = ()


class Regular:
    """A regular file; its contents follow as pieces (bytes-like events) of ``size`` bytes altogether."""

    __slots__ = ("executable", "name", "size")

    def __init__(self, name: bytes, executable: bool, size: int) -> None:
        self.name = name
        self.executable = executable
        self.size = size


class FileRun:
    """Regular files of the innermost directory that follow each other, as the ``text`` that their entries are in a NAR.

    Only code that reads directories makes them, in the place of as many `Regular`; see castore/file_runs.py.

    Attributes:
        files: of each the name, whether it is executable, its size, where its contents begin in ``text``, and how many
            names it has.
        folder: the host path of the directory.
    """

    __slots__ = ("files", "folder", "text")

    def __init__(self, folder: bytes, text: memoryview, files: list[tuple[bytes, bool, int, int, int]]) -> None:
        self.folder = folder
        self.text = text
        self.files = files


class Symlink:
    """A symbolic link."""

    __slots__ = ("name", "target")

    def __init__(self, name: bytes, target: bytes) -> None:
        self.name = name
        self.target = target


if TYPE_CHECKING:
    Event = Directory | EndDirectory | Regular | Symlink | Buffer
    EventOrRun = Event | FileRun


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + bytes(-len(text) & 7)


_OPEN = _string(b"(")
_CLOSE = _string(b")")
_MAGIC = _string(b"nix-archive-1")
_ENTRY = _string(b"entry")
_ENTRY_NAME = _OPEN + _string(b"name")
_NODE = _string(b"node") + _OPEN + _string(b"type")
_ROOT_NODE = _OPEN + _string(b"type")
_REGULAR = _string(b"regular")
_DIRECTORY = _string(b"directory")
_SYMLINK = _string(b"symlink")
_TARGET = _string(b"target")
_CONTENTS = _string(b"contents")
_EXECUTABLE = _string(b"executable")
_EXECUTABLE_CONTENTS = _EXECUTABLE + _string(b"") + _CONTENTS
_ZEROS = bytes(8)


def check_entry_name(name: bytes) -> None:
    """Raise BadNarError unless ``name`` may name an entry of a directory."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise BadNarError(f"it contains the invalid file name '{_show(name)}'")
    if len(name) > MAX_NAME_LENGTH:
        raise BadNarError(f"the file name '{_show(name[:40])}...' is longer than {MAX_NAME_LENGTH} bytes")


def check_target(target: bytes) -> None:
    """Raise BadNarError unless ``target`` can be a symbolic link's."""
    if not target or b"\0" in target or len(target) > MAX_TARGET_LENGTH:
        raise BadNarError(f"a symbolic link has the impossible target '{_show(target[:80])}'")


def parse_nar(reader: ByteReader) -> Iterator[Event]:
    """Yield the events of the NAR that begins at ``reader``, and leave the reader exactly behind it.

    Pieces of contents are bytes-like and may be overwritten or dropped as soon as the next event is asked for.
    Raises BadNarError for anything but a canonical NAR, UnexpectedEndError for a truncated one.  Depth is limited by
    memory only.
    """
    exact = reader.exact
    if exact(len(_MAGIC)) != _MAGIC:
        raise BadNarError("input doesn't look like a Nix archive")
    if exact(len(_ROOT_NODE)) != _ROOT_NODE:
        raise BadNarError("expected open tag and type")
    previous: list[bytes] = []  # the last name seen in each open directory
    name = b""
    while True:
        kind = exact(len(_REGULAR))
        if kind == _REGULAR:
            yield from _parse_regular(reader, name)
        elif kind == _SYMLINK:
            if exact(len(_TARGET)) != _TARGET:
                raise BadNarError("a symbolic link lacks its target")
            target = _parse_string(reader, MAX_TARGET_LENGTH, "symbolic link target")
            check_target(target)
            yield Symlink(name, target)
        elif kind == _DIRECTORY[:16] and exact(8) == _DIRECTORY[16:]:
            yield Directory(name)
            previous.append(b"")
            name = b""
        else:
            raise BadNarError("unknown file type")
        # Behind a node: close it unless it is a directory that just began, then go on in the enclosing directory.
        if kind in (_REGULAR, _SYMLINK):
            _expect_close(reader)
            if not previous:
                return
            _expect_close(reader)
        while True:
            tag = exact(len(_ENTRY))
            if tag == _ENTRY:
                break
            if tag != _CLOSE:
                raise BadNarError("unknown field in a directory")
            yield EndDirectory()
            previous.pop()
            if not previous:
                return
            _expect_close(reader)
        if exact(len(_ENTRY_NAME)) != _ENTRY_NAME:
            raise BadNarError("a directory entry lacks its name")
        name = _parse_string(reader, MAX_NAME_LENGTH, "file name")
        check_entry_name(name)
        innermost = len(previous) - 1
        if name <= previous[innermost]:
            raise BadNarError(f"directory is not sorted at '{_show(name)}'")
        previous[innermost] = name
        if exact(len(_NODE)) != _NODE:
            raise BadNarError(f"the entry '{_show(name)}' lacks its node")


def _parse_regular(reader: ByteReader, name: bytes) -> Iterator[Event]:
    tag = reader.exact(len(_CONTENTS))
    executable = tag == _EXECUTABLE[:16]
    if executable:
        rest = reader.exact(len(_EXECUTABLE_CONTENTS) - 16)
        if rest != _EXECUTABLE_CONTENTS[16:]:
            raise BadNarError("malformed executable marker")
    elif tag != _CONTENTS:
        raise BadNarError("a regular file lacks its contents")
    size = int.from_bytes(reader.exact(8), "little")
    if size > _MAX_SIZE:
        raise BadNarError(f"a file of {size} bytes is impossible")
    yield Regular(name, executable, size)
    left = size
    while left:
        piece = reader.some(left)
        left -= len(piece)
        yield piece
    padding = -size & 7
    if padding and reader.exact(padding) != _ZEROS[:padding]:
        raise BadNarError("non-zero padding")


def _parse_string(reader: ByteReader, limit: int, what: str) -> bytes:
    length = int.from_bytes(reader.exact(8), "little")
    if length > limit:
        raise BadNarError(f"a {what} is {length} bytes long")
    padded = reader.exact((length + 7) & ~7)
    if padded[length:] != _ZEROS[: len(padded) - length]:
        raise BadNarError("non-zero padding")
    return padded[:length]


def _expect_close(reader: ByteReader) -> None:
    if reader.exact(len(_CLOSE)) != _CLOSE:
        raise BadNarError("expected close tag")


def _show(name: bytes) -> str:
    """A name from nobody knows where, fit for one line on a terminal."""
    return on_one_line(name.decode("utf-8", "backslashreplace"))


# The pieces that NARs are made of, for code that has no time for events. An archive is ROOT_HEAD and a node; a node is
# directory_node and entries, or regular_node, contents and padding, or link_node; and then closing(whether it is inside
# a directory). An entry is entry_head and a node.
ROOT_HEAD = _MAGIC + _ROOT_NODE
DIRECTORY_NODE = _DIRECTORY
_REGULAR_CONTENTS = _REGULAR + _CONTENTS
_EXECUTABLE_REGULAR_CONTENTS = _REGULAR + _EXECUTABLE_CONTENTS
_ENTRY_OPEN = _ENTRY + _ENTRY_NAME
_CLOSE_ENTRY = _CLOSE + _CLOSE

# An entry without a call or a copy, for the code that is in the greatest hurry: ENTRY_OPENS[length of the name], the
# name, and then DIRECTORY_OPENS[length & 7]; or, for a file, REGULAR_OPENS[length & 7] or EXECUTABLE_OPENS, its size in
# 8 bytes, its contents and ENTRY_CLOSES[size & 7].
ENTRY_OPENS = tuple(_ENTRY_OPEN + length.to_bytes(8, "little") for length in range(MAX_NAME_LENGTH + 1))
_NODES = tuple(_ZEROS[: -length & 7] + _NODE for length in range(8))
REGULAR_OPENS = tuple(node + _REGULAR_CONTENTS for node in _NODES)
EXECUTABLE_OPENS = tuple(node + _EXECUTABLE_REGULAR_CONTENTS for node in _NODES)
DIRECTORY_OPENS = tuple(node + DIRECTORY_NODE for node in _NODES)
ENTRY_CLOSES = tuple(_ZEROS[: -size & 7] + _CLOSE_ENTRY for size in range(8))


def entry_head(name: bytes) -> bytes:
    """What comes before the node of a directory's entry; the name is not checked."""
    length = len(name)
    return b"".join((_ENTRY_OPEN, length.to_bytes(8, "little"), name, _ZEROS[: -length & 7], _NODE))


def regular_node(executable: bool, size: int) -> bytes:
    """What comes before the contents of a regular file."""
    head = _EXECUTABLE_REGULAR_CONTENTS if executable else _REGULAR_CONTENTS
    return head + size.to_bytes(8, "little")


def padding(size: int) -> bytes:
    """What comes behind ``size`` bytes of contents."""
    return _ZEROS[: -size & 7]


def link_node(target: bytes) -> bytes:
    """A symbolic link."""
    return _SYMLINK + _TARGET + _string(target)


def closing(in_directory: bool) -> bytes:
    """What ends a node, and its entry if it is one."""
    return _CLOSE_ENTRY if in_directory else _CLOSE


class NarWriter:
    """Turns a tree, told in order, into the bytes of its NAR.

    Every method returns the bytes to write next.  The caller gives the entries of a directory sorted bytewise and
    contents of the announced size; names are checked, sizes are not.
    """

    __slots__ = ("_depth",)

    def __init__(self) -> None:
        self._depth = 0

    def directory(self, name: bytes) -> bytes:
        """A directory begins."""
        head = self._head(name)
        self._depth += 1
        return head + DIRECTORY_NODE

    def end_directory(self) -> bytes:
        """The innermost directory ends."""
        self._depth -= 1
        return closing(self._depth > 0)

    def regular(self, name: bytes, executable: bool, size: int) -> bytes:
        """A regular file begins; its ``size`` bytes follow, then ``end_regular``."""
        return self._head(name) + regular_node(executable, size)

    def end_regular(self, size: int) -> bytes:
        """The contents, ``size`` bytes, are complete."""
        return padding(size) + closing(self._depth > 0)

    def symlink(self, name: bytes, target: bytes) -> bytes:
        """A symbolic link."""
        check_target(target)
        return self._head(name) + link_node(target) + closing(self._depth > 0)

    def _head(self, name: bytes) -> bytes:
        if self._depth:
            check_entry_name(name)
            return entry_head(name)
        return ROOT_HEAD


def write_nar(events: Iterable[EventOrRun]) -> Iterator[bytes]:
    """Yield the NAR of a tree that is given as events, in pieces as small as the events are."""
    writer = NarWriter()
    size = left = 0
    for event in events:
        if isinstance(event, Regular):
            size = left = event.size
            yield writer.regular(event.name, event.executable, size)
            if not size:
                yield writer.end_regular(0)
        elif isinstance(event, Symlink):
            yield writer.symlink(event.name, event.target)
        elif isinstance(event, Directory):
            yield writer.directory(event.name)
        elif isinstance(event, EndDirectory):
            yield writer.end_directory()
        elif isinstance(event, FileRun):
            yield bytes(event.text)
        else:
            yield bytes(event)
            left -= len(event)
            if not left:
                yield writer.end_regular(size)


class NarStream:
    """The bytes of an archive whose events are known already, as an iterator.

    Whoever can take events takes ``events`` instead and saves parsing what was just parsed; one of the two is consumed.
    """

    __slots__ = ("_pieces", "events")

    def __init__(self, events: Iterator[Event]) -> None:
        self.events = events
        self._pieces = write_nar(events)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def __next__(self) -> bytes:
        return next(self._pieces)


def nar_of_bytes(content: bytes, executable: bool = False) -> bytes:
    """The NAR of a single regular file."""
    writer = NarWriter()
    size = len(content)
    return writer.regular(b"", executable, size) + content + writer.end_regular(size)
