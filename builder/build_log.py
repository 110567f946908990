"""The logs of builds: written compressed while they come, found again by derivation or output path.

`<log_dir>/drvs/XX/REST.drv.bz2` where XX are the first two characters of the derivation's name, so that no directory
grows to millions of entries (row L1). The file is a row of complete bzip2 streams, each at most 64 KiB of text or one
second old: of a build that was killed, what it said is readable. `bunzip2` reads such files as one.
"""

from __future__ import annotations

import os
import time

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bz2 import BZ2Compressor
    from collections.abc import Iterable, Iterator

    from storefs.config import Config
    from storefs.formats.store_path import StorePath

_STREAM_BYTES = 65536
_STREAM_SECONDS = 1.0
_LONGEST_LINE = 65536
_EMPTY_STREAM = b"BZh9\x17rE8P\x90\x00\x00\x00\x00"


class LogNotFoundError(StoreError):
    """No log of this build is kept here."""


class BuildLog:
    """The log of one build that runs. Not thread-safe. `write` may block on the disk."""

    def __init__(self, path: str, compress: bool) -> None:
        """Create the file, and the directory it is in. Raises OSError."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  closed by close
        self._compress = compress
        self._compressor: BZ2Compressor | None = None
        self._pending = 0
        self._began = 0.0
        self._empty = True

    def write(self, data: bytes) -> None:
        """Add what the builder printed."""
        self._empty = False
        if not self._compress:
            self._file.write(data)
            return
        if self._compressor is None:
            import bz2  # noqa: PLC0415  most builds of a large closure never print anything

            self._compressor = bz2.BZ2Compressor(1)  # its blocks of 100 kB are as large as our streams
            self._began = time.monotonic()
        self._file.write(self._compressor.compress(data))
        self._pending += len(data)
        if self._pending >= _STREAM_BYTES or time.monotonic() - self._began >= _STREAM_SECONDS:
            self._end_stream()

    def close(self) -> None:
        """Write what is left and close the file. Idempotent."""
        if self._file.closed:
            return
        self._end_stream()
        if self._compress and self._empty:
            self._file.write(_EMPTY_STREAM)
        self._file.close()

    def _end_stream(self) -> None:
        if self._compressor is not None:
            self._file.write(self._compressor.flush())
            self._compressor = None
            self._pending = 0


def _log_path(config: Config, drv_path: StorePath) -> str:
    """Where the log of a derivation is kept, uncompressed: '.bz2' is added to the name of one that is compressed."""
    base = drv_path.base_name
    return f"{config.log_dir}/drvs/{base[:2]}/{base[2:]}"


def open_build_log(config: Config, drv_path: StorePath) -> BuildLog | None:
    """Begin the log of a build; None where `keep-build-log` is off. Raises OSError."""
    if not config.boolean("keep-build-log"):
        return None
    compress = config.boolean("compress-build-log")
    return BuildLog(_log_path(config, drv_path) + (".bz2" if compress else ""), compress)


def save_build_log(config: Config, drv_path: StorePath, chunks: Iterable[bytes]) -> None:
    """Keep the log of a build that ran elsewhere, in place of one that is here; who reads sees either. Raises OSError.

    Kept whatever `keep-build-log` says: somebody asks for this one.
    """
    plain = _log_path(config, drv_path)
    path = plain + ".bz2"
    partial = f"{path}.{os.getpid()}"
    log = BuildLog(partial, compress=True)
    try:
        for chunk in chunks:
            log.write(chunk)
        log.close()
        os.replace(partial, path)
    except BaseException:
        log.close()
        os.unlink(partial)
        raise
    try:
        os.unlink(plain)  # one that was kept uncompressed, which would be found first
    except FileNotFoundError:
        pass


def find_build_log(config: Config, drv_path: StorePath) -> str | None:
    """Return the file with the log of a derivation: where it is written today, or where Nix before 1.3 put it."""
    for stem in (_log_path(config, drv_path), f"{config.log_dir}/drvs/{drv_path.base_name}"):
        for path in (stem, stem + ".bz2"):
            if os.path.exists(path):
                return path
    return None


def read_build_log(path: str) -> Iterator[bytes]:
    """Yield the text of a log in pieces, in bounded memory. A torn end is left out. Raises OSError."""
    with open(path, "rb") as file:
        if not path.endswith(".bz2"):
            while data := file.read(_STREAM_BYTES):
                yield data
            return
        import bz2  # noqa: PLC0415

        decompressor = bz2.BZ2Decompressor()
        data = b""
        while True:
            if not data and decompressor.needs_input:
                data = file.read(_STREAM_BYTES)
                if not data:
                    return
            try:
                text = decompressor.decompress(data, _STREAM_BYTES)
            except OSError:
                return
            if text:
                yield text
            data = decompressor.unused_data
            if decompressor.eof:
                decompressor = bz2.BZ2Decompressor()


class LineSplitter:
    """Cuts what a builder prints into lines, as a terminal would show them. Sans-I/O.

    A carriage return goes back to the line's beginning, so that of a progress bar only the last state is a line. A line
    of more than 64 KiB is cut: a builder must not fill the memory of whoever listens.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [_visible(line) for line in lines]

    def finish(self) -> list[str]:
        """Return what has no newline at its end."""
        rest, self._rest = self._rest, b""
        return [_visible(rest)] if rest else []


def _visible(line: bytes) -> str:
    if b"\r" in line:
        shown = b""
        for part in line.split(b"\r"):
            shown = part + shown[len(part) :]
        line = shown
    return line.decode("utf-8", "replace")
