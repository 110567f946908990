"""What is in a NAR, found without unpacking it: `verglas nar ls` and `nar cat`, and `ls` and `cat` of what keeps NARs.

A store of whole NARs (a binary cache, a machine behind ssh) gives one path after the other in a temporary file; with
the parameter `local-nar-cache=DIR` of its URI the files stay in DIR, with a listing beside each, and are found there.
"""

from __future__ import annotations

import os
import stat
import tempfile

from storefs.commands.operations.operands import follow_links
from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.hashes import Hasher
from storefs.formats.nar import Directory, EndDirectory, NarWriter, Regular, Symlink, parse_nar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from storefs.formats.store_path import StorePath
    from storefs.stores.nar_store import NarStore

_PIECE = 1 << 18
_MODES = {"directory": stat.S_IFDIR | 0o555, "symlink": stat.S_IFLNK | 0o777, "regular": stat.S_IFREG | 0o444}


class NarEntry:
    """One object of a NAR.

    Attributes:
        kind: regular, directory or symlink.
        offset, size: where a regular file's contents are in the NAR, in bytes.
        executable: of a regular file.
        target: of a symbolic link.
        entries: of a directory, by name, sorted.
    """

    __slots__ = ("entries", "executable", "kind", "offset", "size", "target")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.offset = self.size = 0
        self.executable = False
        self.target = ""
        self.entries: dict[str, NarEntry] = {}


def read_index(path: str) -> NarEntry:
    """Return what is in the NAR file at `path`.

    Raises:
        StoreError: it is none.
        OSError: it can't be read.
    """
    with open(path, "rb", buffering=0) as file:
        return _read_index(file, path)


def _read_index(file: IO[bytes], path: str) -> NarEntry:
    try:
        return _index(ByteReader(iter(lambda: file.read(_PIECE), b"")))
    except StoreError as error:
        raise StoreError(f"'{path}' can't be read as an archive: {error}") from None


def local_nar_cache(store_uri: str) -> str:
    """Return the directory of `local-nar-cache` in a store's URI, '' if it names none."""
    from storefs.stores.cache_uri import split_uri

    return split_uri(store_uri)[1].get("local-nar-cache", "")


def open_object(store: NarStore, operand: str, cache_dir: str) -> tuple[IO[bytes], NarEntry, str]:
    """Return the NAR of the store path that `operand` is in, the object in it that is meant, and the whole name.

    Args:
        store: has the NAR.
        operand: a path in the store, or a link to one.
        cache_dir: keeps NARs; '' for none.

    Raises:
        StoreError: the path is not valid, or it contains no such object.
    """
    shown = follow_links(store.directory, operand)
    path, rest = store.directory.to_store_path(shown)
    file = _open_nar(store, path, cache_dir)
    try:
        return file, find_entry(_read_index(file, shown), rest), shown
    except BaseException:
        file.close()
        raise


def entry_contents(file: IO[bytes], entry: NarEntry, shown: str) -> Iterator[bytes]:
    """Yield the contents of a regular file in a NAR; raises StoreError for anything else."""
    if entry.kind != "regular":
        raise StoreError(f"path '{shown}' is not a regular file")
    file.seek(entry.offset)
    left = entry.size
    while left and (piece := file.read(min(left, _PIECE))):
        left -= len(piece)
        yield piece


def _open_nar(store: NarStore, path: StorePath, cache_dir: str) -> IO[bytes]:
    """Open the NAR of a valid path for reading, from the beginning. What the store sends is compared with its hash."""
    info = store.path_info(path)
    kept = f"{cache_dir}/{path.hash_part}"
    if cache_dir:
        os.makedirs(cache_dir, exist_ok=True)
        try:
            return open(f"{kept}.nar", "rb")
        except FileNotFoundError:
            pass
    hasher = Hasher("sha256")
    file = tempfile.NamedTemporaryFile(dir=cache_dir or None, suffix=".part", delete=False)  # noqa: SIM115  returned
    try:
        for piece in store.nar(path):
            hasher.update(piece)
            file.write(piece)
        if hasher.finish() != info.nar_hash:
            raise StoreError(
                f"the NAR of '{store.directory.print(path)}' in '{store.uri}' has another hash than it says"
            )
        file.seek(0)
        if cache_dir:
            _write_listing(file, f"{kept}.ls")
            os.rename(file.name, f"{kept}.nar")
        else:
            os.unlink(file.name)
    except BaseException:
        file.close()
        os.unlink(file.name)
        raise
    file.seek(0)
    return file


