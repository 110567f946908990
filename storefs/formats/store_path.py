"""Store paths: the value ``<32 characters of base-32>-<name>``, and the directory that such names live in.

Pure text and hashing; whether a path is valid (registered) is a question for a Store.  Usable from everywhere.
The scheme is Nix's, byte for byte (Dolstra's thesis, section 5.1, and the manual's chapter on store paths).
"""

from __future__ import annotations

import posixpath

from storefs.errors import StoreError, on_one_line
from storefs.formats import nixbase32
from storefs.formats.hashes import Hash, compress_digest, hash_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HASH_PART_LENGTH = 32
MAX_NAME_LENGTH = 211
DERIVATION_SUFFIX = ".drv"

_BASE32 = frozenset(nixbase32.ALPHABET)
NAME_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-._?=")


class BadStorePath(StoreError):
    """A text is no store path, or a name may not be part of one."""

    def __init__(self, text: str) -> None:
        super().__init__(on_one_line(text))


def check_name(name: str, whole: str) -> None:
    """Raise BadStorePath unless ``name`` may follow a hash part; ``whole`` is what the message shows."""
    if not name:
        raise BadStorePath(f"store path '{whole}' has an empty name")
    if len(name) > MAX_NAME_LENGTH:
        raise BadStorePath(f"store path '{whole}' has a name longer than {MAX_NAME_LENGTH} characters")
    if not NAME_CHARACTERS.issuperset(name):
        wrong = next(c for c in name if c not in NAME_CHARACTERS)
        raise BadStorePath(f"store path '{whole}' contains illegal character '{wrong}'")


class StorePath:
    """The name of a store object without the store directory; immutable, hashable, ordered by its text."""

    __slots__ = ("base_name",)

    base_name: str

    def __init__(self, base_name: str) -> None:
        """Raises BadStorePath unless ``base_name`` is ``<hash part>-<name>``."""
        hash_part = base_name[:HASH_PART_LENGTH]
        if len(base_name) < HASH_PART_LENGTH + 1:
            raise BadStorePath(f"'{base_name}' is too short to be a valid store path")
        if not _BASE32.issuperset(hash_part):
            wrong = next(c for c in hash_part if c not in _BASE32)
            raise BadStorePath(f"store path '{base_name}' contains illegal base-32 character '{wrong}'")
        if base_name[HASH_PART_LENGTH] != "-":
            raise BadStorePath(f"store path '{base_name}' lacks the dash after its hash part")
        check_name(base_name[HASH_PART_LENGTH + 1 :], base_name)
        object.__setattr__(self, "base_name", base_name)

    @classmethod
    def trusted(cls, base_name: str) -> StorePath:
        """Make one from a text that passed the constructor before, as everything in the database did."""
        path = cls.__new__(cls)
        object.__setattr__(path, "base_name", base_name)
        return path

    @classmethod
    def from_digest(cls, digest: bytes, name: str) -> StorePath:
        """Make one from the 20 bytes of its hash part; raises BadStorePath for a bad name."""
        return cls(f"{nixbase32.encode(digest)}-{name}")

    @property
    def hash_part(self) -> str:
        """The 32 characters before the dash."""
        return self.base_name[:HASH_PART_LENGTH]

    @property
    def digest(self) -> bytes:
        """The 20 bytes that the hash part spells: the key of the path's record in the database."""
        return nixbase32.decode(self.base_name[:HASH_PART_LENGTH])

    @property
    def name(self) -> str:
        """What follows the dash."""
        return self.base_name[HASH_PART_LENGTH + 1 :]

    @property
    def is_derivation(self) -> bool:
        """Whether the name ends in ``.drv``."""
        return self.base_name.endswith(DERIVATION_SUFFIX)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a StorePath is immutable")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and self.base_name == other.base_name

    def __lt__(self, other: StorePath) -> bool:
        return self.base_name < other.base_name

    def __le__(self, other: StorePath) -> bool:
        return self.base_name <= other.base_name

    def __hash__(self) -> int:
        return hash(self.base_name)

    def __str__(self) -> str:
        return self.base_name

    def __repr__(self) -> str:
        return f"StorePath({self.base_name!r})"

    def __reduce__(self) -> tuple[type[StorePath], tuple[str]]:
        return StorePath, (self.base_name,)


