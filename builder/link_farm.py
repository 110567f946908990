"""`builtin:buildenv`: a directory of links to the files of several packages, for `nix-env` profiles.

Runs in the builder's place, perhaps in a sandbox where nothing can be imported any more. The order in which packages
are linked, and so what wins, is that of builtins/buildenv.cc of Nix 2.8.
"""

from __future__ import annotations

import os
import stat

from storefs.errors import StoreError

_USELESS = (
    "/propagated-build-inputs",
    "/nix-support",
    "/perllocal.pod",
    "/info/dir",
    "/log",
    "/manifest.nix",
    "/manifest.json",
)
_PROPAGATED = "nix-support/propagated-user-env-packages"
_FIRST_PROPAGATED_PRIORITY = 1000


class CollisionError(StoreError):
    """Two packages have the same file."""


def build(environment: dict[str, str], argument: str) -> None:
    """Make `$out` from `$derivations` and `$manifest`.

    Raises:
        CollisionError: packages of equal priority collide.
    """
    del argument
    out = environment["out"]
    os.makedirs(out, exist_ok=True)
    packages = _packages(environment["derivations"].split())
    farm = _Farm(out)
    for priority, path in sorted(packages):
        farm.add_package(path, priority)
    farm.add_propagated()
    os.symlink(environment["manifest"], f"{out}/manifest.nix")


def _packages(words: list[str]) -> list[tuple[int, str]]:
    """Read `active priority count path...` again and again; return (priority, path) of the active ones."""
    found = []
    words = list(reversed(words))
    while words:
        active, priority, count = words.pop(), int(words.pop()), int(words.pop())
        paths = [words.pop() for _ in range(count)]
        if active != "false":
            found += [(priority, path) for path in paths]
    return found


class _Farm:
    def __init__(self, out: str) -> None:
        self._out = out
        self._priorities: dict[str, int] = {}
        self._done: set[str] = set()
        self._postponed: set[str] = set()

    def add_package(self, path: str, priority: int) -> None:
        if path in self._done:
            return
        self._done.add(path)
        self._link(path, self._out, priority)
        try:
            with open(f"{path}/{_PROPAGATED}", encoding="utf-8") as file:
                self._postponed.update(set(file.read().split()) - self._done)
        except (FileNotFoundError, NotADirectoryError):
            pass

    def add_propagated(self) -> None:
        """Add what packages want to be there too; it loses against everything that was asked for."""
        priority = _FIRST_PROPAGATED_PRIORITY
        while self._postponed:
            paths, self._postponed = sorted(self._postponed), set()
            for path in paths:
                self.add_package(path, priority)
                priority += 1

    def _link(self, source: str, target: str, priority: int) -> None:
        try:
            names = sorted(os.listdir(source))
        except NotADirectoryError:
            _warn(f"not including '{source}' in the user environment because it's not a directory")
            return
        for name in names:
            if not name.startswith("."):
                self._link_one(f"{source}/{name}", f"{target}/{name}", priority)

    def _link_one(self, source: str, target: str, priority: int) -> None:
        try:
            is_directory = stat.S_ISDIR(os.stat(source).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            _warn(f"skipping dangling symlink '{target}'")
            return
        if source.endswith(_USELESS):
            return
        try:
            existing = os.lstat(target).st_mode
        except FileNotFoundError:
            existing = 0
        if is_directory and existing:
            if stat.S_ISLNK(existing):
                linked = os.path.realpath(target)
                if not os.path.isdir(linked):
                    raise CollisionError(f"collision between '{source}' and non-directory '{linked}'")
                # Two packages have this directory: it becomes a real one with the links of both.
                os.unlink(target)
                os.mkdir(target, 0o755)
                self._link(linked, target, self._priorities[target])
            self._link(source, target, priority)
            return
        if existing:
            if not stat.S_ISLNK(existing):
                raise CollisionError(f"collision between non-directory '{source}' and directory '{target}'")
            previous = self._priorities[target]
            if previous == priority:
                raise CollisionError(
                    f"packages '{source}' and '{os.readlink(target)}' have the same priority {priority}; "
                    "use 'nix-env --set-flag priority NUMBER INSTALLED_PKGNAME' to change the priority of one of the "
                    "conflicting packages (0 being the highest priority)"
                )
            if previous < priority:
                return
            os.unlink(target)
        os.symlink(source, target)
        self._priorities[target] = priority


def _warn(text: str) -> None:
    os.write(2, f"warning: {text}\n".encode(errors="surrogateescape"))
