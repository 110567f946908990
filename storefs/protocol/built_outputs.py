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
# The JSON of a realisation with nothing but an identity and a path, as Nix writes it.
_BEFORE_ID, _BEFORE_PATH, _AFTER_PATH = '{"dependentRealisations":{},"id":"', '","outPath":"', '","signatures":[]}'


def read_built_outputs(reader: Reader) -> dict[str, StorePath]:
    """Take what a build has made: (identity, realisation) pairs, of which names and paths are told."""
    outputs = {}
    for _ in range(reader.number()):
        output, realisation = reader.string().partition("!")[2], reader.string()
        path = _plain_path(realisation) or _parsed_path(realisation)
        if path is None:
            raise ProtocolError(f"the realisation of output '{output}' is malformed")
        outputs[output] = StorePath(path)
    return outputs


def _plain_path(text: str) -> str | None:
    """The path in what Nix and we write for an output that does not float; None if it has to be read as JSON.

    To load `json` would take a small build a tenth of its time.
    """
    if not (text.startswith(_BEFORE_ID) and text.endswith(_AFTER_PATH)) or "\\" in text:
        return None
    identity, between, path = text[len(_BEFORE_ID) : -len(_AFTER_PATH)].partition(_BEFORE_PATH)
    return path if between and '"' not in identity and '"' not in path else None


def _parsed_path(text: str) -> str | None:
    from storefs.formats.json_input import parse_json  # noqa: PLC0415  see `_plain_path`

    try:
        value = parse_json(text)
    except ValueError:
        return None
    return str(value["outPath"]) if isinstance(value, dict) and "outPath" in value else None


def write_built_outputs(writer: Writer, outputs: Mapping[str, StorePath], drv_hash: str = NO_HASH) -> None:
    """Add what a build has made.

    The realisation's identity is not used by any client for derivations that are not content-addressed, which is why
    it carries no derivation hash for those (as Nix 2.31 does it too).
    """
    writer.number(len(outputs))
    for name, path in sorted(outputs.items()):
        identity = f"{drv_hash}!{name}"
        writer.string(identity).string(f"{_BEFORE_ID}{identity}{_BEFORE_PATH}{path.base_name}{_AFTER_PATH}")
