"""Which paths outputs of derivations turned out to be: the rows of realisations and realised.

Every function works inside a transaction that the caller holds. For the local store; `path_infos.remove` takes a path's
realisations away with it. A value is a realisation's JSON, given and taken as `storefs.formats.realisation` has it.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.path_info import InvalidPathError
from storefs.formats.realisation import Realisation, parse_realisation
from storefs.metadata import path_infos
from storefs.metadata.realisation_rows import database, row_key
from storefs.metadata.schema import KEY, NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storefs.formats.realisation import DrvOutput
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.metadata.environment import Environment, Transaction


class RealisationConflictError(StoreError):
    """An output is said to be another path than the one it is known to be here."""


def find(env: Environment, txn: Transaction, output: DrvOutput) -> Realisation | None:
    """What an output is known to be, None if nobody built or fetched it here."""
    if env.realisations is None or output.drv_hash.algo != "sha256":
        return None
    value = txn.get(row_key(output.drv_hash.digest, output.name), db=env.realisations)
    return None if value is None else parse_realisation(value[NUMBER.size :], str(output))


def put(env: Environment, txn: Transaction, realisation: Realisation, store_dir: StoreDir) -> None:
    """Register a realisation whose path is valid; one that is there already gets the new signatures.

    Raises:
        RealisationConflictError: the output, or one that it depends on, is known to be another path.
        InvalidPathError: its path is not valid.
        StoreError: it depends on an output that nobody built here.
    """
    old = find(env, txn, realisation.id)
    if old is not None:
        if not realisation.is_compatible_with(old):
            raise RealisationConflictError(
                f"Trying to register a realisation of '{realisation.id}', but we already have another one locally.\n"
                f"Local:  {store_dir.print(old.path)}\n"
                f"Remote: {store_dir.print(realisation.path)}"
            )
        dependencies = old.dependencies or realisation.dependencies
        realisation = Realisation(
            realisation.id, realisation.path, (*old.signatures, *realisation.signatures), dependencies
        )
        if realisation == old:
            return
    for output, path in realisation.dependencies.items():
        if output == realisation.id:
            continue
        found = find(env, txn, output)
        if found is None:
            raise StoreError(
                f"unable to register the derivation '{realisation.id}' as it depends on the non existent '{output}'"
            )
        if found.path != path:
            raise RealisationConflictError(
                f"unable to register the derivation '{realisation.id}' as it depends on a realisation of '{output}' "
                "that doesn't match what we have locally"
            )
    path_id = path_infos.find_id(env, txn, realisation.path)
    if path_id is None:
        raise InvalidPathError(store_dir, realisation.path)
    if realisation.id.drv_hash.algo != "sha256":
        raise StoreError(f"the hash of a derivation is a SHA-256, unlike that of '{realisation.id}'")
    key = row_key(realisation.id.drv_hash.digest, realisation.id.name)
    txn.put(key, NUMBER.pack(path_id) + realisation.to_json(), db=database(env.realisations))
    txn.put(KEY.pack(path_id) + key, b"", db=database(env.realised))


def put_all(
    env: Environment,
    txn: Transaction,
    realisations: Sequence[Realisation],
    store_dir: StoreDir,
    drv_path: StorePath | None = None,
) -> None:
    """Register realisations, dependencies first; with ``drv_path`` the last is of an output of that valid derivation.

    So are all with the same hash; the others are what these rest on.  Raises as `put` does.
    """
    for realisation in realisations:
        put(env, txn, realisation, store_dir)
    drv_id = None if drv_path is None else path_infos.find_id(env, txn, drv_path)
    if drv_id is not None and realisations:
        drv_hash = realisations[-1].id.drv_hash
        paths = [realisation.path for realisation in realisations if realisation.id.drv_hash == drv_hash]
        path_infos.add_outputs(env, txn, drv_id, paths)
