"""`verglas show-derivation` and `nix show-derivation`: store derivations as JSON.

The form is that of `nix show-derivation` in Nix 2.8.
"""

from __future__ import annotations

import json

from storefs.formats.derivation import IMPURE
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.formats.derivation import Derivation
    from storefs.options import Invocation

COMMAND = Command(
    "verglas show-derivation",
    "Show store derivations as JSON",
    operands="[ATTRIBUTE-PATH | DERIVATION]...",
    options=(
        Option("--expr", takes=("EXPR",), help="take attributes of this expression"),
        Option("--file", "-f", takes=("FILE",), help="take attributes of this file instead of ./default.nix"),
        Option("--recursive", "-r", help="show everything they depend on too"),
        Option(
            "--derivation", help="operands that are derivations mean themselves, as they do here anyway", hidden=True
        ),
        *EVALUATION,
    ),
    examples=(("verglas show-derivation -f '<nixpkgs>' hello", "show how a package is built"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from evaluator.commands.build import plan_builds
    from evaluator.session import open_session

    session = open_session(invocation)
    plan = session.run(lambda: plan_builds(session, invocation))
    directory = session.store_io.directory
    wanted = sorted({directory.print(path) for path, _ in plan.wanted})
    if invocation.flag("--recursive"):
        wanted = sorted({path for root in wanted for path in session.store_io.closure(root) if path.endswith(".drv")})
    shown = {path: describe(session, session.store_io.derivation(path)) for path in wanted}
    print(json.dumps(shown, indent=2, ensure_ascii=False))
    return 0


def describe(session: Session, derivation: Derivation) -> dict[str, object]:
    """Return a derivation as what JSON can hold."""
    show = session.store_io.directory.print
    outputs: dict[str, dict[str, object]] = {}
    for name, output in derivation.outputs.items():
        outputs[name] = {} if output.path is None else {"path": show(output.path)}
        if output.hash_algo:
            outputs[name]["hashAlgo"] = output.hash_algo
        if output.kind is IMPURE:
            outputs[name]["impure"] = True
        elif output.hash:
            outputs[name]["hash"] = output.hash
    return {
        "outputs": dict(sorted(outputs.items())),
        "inputSrcs": sorted(show(path) for path in derivation.input_srcs),
        "inputDrvs": {show(path): sorted(names) for path, names in sorted(derivation.input_drvs.items())},
        "system": derivation.system,
        "builder": derivation.builder,
        "args": derivation.args,
        "env": dict(sorted(derivation.env.items())),
    }
