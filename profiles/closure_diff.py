"""What differs between two closures, in the terms of a person: packages and versions, not paths.

The lines have the shape of the tool nvd:

    [U*]  #1  hello  2.10 -> 2.12

First letter: U upgraded, D downgraded, C changed in another way, A added, R removed. Second: `*` it is declared in the
profile on both sides, `+` it is declared now, `-` it no longer is, `.` it is only a dependency. A name's versions are
those of all its paths; an output other than `out` shows as a suffix (`2.10-man`). Pure; sizes are bytes of NAR.
"""

from __future__ import annotations

from evaluator.builtins.versions import compare_versions
from profiles.package_names import split_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What nixpkgs calls outputs: a suffix of a path's name that is no part of its version.
_OUTPUTS = frozenset(
    ("bin", "dev", "devdoc", "dist", "doc", "debug", "info", "lib", "man", "static", "out", "terminfo", "data", "py")
)
_NO_VERSION = "<none>"
_ORDER = {"upgraded": 0, "downgraded": 1, "changed": 2, "added": 3, "removed": 4}
_TITLES = (
    ("Version changes", ("upgraded", "downgraded", "changed")),
    ("Added packages", ("added",)),
    ("Removed packages", ("removed",)),
)
_COLOURS = {"upgraded": "36;1", "downgraded": "33;1", "changed": "35;1", "added": "32;1", "removed": "31;1"}


class Change:
    """One package that differs.

    Attributes:
        name: without version.
        status: upgraded, downgraded, changed, added or removed.
        before, after: its versions on each side, sorted; '' stands for none.
        selection: `*`, `+`, `-` or `.`, see the module.
        size_delta: bytes that its paths take more than before.
    """

    __slots__ = ("after", "before", "name", "selection", "size_delta", "status")

    def __init__(
        self, name: str, status: str, before: list[str], after: list[str], selection: str, size_delta: int
    ) -> None:
        self.name = name
        self.status = status
        self.before = before
        self.after = after
        self.selection = selection
        self.size_delta = size_delta

    def __repr__(self) -> str:
        return f"<{self.name} {self.status}: {self.before} -> {self.after}>"


class ClosureDiff:
    """How two closures differ.

    Attributes:
        changes: sorted by kind and name.
        paths_before, paths_after: how many paths each side has.
        added, removed: how many paths only the one or the other has.
        size_before, size_after: bytes.
    """

    __slots__ = ("added", "changes", "paths_after", "paths_before", "removed", "size_after", "size_before")

    def __init__(self, changes: list[Change], before: Mapping[str, int], after: Mapping[str, int]) -> None:
        self.changes = changes
        self.paths_before = len(before)
        self.paths_after = len(after)
        self.added = len(after.keys() - before.keys())
        self.removed = len(before.keys() - after.keys())
        self.size_before = sum(before.values())
        self.size_after = sum(after.values())


def diff_closures(
    before: Mapping[str, int],
    after: Mapping[str, int],
    declared_before: Iterable[str] = (),
    declared_after: Iterable[str] = (),
) -> ClosureDiff:
    """Compare two closures.

    Args:
        before, after: path names without hash part's directory (`<hash>-<name>`) -> NAR size in bytes.
        declared_before, declared_after: the names (without version) of packages that a user asked for.
    """
    old, new = _by_name(before), _by_name(after)
    chosen_before, chosen_after = set(declared_before), set(declared_after)
    changes = []
    for name in old.keys() | new.keys():
        versions_before, versions_after = old.get(name, {}), new.get(name, {})
        labels_before, labels_after = _sorted_versions(versions_before), _sorted_versions(versions_after)
        selection = _selection(name in chosen_before, name in chosen_after)
        if labels_before == labels_after and selection in {".", "*"}:
            continue
        status = _status(labels_before, labels_after)
        delta = sum(versions_after.values()) - sum(versions_before.values())
        changes.append(Change(name, status, labels_before, labels_after, selection, delta))
    changes.sort(key=lambda change: (_ORDER[change.status], change.name))
    return ClosureDiff(changes, before, after)


