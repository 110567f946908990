"""Compression of NARs: streams of pieces in, streams of pieces out, by the names that `.narinfo` files use.

Sans-I/O and pull-based: nothing is read before somebody asks for output, no output piece is larger than `PIECE`, and
decoders that want more memory than `_MEMORY` are refused. So a file that unpacks to terabytes costs its reader only
what the reader takes. Library modules for one format are loaded when that format is met.
"""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol

    Buffer = bytes | bytearray | memoryview

    class Compressor(Protocol):
        """What turns plain pieces into packed ones."""

        def compress(self, chunk: Buffer, /) -> bytes:
            """Take a piece and return what is ready, maybe nothing."""

        def flush(self) -> bytes:
            """End the stream and return its rest."""


PIECE = 1 << 18
_MEMORY = 128 << 20  # xz -9 needs 65 MiB, zstd --long 128 MiB

# What `.narinfo` files may name, and the file extension that Nix gives each.
EXTENSIONS = {"none": "", "xz": ".xz", "bzip2": ".bz2", "gzip": ".gz", "zstd": ".zst", "br": ".br", "lzma": ".lzma"}


class UnknownCompressionError(StoreError):
    """A compression method that is not supported."""


class BadCompressedDataError(StoreError):
    """Compressed data that is damaged, truncated, or needs too much memory."""


def check_method(method: str) -> str:
    """`method` itself, `none` for the empty one.

    Raises:
        UnknownCompressionError: it is not one of `EXTENSIONS`.
    """
    method = method or "none"
    if method not in EXTENSIONS:
        raise UnknownCompressionError(f"unknown compression method '{method}'; known are {', '.join(EXTENSIONS)}")
    return method


def decompress(chunks: Iterable[Buffer], method: str) -> Iterator[bytes]:
    """Yield what compressed pieces unpack to; several streams one after the other count as one.

    Raises:
        UnknownCompressionError: at once.
        BadCompressedDataError: when damage or an early end is met. A zstd stream that ends early is not told from a
            complete one (the library does not say); whoever takes the bytes checks their hash anyway.
    """
    method = check_method(method)
    if method == "none":
        return (bytes(chunk) for chunk in chunks)
    if method == "br":
        return _decompress_brotli(chunks)
    if method == "zstd":
        return _decompress_zstd(chunks)
    if method == "gzip":
        return _decompress_gzip(chunks)
    return _decompress_members(chunks, method)


def compress(chunks: Iterable[Buffer], method: str, level: int = -1) -> Iterator[bytes]:
    """Yield the compressed form of some pieces.

    Args:
        chunks: the plain bytes.
        method: one of `EXTENSIONS`.
        level: the method's own scale; -1 is its default.

    Raises:
        UnknownCompressionError: at once.
    """
    return _pump(chunks, open_compressor(method, level))


def _pump(chunks: Iterable[Buffer], compressor: Compressor) -> Iterator[bytes]:
    for chunk in chunks:
        piece = compressor.compress(chunk)
        if piece:
            yield piece
    yield compressor.flush()


def open_compressor(method: str, level: int = -1) -> Compressor:
    """A compressor for who has the pieces pushed; arguments and errors as for `compress`."""
    method = check_method(method)
    if method == "none":
        return _Identity()
    compressor: Compressor = _compressor(method, level)
    return compressor


def _compressor(method: str, level: int) -> Any:
    if method in ("xz", "lzma"):
        import lzma  # noqa: PLC0415 - see the module's docstring

        kind = lzma.FORMAT_XZ if method == "xz" else lzma.FORMAT_ALONE
        return lzma.LZMACompressor(kind, preset=6 if level < 0 else min(level, 9))
    if method == "bzip2":
        import bz2  # noqa: PLC0415

        return bz2.BZ2Compressor(9 if level < 0 else min(max(level, 1), 9))
    if method == "gzip":
        import zlib  # noqa: PLC0415

        return zlib.compressobj(min(level, 9), zlib.DEFLATED, 31)
    if method == "zstd":
        import zstandard  # noqa: PLC0415

        return zstandard.ZstdCompressor(level=3 if level < 0 else min(level, 22)).compressobj()
    import brotli  # noqa: PLC0415

    return _BrotliCompressor(brotli.Compressor(quality=5 if level < 0 else min(level, 11)))


