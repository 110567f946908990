"""Nix's base-32: the spelling of every hash part of a store path.

Not RFC 4648: the alphabet leaves out e, o, u and t, the digest is read as a little-endian number, and its most
significant digit is written first (Nix manual, "store paths"; observable with ``nix-hash --to-base32``).  Pure
functions, usable from everywhere.
"""

from __future__ import annotations

from storefs.errors import StoreError

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"

# Two digits (ten bits) at a time halves the number of steps. A list, because that is made faster than a tuple: every
# command waits for it.
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]
# Python's own base-32 digits let int() do the reverse. It takes more than digits (signs, underscores, capitals):
# every foreign byte becomes one that it refuses.
_TO_PYTHON_DIGITS = bytearray(b"!" * 256)
for _ours, _pythons in zip(ALPHABET.encode(), b"0123456789abcdefghijklmnopqrstuv", strict=True):
    _TO_PYTHON_DIGITS[_ours] = _pythons


class BadBase32(StoreError):
    """A text is not the Nix base-32 spelling of a number of whole bytes."""


def encoded_length(size: int) -> int:
    """The number of characters that spell ``size`` bytes."""
    return (size * 8 + 4) // 5


def encode(data: bytes) -> str:
    """Spell ``data`` (at least one byte) in Nix base-32."""
    value = int.from_bytes(data, "little")
    length = encoded_length(len(data))
    top = ""
    if length & 1:
        length -= 1
        top = ALPHABET[value >> (5 * length)]
    pairs = _PAIRS
    return top + "".join([pairs[(value >> shift) & 1023] for shift in range(5 * length - 10, -1, -10)])


def decode(text: str) -> bytes:
    """The bytes that ``text`` spells.

    Raises BadBase32 for a foreign character, a length that no byte string has, or bits set beyond the last byte.
    """
    return decode_ascii(text.encode("utf-8", "surrogateescape"))


def decode_ascii(text: bytes) -> bytes:
    """Like ``decode``, for a text that came as bytes."""
    size = len(text) * 5 // 8
    if not text:
        return b""
    try:
        if (size * 8 + 4) // 5 == len(text):
            return int(text.translate(_TO_PYTHON_DIGITS), 32).to_bytes(size, "little")
    except (ValueError, OverflowError):
        pass
    raise BadBase32(f"invalid base-32 hash '{text.decode('utf-8', 'surrogateescape')}'")
