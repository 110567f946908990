"""Replaces hash parts by others of the same length, in texts and in streams.

Used when some outputs of a derivation are valid already and the build has no sandbox to hide them: it then works with
made-up paths of the same length, and these are replaced by the real ones afterwards (Dolstra and others, "Secure
sharing between untrusted users in a transparent source/binary deployment model", ASE 2005). Sans-I/O.

What it misses: references that are compressed or encoded in the output.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def rewrite_text(text: str, rewrites: Mapping[str, str]) -> str:
    """Replace every key by its value, one key after the other."""
    for old, new in rewrites.items():
        if old in text:
            text = text.replace(old, new)
    return text


def rewrite_stream(chunks: Iterable[bytes], rewrites: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Replace keys by values of the same length in a stream, also across the borders of its pieces.

    Raises:
        ValueError: a key and its value differ in length, which would corrupt a NAR.
    """
    for old, new in rewrites.items():
        if len(old) != len(new):
            raise ValueError(f"{old!r} and {new!r} differ in length")
    keep = max((len(old) for old in rewrites), default=1) - 1
    held = b""
    for chunk in chunks:
        data = _replace(held + chunk, rewrites)
        # What is held back has been searched and may be the beginning of a key, never a whole one.
        cut = max(len(data) - keep, 0)
        if cut:
            yield data[:cut]
        held = data[cut:]
    if held:
        yield held


def _replace(data: bytes, rewrites: Mapping[bytes, bytes]) -> bytes:
    for old, new in rewrites.items():
        if old in data:
            data = data.replace(old, new)
    return data
