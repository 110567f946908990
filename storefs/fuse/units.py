"""The systemd units: made from the templates in `units/` for one configuration, and installed.

`verglas-mount.service` serves the mount; other services order themselves after `verglas-store.target`. Called by
`storefs.commands.mount`. Source: systemd.service(5), for the main process of a forking service after a reload.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from storefs.errors import SystemRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from storefs.config import Config

_TEMPLATES = Path(__file__).parent / "units"
SYSTEM_UNITS = "/etc/systemd/system"


def units_for(config: Config, program: str, target: str, options: Sequence[str] = ()) -> dict[str, str]:
    """Return the units by file name.

    Args:
        config: which store is served.
        program: absolute host path of `verglas`.
        target: absolute host path of the directory to mount it on.
        options: how it is to be served, as words of the command line.
    """
    variables = {
        "NIX_STORE_DIR": config.store_dir,
        "NIX_STATE_DIR": config.state_dir,
        "NIX_CONF_DIR": config.conf_dir,
        "NIX_LOG_DIR": config.log_dir,
    }
    values = {
        "@PROGRAM@": _quoted(program),
        "@STORE@": _quoted(target),
        "@OPTIONS@": "".join(f" {_quoted(option)}" for option in options),
        "@STATE@": _quoted(config.state_dir),
        "@ENVIRONMENT@": " ".join(_quoted(f"{name}={value}") for name, value in variables.items()),
    }
    units = {}
    for template in sorted(_TEMPLATES.iterdir()):
        text = template.read_text(encoding="utf-8")
        for mark, value in values.items():
            text = text.replace(mark, value)
        units[template.name] = text
    return units


def install_units(units: Mapping[str, str], folder: str) -> list[str]:
    """Write units into `folder`, tell a running systemd about them, and return the paths written.

    Raises:
        SystemRefusedError: they can't be written.
    """
    paths = []
    for name, text in units.items():
        path = f"{folder}/{name}"
        try:
            os.makedirs(folder, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise SystemRefusedError(f"writing the unit '{path}'", error) from error
        paths.append(path)
    if folder == SYSTEM_UNITS and os.path.isdir("/run/systemd/system"):  # as sd_booted(3)
        subprocess.run(["systemctl", "daemon-reload"], check=False)
    return paths


def _quoted(text: str) -> str:
    """Spell a word of a unit file: quoted where it has blanks, and without specifiers."""
    text = text.replace("\\", "\\\\").replace("%", "%%")
    return '"' + text.replace('"', '\\"') + '"' if any(mark in text for mark in " \t\"'") else text
