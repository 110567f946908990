"""`nix-env`: the command line of `profiles/nix_env/`, option by option that of Nix 2.8 (`nix-env(1)`).

What only looks at generations imports neither the evaluator nor the store.
"""

from __future__ import annotations

import os
import sys

from profiles.profile_options import user_name
from storefs import logs
from storefs.errors import UsageError
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "nix-env",
    "Manipulate or query user environments",
    operands="[SELECTOR|PATH...]",
    options=(
        Option("--install", "-i", operation=True, help="install packages"),
        Option("--upgrade", "-u", operation=True, help="replace installed packages by newer ones"),
        Option("--uninstall", "-e", operation=True, help="remove packages"),
        Option("--set", operation=True, help="make one package the whole profile"),
        Option("--set-flag", operation=True, help="NAME VALUE PACKAGE...: set priority, keep or active"),
        Option("--query", "-q", operation=True, help="list packages"),
        Option("--switch-profile", "-S", operation=True, help="make another profile the user's"),
        Option("--list-generations", operation=True, help="list the generations of the profile"),
        Option("--delete-generations", operation=True, help="delete generations: NUMBER..., old, 30d, +5"),
        Option("--switch-generation", "-G", operation=True, help="make a generation live"),
        Option("--rollback", operation=True, help="make the previous generation live"),
        Option("--profile", "-p", takes=("PATH",), help="the profile to work on"),
        Option("--file", "-f", takes=("PATH",), help="the expressions, ~/.nix-defexpr by default"),
        Option("--attr", "-A", takes_after="--query", help="operands are attribute paths; with -q: look below PATH"),
        Option("--from-expression", "-E", help="operands are functions of the expressions"),
        Option("--from-profile", takes=("PATH",), help="install from another profile"),
        Option("--preserve-installed", help="keep installed packages of the same name"),
        Option("-P", help="--preserve-installed with -i, --attr-path with -q"),
        Option("--remove-all", "-r", help="remove all other packages"),
        Option("--prebuilt-only", "-b", help="only packages that need not be built"),
        Option("--system-filter", takes=("SYSTEM",), help="only packages for SYSTEM; '*' for all"),
        Option("--force-name", takes=("NAME",), help="call the installed package NAME", hidden=True),
        Option("--dry-run", help="change nothing"),
        Option("--repair", help="rebuild what is damaged"),
        Option("--lt", help="upgrade to newer versions only (the default)"),
        Option("--leq", help="upgrade to newer or equal versions"),
        Option("--eq", help="upgrade to equal versions only"),
        Option("--always", help="upgrade to any version"),
        Option("--installed", help="query installed packages (the default)"),
        Option("--available", "-a", help="query available packages"),
        Option("--status", "-s", help="show whether a package is installed, present, substitutable"),
        Option("--attr-path", help="show attribute paths"),
        Option("--no-name", help="do not show names"),
        Option("--compare-versions", "-c", help="compare versions of installed and available packages"),
        Option("--system", help="show the system"),
        Option("--drv-path", help="show the derivation's path"),
        Option("--out-path", help="show output paths"),
        Option("--description", help="show the description"),
        Option("--meta", help="show all meta attributes, with --xml or --json"),
        Option("--xml", help="print XML"),
        Option("--json", help="print JSON"),
        *EVALUATION,
    ),
    examples=(
        ("nix-env -iA nixpkgs.hello", "install a package by its attribute path"),
        ("nix-env -qaP 'fire.*'", "list available packages by a regular expression, with attribute paths"),
        ("nix-env -u", "upgrade everything"),
        ("nix-env --rollback", "undo"),
    ),
)

_SOURCES = ("--from-expression", "--from-profile", "--attr")
_COLUMNS = (
    "--status",
    "--attr-path",
    "-P",
    "--compare-versions",
    "--system",
    "--drv-path",
    "--out-path",
    "--description",
    "--meta",
    "--prebuilt-only",
)
# What carries an operation out, and returns what to print.
_VERBS = {
    "--install": "changing:install",
    "--upgrade": "changing:upgrade",
    "--uninstall": "changing:uninstall",
    "--set": "changing:set_profile",
    "--set-flag": "changing:set_flag",
    "--query": "querying:query",
    "--switch-profile": "switching:switch_profile",
    "--list-generations": "switching:list_generations",
    "--delete-generations": "switching:delete_generations",
    "--switch-generation": "switching:switch_generation",
    "--rollback": "switching:rollback",
}
# Which flags go with which operation; those that any operation ignores are not listed.
_FLAGS = {
    "--install": {*_SOURCES, "--preserve-installed", "-P", "--remove-all"},
    "--upgrade": {*_SOURCES, "--lt", "--leq", "--eq", "--always"},
    "--set": {*_SOURCES},
    "--query": {"--attr", "--no-name", "--installed", "--available", "--xml", "--json", *_COLUMNS},
}
_EVERYWHERE = {
    "--profile",
    "--file",
    "--prebuilt-only",
    "--system-filter",
    "--force-name",
    "--dry-run",
    "--repair",
    *(option.name for option in EVALUATION),
}


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    operation = invocation.operation()
    if operation is None:
        raise UsageError("no operation specified")
    _check_flags(invocation, operation)
    _make_defexpr(invocation)
    if invocation.flag("--dry-run"):
        logs.info("(dry run; not doing anything)")
    module, _, function = _VERBS[operation].partition(":")
    text = getattr(__import__(f"profiles.nix_env.{module}", fromlist=(function,)), function)(invocation)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    return 0


def _check_flags(invocation: Invocation, operation: str) -> None:
    own = {option.name for option in COMMAND.options if not option.operation} - _EVERYWHERE
    for name, _ in invocation.given:
        if name in own and name not in _FLAGS.get(operation, ()):
            raise UsageError(f"unknown flag '{name}'; '{operation}' does not have it")


def _make_defexpr(invocation: Invocation) -> None:
    """Point ~/.nix-defexpr at the channels, as nix-env does when it is not there; a failure does not matter."""
    config = invocation.config
    folder = f"{config.home}/.nix-defexpr"
    if os.path.lexists(folder):
        return
    try:
        os.makedirs(folder)
        os.symlink(f"{config.state_dir}/profiles/per-user/{user_name(config)}/channels", f"{folder}/channels")
        if os.geteuid() != 0:
            os.symlink(f"{config.state_dir}/profiles/per-user/root/channels", f"{folder}/channels_root")
    except OSError as error:
        logs.debug(f"cannot make '{folder}': {error.strerror}")
