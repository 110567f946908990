"""`verglas develop`: a shell in the environment that a package is built in: `nix-shell` in words of `nix develop`."""

from __future__ import annotations

import shlex

from storefs.errors import UsageError
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation


def quote_command(words: list[str]) -> list[str]:
    """Make everything behind `--command` one word: it is a command line of its own, options and all."""
    for index, word in enumerate(words):
        if word in {"--command", "-c"} and index + 1 < len(words):
            return [*words[:index], "--command", shlex.join(words[index + 1 :])]
        if word == "--":
            break
    return words


COMMAND = Command(
    "verglas develop",
    "Start a shell in the build environment of a package",
    operands="[ATTRIBUTE]",
    options=(
        Option("--file", "-f", takes=("FILE",), help="the expressions; shell.nix or default.nix by default"),
        Option("--expr", takes=("EXPR",), help="an expression instead of a file"),
        Option("--command", "-c", takes=("COMMAND...",), help="run a command instead of a shell"),
        Option("--ignore-environment", "-i", help="clear the environment"),
        Option("--keep", "-k", takes=("NAME",), help="with --ignore-environment: keep this variable"),
        *EVALUATION,
    ),
    examples=(
        ("verglas develop -f default.nix hello", "a shell in which hello could be built"),
        ("verglas develop -c make test", "run a command where the package of this folder could be built"),
    ),
    expand=quote_command,
)


def run(invocation: Invocation) -> int:
    """Carry out the command; does not return when it starts a shell."""
    command = invocation.value("--command")
    return enter(invocation, [] if command is None else ["--run", command])


def enter(invocation: Invocation, more: list[str]) -> int:
    """Enter the environment that the command line means, as nix-shell with `more` words would."""
    from evaluator.commands import nix_shell

    if len(invocation.operands) > 1:
        raise UsageError("one package is wanted; 'nix-shell -p' takes several")
    words = list(more)
    for attribute in invocation.operands:
        words += ["--attr", attribute] if attribute else []
    for option, name in (("--keep", "--keep"), ("--include", "-I")):
        for value in invocation.values(option):
            words += [name, value]
    for option in ("--arg", "--argstr"):
        for pair in invocation.tuples(option):
            words += [option, *pair]
    if invocation.flag("--ignore-environment"):
        words.append("--pure")
    expression, file = invocation.value("--expr"), invocation.value("--file")
    if expression is not None:
        words += ["--expr", expression]
    elif file is not None:
        words.append(file)
    shell = parse(nix_shell.COMMAND, words, "nix-shell")
    shell.config = invocation.config
    return nix_shell.run(shell)