def render_diff(diff: ClosureDiff, colour: bool = False) -> str:
    """Return the difference as text, one change a line; ends with a newline."""
    lines = []
    width = max((len(change.name) for change in diff.changes), default=0)
    for title, statuses in _TITLES:
        listed = [change for change in diff.changes if change.status in statuses]
        if listed:
            digits = len(str(len(listed)))
            lines.append(f"{title}:")
            lines += [_line(change, index, digits, width, colour) for index, change in enumerate(listed, 1)]
    if not lines:
        lines.append("No version or selection state changes.")
    size = human_size(diff.size_after - diff.size_before, signed=True)
    lines.append(
        f"Closure size: {diff.paths_before} -> {diff.paths_after} ({diff.added} paths added, {diff.removed} paths "
        f"removed, delta {diff.paths_after - diff.paths_before:+d}, disk usage {size})."
    )
    return "\n".join(lines) + "\n"


def diff_as_json(diff: ClosureDiff) -> dict[str, object]:
    """Return the difference as a value for `json.dumps`; sizes are bytes."""
    return {
        "changes": [
            {
                "name": change.name,
                "status": change.status,
                "before": change.before,
                "after": change.after,
                "selection": {"*": "both", "+": "added", "-": "removed", ".": "none"}[change.selection],
                "sizeDelta": change.size_delta,
            }
            for change in diff.changes
        ],
        "pathsBefore": diff.paths_before,
        "pathsAfter": diff.paths_after,
        "pathsAdded": diff.added,
        "pathsRemoved": diff.removed,
        "sizeBefore": diff.size_before,
        "sizeAfter": diff.size_after,
    }


def human_size(size: int, signed: bool = False) -> str:
    """Return a number of bytes as in `12.3 MiB`, with a sign if asked for."""
    sign = "-" if size < 0 else "+" if signed else ""
    value, unit, units = float(abs(size)), "bytes", iter(("KiB", "MiB", "GiB", "TiB"))
    while value >= 1024 and (larger := next(units, "")):
        value, unit = value / 1024, larger
    return f"{sign}{value:.0f} {unit}" if unit == "bytes" else f"{sign}{value:.1f} {unit}"


def _by_name(closure: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return name -> version (with the output's suffix) -> bytes."""
    found: dict[str, dict[str, int]] = {}
    for base_name, size in closure.items():
        name, version = split_name(base_name.partition("-")[2])
        if not version:
            stem, dash, suffix = name.rpartition("-")
            if dash and suffix in _OUTPUTS:
                name, version = stem, "-" + suffix
        versions = found.setdefault(name, {})
        versions[version] = versions.get(version, 0) + size
    return found


def _split_output(version: str) -> tuple[str, str]:
    stem, dash, suffix = version.rpartition("-")
    return (stem, suffix) if dash and suffix in _OUTPUTS else (version, "")


class _VersionKey:
    """Orders versions as Nix compares them, then by output."""

    __slots__ = ("_label",)

    def __init__(self, label: str) -> None:
        self._label = _split_output(label)

    def __lt__(self, other: _VersionKey) -> bool:
        order = compare_versions(self._label[0], other._label[0])
        return order < 0 or (order == 0 and self._label < other._label)


def _sorted_versions(versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=_VersionKey)


def _selection(before: bool, after: bool) -> str:
    if before:
        return "*" if after else "-"
    return "+" if after else "."


def _status(before: list[str], after: list[str]) -> str:
    if not before:
        return "added"
    if not after:
        return "removed"
    old = {_split_output(label)[0] for label in before}
    new = {_split_output(label)[0] for label in after}
    if old == new:
        return "changed"
    newest_old, newest_new = _sorted_versions(old)[-1], _sorted_versions(new)[-1]
    order = compare_versions(newest_old, newest_new)
    return "upgraded" if order < 0 else "downgraded" if order > 0 else "changed"


def _line(change: Change, index: int, digits: int, width: int, colour: bool) -> str:
    letters = change.status[0].upper() + change.selection
    if colour:
        letters = f"\x1b[{_COLOURS[change.status]}m{letters}\x1b[0m"
    before, after = _labels(change.before), _labels(change.after)
    versions = f"{before} -> {after}" if change.before and change.after else before or after
    return f"[{letters}]  #{index:0{digits}d}  {change.name:<{width}}  {versions}"


def _labels(labels: list[str]) -> str:
    return ", ".join([_NO_VERSION + label if not label or label[0] == "-" else label for label in labels])
