"""Files of this machine, and those that are part of the program (`<nix/...>`), as the language sees them.

`evaluator/eval_io.py` builds on this, and so does whoever looks at files across the border of the store without an
evaluation (`profiles/store_reader.py`); a subclass answers for the paths that are not on this machine. Paths are
absolute, canonical and `str` (`surrogateescape`); failures of the operating system arrive as `OSError`.
"""

from __future__ import annotations

import os
import stat

#: Where `<nix/x.nix>` seems to be. No file system has it: these files are part of the program.
COREPKGS = "/__corepkgs__/"

_COREPKGS_DIR = os.path.dirname(os.path.abspath(__file__)) + "/corepkgs/"
_TYPES = {stat.S_IFREG: "regular", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


class HostFiles:
    """Never blocks for longer than the file system does."""

    def file_type(self, path: str) -> str | None:
        """Return 'regular', 'directory', 'symlink' or 'unknown', without following a link; None if not there."""
        try:
            mode = os.lstat(_host(path)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _TYPES.get(stat.S_IFMT(mode), "unknown")

    def exists(self, path: str) -> bool:
        """Return whether something is at `path`; links on the way are followed, a link at its end is not."""
        return self.file_type(path) is not None

    def read_file(self, path: str) -> bytes:
        """Return the content of a regular file, following links."""
        # Not open(): that asks for the terminal and the position of every file.
        file = os.open(_host(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(file).st_size
            content = os.read(file, size + 1)
            if len(content) == size:
                return content
            parts = [content]
            while piece := os.read(file, 1 << 20):
                parts.append(piece)
            return b"".join(parts)
        finally:
            os.close(file)

    def read_link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return os.readlink(_host(path))

    def list_dir(self, path: str) -> dict[str, str]:
        """Return the names in a directory with their types, as `file_type` gives them."""
        with os.scandir(_host(path)) as entries:
            return {
                entry.name: "symlink"
                if entry.is_symlink()
                else "directory"
                if entry.is_dir(follow_symlinks=False)
                else "regular"
                if entry.is_file(follow_symlinks=False)
                else "unknown"
                for entry in entries
            }

    def last_modified(self, path: str) -> int:
        """Return when the newest file at or below a host path was changed, in seconds since the epoch."""
        newest = int(os.lstat(_host(path)).st_mtime)
        for folder, _, names in os.walk(_host(path)):
            newest = max(newest, *(int(os.lstat(os.path.join(folder, name)).st_mtime) for name in (*names, ".")))
        return newest

    def resolve(self, path: str) -> str:
        """Return `path` with every symbolic link in it followed. OSError for a loop; a missing end stays as it is."""
        if path.startswith(COREPKGS):
            return path
        parts = [part for part in reversed(path.split("/")) if part]
        resolved, links = "", 0
        while parts:
            part = parts.pop()
            if part == "..":
                resolved = resolved.rpartition("/")[0]
                continue
            here = f"{resolved}/{part}"
            if part == "." or self.file_type(here) != "symlink":
                resolved = resolved if part == "." else here
                continue
            links += 1
            if links > 1024:
                raise OSError(40, f"too many symbolic links encountered while traversing the path '{path}'")
            target = self.read_link(here)
            if target.startswith("/"):
                resolved = ""
            parts.extend(part for part in reversed(target.split("/")) if part)
        return resolved or "/"

    def is_executable(self, path: str) -> bool:
        """Return whether a regular file may be executed by its owner."""
        return bool(os.stat(_host(path)).st_mode & stat.S_IXUSR)


def _host(path: str) -> str:
    if path.startswith(COREPKGS):
        return _COREPKGS_DIR + path[len(COREPKGS) :]
    return path
