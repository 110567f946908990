"""The parse cache: syntax trees of large files, found by the hash of the file's text, loaded piece by piece.

One file per text in a directory of the user's. It begins with a checksum of the rest, so that damage means a miss; then
come the length of the head, the head (the tree, with the larger bindings of sets packed) and the blobs, a marshalled
tree for each of those. Most of a package set's bindings are never looked at, and so never loaded: of each there is a
name, a number and four bytes.

Trees are only written after the evaluation, by `flush`, in a child process that nobody waits for. Nothing here raises:
a cache that cannot be read or written is no cache.
"""

from __future__ import annotations

import marshal
import os
import sys
from zlib import crc32

from evaluator.core import parser
from evaluator.core.sha256 import sha256
from evaluator.core.values import set_stack_size
from evaluator.errors import StackOverflow

TYPE_CHECKING = False
if TYPE_CHECKING:
    Tree = tuple[object, ...] | list[object]
    Parsed = tuple[Tree, dict[str, int], bool, bytes | memoryview | None]

#: Changes whenever the trees of parser.py do. marshal's format belongs to the Python release.
FORMAT = f"verglas 4 {sys.implementation.cache_tag}".encode()
#: Smaller files are parsed faster than they are found.
SMALLEST = 3000
#: Marshalled bindings from this size on are packed.
_BLOB_SIZE = 60
#: How much of its stack the child may use: of 8 MiB in general.
_CHILD_STACK = 4 << 20
_SUM_SIZE = 4
_HEAD = _SUM_SIZE + 8
#: When the directory has more files than this, the least recently written half goes.
_MOST_FILES = 20_000


class ParseCache:
    """Stands between an evaluation and the parser."""

    def __init__(self, directory: str) -> None:
        """Use `directory`, which need not exist."""
        self._directory = directory
        self._new: dict[str, bytes] = {}

    def parse(self, text: bytes) -> Parsed:
        """Return what `parser.parse` returns for `text`; raises what it raises."""
        if len(text) < SMALLEST:
            return parser.parse(text, parser.LONG)
        digest = sha256(FORMAT)
        digest.update(text)
        key = digest.hexdigest()
        found = self._load(key)
        if found is None:
            found = parser.parse(text, parser.LONG)
            self._new[key] = text
        return found

    def _load(self, key: str) -> Parsed | None:
        try:
            file = os.open(f"{self._directory}/{key}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            data = os.read(file, os.fstat(file).st_size + 1)
        except OSError:
            return None
        finally:
            os.close(file)
        if len(data) < _HEAD or data[:_SUM_SIZE] != _checksum(memoryview(data)[_SUM_SIZE:]):
            return None
        size = int.from_bytes(data[_SUM_SIZE:_HEAD], "little")
        head: tuple[Tree, dict[str, int], bool] = marshal.loads(memoryview(data)[_HEAD : _HEAD + size])
        return *head, memoryview(data)[_HEAD + size :]

    def flush(self) -> None:
        """Write what was parsed, in a child process. To be called once the evaluation is over; returns at once."""
        new, self._new = self._new, {}
        if not new:
            return
        try:
            child = os.fork()
        except OSError:
            return
        if child:
            return
        try:
            set_stack_size(_CHILD_STACK)
            self._write_all(new)
        finally:
            os._exit(0)  # child

    def write(self) -> None:
        """As `flush`, but in this process."""
        new, self._new = self._new, {}
        self._write_all(new)

    def _write_all(self, new: dict[str, bytes]) -> None:
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            for key, text in new.items():
                try:
                    data = encode(*parser.parse(text)[:3])
                except (ValueError, RecursionError, StackOverflow, OverflowError):
                    continue  # nested too deeply for marshal or for this stack, or too long
                _replace(f"{self._directory}/{key}", data)
            self._make_room()
        except OSError:
            pass

    def _make_room(self) -> None:
        names = os.listdir(self._directory)
        if len(names) <= _MOST_FILES:
            return
        paths = [f"{self._directory}/{name}" for name in names]
        paths.sort(key=lambda path: os.stat(path).st_mtime)
        for path in paths[: len(paths) // 2]:
            os.unlink(path)


def encode(tree: Tree, free: dict[str, int], redefined: bool) -> bytes:
    """Return the contents of the cache file for a parsed text. ValueError if it is nested too deeply."""
    blobs = bytearray()
    head = marshal.dumps((_packed(tree, blobs), free, redefined))  # type: ignore[arg-type]
    rest = len(head).to_bytes(8, "little") + head + blobs
    return _checksum(rest) + rest


def _checksum(data: bytes | memoryview) -> bytes:
    # Against damage, not against an enemy, who would own the directory anyway. Seven times as fast as a hash.
    return crc32(data).to_bytes(_SUM_SIZE, "little")


def _replace(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(data)
    os.rename(temporary, path)


def _packed(tree: object, blobs: bytearray) -> object:
    """Return `tree` with the larger bindings of its sets packed and their trees in `blobs`, innermost sets first."""
    if type(tree) is tuple:
        return tuple([_packed(item, blobs) if type(item) in (tuple, list) else item for item in tree])
    if type(tree) is not list:
        return tree
    if tree[0] != parser.ATTRS:
        return [_packed(item, blobs) if type(item) in (tuple, list) else item for item in tree]
    bindings = {}
    names: list[str] = []
    starts: list[int] = []
    places = bytearray()
    for name, (kind, value, pos) in tree[3].items():
        packed = _packed(value, blobs) if kind == 0 else value
        if kind == 0:
            data = marshal.dumps(packed)  # type: ignore[arg-type]
            if len(data) >= _BLOB_SIZE:
                names.append(name)
                starts.append(len(blobs))
                places += pos.to_bytes(4, "little")
                blobs += data
                continue
        bindings[name] = (kind, packed, pos)
    attrs = [*tree[:3], bindings, _packed(tree[4], blobs), _packed(tree[5], blobs)]
    return [*attrs, (tuple(names), tuple(starts), bytes(places))] if names else attrs
