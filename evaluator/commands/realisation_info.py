"""`verglas realisation info` and `nix realisation info`: what outputs of derivations have become.

As in Nix 2.8, with the experimental feature `ca-derivations`. Paths that no derivation is named for are shown as they
are.
"""

from __future__ import annotations

import sys

from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

COMMAND = Command(
    "verglas realisation info",
    "Show which paths outputs of derivations have become",
    operands="[ATTRIBUTE-PATH | DERIVATION]...",
    options=(
        Option("--expr", takes=("EXPR",), help="take attributes of this expression"),
        Option("--file", "-f", takes=("FILE",), help="take attributes of this file instead of ./default.nix"),
        Option("--json", help="print JSON, with what realisations rest on and their signatures"),
        *EVALUATION,
    ),
    examples=(("verglas realisation info -f default.nix hello --json", "what an attribute was built to"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from evaluator.commands.build import plan_builds
    from evaluator.session import open_session
    from storefs.experimental import CA_DERIVATIONS, require_feature

    require_feature(invocation.config, CA_DERIVATIONS)
    session = open_session(invocation)
    directory = session.store_io.directory
    paths = [text for text in invocation.operands if directory.is_in_store(text) and ".drv" not in text]
    invocation.operands = [text for text in invocation.operands if text not in paths]
    found: list[Realisation] = []
    if invocation.operands or not paths:
        found = _realisations(session, session.run(lambda: plan_builds(session, invocation)).wanted)
    if invocation.flag("--json"):
        from storefs.commands.operations.json_output import print_json

        values: list[object] = [each.to_value() for each in found]
        values += [{"opaquePath": path} for path in paths]
        print_json(invocation, values, nix_ends_line=False)
        return 0
    lines = [f"{each.id} {directory.print(each.path)}\n" for each in found]
    sys.stdout.write("".join([*lines, *(path + "\n" for path in paths)]))
    return 0


def _realisations(session: Session, wanted: list[tuple[StorePath, str]]) -> list[Realisation]:
    """The realisations of outputs, each once, as Nix sorts them; NotBuiltError where there is none."""
    from storefs.commands.operations.realised_operands import NotBuiltError
    from storefs.stores.derivation_outputs import DerivationOutputs

    session.store_io.flush()
    outputs = DerivationOutputs(session.store)
    directory = session.store_io.directory
    found = {}
    for drv_path, name in wanted:
        shown = directory.print(drv_path)
        output = outputs.ids(session.store_io.derivation(shown))[name]
        realisation = session.store.realisation(output)
        if realisation is None:
            raise NotBuiltError(f"cannot operate on an output of unbuilt content-addressed derivation '{output}'")
        found[output] = realisation
    return [found[output] for output in sorted(found)]
