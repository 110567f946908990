"""What a build has made, as both protocols tell it: pairs of an output's identity and its realisation.

Sans-I/O, over `wire`. Semantics: worker-protocol.cc of Nix 2.8.
"""

from __future__ import annotations

from storefs.formats.store_path import StorePath
from storefs.protocol.wire import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storefs.protocol.wire import Reader, Writer

NO_HASH = "sha256:" + "0" * 64


def read_built_outputs(reader: Reader) -> dict[str, StorePath]:
    """Take what a build has made: (identity, realisation) pairs, of which names and paths are told."""
    from storefs.formats.json_input import parse_json  # noqa: PLC0415  only builds need it

    outputs = {}
    for _ in range(reader.number()):
        output, realisation = reader.string().partition("!")[2], reader.string()
        try:
            value = parse_json(realisation)
        except ValueError:
            value = None
        if not isinstance(value, dict) or "outPath" not in value:
            raise ProtocolError(f"the realisation of output '{output}' is malformed")
        outputs[output] = StorePath(str(value["outPath"]))
    return outputs


def write_built_outputs(writer: Writer, outputs: Mapping[str, StorePath], drv_hash: str = NO_HASH) -> None:
    """Add what a build has made.

    The realisation's identity is not used by any client for derivations that are not content-addressed, which is why
    it carries no derivation hash for those (as Nix 2.31 does it too).
    """
    writer.number(len(outputs))
    for name, path in sorted(outputs.items()):
        identity = f"{drv_hash}!{name}"
        fields = f'"dependentRealisations":{{}},"id":"{identity}","outPath":"{path.base_name}","signatures":[]'
        writer.string(identity).string("{" + fields + "}")
