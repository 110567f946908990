"""Objects inside store paths, read without a mount: `verglas ls` and `verglas cat`."""

from __future__ import annotations

import os
import stat

from storefs.commands.operations.operands import follow_links
from storefs.commands.operations.verifying import require_local
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.metadata.tree_reader import TreeEntry
    from storefs.stores.local import LocalStore
    from storefs.stores.remote import RemoteStore

_TYPES = {stat.S_IFREG: "regular", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


class NoSuchFileError(StoreError):
    """A valid path contains no such object."""


def find_object(store: LocalStore | RemoteStore, operand: str) -> tuple[LocalStore, TreeEntry, str]:
    """The object that ``operand`` names, and its absolute path; links inside the store are not followed.

    Raises NoSuchFileError, InvalidPathError, BadStorePath.
    """
    local = require_local(store)
    text = follow_links(local.directory, operand)
    path, rest = local.directory.to_store_path(text)
    entry = local.reader.find(local.root_inode(path), os.fsencode(rest))
    if entry is None:
        raise NoSuchFileError(f"path '{text}' does not exist")
    return local, entry, text


def contents(store: LocalStore | RemoteStore, operand: str) -> Iterator[bytes]:
    """Yield the contents of a regular file; raises StoreError for anything else."""
    local, entry, text = find_object(store, operand)
    if not stat.S_ISREG(entry.mode):
        raise StoreError(f"path '{text}' is not a regular file")
    return local.reader.pieces(entry.inode)


def listing(local: LocalStore, top: TreeEntry, shown: str, *, long: bool, recursive: bool) -> Iterator[str]:
    """Yield the lines for an object that is no directory, or for what a directory contains."""
    if not top.is_directory:
        yield _line(local, top, shown, long)
        return
    stack = [(".", iter(local.reader.entries(top.inode)))]
    while stack:
        name, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        relative = f"{name}/{os.fsdecode(entry.name)}"
        yield _line(local, entry, relative, long)
        if recursive and entry.is_directory:
            stack.append((relative, iter(local.reader.entries(entry.inode))))


def describe(local: LocalStore, top: TreeEntry, *, recursive: bool) -> dict[str, object]:
    """The object as in a `.ls` file of a binary cache: a dictionary for JSON."""
    result = _fields(local, top)
    if top.is_directory:
        stack = [(top, result)]
        while stack:
            directory, fields = stack.pop()
            entries: dict[str, object] = {}
            fields["entries"] = entries
            for entry in local.reader.entries(directory.inode):
                described = _fields(local, entry) if recursive else {}  # only names, as in Nix
                entries[os.fsdecode(entry.name)] = described
                if recursive and entry.is_directory:
                    stack.append((entry, described))
    return result


def _fields(local: LocalStore, entry: TreeEntry) -> dict[str, object]:
    kind = _TYPES[stat.S_IFMT(entry.mode)]
    fields: dict[str, object] = {"type": kind}
    if kind == "regular":
        fields["size"] = entry.size
        if entry.mode & 0o111:
            fields["executable"] = True
    elif kind == "symlink":
        fields["target"] = os.fsdecode(local.reader.target(entry.inode))
    return fields


def _line(local: LocalStore, entry: TreeEntry, shown: str, long: bool) -> str:
    if not long:
        return shown
    line = f"{stat.filemode(entry.mode)} {0 if entry.is_symlink else entry.size:>20} {shown}"
    if entry.is_symlink:
        line += f" -> {os.fsdecode(local.reader.target(entry.inode))}"
    return line
