"""`verglas build` and `nix build`: build attributes of a file or an expression, or store derivations.

Like `nix build` of Nix 2.8 without flakes.
"""

from __future__ import annotations

import sys

from storefs.errors import StoreError, UsageError
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.building import BuildPlan
    from evaluator.session import Session
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

COMMAND = Command(
    "verglas build",
    "Build attributes of a file, an expression, or store derivations",
    operands="[ATTRIBUTE-PATH | DERIVATION]...",
    options=(
        Option("--expr", takes=("EXPR",), help="take attributes of this expression"),
        Option("--file", "-f", takes=("FILE",), help="take attributes of this file instead of ./default.nix"),
        Option("--out-link", "-o", takes=("LINK",), help="the name of the result link instead of 'result'"),
        Option("--no-link", help="leave no result link"),
        Option("--print-out-paths", help="print the store paths of the results"),
        Option("--json", help="print what was built as JSON"),
        Option("--dry-run", help="only show what would be built or fetched"),
        Option("--rebuild", help="build again and compare with what is there"),
        *EVALUATION,
    ),
    examples=(
        ("verglas build -f '<nixpkgs>' hello", "build a package and link it as ./result"),
        ("verglas build /nix/store/...-hello.drv --no-link --print-out-paths", "build a store derivation"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from evaluator.building import build_and_print
    from evaluator.session import open_session

    if invocation.value("--expr") is not None and invocation.value("--file") is not None:
        raise UsageError("'--expr' and '--file' are mutually exclusive")
    session = open_session(invocation)
    plan = session.run(lambda: plan_builds(session, invocation))
    paths = build_and_print(
        session,
        plan,
        mode="check" if invocation.flag("--rebuild") else "normal",
        dry_run=invocation.flag("--dry-run"),
        link=None if invocation.flag("--no-link") else invocation.value("--out-link", "result"),
    )
    if invocation.flag("--json"):
        _print_json(session, invocation, plan)
    elif invocation.flag("--print-out-paths"):
        sys.stdout.write("".join(path + "\n" for path in paths))
    return 0


def plan_builds(session: Session, invocation: Invocation) -> BuildPlan:
    """Return the outputs that operands stand for: attributes of a file or expression, or `.drv` paths. Evaluates."""
    from evaluator.attr_path import find_along_path
    from evaluator.building import BuildPlan
    from evaluator.core.values import force
    from evaluator.instantiate import get_derivations

    plan = BuildPlan()
    directory = session.store_io.directory
    attributes = []
    for operand in invocation.operands:
        path, _, outputs = operand.replace("^", "!").partition("!")
        if path.endswith(".drv") and directory.maybe_parse(path) is not None:
            declared = sorted(session.store_io.derivation(path).outputs)
            for name in declared if outputs in {"", "*"} else outputs.split(","):
                plan.add(directory.parse(path), name)
        elif "/" in path and invocation.command.name == "verglas show-derivation":
            plan.add(_deriver(session, path), "out")
        else:
            attributes.append(operand)
    if plan.wanted and not attributes:
        return plan
    expression = invocation.value("--expr")
    if expression is not None:
        root = session.evaluate_expression(expression)
    else:
        root = session.evaluate_file(invocation.value("--file") or "./default.nix")
    for attribute in attributes or [""]:
        found, _ = find_along_path(session.state, attribute, session.auto_args, root)
        for package in get_derivations(session.state, force(found), session.auto_args):
            drv_path = directory.parse(package.require_drv_path())
            # `nix build` of 2.8 makes the one output that is named; ours makes those that would be installed.
            named = [package.output_name() or "out"]
            for name in (
                named if invocation.program == "nix" else package.outputs(only_to_install=True, with_paths=False)
            ):
                plan.add(drv_path, name)
    return plan


def _deriver(session: Session, operand: str) -> StorePath:
    """The derivation that made a store path; StoreError if nobody knows."""
    from storefs.commands.operations.operands import to_store_path

    path = to_store_path(session.store_io.directory, operand)
    deriver = session.store.path_info(path).deriver
    if deriver is None:
        raise StoreError(f"'{session.store_io.directory.print(path)}' does not have a known deriver")
    return deriver


def _print_json(session: Session, invocation: Invocation, plan: BuildPlan) -> None:
    """Print what was built, or with --dry-run would be."""
    from storefs.commands.operations.json_output import print_json
    from storefs.stores.known_outputs import known_outputs

    built: dict[str, dict[str, str | None]] = {}
    directory = session.store_io.directory
    for drv_path, output in plan.wanted:
        shown = directory.print(drv_path)
        path = known_outputs(session.store, session.store_io.derivation(shown)).get(output)
        built.setdefault(shown, {})[output] = None if path is None else directory.print(path)
    rows = [{"drvPath": drv_path, "outputs": outputs} for drv_path, outputs in built.items()]
    print_json(invocation, rows, nix_ends_line=True)
