"""`verglas eval` and `nix eval`: print the value of an expression, and say where the time went.

Like `nix eval` of Nix 2.8 without flakes: an expression (`--expr`), or attributes of a file (`--file`, by default
./default.nix).
"""

from __future__ import annotations

import os

from evaluator.remembered import Output, run_remembered
from storefs.errors import StoreError, UsageError
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.options import Invocation

COMMAND = Command(
    "verglas eval",
    "Print the value of an expression",
    operands="[ATTRIBUTE-PATH...]",
    options=(
        Option("--expr", "-E", takes=("EXPR",), help="evaluate this expression"),
        Option("--file", "-f", takes=("FILE",), help="evaluate this file instead of ./default.nix"),
        Option("--apply", takes=("FUNCTION",), help="print what this function makes of the value"),
        Option("--json", help="print JSON"),
        Option("--xml", help="print XML"),
        Option("--raw", help="print a string as it is"),
        Option("--write-to", takes=("PATH",), help="write strings to files, and sets to folders, from PATH on"),
        Option("--strict", help="evaluate everything in the value (the default)"),
        Option("--lazy", help="do not evaluate what is inside of sets and lists"),
        Option("--read-only", help="do not write to the store, and build nothing"),
        Option(
            "--profile",
            takes=("FILE",),
            help="write where the time went: FILE.folded stacks and FILE.svg, a flame graph",
        ),
        *EVALUATION,
    ),
    examples=(
        ("verglas eval --expr 'builtins.nixVersion'", "print a value"),
        ("verglas eval -f '<nixpkgs>' hello.name --raw", "print an attribute of a file as plain text"),
        ("verglas eval -f '<nixpkgs>' hello.drvPath --profile hello", "see what evaluating it costs"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if invocation.value("--expr") is not None and invocation.value("--file") is not None:
        raise UsageError("'--expr' and '--file' are mutually exclusive")
    if invocation.flag("--raw") and invocation.flag("--json"):
        raise UsageError("'--raw' and '--json' are mutually exclusive")
    read_only = invocation.flag("--read-only")
    profile = invocation.value("--profile")
    if profile is None:
        return run_remembered(
            invocation,
            read_only=read_only,
            usable=invocation.value("--write-to") is None,
            evaluate=lambda session, output: _print_all(session, invocation, output),
        )
    from evaluator.profile import profiled
    from evaluator.session import open_session

    session = open_session(invocation, read_only=read_only)
    return profiled(session, profile, lambda: _print_all(session, invocation, Output()))


def _print_all(session: Session, invocation: Invocation, output: Output) -> int:
    from evaluator.attr_path import find_along_path
    from evaluator.core.calls import call1
    from evaluator.core.values import force
    from evaluator.show_result import render

    expression, file = invocation.value("--expr"), invocation.value("--file")
    if file == "-":
        root = session.evaluate_stdin()
    elif expression is not None:
        root = session.evaluate_expression(expression)
    else:
        root = session.evaluate_file(file or "./default.nix")
    function = invocation.value("--apply")
    for path in invocation.operands or [""]:
        found, _ = find_along_path(session.state, path, session.auto_args, root)
        value = session.state.auto_call(force(found), session.auto_args)
        if function is not None:
            value = call1(session.evaluate_expression(function), value)
        target = invocation.value("--write-to")
        if target is not None:
            _write_files(value, target)
            continue
        strict = not invocation.flag("--lazy")
        ends_line = invocation.program != "nix"
        text = render(session.state, value, _form(invocation), strict=strict, location=True, json_ends_line=ends_line)
        output.write(text)
    return 0


def _write_files(value: object, target: str) -> None:
    """Write a string to a file that does not exist yet, or a set to a folder of such."""
    from evaluator.core.values import ContextString, force

    forced = force(value)
    if os.path.lexists(target):
        raise StoreError(f"path '{target}' already exists")
    if isinstance(forced, ContextString):
        forced = forced.text
    if isinstance(forced, str):
        with open(target, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(forced)
    elif isinstance(forced, dict):
        os.mkdir(target)
        for name in sorted(forced):
            if name in {"", ".", ".."} or "/" in name:
                raise StoreError(f"invalid file name '{name}'")
            _write_files(forced[name], f"{target}/{name}")
    else:
        raise StoreError(f"what is to be written to '{target}' is neither a string nor a set")


def _form(invocation: Invocation) -> str:
    return next((name for name in ("json", "xml", "raw") if invocation.flag(f"--{name}")), "nix")
