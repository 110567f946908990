"""`.ls` listings: what is in a NAR, and where in it, as the JSON that binary caches keep beside a narinfo.

Format: `listNar` of Nix's nar-accessor.cc, version 1. Sans-I/O; written by `stores/cache_writer.py` and by the cache
server, read by the lazy store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, parse_nar

if TYPE_CHECKING:
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
