"""Options that every evaluating command has, as a table for `storefs.options`."""

from __future__ import annotations

from storefs.options import Option

EVALUATION = (
    Option("--arg", takes=("NAME", "EXPR"), help="pass an expression to functions that have an argument NAME"),
    Option("--argstr", takes=("NAME", "STRING"), help="pass a string to functions that have an argument NAME"),
    Option("--include", "-I", takes=("PATH",), help="look for <...> in PATH first; NAME=PATH gives it a name"),
    Option("--impure", help="allow an evaluation that pure-eval would forbid"),
    Option("--no-eval-cache", help="evaluate anew even if nothing changed since the last time"),
    Option("--eval-store", takes=("URI",), help="accepted for compatibility", hidden=True),
)
