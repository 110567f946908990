"""Unpacking archives of other people: nothing may land outside the directory that is meant.

Python has filters for this since 3.11.4 and 3.12; Debian 12 has 3.11.2. No downloads, no store. Used by `downloads` and
`git_trees`. What is unpacked is put into the store afterwards, so owners and times do not matter.
"""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from contextlib import nullcontext

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


_BATCH = 1 << 20


class BadArchiveError(StoreError):
    """An archive is damaged, or holds something that may not be unpacked."""


def unpack(file: str | IO[bytes], target: str) -> None:
    """Unpack a tar archive, compressed or not, or a zip archive into the directory `target`. Blocks.

    Raises:
        BadArchiveError: it is neither, is damaged, or has a member outside of `target`. `target` may have part of it.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                archive.extractall(target)  # leaves out '..' and the root by itself, and knows no links
            return
        with open(file, "rb") if isinstance(file, str) else nullcontext(file) as packed:
            packed.seek(0)
            with tarfile.open(fileobj=packed) as tar:
                _unpack_tar(tar, target)
                _read_to_end(tar, packed)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        # A file that is none at all gets as many lines from tarfile as there are compressions.
        said, more, _ = str(error).partition("\n")
        raise BadArchiveError("it is no archive" if more else f"the archive can't be unpacked: {said}") from error


def _unpack_tar(tar: tarfile.TarFile, target: str) -> None:
    root = os.path.realpath(target)
    # Our own checks, so that Pythons with filters and without do the same; the attribute is unknown to older ones.
    tar.extraction_filter = lambda member, _path: member
    for member in tar:
        _check(member.name, root)
        if member.islnk():
            _check(member.linkname, root)
        elif not (member.isreg() or member.isdir() or member.issym()):
            raise BadArchiveError(f"the archive has '{member.name}', which is no file, directory or symbolic link")
        member.mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
        tar.extract(member, root, set_attrs=not member.issym(), numeric_owner=False)


def _read_to_end(tar: tarfile.TarFile, packed: IO[bytes]) -> None:
    """Read what is behind the end of the tar: the checksum of what is compressed is the last thing in a file.

    What was appended to that is not looked at, by Nix neither.
    """
    assert tar.fileobj is not None
    try:
        while tar.fileobj.read(_BATCH):
            pass
    except gzip.BadGzipFile as error:
        if not str(error).startswith("Not a gzipped file"):
            raise
    except EOFError:
        packed.seek(-4, os.SEEK_END)
        if not isinstance(tar.fileobj, lzma.LZMAFile) or packed.read() != bytes(4):
            raise  # xz allows zeros there, which Python takes for the head of an .lzma


def _check(name: str, root: str) -> None:
    """Refuse a member that lies elsewhere, also by way of a link that was unpacked before it."""
    place = os.path.realpath(os.path.join(root, name))
    if place != root and not place.startswith(root + "/"):
        raise BadArchiveError(f"the archive has '{name}', which lies outside of it")