class StoreDir:
    """The logical store directory, as in ``/nix/store``: it parses and prints paths and takes part in their hashes."""

    __slots__ = ("_prefix", "path")

    path: str

    def __init__(self, path: str) -> None:
        """``path`` is absolute; a trailing slash is dropped.  Raises BadStorePath for a relative one."""
        if not path.startswith("/"):
            raise BadStorePath(f"the store directory '{path}' is not an absolute path")
        self.path = posixpath.normpath(path)
        self._prefix = self.path + "/"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreDir) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"StoreDir({self.path!r})"

    def print(self, path: StorePath) -> str:
        """The absolute path."""
        return self._prefix + path.base_name

    def parse(self, text: str) -> StorePath:
        """Read an absolute path that is a direct child of the store directory; raises BadStorePath otherwise."""
        if text.startswith(self._prefix):
            base_name = text[len(self._prefix) :]
            if "/" not in base_name:
                return StorePath(base_name)
        normal = posixpath.normpath(text) if text.startswith("/") else text
        directory, _, base_name = normal.rpartition("/")
        if directory != self.path:
            raise BadStorePath(f"path '{normal}' is not in the Nix store")
        return StorePath(base_name)

    def maybe_parse(self, text: str) -> StorePath | None:
        """Like ``parse``, with None instead of the error."""
        try:
            return self.parse(text)
        except BadStorePath:
            return None

    def is_in_store(self, text: str) -> bool:
        """Whether ``text`` is an absolute path strictly below the store directory (normalised first)."""
        return text.startswith("/") and posixpath.normpath(text).startswith(self._prefix)

    def to_store_path(self, text: str) -> tuple[StorePath, str]:
        """Split an absolute path into its store path and the rest, which is '' or begins with a slash.

        Raises BadStorePath when it is not below the store directory.
        """
        normal = posixpath.normpath(text) if text.startswith("/") else text
        if not normal.startswith(self._prefix):
            raise BadStorePath(f"path '{text}' is not in the Nix store")
        base_name, slash, rest = normal[len(self._prefix) :].partition("/")
        return StorePath(base_name), slash + rest

    def make_store_path(self, kind: str, content_hash: Hash, name: str) -> StorePath:
        """The path of an object of ``kind`` ("text:<refs>", "source:<refs>", "output:<id>") with this inner hash.

        Raises BadStorePath for a bad name.
        """
        fingerprint = f"{kind}:{content_hash.to_string('base16', True)}:{self.path}:{name}"
        digest = hash_bytes("sha256", fingerprint.encode("utf-8", "surrogateescape")).digest
        return StorePath.from_digest(compress_digest(digest, 20), name)

    def make_text_path(self, name: str, sha256: Hash, references: Iterable[StorePath] = ()) -> StorePath:
        """The path of a text (a derivation, a ``toFile``) with these contents and references."""
        return self.make_store_path(self._kind("text", references, False), sha256, name)

    def make_fixed_output_path(
        self,
        recursive: bool,
        content_hash: Hash,
        name: str,
        references: Iterable[StorePath] = (),
        has_self_reference: bool = False,
    ) -> StorePath:
        """The path of an object known by the hash of its NAR (``recursive``) or of its only file.

        Raises BadStorePath for a bad name, and for references on anything but a recursive SHA-256.
        """
        references = tuple(references)
        if recursive and content_hash.algo == "sha256":
            return self.make_store_path(self._kind("source", references, has_self_reference), content_hash, name)
        if references or has_self_reference:
            raise BadStorePath(f"a fixed-output path '{name}' that is no recursive sha256 can't have references")
        method = "r:" if recursive else ""
        inner = f"fixed:out:{method}{content_hash.to_string('base16', True)}:"
        return self.make_store_path("output:out", hash_bytes("sha256", inner.encode()), name)

    def make_output_path(self, output: str, drv_hash: Hash, drv_name: str) -> StorePath:
        """The path of output ``output`` of a derivation (name without ``.drv``) with this hash modulo."""
        return self.make_store_path(f"output:{output}", drv_hash, output_path_name(drv_name, output))

    def _kind(self, kind: str, references: Iterable[StorePath], has_self_reference: bool) -> str:
        parts = [kind, *(self._prefix + reference.base_name for reference in sorted(set(references)))]
        if has_self_reference:
            parts.append("self")
        return ":".join(parts)


def output_path_name(drv_name: str, output: str) -> str:
    """The name of an output's path: the derivation's own for "out", with ``-<output>`` otherwise."""
    return drv_name if output == "out" else f"{drv_name}-{output}"
