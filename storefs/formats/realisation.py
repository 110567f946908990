"""Realisations: which path an output of a derivation turned out to be, where that follows from what was built.

An output is named by its derivation's hash modulo and its own name (`DrvOutput`); a `Realisation` says which store path
it is, and on which realisations of other outputs that rests. The text is JSON, as in `realisations/ID.doi` of a binary
cache and in the worker protocol; what is signed is the same text without its signatures.

Sans-I/O. Semantics: realisation.cc of Nix 2.8. Imports `json`, which commands that only ask about paths need not pay
for: imported where something floats.
"""

from __future__ import annotations

import json

from storefs.errors import StoreError
from storefs.formats.hashes import BadHash, parse_hash
from storefs.formats.json_input import parse_json
from storefs.formats.store_path import MAX_NAME_LENGTH, NAME_CHARACTERS, StorePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from storefs.formats.hashes import Hash
    from storefs.formats.signatures import PublicKeys, SecretKey


class BadRealisationError(StoreError):
    """A text that is no realisation, or names no output of a derivation."""


class DrvOutput:
    """One output of a derivation, whatever path it has. Immutable by convention, compared by value.

    Attributes:
        drv_hash: the derivation's hash modulo, with its outputs masked.
        name: of the output.
    """

    __slots__ = ("drv_hash", "name")

    def __init__(self, drv_hash: Hash, name: str) -> None:
        self.drv_hash = drv_hash
        self.name = name

    def __str__(self) -> str:
        return f"{self.drv_hash.to_string('base16', True)}!{self.name}"

    def __repr__(self) -> str:
        return f"DrvOutput({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DrvOutput) and self.drv_hash == other.drv_hash and self.name == other.name

    def __lt__(self, other: DrvOutput) -> bool:
        return (self.drv_hash.digest, self.name) < (other.drv_hash.digest, other.name)

    def __hash__(self) -> int:
        return hash((self.drv_hash, self.name))


def parse_drv_output(text: str) -> DrvOutput:
    """Read `sha256:HASH!OUTPUT`; raises BadRealisationError."""
    digest, separator, name = text.partition("!")
    # A name goes into file names of caches and into keys of the database.
    if not separator or not name or len(name) > MAX_NAME_LENGTH or not NAME_CHARACTERS.issuperset(name):
        raise BadRealisationError(f"Invalid derivation output id {text}")
    try:
        return DrvOutput(parse_hash(digest, None), name)
    except BadHash as error:
        raise BadRealisationError(f"Invalid derivation output id {text}: {error}") from error


class Realisation:
    """Which path an output is. Immutable by convention, compared by value.

    Attributes:
        id: the output.
        path: its store path.
        signatures: of the fingerprint, `name:base64`, sorted.
        dependencies: the realisations that the path refers to: output -> its path.
    """

    __slots__ = ("dependencies", "id", "path", "signatures")

    def __init__(
        self,
        id: DrvOutput,
        path: StorePath,
        signatures: Iterable[str] = (),
        dependencies: Mapping[DrvOutput, StorePath] | None = None,
    ) -> None:
        self.id = id
        self.path = path
        self.signatures = tuple(sorted(set(signatures)))
        self.dependencies = dict(dependencies or {})

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Realisation)
            and self.id == other.id
            and self.path == other.path
            and self.signatures == other.signatures
            and self.dependencies == other.dependencies
        )

    def __hash__(self) -> int:
        return hash((self.id, self.path))

    def __repr__(self) -> str:
        return f"<Realisation {self.id} = {self.path}>"

    def fingerprint(self) -> bytes:
        """What a signature is of."""
        value = self.to_value()
        del value["signatures"]
        return _dump(value)

    def to_value(self) -> dict[str, object]:
        """What the JSON text says, as Python values."""
        return {
            "dependentRealisations": {str(output): path.base_name for output, path in self.dependencies.items()},
            "id": str(self.id),
            "outPath": self.path.base_name,
            "signatures": list(self.signatures),
        }

    def to_json(self) -> bytes:
        """The text, byte for byte as Nix writes it."""
        return _dump(self.to_value())

    def with_signatures(self, signatures: Iterable[str]) -> Realisation:
        """The same with these signatures added."""
        return Realisation(self.id, self.path, (*self.signatures, *signatures), self.dependencies)

    def signed(self, keys: Iterable[SecretKey]) -> Realisation:
        """The same with a signature of each key added."""
        message = self.fingerprint()
        return self.with_signatures(key.sign(message) for key in keys)

    def verified_by(self, keys: PublicKeys) -> list[str]:
        """The names of the trusted keys with a valid signature."""
        if not self.signatures:
            return []
        message = self.fingerprint()
        return [text.partition(":")[0] for text in self.signatures if keys.verify(message, text)]

    def is_compatible_with(self, other: Realisation) -> bool:
        """Whether both, of the same output, can be true.

        An empty set of dependencies is one that was not computed: what is built without being resolved has none.
        """
        if self.path != other.path:
            return False
        return self.dependencies == other.dependencies or bool(self.dependencies) != bool(other.dependencies)


def parse_realisation(data: bytes | str, whence: str) -> Realisation:
    """Read the JSON text of a realisation that came from `whence`; raises BadRealisationError, BadStorePath."""
    try:
        value = parse_json(data)
    except ValueError:
        raise BadRealisationError(f"Drv output info file '{whence}' is corrupt: it is not JSON") from None
    if not isinstance(value, dict):
        raise BadRealisationError(f"Drv output info file '{whence}' is corrupt: it is no object")

    def text(key: str) -> str:
        found = value.get(key)
        if not isinstance(found, str):
            raise BadRealisationError(f"Drv output info file '{whence}' is corrupt, missing field {key}")
        return found

    signatures = value.get("signatures", [])
    dependencies = value.get("dependentRealisations", {})
    if not isinstance(signatures, list) or not all(isinstance(each, str) and each.isprintable() for each in signatures):
        raise BadRealisationError(f"Drv output info file '{whence}' is corrupt: bad signatures")
    if not isinstance(dependencies, dict) or not all(isinstance(each, str) for each in dependencies.values()):
        raise BadRealisationError(f"Drv output info file '{whence}' is corrupt: bad dependencies")
    return Realisation(
        parse_drv_output(text("id")),
        StorePath(text("outPath")),
        signatures,
        {parse_drv_output(output): StorePath(path) for output, path in dependencies.items()},
    )


def _dump(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")
