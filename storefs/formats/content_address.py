"""The content address of a store object: how its path follows from its contents.

Texts as in narinfo files and the worker protocol: ``text:sha256:<base-32>``, ``fixed:sha256:<base-32>`` (one flat
file) and ``fixed:r:sha256:<base-32>`` (a NAR).  Pure; usable from everywhere.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.hashes import Hash, parse_hash_algo, parse_unprefixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.formats.store_path import StoreDir, StorePath

TEXT = "text"
FLAT = "flat"
RECURSIVE = "recursive"


class BadContentAddress(StoreError):
    """A text is no content address."""


class ContentAddress:
    """A method (TEXT, FLAT or RECURSIVE) and the hash that it gives; immutable."""

    __slots__ = ("hash", "method")

    method: str
    hash: Hash

    def __init__(self, method: str, content_hash: Hash) -> None:
        if method not in (TEXT, FLAT, RECURSIVE):
            raise BadContentAddress(f"unknown content address method '{method}'")
        if method == TEXT and content_hash.algo != "sha256":
            raise BadContentAddress(
                f"text content address hash should use sha256, but instead uses {content_hash.algo}"
            )
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "hash", content_hash)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a ContentAddress is immutable")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContentAddress) and self.method == other.method and self.hash == other.hash

    def __hash__(self) -> int:
        return hash((self.method, self.hash))

    def __str__(self) -> str:
        prefix = {TEXT: "text:", FLAT: "fixed:", RECURSIVE: "fixed:r:"}[self.method]
        return prefix + self.hash.to_string("base32", True)

    def __repr__(self) -> str:
        return f"ContentAddress({str(self)!r})"

    def store_path(
        self, store_dir: StoreDir, name: str, references: Iterable[StorePath] = (), has_self_reference: bool = False
    ) -> StorePath:
        """The path of an object with this address; ``references`` are without the object itself.

        Raises BadStorePath for a bad name or for references that the method does not allow.
        """
        if self.method == TEXT:
            return store_dir.make_text_path(name, self.hash, references)
        return store_dir.make_fixed_output_path(
            self.method == RECURSIVE, self.hash, name, references, has_self_reference
        )


def parse_content_address(text: str) -> ContentAddress:
    """Read a content address; raises BadContentAddress or BadHash."""
    method, algo = parse_method(text)
    return ContentAddress(method, parse_unprefixed(text.rpartition(":")[2], algo))


def parse_method(text: str) -> tuple[str, str]:
    """The method and the algorithm of a content address, or of its part before the digest ("fixed:r:sha256").

    Raises BadContentAddress or BadHash.
    """
    prefix, colon, rest = text.partition(":")
    if not colon:
        raise BadContentAddress(f"not a content address because it is not in the form '<prefix>:<rest>': {text}")
    if prefix == "text":
        method = TEXT
    elif prefix == "fixed":
        method = FLAT
        if rest.startswith("r:"):
            method = RECURSIVE
            rest = rest[2:]
    else:
        raise BadContentAddress(
            f"content address prefix '{prefix}' is unrecognized; recognized prefixes are 'text' and 'fixed'"
        )
    algo = parse_hash_algo(rest.partition(":")[0])
    if method == TEXT and algo != "sha256":
        raise BadContentAddress(f"text content address hash should use sha256, but instead uses {algo}")
    return method, algo
