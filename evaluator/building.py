"""From evaluated packages to built outputs and links: what `nix-build`, `nix-shell` and `nix build` share."""

from __future__ import annotations

import os

from evaluator.attr_path import find_along_path
from evaluator.core.values import force
from evaluator.instantiate import get_derivations
from storefs.errors import StoreError
from storefs.formats.derived_path import DerivedPath
from storefs.gc.roots import add_indirect_root
from storefs.stores.showing import show_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluator.instantiate import PackageInfo
    from evaluator.session import Session
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation


class BuildPlan:
    """What to build, in the order in which results are linked and printed: (derivation path, output name) pairs."""

    def __init__(self) -> None:
        self.wanted: list[tuple[StorePath, str]] = []

    def add(self, drv_path: StorePath, output: str) -> None:
        """Add an output of a derivation."""
        self.wanted.append((drv_path, output))

    def targets(self) -> list[DerivedPath]:
        """One target for each derivation, with all outputs that are wanted of it."""
        outputs: dict[StorePath, list[str]] = {}
        for drv_path, output in self.wanted:
            outputs.setdefault(drv_path, []).append(output)
        return [DerivedPath(drv_path, tuple(names)) for drv_path, names in outputs.items()]


def evaluate_operands(session: Session, invocation: Invocation, default: str = "default.nix") -> list[object]:
    """Return the values of the operands: files, expressions (`-E`), `-` for standard input. Runs in the evaluation."""
    operands = list(invocation.operands)
    values = []
    if "-" in operands:
        operands.remove("-")
        values.append(session.evaluate_stdin())
    elif not operands and not invocation.flag("--expr"):
        operands = [default]
    for operand in operands:
        if invocation.flag("--expr"):
            values.append(session.evaluate_expression(operand))
        else:
            values.append(session.evaluate_file(operand))
    return values


def select(session: Session, invocation: Invocation, values: Sequence[object]) -> list[PackageInfo]:
    """Return the packages at the attribute paths of `-A` in each value. Runs in the evaluation."""
    packages: list[PackageInfo] = []
    for value in values:
        for path in invocation.values("--attr") or [""]:
            found, _ = find_along_path(session.state, path, session.auto_args, value)
            packages += get_derivations(session.state, force(found), session.auto_args)
    return packages


def collect_targets(session: Session, invocation: Invocation) -> BuildPlan:
    """Return what the operands of `nix-build` stand for. Runs in the evaluation; `.drv` files are taken as they are."""
    plan = BuildPlan()
    directory = session.store_io.directory
    drvs = [] if invocation.flag("--expr") else [text for text in invocation.operands if _is_drv(session, text)]
    for text in drvs:
        path_text, _, outputs = os.path.realpath(text.partition("!")[0]), "!", text.partition("!")[2]
        path = directory.parse(path_text)
        names = outputs.split(",") if outputs else sorted(session.store_io.derivation(path_text).outputs)
        for name in names:
            plan.add(path, name)
    if drvs and len(drvs) == len(invocation.operands):
        return plan
    invocation.operands = [text for text in invocation.operands if text not in drvs]
    for package in select(session, invocation, evaluate_operands(session, invocation)):
        drv_path = package.require_drv_path()
        output = package.output_name()
        if not output:
            raise StoreError(f"derivation '{drv_path}' lacks an 'outputName' attribute")
        plan.add(directory.parse(drv_path), output)
    return plan


def _is_drv(session: Session, text: str) -> bool:
    path = os.path.realpath(text.partition("!")[0])
    return path.endswith(".drv") and session.store_io.directory.maybe_parse(path) is not None


def build_and_print(session: Session, plan: BuildPlan, *, mode: str, dry_run: bool, link: str | None) -> list[str]:
    """Build, make links, and return the store paths in the order of the plan.

    Args:
        session: the evaluation, finished.
        plan: what to build.
        mode: "normal", "check" or "repair".
        dry_run: only say what would happen.
        link: name of the first link, None for no links; there are none into a store on another machine either.

    Raises:
        BuildFailedError: something could not be built.
    """
    from storefs.api import BuildMode  # noqa: PLC0415  typing and dataclasses: only who builds pays

    targets = plan.targets()
    if dry_run:
        session.announce(targets)
        return []
    results = session.build(targets, BuildMode[mode.upper()], announce=True)
    session.require_success(results)
    if not session.has_files():
        link = None
    outputs = {result.target.path: result.outputs for result in results}
    numbers = {drv_path: number for number, drv_path in enumerate(outputs)}
    directory = session.store_io.directory
    printed = []
    made = []
    for drv_path, output in plan.wanted:
        path = outputs[drv_path].get(output)
        if path is None:
            raise StoreError(f"derivation '{directory.print(drv_path)}' does not have an output named '{output}'")
        if link is not None and _has_roots(session):
            number = numbers[drv_path]
            name = link + (f"-{number + 1}" if number else "") + ("" if output == "out" else f"-{output}")
            make_root(session, os.path.abspath(name), path)
        printed.append(directory.print(path))
        made.append(path)
    # Links are to lead somewhere and paths to be there even if nothing was built, and so mounted, here.
    show_paths(session.config, session.store.uri, made)
    return printed


def _has_roots(session: Session) -> bool:
    """Whether links can keep results alive: not in a binary cache, where nothing can be looked at through them."""
    scheme = session.config.store_uri.partition("://")
    return not scheme[1] or scheme[0] in {"unix", "local"}


def make_root(session: Session, link: str, path: StorePath) -> None:
    """Make `link` a symbolic link to a store path, and a root of the garbage collector."""
    add_indirect_root(session.config.state_dir, session.store_io.directory, link, path)
