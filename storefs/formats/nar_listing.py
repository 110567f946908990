"""`.ls` listings: what is in a NAR, and where in it, as the JSON that binary caches keep beside a narinfo.

Format: `listNar` of Nix's nar-accessor.cc, version 1. Sans-I/O; written by `stores/cache_writer.py` and by the cache
server, read by the lazy store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, parse_nar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.byte_reader import ByteReader


def list_nar(reader: ByteReader) -> dict[str, Any]:
    """Read a NAR to its end and return its listing, ready for JSON.

    Names that are not UTF-8 are kept with `surrogateescape`.

    Raises:
        BadNarError, UnexpectedEndError: it is none, or truncated.
    """
    root: dict[str, Any] = {}
    open_directories: list[dict[str, Any]] = []
    for event in parse_nar(reader):
        if isinstance(event, EndDirectory):
            open_directories.pop()
            continue
        if isinstance(event, Regular):
            # The reader stands behind the length, where the contents begin.
            node: dict[str, Any] = {"type": "regular", "size": event.size}
            if event.executable:
                node["executable"] = True
            node["narOffset"] = reader.consumed
        elif isinstance(event, Symlink):
            node = {"type": "symlink", "target": event.target.decode("utf-8", "surrogateescape")}
        elif isinstance(event, Directory):
            node = {"type": "directory", "entries": {}}
        else:
            continue  # contents
        if open_directories:
            open_directories[-1]["entries"][event.name.decode("utf-8", "surrogateescape")] = node
        else:
            root = node
        if isinstance(event, Directory):
            open_directories.append(node)
    return {"version": 1, "root": root}


_BUILD_IDS = ("lib", "debug", ".build-id")
_HEX = frozenset("0123456789abcdef")


def debug_files(listing: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the files with debug information that a listing names: (`BUILD-ID.debug`, path of the file in the NAR).

    They lie where gdb looks for them: `lib/debug/.build-id/ab/cdef....debug`.
    """
    node = listing["root"]
    for name in _BUILD_IDS:
        node = node.get("entries", {}).get(name, {})
    for first, directory in node.get("entries", {}).items():
        for rest, file in directory.get("entries", {}).items():
            digits, dot, extension = rest.partition(".")
            well_formed = len(first) == 2 and len(digits) == 38 and _HEX.issuperset(first + digits)
            if well_formed and dot + extension == ".debug" and file["type"] == "regular":
                yield first + rest, "/".join((*_BUILD_IDS, first, rest))
