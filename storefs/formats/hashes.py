"""Typed hashes as Nix writes them: ``sha256:<base-16 or 32 or 64>``, ``sha256-<base64>`` (SRI), or the bare digest.

Knows spelling and the four algorithms; it is no door to files: callers feed it bytes.  Usable from everywhere.
hashlib costs 3 ms to import, so it is loaded with the first computed hash: commands that only print hashes never pay.
"""

from __future__ import annotations

import sys

from storefs.errors import StoreError
from storefs.formats import nixbase32

# Python's own code, there without loading anything, and as fast as OpenSSL's for what names store paths.
if sys.version_info >= (3, 12):
    from _sha2 import sha256 as _sha256_of_short
else:
    from _sha256 import sha256 as _sha256_of_short  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

    Buffer = bytes | bytearray | memoryview

_SHORT = 200  # bytes
SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
BASES = ("base16", "base32", "base64", "sri")
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class BadHash(StoreError):
    """A text is not a hash of the expected algorithm, or names an unknown algorithm."""


class Hash:
    """An algorithm's name and a digest of its size; immutable, hashable, ordered by algorithm and digest."""

    __slots__ = ("algo", "digest")

    algo: str
    digest: bytes

    def __init__(self, algo: str, digest: bytes) -> None:
        size = SIZES.get(algo)
        if size is None:
            raise BadHash(f"unknown hash algorithm '{algo}'")
        if len(digest) != size:
            raise BadHash(f"a {algo} digest has {size} bytes, not {len(digest)}")
        object.__setattr__(self, "algo", algo)
        object.__setattr__(self, "digest", digest)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Hash is immutable")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hash) and self.digest == other.digest and self.algo == other.algo

    def __lt__(self, other: Hash) -> bool:
        return (self.algo, self.digest) < (other.algo, other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Hash({self.to_string('base16', True)!r})"

    def __reduce__(self) -> tuple[type[Hash], tuple[str, bytes]]:
        return Hash, (self.algo, self.digest)

    def to_string(self, base: str, with_algo: bool) -> str:
        """Spell the hash in "base16", "base32", "base64" or "sri"; the last always carries the algorithm."""
        if base == "base32":
            text = nixbase32.encode(self.digest)
        elif base == "base16":
            text = self.digest.hex()
        elif base in ("base64", "sri"):
            import binascii  # noqa: PLC0415  0.1 ms that few commands need

            text = binascii.b2a_base64(self.digest, newline=False).decode()
        else:
            raise BadHash(f"unknown hash format '{base}'; it is one of {', '.join(BASES)}")
        if base == "sri":
            return f"{self.algo}-{text}"
        return f"{self.algo}:{text}" if with_algo else text


def parse_hash_algo(text: str) -> str:
    """``text`` itself if it names an algorithm; raises BadHash otherwise."""
    if text not in SIZES:
        raise BadHash(f"unknown hash algorithm '{text}'")
    return text


def parse_hash(text: str, algo: str | None) -> Hash:
    """Read a hash in any spelling.

    ``algo`` is the expected algorithm, or None when the text must name it.  The length of the digest tells the base.
    Raises BadHash when nothing or two different things name the algorithm, or when the digest is malformed.
    """
    found, separator, rest = text.partition(":")
    sri = False
    if not separator:
        found, separator, rest = text.partition("-")
        sri = bool(separator)
    if not separator:
        rest = text
        if algo is None:
            raise BadHash(f"hash '{text}' does not include a type, nor is the type otherwise known from context")
    else:
        parse_hash_algo(found)
        if algo is not None and algo != found:
            raise BadHash(f"hash '{text}' should have type '{algo}'")
        algo = found
    return _parse_digest(rest, parse_hash_algo(algo), sri)


def parse_sri(text: str) -> Hash:
    """Read ``algo-base64``; raises BadHash for every other spelling."""
    algo, separator, rest = text.partition("-")
    if not separator:
        raise BadHash(f"hash '{text}' is not SRI")
    return _parse_digest(rest, parse_hash_algo(algo), True)


def parse_unprefixed(text: str, algo: str) -> Hash:
    """Read a bare digest of ``algo``; raises BadHash for a wrong length or a foreign character."""
    return _parse_digest(text, parse_hash_algo(algo), False)


def _parse_digest(text: str, algo: str, sri: bool) -> Hash:
    size = SIZES[algo]
    if not sri and len(text) == size * 2:
        if not set(text) <= set("0123456789abcdefABCDEF"):
            raise BadHash(f"invalid base-16 hash '{text}'")
        return Hash(algo, bytes.fromhex(text))
    if not sri and len(text) == nixbase32.encoded_length(size):
        try:
            return Hash(algo, nixbase32.decode(text))
        except nixbase32.BadBase32 as error:
            raise BadHash(str(error)) from None
    if sri or len(text) == (size + 2) // 3 * 4:
        digest = _decode_base64(text)
        if len(digest) != size:
            raise BadHash(f"invalid {'SRI' if sri else 'base-64'} hash '{text}'")
        return Hash(algo, digest)
    raise BadHash(f"hash '{text}' has wrong length for hash type '{algo}'")


def _decode_base64(text: str) -> bytes:
    """Decode as Nix does, which wants no padding, stops at it and skips ends of lines: Nixpkgs has such hashes."""
    digits = text.partition("=")[0].replace("\n", "")
    wrong = digits.strip(_BASE64) and next(char for char in digits if char not in _BASE64)
    if wrong:
        raise BadHash(f"invalid character in Base64 string: '{wrong}'")
    whole = len(digits) - (len(digits) % 4 == 1)  # six bits are no byte
    import binascii  # noqa: PLC0415  see above

    return binascii.a2b_base64(digits[:whole] + "=" * (-whole % 4))


def new_hashlib(algo: str) -> _Hash:
    """Make hashlib's own object for ``algo``, for loops in which Hasher's bookkeeping would show.

    Its update() lets other threads run while it works on 2 KiB or more.
    """
    import hashlib  # noqa: PLC0415  3 ms that commands which only print hashes must not pay

    return hashlib.new(parse_hash_algo(algo), usedforsecurity=False)


class Hasher:
    """Computes a hash and the number of bytes of a stream.  Not thread-safe."""

    __slots__ = ("_hash", "algo", "size")

    def __init__(self, algo: str) -> None:
        self.algo = algo
        self.size = 0
        self._hash = new_hashlib(algo)

    def update(self, data: Buffer) -> None:
        """Add the next piece of the stream."""
        self.size += len(data)
        self._hash.update(data)

    def finish(self) -> Hash:
        """The hash of everything so far; the stream may go on afterwards."""
        return Hash(self.algo, self._hash.digest())


def hash_bytes(algo: str, data: Buffer) -> Hash:
    """The hash of ``data``."""
    if algo == "sha256" and len(data) <= _SHORT:
        return Hash(algo, _sha256_of_short(data).digest())
    state = new_hashlib(algo)
    state.update(data)
    return Hash(algo, state.digest())


def hash_little(data: Buffer) -> Hash:
    """The SHA-256 of ``data``, at a quarter of the speed and without loading hashlib: for who hashes some kilobytes."""
    return Hash("sha256", _sha256_of_short(data).digest())


def compress_digest(digest: bytes, size: int) -> bytes:
    """Fold a digest to ``size`` bytes by xor, as Nix makes the 20-byte hash part out of a SHA-256."""
    folded = 0
    for start in range(0, len(digest), size):
        folded ^= int.from_bytes(digest[start : start + size], "little")
    return folded.to_bytes(size, "little")
