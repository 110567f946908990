"""`nix-instantiate`: from Nix expressions to derivations in the store, or to printed values.

Options, output and exit statuses are those of Nix 2.8 (`nix-instantiate(1)`).
"""

from __future__ import annotations

import os

from evaluator.remembered import run_remembered
from storefs.errors import StoreError
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.remembered import Output
    from evaluator.session import Session
    from storefs.options import Invocation

COMMAND = Command(
    "nix-instantiate",
    "Instantiate store derivations from Nix expressions",
    operands="[FILE...]",
    options=(
        Option("--attr", "-A", takes=("PATH",), help="choose an attribute of the expression"),
        Option("--expr", "-E", help="the operands are expressions, not files"),
        Option("--eval", "--eval-only", help="print the value instead of instantiating derivations"),
        Option("--parse", "--parse-only", help="only parse, and print the syntax tree"),
        Option("--find-file", help="print where <FILE> is found in the search path"),
        Option("--strict", help="with --eval: evaluate everything in the value"),
        Option("--json", help="with --eval: print JSON"),
        Option("--xml", help="with --eval: print XML"),
        Option("--raw", help="with --eval: print a string as it is"),
        Option("--no-location", help="with --xml: do not say where things were defined"),
        Option("--read-write-mode", help="with --eval: allow writing to the store, and building"),
        Option("--readonly-mode", help="do not write to the store"),
        Option("--dry-run", help="do not write to the store"),
        Option("--add-root", takes=("PATH",), help="register the results as roots of the garbage collector"),
        Option("--indirect", help="accepted for compatibility: all roots are indirect"),
        Option("--repair", help="write derivations anew that are in the store already"),
        *EVALUATION,
    ),
    examples=(
        ("nix-instantiate '<nixpkgs>' -A hello", "print the store derivation of a package"),
        ("nix-instantiate --eval -E '1 + 2'", "print a value"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    evaluating = invocation.flag("--eval") or invocation.flag("--parse")
    read_only = (
        (evaluating and not invocation.flag("--read-write-mode"))
        or invocation.flag("--dry-run")
        or invocation.flag("--readonly-mode")
        or invocation.flag("--find-file")
    )
    usable = not any(invocation.flag(name) for name in ("--parse", "--find-file", "--add-root", "--repair"))
    return run_remembered(
        invocation,
        read_only=read_only,
        usable=usable,
        evaluate=lambda session, output: _Run(invocation, session, output).run(),
        prints_paths=not read_only and not evaluating,
    )


class _Run:
    def __init__(self, invocation: Invocation, session: Session, output: Output) -> None:
        self.invocation = invocation
        self.session = session
        self.output = output
        self.roots = 0

    def run(self) -> int:
        invocation, session = self.invocation, self.session
        operands = list(invocation.operands)
        if invocation.flag("--find-file"):
            from evaluator.errors import NO_POS  # what is remembered needs nothing of the evaluator

            for operand in operands:
                self.output.write(session.state.memo["search path"].require(operand, pos=NO_POS) + "\n")
            return 0
        session.state.whole_trees = invocation.flag("--parse")
        stdin = "-" in operands
        operands = [operand for operand in operands if operand != "-"]
        if stdin:
            self.process_text(session.io.read_stdin(), "stdin")
        elif not operands and not invocation.flag("--expr"):
            operands = ["./default.nix"]
        for operand in operands:
            if invocation.flag("--expr"):
                self.process_text(operand.encode("utf-8", "surrogateescape"), "string")
            elif invocation.flag("--parse"):
                path = session.io.resolve_expr_path(session.file_argument(operand))
                self.show_parsed(session.state.parse_file(path))
            else:
                self.process(session.evaluate_file(operand))
        return 0

    def process_text(self, text: bytes, origin: str) -> None:
        expression = self.session.state.parse(text, os.getcwd(), "", origin)
        if self.invocation.flag("--parse"):
            self.show_parsed(expression)
        else:
            self.process(self.session.state.evaluate(expression))

    def show_parsed(self, expression: object) -> None:
        self.output.write(str(expression) + "\n")

    def process(self, root: object) -> None:
        from evaluator.attr_path import find_along_path
        from evaluator.core.values import force

        auto_args = self.session.auto_args
        for path in self.invocation.values("--attr") or [""]:
            found, _ = find_along_path(self.session.state, path, auto_args, root)
            value = force(found)
            if self.invocation.flag("--eval"):
                self.show_value(self.session.state.auto_call(value, auto_args) if auto_args else value)
            else:
                self.instantiate(value)

    def show_value(self, value: object) -> None:
        from evaluator.show_result import render

        invocation = self.invocation
        form = next((name for name in ("json", "xml", "raw") if invocation.flag(f"--{name}")), "nix")
        self.output.write(
            render(
                self.session.state,
                value,
                form,
                strict=invocation.flag("--strict"),
                location=not invocation.flag("--no-location"),
                json_ends_line=False,
            )
        )

    def instantiate(self, value: object) -> None:
        from evaluator.instantiate import get_derivations

        packages = get_derivations(self.session.state, value, self.session.auto_args)
        root = self.invocation.value("--add-root")
        for package in packages:
            path = package.require_drv_path()
            output = package.output_name()
            if not output:
                raise StoreError(f"derivation '{path}' lacks an 'outputName' attribute")
            if self.session.recording is not None and not self.session.read_only:
                self.session.recording.require_valid(path)
            if root is not None:
                path = self.add_root(root, path)
            self.output.write(path + ("" if output == "out" else "!" + output) + "\n")

    def add_root(self, root: str, path: str) -> str:
        from storefs.gc.roots import add_indirect_root

        session = self.session
        session.io.flush()
        self.roots += 1
        link = os.path.abspath(root) + (f"-{self.roots}" if self.roots > 1 else "")
        directory = session.store_io.directory
        return add_indirect_root(session.stores.eval_config.state_dir, directory, link, directory.parse(path))
