"""`verglas path-info`: what is registered about paths."""

from __future__ import annotations

import sys

from storefs.installable_options import INSTALLABLES
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Store
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

COMMAND = Command(
    "verglas path-info",
    "Show what is registered about paths",
    operands="PATH... | -f FILE [ATTRIBUTE...]",
    installables=True,
    options=(
        Option("--size", "-s", help="the size of the contents as a NAR"),
        Option("--closure-size", "-S", help="the same, of everything that the path needs"),
        Option("--human-readable", "-h", "-H", help="sizes like 5.7G"),
        Option("--sigs", help="the signatures"),
        Option("--recursive", "-r", help="everything that the paths need"),
        Option("--all", help="all paths of the store"),
        Option("--json", help="print objects"),
        Option("--derivation", help="operands that are derivations mean themselves", hidden=True),
        *INSTALLABLES,
    ),
    examples=(("verglas path-info -rsH ./result", "what a result needs, with sizes"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.json_output import print_json
    from storefs.commands.operations.operands import operand_paths
    from storefs.stores.any_store import open_any_store
    from storefs.stores.closure import ordered_closure, references_first

    store = open_any_store(invocation.config)
    try:
        paths = operand_paths(invocation, store)
        if invocation.flag("--all"):
            paths = sorted(store.all_valid_paths())
        as_json = invocation.flag("--json")
        if invocation.flag("--recursive"):
            paths = ordered_closure(store, paths)
        elif not as_json and len(paths) > 1:
            paths = references_first({path: store.path_info(path).references for path in paths}, paths)
        if as_json:
            closure_size = invocation.flag("--closure-size")
            print_json(invocation, [_row(store, path, closure_size=closure_size) for path in sorted(set(paths))])
            return 0
        width = max((len(store.directory.print(path)) for path in paths), default=0)
        for path in paths:
            sys.stdout.write(_line(invocation, store, store.path_info(path), width) + "\n")
    finally:
        store.close()
    return 0


def _line(invocation: Invocation, store: Store, info: PathInfo, width: int) -> str:
    human = invocation.flag("--human-readable")
    columns = []
    if invocation.flag("--size"):
        columns.append(_size(info.nar_size, human))
    if invocation.flag("--closure-size"):
        columns.append(_size(_closure_size(store, info.path), human))
    if invocation.flag("--sigs"):
        marks = (["ultimate"] if info.ultimate else []) + ([f"ca:{info.ca}"] if info.ca else [])
        columns.append(" ".join([*marks, *info.signatures]))
    shown = store.directory.print(info.path)
    return "\t".join([shown.ljust(width), *columns]) if columns else shown


def _row(store: Store, path: StorePath, *, closure_size: bool) -> dict[str, object]:
    shown = store.directory.print
    info = store.find_path_info(path)
    if info is None:
        return {"path": shown(path), "valid": False}
    row: dict[str, object] = {
        "path": shown(path),
        "narHash": info.nar_hash.to_string("sri", True),
        "narSize": info.nar_size,
        "references": [shown(reference) for reference in info.references],
    }
    # In the order of Nix 2.8.
    if info.ca:
        row["ca"] = info.ca
    if closure_size:
        row["closureSize"] = _closure_size(store, path)
    if info.deriver is not None:
        row["deriver"] = shown(info.deriver)
    if info.registration_time:
        row["registrationTime"] = info.registration_time
    if info.ultimate:
        row["ultimate"] = True
    if info.signatures:
        row["signatures"] = list(info.signatures)
    return row


def _closure_size(store: Store, path: StorePath) -> int:
    from storefs.stores.closure import closure

    return sum(store.path_info(each).nar_size for each in closure(store, [path]))


def _size(size: int, human: bool) -> str:
    if not human:
        return f"{size:>11}"
    value = float(size)
    for unit in " KMGTPEZY":
        if value <= 1024 or unit == "Y":
            return f"{value:6.1f}{unit}"
        value /= 1024
    raise AssertionError
