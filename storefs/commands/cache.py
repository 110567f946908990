"""`verglas cache`: how the binary caches are doing, and what is remembered of them."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.options import Invocation

COMMAND = Command(
    "verglas cache",
    "Look after binary caches",
    operands="info|forget [URI...]",
    options=(Option("--json", help="print JSON"),),
    description="""
`info` asks each cache, by default the configured substituters, for its description and shows how long it took.
`forget` deletes the database of remembered answers; it is made anew as questions are asked.
""",
    examples=(("verglas cache info", "which substituters answer, and how fast"),),
)


def run(invocation: Invocation) -> int:
    """Show or forget."""
    import shutil

    from storefs.stores.cache_uri import answers_path

    if not invocation.operands:
        raise UsageError("verglas cache takes 'info' or 'forget'")
    action, *uris = invocation.operands
    if action == "forget":
        shutil.rmtree(answers_path(invocation.config), ignore_errors=True)
        return 0
    if action != "info":
        raise UsageError(f"verglas cache takes 'info' or 'forget', not '{action}'")
    return _show(invocation.config, uris or list(invocation.config.words("substituters")), invocation.flag("--json"))


def _show(config: Config, uris: list[str], as_json: bool) -> int:
    import json
    import sys
    import time

    from storefs.errors import StoreError
    from storefs.stores.cache_uri import Caches

    rows: list[dict[str, object]] = []
    with Caches(config) as caches:
        for uri in uris:
            begun = time.monotonic()
            row: dict[str, object] = {"uri": uri}
            try:
                description = caches.open_cache(uri).description()
            except StoreError as error:
                row["error"] = str(error)
            else:
                row["milliseconds"] = round((time.monotonic() - begun) * 1000)
                row["exists"] = description is not None
                row.update(description or {})
            rows.append(row)
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        for row in rows:
            if "error" in row:
                sys.stdout.write(f"{row['uri']}: {row['error']}\n")
            else:
                facts = [f"{key} {value}" for key, value in row.items() if key not in ("uri", "exists", "milliseconds")]
                shown = ", ".join(facts) if row["exists"] else "no cache is there"
                sys.stdout.write(f"{row['uri']}: {shown} ({row['milliseconds']} ms)\n")
    return int(any("error" in row for row in rows))
