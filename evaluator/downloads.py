"""Downloading during evaluation: `fetchurl`, `fetchTarball`, `-I nixpkgs=https://...`.

What a URL gave is remembered for the setting `tarball-ttl` (an hour), in the user's cache directory, so that an
expression can be evaluated again and again without a network; after that time it is what counts where nothing newer can
be had. Archives are unpacked here, with nothing outside of them
touched. Blocking; called by `session.py` only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import urllib.parse

from evaluator.archives import BadArchiveError, unpack
from evaluator.builtins.fetchers import HashMismatchError
from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.http_client.client import HttpClient
from storefs.http_client.messages import HttpError
from storefs.logs import hint, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.eval_io import EvalIO
    from storefs.config import Config
    from storefs.formats.hashes import Hash


class DownloadError(StoreError):
    """A URL could not be fetched, or what it gave is no archive."""


def fetch_url(config: Config, io: EvalIO, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
    """Put what `url` gives into the store and return the store path.

    Args:
        config: for the time that answers are remembered, and the cache directory.
        io: the store.
        url: `file://`, `http://` or `https://`.
        name: of the store path.
        unpack: it is an archive, and the result is the tree in it.
        expected: SHA-256 of the file, or of the NAR of the unpacked tree.

    Raises:
        DownloadError: it can't be had.
        HashMismatchError: it is something else.
    """
    cache = _Cache(config, url, name, unpack)
    known, is_fresh = (None, False) if expected is not None else cache.known()
    if known is not None and not io.is_valid(known):
        known = None
    if known is not None and is_fresh:
        return known
    with tempfile.TemporaryDirectory(prefix="verglas-fetch-") as scratch:
        try:
            file = _download(config, url, scratch)
        except DownloadError as error:
            if known is None:
                raise
            warn(f"{error}; using what was downloaded before")
            return known
        tree = _unpack(file, scratch, url) if unpack else file
        path = io.add_path(name, tree, recursive=unpack)
        if expected is not None:
            got = io.nar_hash(path) if unpack else _hash_file(file)
            if got != expected:
                raise HashMismatchError(url, expected, got)
    cache.remember(path)
    return path


def _hash_file(path: str) -> Hash:
    with open(path, "rb") as file:
        return hash_bytes("sha256", file.read())


class _Cache:
    """Which store path a URL gave, and when: one small file each."""

    def __init__(self, config: Config, url: str, name: str, unpack: bool) -> None:
        key = hashlib.sha256(f"{config.store_dir}\0{url}\0{name}\0{unpack}".encode()).hexdigest()
        self._file = f"{config.xdg('cache')}/verglas/downloads/{key}"
        self._url = url
        self._life = config.integer("tarball-ttl")

    def known(self) -> tuple[str | None, bool]:
        """The path of the last time, and whether it is young enough to go without looking again."""
        if self._url.startswith("file://"):
            return None, False  # looking is as cheap as remembering
        try:
            with open(self._file, encoding="utf-8") as file:
                entry = json.load(file)
        except (OSError, ValueError):
            return None, False
        if not isinstance(entry, dict) or not isinstance(entry.get("time"), int):
            return None, False
        path = entry.get("path")
        return (path, time.time() - entry["time"] < self._life) if isinstance(path, str) else (None, False)

    def remember(self, path: str) -> None:
        if self._url.startswith("file://"):
            return
        try:
            os.makedirs(os.path.dirname(self._file), exist_ok=True)
            partial = f"{self._file}.{os.getpid()}"
            with open(partial, "w", encoding="utf-8") as file:
                json.dump({"url": self._url, "path": path, "time": int(time.time())}, file)
            os.replace(partial, self._file)
        except OSError as error:
            warn(f"cannot remember the download of '{self._url}': {error.strerror}")


def _download(config: Config, url: str, scratch: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise DownloadError(f"unable to download '{url}': {error}") from error
    target = f"{scratch}/download"
    if parts.scheme in {"", "file"}:
        source = urllib.parse.unquote(parts.path)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise _failed(url, error) from error
        return target
    if parts.scheme not in {"http", "https"}:
        raise DownloadError(f"unable to download '{url}': the scheme '{parts.scheme}' is not supported")
    client = HttpClient.from_config(config)
    hint(f"downloading '{url}'...")
    try:
        with client.stream(url) as download, open(target, "wb") as file:
            for piece in download.chunks():
                file.write(piece)
    except HttpError as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        raise _failed(url, error) from error
    finally:
        client.close()
    return target


def _failed(url: str, error: OSError) -> DownloadError:
    said = error.strerror
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        said = f"no space left in '{tempfile.gettempdir()}'; TMPDIR can name a directory on another disk"
    return DownloadError(f"unable to download '{url}': {said}")


def _unpack(file: str, scratch: str, url: str) -> str:
    """Unpack an archive and return the one tree that it must hold."""
    target = f"{scratch}/unpacked"
    os.mkdir(target)
    try:
        unpack(file, target)
    except BadArchiveError as error:
        raise DownloadError(f"cannot unpack what was downloaded from '{url}': {error}") from error
    entries = os.listdir(target)
    if len(entries) != 1:
        raise DownloadError(f"tarball '{url}' contains an unexpected number of top-level files")
    return f"{target}/{entries[0]}"
