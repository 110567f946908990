"""References to source trees as text and as sets: `github:owner/repo/ref?dir=x` and what `fetchTree` takes.

Pure: nothing is fetched here. The grammar is that of the Nix manual under `nix flake`, for the types that `fetchTree`
knows (`fetchers.py`), and names of the registry, which stay what they are.
"""

from __future__ import annotations

from evaluator.core.calls import force_attrs, force_string_no_context
from evaluator.core.values import force
from evaluator.errors import NO_POS, EvalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState

_FLAGS = frozenset(["submodules", "shallow", "allRefs"])
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".zip")
_FORGES = frozenset(["github", "gitlab", "sourcehut"])
_HEX = frozenset("0123456789abcdef")


def parse_reference(text: str) -> dict[str, object]:
    """Return the set that a reference stands for.

    Raises:
        EvalError: it is none.
    """
    base, _, query = text.partition("?")
    scheme, colon, rest = base.partition(":")
    attrs: dict[str, object] = {}
    for pair in query.split("&") if query else []:
        name, _, value = pair.partition("=")
        attrs[name] = value == "1" if name in _FLAGS else value
    kind, plus, transport = scheme.partition("+")
    if not colon:
        if base.startswith(("/", ".")):
            return {"type": "path", "path": base, **attrs}
        return {"type": "indirect", **_named(("id", "ref"), base.split("/"), text), **attrs}
    if scheme in _FORGES:
        return {"type": scheme, **_named(("owner", "repo", "ref"), rest.split("/"), text), **attrs}
    if kind == "git":
        return {"type": "git", "url": f"{transport}:{rest}" if plus else base, **attrs}
    if kind in {"tarball", "file"} and plus:
        return {"type": kind, "url": f"{transport}:{rest}", **attrs}
    if scheme == "path":
        return {"type": "path", "path": rest, **attrs}
    if scheme in {"http", "https", "file"}:
        return {"type": "tarball" if rest.endswith(_ARCHIVES) else "file", "url": base, **attrs}
    raise EvalError(f"input '{text}' is unsupported", NO_POS)


def _named(names: tuple[str, ...], parts: list[str], text: str) -> dict[str, object]:
    """Names for the parts of a path; the last one is a branch or tag, or a commit if it looks like one."""
    if not all(parts) or not len(names) - 1 <= len(parts) <= len(names):
        raise EvalError(f"'{text}' is not a valid reference", NO_POS)
    named: dict[str, object] = dict(zip(names, parts, strict=False))
    ref = named.get("ref")
    if isinstance(ref, str) and len(ref) == 40 and _HEX.issuperset(ref):
        named["rev"] = named.pop("ref")
    return named


def prim_parseFlakeRef(state: EvalState, text: object) -> dict[str, object]:  # noqa: N802
    """`parseFlakeRef s`: the set that the reference *s* stands for, as `fetchTree` takes it."""
    return parse_reference(force_string_no_context(text))


def prim_flakeRefToString(state: EvalState, attrs: object) -> str:  # noqa: N802
    """`flakeRefToString attrs`: the opposite of `parseFlakeRef`."""
    parts: dict[str, str] = {}
    given = force_attrs(attrs)
    for name in sorted(given):
        value = force(given[name])
        if isinstance(value, bool):
            parts[name] = "1" if value else "0"
        elif isinstance(value, int):
            if value < 0:
                raise EvalError(f"negative value given for flake ref attr {name}: {value}", NO_POS)
            parts[name] = str(value)
        else:
            parts[name] = force_string_no_context(value)
    kind = parts.pop("type", "")
    needed = {"path": ("path",), "indirect": ("id",), "git": ("url",), "tarball": ("url",), "file": ("url",)}
    for name in needed.get(kind, ("owner", "repo")):
        if name not in parts:
            raise EvalError(f"a reference of type '{kind}' needs the attribute '{name}'", NO_POS)
    if kind in _FORGES:
        words = [parts.pop("owner"), parts.pop("repo"), parts.pop("rev", parts.pop("ref", ""))]
        base = f"{kind}:" + "/".join(word for word in words if word)
    elif kind == "indirect":
        words = [parts.pop("id"), parts.pop("ref", ""), parts.pop("rev", "")]
        base = "flake:" + "/".join(word for word in words if word)
    elif kind == "path":
        base = "path:" + parts.pop("path")
    elif kind in {"git", "tarball", "file"}:
        url = parts.pop("url")
        base = url if kind == "tarball" or url.startswith("git:") else f"{kind}+{url}"
    else:
        raise EvalError(f"input type '{kind}' is not supported", NO_POS)
    return base + ("?" + "&".join(f"{name}={parts[name]}" for name in sorted(parts)) if parts else "")
