"""Operands of commands that mean store paths: `./result`, `/nix/store/...-x/bin/y`, `/nix/store/...-x.drv!out,dev`."""

from __future__ import annotations

import os

from storefs.errors import StoreError
from storefs.formats.store_path import BadStorePath
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Store
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.options import Invocation


def follow_links(store_dir: StoreDir, operand: str) -> str:
    """The path in the store that ``operand`` is or leads to by symbolic links; raises BadStorePath.

    Links inside the store are not followed.
    """
    path = os.path.abspath(operand)
    for _ in range(1024):
        if store_dir.is_in_store(path):
            return path
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    raise BadStorePath(f"path '{path}' is not in the Nix store")


def to_store_path(store_dir: StoreDir, operand: str) -> StorePath:
    """The store path that ``operand`` is in or leads to; raises BadStorePath."""
    return store_dir.to_store_path(follow_links(store_dir, operand))[0]


def operand_paths(invocation: Invocation, store: Store) -> list[StorePath]:
    """The store paths that the operands mean; raises StoreError.

    To `nix`, as in 2.8, a derivation means its outputs unless `--derivation` is given.
    """
    paths = []
    for operand in invocation.operands:
        path = to_store_path(store.directory, operand)
        if invocation.program == "nix" and path.is_derivation and not invocation.flag("--derivation"):
            derivation = store.derivation(path)
            outputs = known_outputs(store, derivation)
            for name in sorted(derivation.outputs):
                if name not in outputs:
                    shown = store.directory.print(path)
                    raise StoreError(
                        f"cannot operate on an output of unbuilt content-addressed derivation '{shown}!{name}'"
                    )
                paths.append(outputs[name])
        else:
            paths.append(path)
    return paths


def to_path_and_outputs(store_dir: StoreDir, operand: str) -> tuple[StorePath, tuple[str, ...]]:
    """Like ``to_store_path``, with the outputs behind a `!` (none: all of them)."""
    text, mark, outputs = operand.partition("!")
    path = to_store_path(store_dir, text)
    if not mark or outputs == "*":
        return path, ()
    return path, tuple(sorted(set(outputs.split(","))))
