"""Attributes as operands of commands that work on store paths: `nix copy -f FILE ATTRIBUTE`.

Called by `storefs.cli` for verbs of storefs, and by the verbs that run programs of packages.
"""

from __future__ import annotations

from evaluator.attr_path import find_along_path
from evaluator.building import BuildPlan, build_and_print
from evaluator.core.values import force
from evaluator.instantiate import get_derivations
from evaluator.session import open_session
from storefs.errors import StoreError, UsageError
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.instantiate import PackageInfo
    from evaluator.session import Session
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation


def replace_operands(invocation: Invocation) -> None:
    """Replace attributes among the operands by the store paths of their outputs; what has a slash is a path already.

    What is copied to somewhere else is built first; of everything else only the name is wanted.

    Raises:
        StoreError: evaluating or building failed.
    """
    session = open_session(invocation)
    directory = session.store_io.directory
    operands: list[str] = []
    for operand in invocation.operands or [""]:
        if "/" in operand:
            operands.append(operand)
            continue
        packages = session.run(lambda name=operand: select_packages(session, invocation, [name]))  # type: ignore[misc]
        if invocation.command.name == "verglas copy" and has_feature(invocation.config, CA_DERIVATIONS):
            # By their derivations, so that what the outputs are is copied along.
            if not invocation.flag("--from"):
                build_outputs(session, packages)
            plan = session.run(lambda packages=packages: _plan(session, packages))  # type: ignore[misc]
            operands += [f"{directory.print(drv_path)}!{output}" for drv_path, output in plan.wanted]
            continue
        found = build_outputs(session, packages) if _must_build(invocation) else named_outputs(session, packages)
        operands += [directory.print(path) for path in found]
    invocation.operands = operands


def _must_build(invocation: Invocation) -> bool:
    copying = invocation.command.name in {"verglas copy", "verglas make-content-addressed"}
    return copying and invocation.value("--from") is None


def select_packages(session: Session, invocation: Invocation, attributes: list[str]) -> list[PackageInfo]:
    """Return the packages at attribute paths of the file or the expression; of all of it if there are none.

    Runs in the evaluation.
    """
    expression, file = invocation.value("--expr"), invocation.value("--file")
    if expression is not None and file is not None:
        raise UsageError("'--expr' and '--file' are mutually exclusive")
    if expression is not None:
        root = session.evaluate_expression(expression)
    elif file == "-":
        root = session.evaluate_stdin()
    else:
        root = session.evaluate_file(file or "./default.nix")
    packages: list[PackageInfo] = []
    for attribute in attributes or [""]:
        found, _ = find_along_path(session.state, attribute, session.auto_args, root)
        packages += get_derivations(session.state, force(found), session.auto_args)
    return packages


def named_outputs(session: Session, packages: list[PackageInfo]) -> list[StorePath]:
    """Return the paths of the packages' outputs, valid or not.

    Raises:
        StoreError: one is known only after it was built.
    """
    directory = session.store_io.directory
    if has_feature(session.config, CA_DERIVATIONS):
        return [_realised(session, package) for package in packages]
    return [directory.parse(session.run(package.out_path)) for package in packages]


def _realised(session: Session, package: PackageInfo) -> StorePath:
    drv_path = session.run(package.require_drv_path)
    name = session.run(package.output_name) or "out"
    path = known_outputs(session.store, session.store_io.derivation(drv_path)).get(name)
    if path is None:
        raise StoreError(f"cannot operate on an output of unbuilt content-addressed derivation '{drv_path}!{name}'")
    return path


def build_outputs(session: Session, packages: list[PackageInfo]) -> list[StorePath]:
    """Make the packages' outputs valid and return their paths.

    Raises:
        BuildFailedError: one can't be built.
    """
    plan = session.run(lambda: _plan(session, packages))
    directory = session.store_io.directory
    return [directory.parse(path) for path in build_and_print(session, plan, mode="normal", dry_run=False, link=None)]


def _plan(session: Session, packages: list[PackageInfo]) -> BuildPlan:
    plan = BuildPlan()
    for package in packages:
        plan.add(session.store_io.directory.parse(package.require_drv_path()), package.output_name() or "out")
    return plan
