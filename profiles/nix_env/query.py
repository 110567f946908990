"""`nix-env --query`: which packages are installed or available, and what is known about them.

Runs on the evaluation's thread where packages are available ones. Rules: `opQuery` in nix-env.cc of Nix 2.8.
"""

from __future__ import annotations

from profiles.package_names import PackageName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from profiles.available import Available
    from profiles.elements import Element

    AnyPackage = Available | Element
    Marks = Callable[[Collection[str]], tuple[Collection[str], Collection[str]]]


class Wanted:
    """Which columns a query shows: one attribute for each option, all False but `name`."""

    __slots__ = (
        "attr_path",
        "compare_versions",
        "description",
        "drv_path",
        "meta",
        "name",
        "out_path",
        "prebuilt_only",
        "status",
        "system",
    )

    def __init__(self) -> None:
        self.name = True
        self.attr_path = self.compare_versions = self.description = self.drv_path = self.meta = False
        self.out_path = self.prebuilt_only = self.status = self.system = False


class Facts:
    """What a query knows beyond the packages themselves.

    Attributes:
        packages: the answer, sorted by name.
        others: what versions are compared with.
        installed: output paths that are installed.
        valid, substitutable: output paths that are in the store, and that a cache has.
    """

    __slots__ = ("installed", "others", "packages", "substitutable", "valid")

    def __init__(self, packages: Sequence[AnyPackage], others: Sequence[AnyPackage]) -> None:
        self.packages = _sorted_by_name(packages)
        self.others = others
        self.installed: Collection[str] = ()
        self.valid: Collection[str] = ()
        self.substitutable: Collection[str] = ()


def gather(
    packages: Sequence[AnyPackage],
    others: Sequence[AnyPackage],
    installed: Sequence[Element],
    wanted: Wanted,
    marks: Marks,
) -> Facts:
    """Return what a query needs to know.

    Args:
        packages: the selected packages; those whose output path fails an assertion are marked as failed.
        others: what versions are compared with.
        installed: the profile's packages.
        wanted: the columns.
        marks: tells for many output paths at once which are valid and which can be substituted.
    """
    facts = Facts(packages, others)
    if wanted.status:
        facts.installed = {element.out_path for element in installed}
    if wanted.status or wanted.prebuilt_only:
        paths = set()
        for package in facts.packages:
            try:
                paths.add(package.out_path)
            except assertion_error():
                package.failed = True
        facts.valid, facts.substitutable = marks(paths)
    return facts


def rows(facts: Facts, wanted: Wanted, paint: Callable[[str], str]) -> list[list[str]]:
    """Return the table of a query, one list of columns for each package.

    Args:
        facts: what is known.
        wanted: the columns.
        paint: marks a version that is out of date.
    """
    table = []
    for package in facts.packages:
        try:
            if is_shown(package, facts, wanted):
                table.append(_columns(package, facts, wanted, paint))
        except assertion_error():
            continue
    return table


def is_shown(package: AnyPackage, facts: Facts, wanted: Wanted) -> bool:
    """Whether a package belongs to the answer."""
    if package.failed:
        return False
    return not wanted.prebuilt_only or package.out_path in facts.valid or package.out_path in facts.substitutable


def _columns(package: AnyPackage, facts: Facts, wanted: Wanted, paint: Callable[[str], str]) -> list[str]:
    columns = []
    if wanted.status:
        path = package.out_path
        marks = zip("IPS", (facts.installed, facts.valid, facts.substitutable), strict=True)
        columns.append("".join([letter if path in paths else "-" for letter, paths in marks]))
    if wanted.attr_path:
        columns.append(package.attr_path)
    if wanted.name:
        columns.append(package.name)
    if wanted.compare_versions:
        sign, version = compare_with(package, facts.others)
        column = f"{sign} {version}"
        columns.append(paint(column) if sign == "<" else column)
    if wanted.system:
        columns.append(package.system)
    if wanted.drv_path:
        columns.append(package.drv_path or "-")
    if wanted.out_path:
        outputs = sorted(package.outputs.items())
        columns.append(";".join([path if name == "out" else f"{name}={path}" for name, path in outputs]))
    if wanted.description:
        description = package.meta_value("description")
        columns.append(description if isinstance(description, str) else "")
    return columns


def compare_with(package: AnyPackage, others: Sequence[AnyPackage]) -> tuple[str, str]:
    """Compare a version with those of packages of the same name.

    Returns a sign and a version: `<` there is a newer one, `=` an equal and no newer one, `>` only older ones; `-` and
    `?` there are none.
    """
    from evaluator.builtins.versions import compare_versions  # noqa: PLC0415  only --compare-versions

    name = PackageName(package.name)
    sign, version = "-", "?"
    for other in others:
        candidate = PackageName(other.name)
        if candidate.name != name.name:
            continue
        order = compare_versions(name.version, candidate.version)
        if order < 0:
            sign, version = "<", candidate.version
        elif sign != "<" and order == 0:
            sign, version = "=", candidate.version
        elif sign not in {"<", "="}:
            sign = ">"
            if compare_versions(version, candidate.version) < 0:
                version = candidate.version
    return sign, version


def assertion_error() -> type[Exception]:
    """Return the class of a failed assertion; for `except` clauses, which look at it only when something was raised."""
    from evaluator.errors import NixAssertionError  # noqa: PLC0415  installed packages raise nothing

    return NixAssertionError


def _sorted_by_name(packages: Sequence[AnyPackage]) -> list[AnyPackage]:
    by_name = {_upper(package.name): package for package in packages}
    if len(by_name) == len(packages):
        return [by_name[name] for name in sorted(by_name)]
    from profiles.nix_env.introsort import sort_like_libstdcxx  # noqa: PLC0415  equal names have an order of their own

    return sort_like_libstdcxx(packages, lambda package: _upper(package.name))


def _upper(name: str) -> bytes:
    """What names are sorted by: bytes, ASCII letters without case."""
    return name.encode("utf-8", "surrogateescape").upper()
