"""Package names and versions: `parseDrvName`, `compareVersions`, `splitVersion`.

The rules are in the Nix manual under `nix-env --upgrade`. The pure functions are used by profiles too, which compare
versions as nix-env does; the `prim_` ones are entered in `registry.py`.
"""

from __future__ import annotations

from evaluator.core.calls import force_string_no_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState

_DIGITS = frozenset("0123456789")


def parse_drv_name(text: str) -> tuple[str, str]:
    """Split `name-version` at the first dash that no letter follows; the version is '' if there is none."""
    at = text.find("-")
    while at >= 0:
        following = text[at + 1 : at + 2]
        if following and not (following.isascii() and following.isalpha()):
            return text[:at], text[at + 1 :]
        at = text.find("-", at + 1)
    return text, ""


def version_components(version: str) -> list[str]:
    """The runs of digits and of other characters; dots and dashes only separate."""
    components = []
    start, end = 0, len(version)
    while start < end:
        char = version[start]
        if char in ".-":
            start += 1
            continue
        stop = start + 1
        if char in _DIGITS:
            while stop < end and version[stop] in _DIGITS:
                stop += 1
        else:
            while stop < end and version[stop] not in ".-" and version[stop] not in _DIGITS:
                stop += 1
        components.append(version[start:stop])
        start = stop
    return components


def _number(component: str) -> int | None:
    """The value of an all-digit component that fits Nix's 32-bit integers; longer ones compare as text, as there."""
    if component and component[0] in _DIGITS:
        value = int(component)
        if value < 1 << 31:
            return value
    return None


def _component_less(one: str, two: str) -> bool:
    number_one, number_two = _number(one), _number(two)
    if number_one is not None and number_two is not None:
        return number_one < number_two
    if not one and number_two is not None:
        return True
    if one == "pre" and two != "pre":
        return True
    if two == "pre":
        return False
    # Everything sorts before a number, so that 2.3a is older than 2.3.1.
    if number_two is not None:
        return True
    if number_one is not None:
        return False
    return one.encode("utf-8", "surrogateescape") < two.encode("utf-8", "surrogateescape")


def compare_versions(one: str, two: str) -> int:
    """-1, 0 or 1 as `one` is older than, as old as, or newer than `two`."""
    if one == two:
        return 0
    ones, twos = version_components(one), version_components(two)
    for index in range(max(len(ones), len(twos))):
        first = ones[index] if index < len(ones) else ""
        second = twos[index] if index < len(twos) else ""
        if _component_less(first, second):
            return -1
        if _component_less(second, first):
            return 1
    return 0


def prim_parseDrvName(state: EvalState, text: object) -> dict[str, str]:  # noqa: N802
    """`parseDrvName s`: split the package name *s* into `{ name, version }`.

    The version starts after the first dash that is not followed by a letter.
    """
    name, version = parse_drv_name(
        force_string_no_context(text, "while evaluating the first argument passed to builtins.parseDrvName")
    )
    return {"name": name, "version": version}


def prim_compareVersions(state: EvalState, one: object, two: object) -> int:  # noqa: N802
    """`compareVersions s1 s2`: -1 if *s1* is the older version, 0 if they are the same, 1 if *s1* is newer."""
    return compare_versions(
        force_string_no_context(one, "while evaluating the first argument passed to builtins.compareVersions"),
        force_string_no_context(two, "while evaluating the second argument passed to builtins.compareVersions"),
    )


def prim_splitVersion(state: EvalState, version: object) -> list[str]:  # noqa: N802
    """`splitVersion s`: the components of the version *s*, as `compareVersions` sees them."""
    return version_components(
        force_string_no_context(version, "while evaluating the first argument passed to builtins.splitVersion")
    )
