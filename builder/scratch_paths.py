"""Where outputs are built: at their own paths, or at made-up ones that are replaced afterwards. Pure."""

from __future__ import annotations

from storefs.formats.derivation import FLOATING
from storefs.formats.hashes import Hash
from storefs.formats.store_path import output_path_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builder.request import Request
    from storefs.formats.store_path import StoreDir, StorePath


def scratch_paths(
    request: Request,
    directory: StoreDir,
    known: Mapping[str, StorePath],
    valid: Collection[StorePath],
    *,
    sandboxed: bool,
) -> tuple[dict[str, StorePath], dict[str, str]]:
    """Decide where each output is built, and which hash parts must be replaced for that.

    In a sandbox the valid outputs are out of sight, so that everything is built at its own path. Without one a
    valid output is visible, and perhaps in use; its rebuild goes to a made-up path. What is named by its contents
    is always built at one.

    Args:
        request: what is built.
        directory: the logical store.
        known: output name -> path.
        valid: those of these that are valid.
        sandboxed: whether the build sees nothing of the host.
    """
    derivation = request.derivation
    if derivation.kind() is FLOATING:
        return {name: named(request, directory, {}, name) for name in derivation.outputs}, {}
    if sandboxed:
        return dict(known), {}
    scratch, rewrites = {}, {}
    for name, path in known.items():
        scratch[name] = path
        if path in valid:
            scratch[name] = _stand_in(request, directory, path.base_name, path.name)
            rewrites[path.hash_part] = scratch[name].hash_part
    return scratch, rewrites


def named(request: Request, directory: StoreDir, known: Mapping[str, StorePath], name: str) -> StorePath:
    """The path of an output as far as that is known, else the one that it is built at."""
    return known.get(name) or _stand_in(
        request, directory, f"name:{name}", output_path_name(request.derivation.name, name)
    )


def _stand_in(request: Request, directory: StoreDir, what: str, name: str) -> StorePath:
    """A path that nothing else has."""
    return directory.make_store_path(f"rewrite:{request.drv_path.base_name}:{what}", Hash("sha256", bytes(32)), name)
