"""`builtin:unpack-channel`: unpacks a channel's archive into a directory of the channel's name.

Runs in the builder's place, perhaps in a sandbox where nothing can be imported any more: the decompressors of tarfile
are imported here. Semantics: builtins/unpack-channel.cc of Nix 2.8.
"""

from __future__ import annotations

import bz2  # noqa: F401
import gzip  # noqa: F401
import lzma
import os
import tarfile
import zlib

from storefs.errors import StoreError


class BadChannelError(StoreError):
    """What a channel offers is no archive with a single directory."""


def unpack(environment: dict[str, str], argument: str) -> None:
    """Unpack `$src` into `$out/$channelName`.

    Raises:
        BadChannelError: it is no such archive.
    """
    del argument
    out, source = environment["out"], environment["src"]
    os.makedirs(out, exist_ok=True)
    try:
        with tarfile.open(source) as archive:
            # Nothing outside of the directory, no devices, no setuid bits, wherever tarfile knows how.
            if hasattr(tarfile, "data_filter"):
                archive.extractall(out, filter="data")
            else:
                archive.extractall(out)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        # A file that is none at all gets as many lines from tarfile as there are compressions.
        said, more, _ = str(error).partition("\n")
        why = "it is no archive" if more else said
        raise BadChannelError(f"channel tarball '{source}' can't be unpacked: {why}") from error
    names = os.listdir(out)
    if len(names) != 1:
        raise BadChannelError(f"channel tarball '{source}' contains more than one file")
    os.rename(f"{out}/{names[0]}", f"{out}/{environment['channelName']}")
