"""What scripts know as `debug`: a place to stop and look around."""

from __future__ import annotations

import pdb
import sys


class Debug:
    """Stops scripts where they ask for it, if somebody is there to look: with `--interactive`."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled

    def breakpoint(self, host: str = "127.0.0.1", port: int = 4444) -> None:
        """Open Python's debugger on the terminal, at the caller's line.

        The NixOS driver, which runs in a sandbox, listens on `host` and `port` instead; here they are ignored.
        """
        del host, port
        if self._enabled:
            pdb.Pdb().set_trace(sys._getframe().f_back)
