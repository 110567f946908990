"""Starts the server of `enter.py` where the store is visible, for users who need a namespace for that.

A program of its own: entering a user namespace takes a process with a single thread, and changes it for good, neither
of which may be asked of a process that evaluates or serves. Root needs none of this: its mount is everybody's.
"""

from __future__ import annotations

import marshal
import os
import pickle
import socket
import sys

from builder.sandbox.enter import CONTROL
from storefs.errors import StoreError
from storefs.stores.mountpoint import ensure_mounted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Mount, say where on the control socket, and become the server. The configuration is pickled on descriptor 4."""
    with open(4, "rb") as file:
        config = pickle.load(file)
    control = socket.socket(fileno=CONTROL)
    try:
        message = ("mounted", ensure_mounted(config))
    except StoreError as error:
        message = ("failed", str(error))
    control.send(marshal.dumps(message))
    if message[0] == "failed":
        sys.exit(1)  # child
    os.set_inheritable(CONTROL, True)
    root = sys.argv[1]
    program = f"import sys; sys.path.append({root!r}); from builder.sandbox.enter import serve; serve()"
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", program])
