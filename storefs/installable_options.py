"""Options that all evaluating commands share, and those by which others take attributes instead of store paths.

Tables for `storefs.options`. Evaluating is not the business of storefs: `storefs.cli` lets the evaluator replace the
operands of a command that has `INSTALLABLES`.
"""

from __future__ import annotations

from storefs.options import Option

EVALUATION = (
    Option("--arg", takes=("NAME", "EXPR"), help="pass an expression to functions that have an argument NAME"),
    Option("--argstr", takes=("NAME", "STRING"), help="pass a string to functions that have an argument NAME"),
    Option("--include", "-I", takes=("PATH",), help="look for <...> in PATH first; NAME=PATH gives it a name"),
    Option("--impure", help="allow an evaluation that pure-eval would forbid"),
    Option("--no-eval-cache", help="evaluate anew even if nothing changed since the last time"),
    Option(
        "--eval-store", takes=("URI",), help="write derivations and sources to this store, and build in the usual one"
    ),
)

INSTALLABLES = (
    Option("--file", "-f", takes=("FILE",), help="operands are attributes of the expression in FILE"),
    Option("--expr", takes=("EXPR",), help="operands are attributes of this expression"),
    *EVALUATION,
)
