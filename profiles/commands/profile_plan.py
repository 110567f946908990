"""`verglas profile plan`: what `apply` would do."""

from __future__ import annotations

import json
import sys

from profiles.closure_diff import diff_as_json, human_size, render_diff
from profiles.flow import compare_with_plan, missing_of, prepare
from profiles.profile_options import JSON, PLACE, place_of
from profiles.resolve import Everything
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Missing
    from storefs.formats.store_path import StoreDir
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile plan",
    "Show what 'apply' would change, build and download",
    options=(*PLACE, JSON, Option("--upgrade", help="plan with the newest state of all channels")),
    description="Changes neither the profile nor the lock file. What is not built yet has no known dependencies: they "
    "are not in the list, and not in the sizes.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    upgrade = Everything() if invocation.flag("--upgrade") else ()
    prepared = prepare(place_of(invocation), invocation.config, upgrade=upgrade)
    diff = compare_with_plan(prepared)
    missing, directory = missing_of(prepared), prepared.session.store.directory
    if invocation.flag("--json"):
        print(json.dumps(diff_as_json(diff) | {"missing": _missing_as_json(missing, directory)}))
        return 0
    sys.stdout.write(render_diff(diff, sys.stdout.isatty()))
    sys.stdout.write(_render_missing(missing, directory))
    return 0


def _missing_as_json(missing: Missing, directory: StoreDir) -> dict[str, object]:
    return {
        "willBuild": sorted(directory.print(path) for path in missing.will_build),
        "willSubstitute": sorted(directory.print(path) for path in missing.will_substitute),
        "unknown": sorted(directory.print(path) for path in missing.unknown),
        "downloadSize": missing.download_size,
        "narSize": missing.nar_size,
    }


def _render_missing(missing: Missing, directory: StoreDir) -> str:
    lines = []
    sizes = f"{human_size(missing.download_size)} download, {human_size(missing.nar_size)} unpacked"
    for what, paths in (
        ("To build", missing.will_build),
        (f"To download ({sizes})", missing.will_substitute),
        ("Neither to be built nor to be downloaded", missing.unknown),
    ):
        if paths:
            lines.append(f"{what}:")
            lines += [f"  {directory.print(path)}" for path in sorted(paths)]
    return "".join(line + "\n" for line in lines)
