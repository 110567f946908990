"""The expressions that nix-env offers packages from: a file, or a folder such as `~/.nix-defexpr` with many.

Runs on the evaluation's thread. Rules: `loadSourceExpr` and `getAllExprs` in nix-env.cc of Nix 2.8.
"""

from __future__ import annotations

from evaluator.attr_path import find_along_path
from evaluator.core.values import force
from evaluator.instantiate import get_derivations
from evaluator.print_value import show_string
from profiles.available import Available
from storefs import logs
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.eval_io import EvalIO
    from evaluator.session import Session

_MOST_EXPRESSIONS = 1024


def load_source(session: Session, path: str) -> object:
    """Return the value of the expressions at `path`: of a file, or a set of all that lie in a folder.

    Raises:
        StoreError: nothing is there, or nothing that could be an expression.
    """
    kind = _kind_behind(session.io, path)
    if kind is None:
        raise StoreError(f"getting information about '{path}': No such file or directory")
    if _is_expression(session.io, path, kind):
        return session.state.evaluate_file(session.io.resolve_expr_path(path))
    if kind != "directory":
        raise StoreError(f"path '{path}' is not a directory or a Nix expression")
    files: dict[str, str] = {}
    _collect(session.io, path, files)
    # Imported when asked for: a channel that nobody asks about is not read.
    members = [f"{show_string(name)} = import {show_string(file)};" for name, file in files.items()]
    return session.state.evaluate_text("{ _combineChannels = [ ]; " + " ".join(members) + " }", "/")


def load_packages(session: Session, path: str, system_filter: str, prefix: str = "") -> list[Available]:
    """Return the packages of the expressions at `path`.

    Args:
        session: the evaluation.
        path: a file or a folder.
        system_filter: only those for this system; `*` for all.
        prefix: only those below this attribute path.
    """
    value, _ = find_along_path(session.state, prefix, session.auto_args, load_source(session, path))
    found = get_derivations(session.state, value, session.auto_args, prefix=prefix, ignore_assertions=True)
    packages = [Available(info) for info in found]
    if system_filter == "*":
        return packages
    return [package for package in packages if package.system == system_filter]


def packages_of_value(session: Session, value: object) -> list[Available]:
    """Return the packages in a value."""
    found = get_derivations(session.state, force(value), session.auto_args, ignore_assertions=True)
    return [Available(info) for info in found]


def _collect(io: EvalIO, path: str, files: dict[str, str]) -> None:
    """Enter the expressions of a folder, and of folders in it, under their names; the set stays flat."""
    for name in sorted(io.list_dir(path), key=lambda each: each.encode("utf-8", "surrogateescape")):
        # A channel is a profile, and has one of these.
        if name == "manifest.nix":
            continue
        inner = f"{path}/{name}"
        kind = _kind_behind(io, inner)
        if kind is None:
            continue  # a link to nowhere
        if _is_expression(io, inner, kind) and (kind == "directory" or inner.endswith(".nix")):
            attribute = name.removesuffix(".nix")
            if attribute in files:
                hint = ""
                if "channels" in inner and "channels" in path:
                    hint = f"\nsuggestion: remove '{attribute}' from either the root channels or the user channels"
                logs.log(logs.ERROR, f"warning: name collision in input Nix expressions, skipping '{inner}'{hint}")
                continue
            files[attribute] = inner
            if len(files) == _MOST_EXPRESSIONS:
                raise StoreError(f"too many Nix expressions in directory '{path}'")
        elif kind == "directory":
            _collect(io, inner, files)


def _kind_behind(io: EvalIO, path: str) -> str | None:
    try:
        return io.file_type(io.resolve(path))
    except OSError:
        return None


def _is_expression(io: EvalIO, path: str, kind: str) -> bool:
    return kind == "regular" or (kind == "directory" and io.exists(f"{io.resolve(path)}/default.nix"))
