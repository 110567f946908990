"""Ed25519 signatures of path infos: keys as text `name:base64`, signatures as text `name:base64`.

Sans-I/O. The only importer of PyNaCl; importing this module costs 20 ms because of it, so commands that neither sign
nor verify stay away. What is signed is `PathInfo.fingerprint`. Semantics: crypto.cc and path-info.cc of Nix 2.8;
keys made by `nix-store --generate-binary-cache-key` are understood and the other way round.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_ed25519_sk_to_pk, crypto_sign_keypair
from nacl.bindings import crypto_sign_open as _crypto_sign_open
from nacl.exceptions import BadSignatureError

from storefs.errors import StoreError
from storefs.formats.content_address import parse_content_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir

_SECRET_LENGTH = 64
_PUBLIC_LENGTH = 32


class BadKeyError(StoreError):
    """Text that is not a key."""


def _split(text: str, what: str, length: int) -> tuple[str, bytes]:
    name, _, encoded = text.strip().partition(":")
    if not name or not encoded:
        raise BadKeyError(f"a {what} is corrupt: it has the form NAME:BASE64")
    try:
        raw = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise BadKeyError(f"the {what} '{name}' is not valid base-64") from None
    if len(raw) != length:
        raise BadKeyError(f"the {what} '{name}' is not valid: it has {len(raw)} bytes instead of {length}")
    return name, raw


def _join(name: str, raw: bytes) -> str:
    return f"{name}:{binascii.b2a_base64(raw, newline=False).decode('ascii')}"


class SecretKey:
    """A key to sign with. Its text form is a secret; its `repr` is not.

    Args:
        text: `name:base64` of 64 bytes, surrounding white space ignored.

    Raises:
        BadKeyError: it is not one; the message does not quote it.
    """

    __slots__ = ("_raw", "name")

    def __init__(self, text: str) -> None:
        self.name, self._raw = _split(text, "secret key", _SECRET_LENGTH)

    @classmethod
    def generate(cls, name: str) -> SecretKey:
        """Make a new key from the system's randomness.

        Raises:
            BadKeyError: the name is empty or contains a colon.
        """
        if not name or ":" in name:
            raise BadKeyError(f"'{name}' can't name a key")
        _, secret = crypto_sign_keypair()
        return cls(_join(name, secret))

    def to_string(self) -> str:
        """The text form, for the key's file."""
        return _join(self.name, self._raw)

    def public_key(self) -> str:
        """The text form of the public half, as `trusted-public-keys` takes it."""
        return _join(self.name, crypto_sign_ed25519_sk_to_pk(self._raw))

    def sign(self, message: bytes) -> str:
        """Sign a message and return `name:base64`."""
        return _join(self.name, crypto_sign(message, self._raw)[:crypto_sign_BYTES])

    def __repr__(self) -> str:
        return f"<SecretKey {self.name}>"


class PublicKeys:
    """The keys that are trusted.

    Args:
        texts: `name:base64` of 32 bytes each; a later key replaces an earlier one of the same name.

    Raises:
        BadKeyError: one of them is not a key.
    """

    __slots__ = ("_keys",)

    def __init__(self, texts: Iterable[str]) -> None:
        self._keys = dict(_split(text, "public key", _PUBLIC_LENGTH) for text in texts)

    def __len__(self) -> int:
        return len(self._keys)

    def verify(self, message: bytes, signature: str) -> bool:
        """Whether `signature` is one of `message` by a trusted key. Garbage is False."""
        name, _, encoded = signature.partition(":")
        key = self._keys.get(name)
        if key is None:
            return False
        try:
            raw = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
            if len(raw) != crypto_sign_BYTES:
                return False
            _crypto_sign_open(raw + message, key)
        except (BadSignatureError, binascii.Error, UnicodeEncodeError):
            return False
        return True

    def verified_by(self, info: PathInfo, store_dir: StoreDir) -> list[str]:
        """The names of the trusted keys with a valid signature on `info`."""
        if not info.signatures:
            return []
        message = info.fingerprint(store_dir)
        return [text.partition(":")[0] for text in info.signatures if self.verify(message, text)]


def is_content_addressed(info: PathInfo, store_dir: StoreDir) -> bool:
    """Whether the path follows from the content address that `info` states, so that it needs no signature.

    The contents must still be compared with that address, which happens when the NAR hash is known to be right only
    for `fixed:r:sha256` without self-references; others are recomputed by whoever adds the path.
    """
    if not info.ca:
        return False
    address = parse_content_address(info.ca)
    others = [each for each in info.references if each != info.path]
    try:
        expected = address.store_path(store_dir, info.path.name, others, len(others) != len(info.references))
    except StoreError:
        return False
    return expected == info.path


def is_trusted(info: PathInfo, store_dir: StoreDir, keys: PublicKeys) -> bool:
    """Whether `info` may be believed: content-addressed, or signed by a trusted key."""
    return is_content_addressed(info, store_dir) or bool(keys.verified_by(info, store_dir))


def sign_info(info: PathInfo, store_dir: StoreDir, keys: Iterable[SecretKey]) -> PathInfo:
    """A copy of `info` that also carries a signature of each of the keys."""
    message = info.fingerprint(store_dir)
    return info.replace(signatures=(*info.signatures, *(key.sign(message) for key in keys)))
