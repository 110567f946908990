"""What a derivation may demand of its outputs: which references they may have, how large they may be.

Pure but for questions about paths that are valid already. Used by `outputs`, before anything is registered. Semantics:
`checkOutputs` of Nix 2.8, and its manual, "Advanced Attributes" (allowedReferences and its relatives, outputChecks).
"""

from __future__ import annotations

from builder.environment import strings_of
from builder.failures import OutputRejectedError
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from builder.environment import BuildAttributes
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir, StorePath


@record(frozen=True, slots=True)
class _Checks:
    ignore_self: bool = False
    max_size: int | None = None
    max_closure_size: int | None = None
    allowed_references: list[str] | None = None
    allowed_requisites: list[str] | None = None
    disallowed_references: list[str] | None = None
    disallowed_requisites: list[str] | None = None


def check_outputs(
    outputs: Mapping[str, PathInfo],
    attributes: BuildAttributes,
    name: str,
    directory: StoreDir,
    path_info: Callable[[StorePath], PathInfo],
) -> None:
    """Check new outputs, given by their names.

    Args:
        outputs: what would be registered.
        attributes: of the derivation.
        name: of the derivation, for messages.
        directory: the logical store.
        path_info: tells about the paths that are valid already.

    Raises:
        OutputRejectedError: a demand is not met; the text names the path and what offends.
        BadAttributeError: a demand can't be understood.
    """
    for output, info in outputs.items():
        checks = _checks_of(attributes, output, name)
        if checks is not None:
            _Checker(outputs, info, checks, directory, path_info).run()


def _checks_of(attributes: BuildAttributes, output: str, name: str) -> _Checks | None:
    if attributes.structured is None:
        return _Checks(
            ignore_self=True,
            allowed_references=attributes.strings("allowedReferences"),
            allowed_requisites=attributes.strings("allowedRequisites"),
            disallowed_references=attributes.strings("disallowedReferences"),
            disallowed_requisites=attributes.strings("disallowedRequisites"),
        )
    table = attributes.structured.get("outputChecks")
    demands = table.get(output) if isinstance(table, dict) else None
    if not isinstance(demands, dict):
        return None
    return _Checks(
        max_size=demands.get("maxSize"),
        max_closure_size=demands.get("maxClosureSize"),
        allowed_references=strings_of(demands.get("allowedReferences"), "allowedReferences", name),
        allowed_requisites=strings_of(demands.get("allowedRequisites"), "allowedRequisites", name),
        disallowed_references=strings_of(demands.get("disallowedReferences"), "disallowedReferences", name),
        disallowed_requisites=strings_of(demands.get("disallowedRequisites"), "disallowedRequisites", name),
    )


class _Checker:
    def __init__(
        self,
        outputs: Mapping[str, PathInfo],
        info: PathInfo,
        checks: _Checks,
        directory: StoreDir,
        path_info: Callable[[StorePath], PathInfo],
    ) -> None:
        self._outputs = outputs
        self._new = {each.path: each for each in outputs.values()}
        self._info = info
        self._checks = checks
        self._directory = directory
        self._path_info = path_info

    def run(self) -> None:
        checks, info = self._checks, self._info
        shown = self._directory.print(info.path)
        if checks.max_size is not None and info.nar_size > checks.max_size:
            raise OutputRejectedError(
                f"path '{shown}' is too large at {info.nar_size} bytes; limit is {checks.max_size} bytes"
            )
        if checks.max_closure_size is not None:
            size = sum(each.nar_size for each in self._closure().values())
            if size > checks.max_closure_size:
                raise OutputRejectedError(
                    f"closure of path '{shown}' is too large at {size} bytes; limit is {checks.max_closure_size} bytes"
                )
        self._references(checks.allowed_references, allowed=True, recursive=False)
        self._references(checks.allowed_requisites, allowed=True, recursive=True)
        self._references(checks.disallowed_references, allowed=False, recursive=False)
        self._references(checks.disallowed_requisites, allowed=False, recursive=True)

    def _references(self, words: list[str] | None, *, allowed: bool, recursive: bool) -> None:
        if words is None:
            return
        named = {self._named(word) for word in words}
        used: set[StorePath] = set(self._closure()) if recursive else set(self._info.references)
        if recursive and self._checks.ignore_self:
            used.discard(self._info.path)
        bad = used - named if allowed else used & named
        if bad:
            listed = "".join(f"\n  {self._directory.print(path)}" for path in sorted(bad))
            shown = self._directory.print(self._info.path)
            raise OutputRejectedError(f"output '{shown}' is not allowed to refer to the following paths:{listed}")

    def _named(self, word: str) -> StorePath:
        """Read a reference specifier: a store path, or the name of an output."""
        path = self._directory.maybe_parse(word)
        if path is not None:
            return path
        output = self._outputs.get(word)
        if output is None:
            raise OutputRejectedError(f"derivation contains an illegal reference specifier '{word}'")
        return output.path

    def _closure(self) -> dict[StorePath, PathInfo]:
        """The closure of the output, of which other outputs may not be valid yet."""
        found: dict[StorePath, PathInfo] = {}
        queue: list[Iterable[StorePath]] = [[self._info.path]]
        while queue:
            for path in queue.pop():
                if path not in found:
                    info = self._new.get(path) or self._path_info(path)
                    found[path] = info
                    queue.append(info.references)
        return found
