"""Signing keys: `nix-store --generate-binary-cache-key`."""

from __future__ import annotations

import os

from storefs.errors import SystemRefusedError, UsageError
from storefs.formats.signatures import SecretKey


def generate_binary_cache_key(operands: list[str]) -> int:
    """Write a new key pair to two files, the secret one readable by its owner only."""
    if len(operands) != 3:
        raise UsageError("three arguments expected")
    name, secret_file, public_file = operands
    key = SecretKey.generate(name)
    _write(public_file, key.public_key(), 0o644)
    _write(secret_file, key.to_string(), 0o600)
    return 0


def _write(path: str, text: str, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise SystemRefusedError(f"writing the key file '{path}'", error) from error
