"""Signatures on what this machine builds, with its own keys: `secret-key-files`. Used by `derivation_builder`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir


def signed(info: PathInfo, config: Config, directory: StoreDir) -> PathInfo:
    """Return what is registered about an output, with a signature for each key. Raises OSError, StoreError."""
    files = config.words("secret-key-files")
    if not files:
        return info
    from storefs.formats.signatures import SecretKey  # noqa: PLC0415  20 ms that few need

    signatures = list(info.signatures)
    for file in files:
        with open(file, encoding="ascii") as stream:
            signatures.append(SecretKey(stream.read()).sign(info.fingerprint(directory)))
    return info.replace(signatures=signatures)
