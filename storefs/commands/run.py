"""`verglas run`: run a program that sees the store at its real path."""

from __future__ import annotations

import atexit
import os

from storefs.errors import StoreError, UsageError
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.options import Invocation

COMMAND = Command(
    "verglas run",
    "Run a program that sees the store at its real path",
    operands="PROGRAM [ARG...]",
    raw_after=True,
    description="""
Runs PROGRAM with the store mounted at its real path. Where it is not mounted there for everybody, that happens in a
mount namespace of the program's own, which needs no root: nobody else sees it, and nothing is left when the last
process in it has ended. The programs of ~/.nix-profile come first on its PATH. The exit status is the program's own;
127 if there is no such program.

A store directory that is missing is made if you may make it, and if it is not the root directory that has to be changed
for it. Otherwise PROGRAM sees the nearest directory that exists, such as / where there is no /nix, as a read-only copy:
its entries are the real ones, as they were at the start, and what is in them can be changed as ever; but nothing can be
added beside them, or removed.
""",
    examples=(("verglas run ls /nix/store", "list the store"), ("verglas run hello", "run a program of the profile")),
)


class NoProgramError(StoreError):
    """The program can't be started."""

    exit_code = 127


def run(invocation: Invocation) -> int:
    """Replace this process by the program."""
    if not invocation.operands or not invocation.operands[0]:
        raise UsageError("verglas run needs a program to run")
    return execute(invocation.config, invocation.operands)


def execute(config: Config, words: list[str], environment: dict[str, str] | None = None) -> int:
    """Enter the store and become the program `words`, in this run's environment or another; does not return.

    Raises:
        NoProgramError: there is no such program.
        StoreError: the store can't be mounted.
    """
    from storefs.stores.mountpoint import enter_store

    enter_store(config)
    atexit._run_exitfuncs()  # another program takes our place
    environment = _with_profile(config) if environment is None else environment
    try:
        os.execvpe(words[0], words, environment)
    except OSError as error:
        raise _failure(words[0], environment, error) from error


def _failure(program: str, environment: dict[str, str], error: OSError) -> NoProgramError:
    if "/" not in program and not any(
        os.path.lexists(f"{folder}/{program}") for folder in environment.get("PATH", os.defpath).split(":")
    ):
        # Whatever the system said last: maybe of a folder that may not be looked into.
        return NoProgramError(f"can't run '{program}': there is no such program in the profile or elsewhere on PATH")
    failure = NoProgramError(f"can't run '{program}': {error.strerror}")
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        failure.exit_code = 126  # as a shell says it: found, but not executable
    return failure


def _with_profile(config: Config) -> dict[str, str]:
    """The environment of this run, in which the profile's programs are found, as after Nix's own login script."""
    environment = config.environment()
    programs = f"{config.home}/.nix-profile/bin"
    path = environment.get("PATH", os.defpath)
    if os.path.lexists(os.path.dirname(programs)) and programs not in path.split(":"):
        environment["PATH"] = f"{programs}:{path}"
    return environment