def _write_listing(file: IO[bytes], path: str) -> None:
    """Write what is in a NAR to a file, as Nix does: it need not read the NAR then to know what is in it."""
    import json

    root = describe_entry(_read_index(file, path), recursive=True)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as listing:
        json.dump({"version": 1, "root": root}, listing, ensure_ascii=False, separators=(",", ":"))


def find_entry(root: NarEntry, path: str) -> NarEntry:
    """Return the object at `path`; raises StoreError if there is none."""
    entry: NarEntry | None = root
    for name in path.split("/"):
        if name and entry is not None:
            entry = entry.entries.get(name)
    if entry is None:
        raise StoreError(f"path '{path}' does not exist")
    return entry


def describe_entry(entry: NarEntry, *, recursive: bool) -> dict[str, object]:
    """Return an object as in a `.ls` file of a binary cache."""
    if entry.kind == "symlink":
        return {"type": "symlink", "target": entry.target}
    if entry.kind == "regular":
        executable = {"executable": True} if entry.executable else {}
        return {"type": "regular", "size": entry.size, **executable, "narOffset": entry.offset}
    return {
        "type": "directory",
        "entries": {
            name: describe_entry(each, recursive=True) if recursive else {} for name, each in entry.entries.items()
        },
    }


def list_entry(entry: NarEntry, shown: str, *, long: bool, recursive: bool, directory: bool) -> Iterator[str]:
    """Yield the lines about an object: of itself, or of what a directory contains."""
    if entry.kind != "directory" or directory:
        yield _line(entry, shown, long)
    if entry.kind == "directory" and (recursive or not directory):
        for name, each in entry.entries.items():
            inner = f"{shown}/{name}"
            if recursive and each.kind == "directory":
                yield _line(each, inner, long)
                yield from list_entry(each, inner, long=long, recursive=True, directory=False)
            else:
                yield _line(each, inner, long)


def _line(entry: NarEntry, shown: str, long: bool) -> str:
    if not long:
        return shown
    mode = stat.filemode(_MODES[entry.kind] | (0o111 if entry.executable else 0))
    return f"{mode} {entry.size:>20} {shown}" + (f" -> {entry.target}" if entry.kind == "symlink" else "")


def _index(reader: ByteReader) -> NarEntry:
    # A NAR has one spelling only, so writing what was read tells where everything is.
    writer = NarWriter()
    offset = 0
    holder = NarEntry("directory")
    stack = [holder]
    left = 0
    size = 0
    for event in parse_nar(reader):
        if isinstance(event, Directory):
            entry = _enter(stack[-1], event.name, "directory")
            stack.append(entry)
            offset += len(writer.directory(event.name))
        elif isinstance(event, EndDirectory):
            stack.pop()
            offset += len(writer.end_directory())
        elif isinstance(event, Symlink):
            entry = _enter(stack[-1], event.name, "symlink")
            entry.target = os.fsdecode(event.target)
            offset += len(writer.symlink(event.name, event.target))
        elif isinstance(event, Regular):
            entry = _enter(stack[-1], event.name, "regular")
            offset += len(writer.regular(event.name, event.executable, event.size))
            entry.executable, entry.size, entry.offset = event.executable, event.size, offset
            size = left = event.size
            if not left:
                offset += len(writer.end_regular(0))
        else:
            offset += len(event)
            left -= len(event)
            if not left:
                offset += len(writer.end_regular(size))
    return holder.entries[""]


def _enter(directory: NarEntry, name: bytes, kind: str) -> NarEntry:
    entry = directory.entries[os.fsdecode(name)] = NarEntry(kind)
    return entry