class _Identity:
    """No compression."""

    __slots__ = ()

    def compress(self, chunk: Buffer) -> bytes:
        return bytes(chunk)

    def flush(self) -> bytes:
        return b""


class _BrotliCompressor:
    """Brotli under the names that the other libraries give their methods."""

    __slots__ = ("_compressor",)

    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def compress(self, chunk: Buffer) -> bytes:
        return bytes(self._compressor.process(bytes(chunk)))

    def flush(self) -> bytes:
        return bytes(self._compressor.finish())


def _decompress_members(chunks: Iterable[Buffer], method: str) -> Iterator[bytes]:
    """xz, lzma and bzip2, whose decoders have the same shape in the standard library."""
    import bz2  # noqa: PLC0415
    import lzma  # noqa: PLC0415

    decoder: Any = None
    begun = False
    try:
        for chunk in chunks:
            data = bytes(chunk)
            while data or (decoder is not None and not decoder.needs_input):
                if decoder is None:
                    # Zeros may pad the end of an xz stream; anything else begins the next stream.
                    data = data.lstrip(b"\0") if begun else data
                    if not data:
                        break
                    begun = True
                    if method == "bzip2":
                        decoder = bz2.BZ2Decompressor()
                    else:
                        decoder = lzma.LZMADecompressor(lzma.FORMAT_AUTO, _MEMORY)
                piece = decoder.decompress(data, PIECE)
                data = b""
                if piece:
                    yield piece
                if decoder.eof:
                    data = decoder.unused_data
                    decoder = None
    except (lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise BadCompressedDataError(f"damaged {method} data: {error}") from None
    if decoder is not None or not begun:
        raise BadCompressedDataError(f"truncated {method} data")


def _decompress_gzip(chunks: Iterable[Buffer]) -> Iterator[bytes]:
    import zlib  # noqa: PLC0415

    decoder: Any = None
    begun = False
    try:
        for chunk in chunks:
            data = bytes(chunk)
            full = False  # output was cut at the limit, so more may wait inside the decoder
            while data or full:
                if decoder is None:
                    data = data.lstrip(b"\0") if begun else data
                    if not data:
                        break
                    begun = True
                    decoder = zlib.decompressobj(31)
                piece = decoder.decompress(data, PIECE)
                data = decoder.unconsumed_tail
                full = len(piece) == PIECE
                if piece:
                    yield piece
                if decoder.eof:
                    data = decoder.unused_data
                    decoder = None
                    full = False
    except zlib.error as error:
        raise BadCompressedDataError(f"damaged gzip data: {error}") from None
    if decoder is not None or not begun:
        raise BadCompressedDataError("truncated gzip data")


def _decompress_brotli(chunks: Iterable[Buffer]) -> Iterator[bytes]:
    import brotli  # noqa: PLC0415

    decoder = brotli.Decompressor()
    try:
        for chunk in chunks:
            if decoder.is_finished():
                if len(chunk):
                    raise BadCompressedDataError("garbage after brotli data")
                continue
            piece = decoder.process(bytes(chunk), output_buffer_limit=PIECE)
            while piece or not decoder.can_accept_more_data():
                if piece:
                    yield piece
                piece = decoder.process(b"", output_buffer_limit=PIECE)
    except brotli.error as error:
        raise BadCompressedDataError(f"damaged brotli data: {error}") from None
    if not decoder.is_finished():
        raise BadCompressedDataError("truncated brotli data")


class _Reader:
    """What zstandard's stream reader reads from."""

    __slots__ = ("_chunks", "_rest")

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
        self._rest: bytes = b""

    def read(self, size: int) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = bytes(chunk)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def _decompress_zstd(chunks: Iterable[Buffer]) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415

    decoder = zstandard.ZstdDecompressor(max_window_size=_MEMORY)
    source: Any = _Reader(chunks)
    reader = decoder.stream_reader(source, read_across_frames=True)
    try:
        while True:
            piece = reader.read(PIECE)
            if not piece:
                return
            yield piece
    except zstandard.ZstdError as error:
        raise BadCompressedDataError(f"damaged zstd data: {error}") from None
