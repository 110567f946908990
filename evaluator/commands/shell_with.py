"""`verglas shell-with` and `nix shell`: a shell, or a command, that has packages on its PATH."""

from __future__ import annotations

import os

from storefs.installable_options import INSTALLABLES
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from evaluator.session import Session
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

PROPAGATED = "nix-support/propagated-user-env-packages"


def split_command(words: list[str]) -> list[str]:
    """Keep everything behind `--command` together: it is a command line of its own, options and all."""
    for index, word in enumerate(words):
        if word in {"--command", "-c"} and index + 1 < len(words):
            arguments = [part for argument in words[index + 2 :] for part in ("--command-argument", argument)]
            return [*words[: index + 2], *arguments]
        if word == "--":
            break
    return words


COMMAND = Command(
    "verglas shell-with",
    "Start a shell that has packages on its PATH",
    operands="[ATTRIBUTE...]",
    options=(
        Option("--command", "-c", takes=("COMMAND...",), help="run a command instead of a shell"),
        Option("--command-argument", takes=("WORD",), help="an argument of the command", hidden=True),
        Option("--ignore-environment", "-i", help="clear the environment"),
        Option("--keep", "-k", takes=("NAME",), help="with --ignore-environment: keep this variable"),
        Option("--unset", "-u", takes=("NAME",), help="take this variable out of the environment"),
        *INSTALLABLES,
    ),
    description="""
The packages are built, and their `bin` directories, with those of the packages that they propagate, put before PATH.
The expressions are those of --file, by default ./default.nix. The store is visible at its real path.
""",
    examples=(("verglas shell-with -f '<nixpkgs>' jq curl -c jq --version", "a command with two packages at hand"),),
    expand=split_command,
)


def run(invocation: Invocation) -> int:
    """Replace this process by the shell or the command."""
    from evaluator.installables import build_outputs, select_packages
    from evaluator.session import open_session
    from storefs.commands.run import execute

    session = open_session(invocation)
    packages = session.run(lambda: select_packages(session, invocation, invocation.operands))
    folders = _program_folders(session, build_outputs(session, packages))
    environment = session.config.environment()
    if invocation.flag("--ignore-environment"):
        kept = invocation.values("--keep")
        environment = {name: value for name, value in environment.items() if name in kept}
    for name in invocation.values("--unset"):
        environment.pop(name, None)
    before = session.config.variable("PATH")
    environment["PATH"] = ":".join([*folders, before] if before else folders)
    command = invocation.value("--command")
    shell = session.config.variable("SHELL") or "bash"
    words = [shell] if command is None else [command, *invocation.values("--command-argument")]
    return execute(session.config, words, environment)


def _program_folders(session: Session, outputs: Iterable[StorePath]) -> list[str]:
    """The `bin` directories of outputs and of what they propagate; each is there once, what was named comes first."""
    directory = session.store_io.directory
    found: dict[str, None] = {}
    waiting = [directory.print(path) for path in outputs]
    while waiting:
        path = waiting.pop(0)
        if path in found:
            continue
        found[path] = None
        propagated = os.path.join(path, PROPAGATED)
        if session.store_io.exists(propagated):
            waiting += session.store_io.read_file(propagated).decode("utf-8", "surrogateescape").split()
    return [f"{path}/bin" for path in found]
