"""Signatures on what this machine builds, with its own keys: `secret-key-files`. Used by `derivation_builder`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.signatures import SecretKey
    from storefs.formats.store_path import StoreDir


def signed(info: PathInfo, config: Config, directory: StoreDir) -> PathInfo:
    """Return what is registered about an output, with a signature for each key. Raises OSError, StoreError."""
    keys = _secret_keys(config)
    if not keys:
        return info
    return info.replace(signatures=(*info.signatures, *(key.sign(info.fingerprint(directory)) for key in keys)))


def sign_realisation(realisation: Realisation, config: Config) -> Realisation:
    """Return what is registered about an output of a derivation, with a signature for each key. Raises as above."""
    keys = _secret_keys(config)
    return realisation.signed(keys) if keys else realisation


def _secret_keys(config: Config) -> list[SecretKey]:
    files = config.words("secret-key-files")
    if not files:
        return []
    from storefs.formats.signatures import SecretKey  # noqa: PLC0415  20 ms that few need

    keys = []
    for file in files:
        with open(file, encoding="ascii") as stream:
            keys.append(SecretKey(stream.read()))
    return keys
