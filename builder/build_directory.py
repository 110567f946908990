"""The directory in which a builder starts, on the host: made, filled, and removed or kept. Blocking on the disk."""

from __future__ import annotations

import itertools
import os

from builder.removal import remove_tree
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.users import BuildUser
    from storefs.config import Config


class BuildDirectory:
    """`nix-build-NAME.drv-N` in the temporary directory, or `build` in that.

    Args:
        config: names the temporary directory.
        drv_name: of the derivation, with `.drv`.
        private: put it in a directory that is ours. A builder may give its own directory any mode; if others could then
            reach it, they could meet the builder at a unix socket in it, and be handed a descriptor of what will be in
            the store. Only without a sandbox there are other places for that.

    Attributes:
        path: on the host.

    Raises:
        StoreError: it can't be made.
    """

    def __init__(self, config: Config, drv_name: str, *, private: bool) -> None:
        named = config.variable("TMPDIR")
        try:
            self._top = _make_numbered(named or "/tmp", f"nix-build-{drv_name}")
            self.path = self._top
            if private:
                self.path += "/build"
                os.mkdir(self.path, 0o700)
        except OSError as error:
            # Nobody looks for the fault in a name that he has not given.
            where = f"'{named}', which TMPDIR names" if named else "'/tmp'"
            raise StoreError(f"no build directory can be made in {where}: {error.strerror}") from error

    def fill(self, files: Mapping[str, bytes], user: BuildUser) -> None:
        """Write files into it, and give it and them to the user of the build."""
        paths = [self.path]
        for name, content in files.items():
            paths.append(f"{self.path}/{name}")
            with open(paths[-1], "xb") as file:
                file.write(content)
        if user.foreign:
            for path in reversed(paths):
                os.chown(path, user.uid, user.gid)

    def expose(self) -> None:
        """Let everybody look at it, when the builder has ended."""
        for path in {self._top, self.path}:
            os.chmod(path, 0o755)

    def remove(self) -> None:
        """Remove it and all that is in it. Never raises."""
        remove_tree(self._top)


def _make_numbered(parent: str, name: str) -> str:
    for number in itertools.count():
        path = f"{parent}/{name}-{number}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        return path
    raise AssertionError
