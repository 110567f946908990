"""How a mount is served, and the memory of it: what takes a mount's place is served like it.

A mount that died is mounted again by whichever command needs the store next, and one that is replaced by whoever has
upgraded the program: neither knows how it was begun. So that is written down, in `<verglas_dir>/mounts/options`, a JSON
object by mount point, for mounts that were begun with options. Used by `mount.py` and `storefs.commands.mount`.

Losing it costs the options and nothing else: what can't be written or understood is passed over.
"""

from __future__ import annotations

import os

from storefs import logs
from storefs.durable import replace_file
from storefs.stores.mount_control import sockets_dir
from storefs.stores.mount_table import mount_at, mounts, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Manner:
    """How to serve.

    Attributes:
        transport: 'auto', 'kernel' or 'pyfuse3'.
        passthrough: let the kernel read large files itself, at the price of a message per open ('kernel' only).
        lazy: also show paths that caches know, and fetch them when they are read.
        settings: those of the command line, for a lazy mount: which caches, for example.
        pid_file: absolute host path of a file that is to have the serving process's number, or ''.
    """

    __slots__ = ("lazy", "passthrough", "pid_file", "settings", "transport")

    def __init__(
        self,
        transport: str = "auto",
        *,
        passthrough: bool = False,
        lazy: bool = False,
        settings: Mapping[str, str] | None = None,
        pid_file: str = "",
    ) -> None:
        self.transport = transport
        self.passthrough = passthrough
        self.lazy = lazy
        self.settings = dict(settings or {}) if lazy else {}
        self.pid_file = pid_file

    def words(self) -> list[str]:
        """Return the options of `verglas mount` that say it, those that are the default left out."""
        words = ["--transport", self.transport] if self.transport != "auto" else []
        words += [word for word, wanted in (("--passthrough", self.passthrough), ("--lazy", self.lazy)) if wanted]
        words += ["--pid-file", self.pid_file] if self.pid_file else []
        return words + [word for name, value in self.settings.items() for word in ("--option", name, value)]


def remember(verglas_dir: str, target: str, manner: Manner) -> None:
    """Note how the mount on `target` is served; mounts that are gone are forgotten. For whoever has the start lock."""
    path = _path(verglas_dir)
    source = source_of(verglas_dir)
    present = {mount.target for mount in mounts() if mount.source == source}
    old = _read(path)
    new = {point: record for point, record in old.items() if point in present and point != target}
    if manner.words():
        new[target] = {name: getattr(manner, name) for name in Manner.__slots__}
    if new == old:
        return
    try:
        if new:
            import json  # noqa: PLC0415  few mounts have options

            replace_file(path, json.dumps(new, indent=1).encode(), mode=0o600)
        else:
            os.unlink(path)
    except OSError as error:
        logs.warn(f"can't note how '{target}' is mounted; if its process dies, it is mounted without options: {error}")


def recall(verglas_dir: str, target: str) -> Manner | None:
    """Return how the mount of this state on `target`, living or dead, is served; None where there is none."""
    present = mount_at(target)
    if present is None or present.source != source_of(verglas_dir):
        return None
    record = _read(_path(verglas_dir)).get(present.target)
    try:
        return Manner(**record) if isinstance(record, dict) else Manner()
    except TypeError:
        return Manner()  # of another release


def _path(verglas_dir: str) -> str:
    return f"{sockets_dir(verglas_dir)}/options"


def _read(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return {}
    import json  # noqa: PLC0415  few mounts have options

    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
