"""Makes a user environment of elements: its manifest, its derivation and its tree become valid in one transaction.

What real nix-env builds with `builtin:buildenv` is computed in this process: same derivation, same output path, same
bytes, without starting a builder. A daemon builds it itself, since it believes no client what a derivation makes. It
makes no generation and switches nothing. Blocks on the store.
"""

from __future__ import annotations

from profiles.buildenv import environment_derivation, nar_events, packages_of, plan_links
from profiles.elements import print_manifest
from storefs.errors import StoreError
from storefs.formats.derived_path import DerivedPath
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import NarStream
from storefs.formats.path_info import PathInfo
from storefs.formats.refscan import ReferenceScanner
from storefs.stores.closure import closure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from profiles.buildenv import TreeReader
    from profiles.elements import Element
    from storefs.api import Intake, Store, Tree
    from storefs.formats.store_path import StorePath

MANIFEST_NAME = "env-manifest.nix"
_DRV_NAME = "user-environment.drv"


class MissingOutputError(StoreError):
    """An element's output is not valid."""


def add_user_environment(
    store: Store,
    elements: list[Element],
    reader: TreeReader,
    warn: Callable[[str], object],
    *,
    keep_derivations: bool = False,
) -> StorePath:
    """Return the path of the user environment of these elements, valid and protected while this process lives.

    Args:
        store: has all outputs of all elements.
        elements: in order; the order is part of the result.
        reader: looks at the outputs' files.
        warn: told what is left out.
        keep_derivations: the setting `keep-env-derivations`: the environment refers to the elements' derivations.

    Raises:
        ConflictError, CollisionError: packages do not fit together.
        MissingOutputError: an output is not valid.
        StoreError: the store refuses.
    """
    directory = store.directory
    outputs = [directory.parse(path) for element in elements for path in element.outputs.values()]
    _check_valid(store, outputs)
    manifest = print_manifest(elements, keep_derivations).encode("utf-8", "surrogateescape")
    references = set(outputs)
    if keep_derivations:
        references.update(directory.parse(element.drv_path) for element in elements if element.drv_path)
    manifest_hash = hash_bytes("sha256", manifest)
    manifest_path = directory.make_text_path(MANIFEST_NAME, manifest_hash, references)
    derivation = environment_derivation(elements, manifest_path, directory)
    out = derivation.outputs["out"].path
    assert out is not None
    for path in (manifest_path, out):
        store.add_temp_root(path)
    if store.is_valid(out):
        return out

    drv_text = derivation.unparse(directory)
    build = getattr(store, "build_paths", None)
    if build is not None:
        store.add_text(MANIFEST_NAME, manifest, references)
        build([DerivedPath(store.add_text(_DRV_NAME, drv_text, [manifest_path]), ("out",))])
        return out
    tree = plan_links(packages_of(elements), reader, warn)
    drv_hash = hash_bytes("sha256", drv_text)
    drv_path = directory.make_text_path(_DRV_NAME, drv_hash, [manifest_path])
    store.add_temp_root(drv_path)
    candidates = {path.hash_part: path for path in closure(store, references) | {manifest_path}}
    scanner = ReferenceScanner(candidates)
    with store.intake() as intake:
        archive = NarStream(nar_events(tree, directory.print(manifest_path)))
        added = intake.add_nar(archive, nar_sink=scanner.feed)
        found = [candidates[part] for part in scanner.found]
        intake.register(
            [
                _text(intake, manifest_path, manifest, references),
                _text(intake, drv_path, drv_text, [manifest_path]),
                (
                    added,
                    PathInfo(out, added.nar_hash, added.nar_size, references=found, deriver=drv_path, ultimate=True),
                ),
            ]
        )
    return out


def _text(intake: Intake, path: StorePath, content: bytes, references: Iterable[StorePath]) -> tuple[Tree, PathInfo]:
    tree = intake.add_bytes(content)
    ca = f"text:{hash_bytes('sha256', content).to_string('base32', True)}"
    return tree, PathInfo(path, tree.nar_hash, tree.nar_size, references=references, ca=ca)


def _check_valid(store: Store, outputs: list[StorePath]) -> None:
    valid = store.valid_paths(outputs)
    for path in outputs:
        if path not in valid:
            raise MissingOutputError(f"path '{store.directory.print(path)}' is not valid, so it can't be installed")
