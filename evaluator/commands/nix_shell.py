"""`nix-shell`: a shell in the environment of a derivation, with what it needs built but not the derivation itself.

Options and the environment are those of Nix 2.8 (`nix-shell(1)`), also as interpreter of a script
(`#! /usr/bin/env nix-shell`, `#! nix-shell -i python -p python3`).
"""

from __future__ import annotations

import shlex

from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation


def expand_script(words: list[str]) -> list[str]:
    """Replace `SCRIPT ARG...` by the options in the script's `#! nix-shell` lines, if its first line is a `#!`."""
    if not words or words[0].startswith("-"):
        return words
    try:
        with open(words[0], encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return words
    if not lines or not lines[0].startswith("#!"):
        return words
    expanded: list[str] = []
    for line in lines[1:]:
        command, _, options = line.removeprefix("#!").strip().partition(" ")
        if line.startswith("#!") and command == "nix-shell":
            expanded += shlex.split(options)
    expanded += ["--script", words[0]]
    for argument in words[1:]:
        expanded += ["--script-argument", argument]
    return expanded


COMMAND = Command(
    "nix-shell",
    "Start a shell in the build environment of a derivation",
    operands="[FILE] | -p PACKAGE...",
    options=(
        Option("--attr", "-A", takes=("PATH",), help="choose an attribute of the expression"),
        Option("--expr", "-E", help="the operand is an expression, not a file"),
        Option("--packages", "-p", help="the operands are packages of <nixpkgs> to have in the environment"),
        Option("--command", takes=("COMMAND",), help="run COMMAND in the interactive shell, then leave it"),
        Option("--run", takes=("COMMAND",), help="run COMMAND in a shell that is not interactive"),
        Option("--pure", help="clear the environment but for some variables"),
        Option("--keep", takes=("NAME",), help="with --pure: keep this variable too"),
        Option("--exclude", takes=("REGEX",), help="do not build dependencies that match"),
        Option("--dry-run", help="only show what would be built or fetched"),
        Option("-i", takes=("INTERPRETER",), help="in a script: what runs it"),
        Option("--run-env", help="accepted for compatibility: 'nix-build --run-env' is nix-shell", hidden=True),
        Option("--script", takes=("FILE",), help="the script that is run", hidden=True),
        Option("--script-argument", takes=("WORD",), help="an argument of the script", hidden=True),
        *EVALUATION,
    ),
    examples=(
        ("nix-shell '<nixpkgs>' -A hello", "a shell in which hello could be built"),
        ("nix-shell -p jq curl --run 'curl URL | jq .'", "run a command with packages on its PATH"),
    ),
    expand=expand_script,
)


def run(invocation: Invocation) -> int:
    """Carry out the command; does not return when it starts a shell."""
    from evaluator.session import open_session
    from evaluator.shell_environment import enter_shell, prepare_shell

    session = open_session(invocation)
    shell = session.run(lambda: prepare_shell(session, invocation))
    return enter_shell(session, invocation, shell)
