"""`verglas run-package` and `nix run`: build a package and run its program."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.installable_options import INSTALLABLES
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.instantiate import PackageInfo
    from storefs.options import Invocation

COMMAND = Command(
    "verglas run-package",
    "Build a package and run its program",
    operands="[ATTRIBUTE [ARG...]]",
    options=INSTALLABLES,
    raw_after=True,
    description="""
Runs bin/NAME of the package, where NAME is its meta.mainProgram, its pname, or its name without the version. The
expressions are those of --file, by default ./default.nix.
""",
    examples=(("verglas run-package -f '<nixpkgs>' hello --greeting=hi", "run hello without installing it"),),
)


def run(invocation: Invocation) -> int:
    """Replace this process by the program."""
    from evaluator.installables import build_outputs, select_packages
    from evaluator.session import open_session
    from storefs.commands.run import execute

    attribute, *arguments = invocation.operands or [""]
    if arguments[:1] == ["--"]:
        del arguments[0]
    session = open_session(invocation)
    packages = session.run(lambda: select_packages(session, invocation, [attribute] if attribute else []))
    if len(packages) != 1:
        raise UsageError(f"'{attribute}' is {len(packages)} packages; name one whose program is to be run")
    program = session.run(lambda: _program(packages[0]))
    (path,) = build_outputs(session, packages)
    return execute(session.config, [f"{session.store_io.directory.print(path)}/bin/{program}", *arguments])


def _program(package: PackageInfo) -> str:
    """The name of a package's program; evaluates."""
    from evaluator.builtins.versions import parse_drv_name
    from evaluator.core.calls import force_string_no_context

    main = package.meta("mainProgram")
    if isinstance(main, str):
        return main
    if "pname" in package.attrs:
        return force_string_no_context(package.attrs["pname"])
    return parse_drv_name(package.name())[0]
