"""`verglas profile init`: write a first profile.yaml."""

from __future__ import annotations

import os

from profiles.manifest import STARTER
from profiles.profile_options import FILE, place_of
from profiles.schema import SCHEMA_FILE
from storefs.durable import replace_file
from storefs.errors import StoreError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command("verglas profile init", "Write a first profile.yaml, with comments that explain it", options=(FILE,))


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    path = place_of(invocation).manifest
    if os.path.lexists(path):
        raise StoreError(f"'{path}' is there already; 'verglas profile add PACKAGE' adds to it")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Editors that know this line complete the keys and check them.
    replace_file(path, f"# yaml-language-server: $schema={SCHEMA_FILE}\n{STARTER}".encode())
    print(f"wrote '{path}'; edit it, then 'verglas profile apply'")
    return 0
