from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Iterator

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.formats.compression import (
    EXTENSIONS,
    PIECE,
    BadCompressedDataError,
    UnknownCompressionError,
    compress,
    decompress,
)

METHODS = list(EXTENSIONS)
PACKED = [method for method in METHODS if method != "none"]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_round_trip_in_any_pieces(method: str, size: int) -> None:
    data = bytes(range(256)) * 10 + b"\0" * 3000
    packed = b"".join(compress(pieces(data, size), method))
    assert b"".join(decompress(pieces(packed, size), method)) == data


@pytest.mark.parametrize("method", METHODS)
def test_nothing_round_trips(method: str) -> None:
    assert b"".join(decompress(list(compress([], method)), method)) == b""


def reference(data: bytes, method: str) -> bytes:
    return {
        "xz": lzma.compress,
        "lzma": lambda plain: lzma.compress(plain, lzma.FORMAT_ALONE),
        "bzip2": bz2.compress,
        "gzip": gzip.compress,
        "zstd": zstandard.ZstdCompressor().compress,
        "br": brotli.compress,
    }[method](data)  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", PACKED)
def test_reads_what_the_plain_libraries_write(method: str) -> None:
    assert b"".join(decompress([reference(b"hello" * 999, method)], method)) == b"hello" * 999


@pytest.mark.parametrize("method", ["xz", "bzip2", "gzip", "zstd"])
@pytest.mark.parametrize("size", [1, 50, 1 << 20])
def test_concatenated_streams_count_as_one(method: str, size: int) -> None:
    packed = reference(b"one" * 50, method) + reference(b"two" * 50, method)
    assert b"".join(decompress(pieces(packed, size), method)) == b"one" * 50 + b"two" * 50


def test_padding_after_xz_is_allowed() -> None:
    packed = lzma.compress(b"one") + bytes(8)
    assert b"".join(decompress(pieces(packed, 5), "xz")) == b"one"


@pytest.mark.parametrize("method", PACKED)
@pytest.mark.slow
def test_bombs_unpack_piece_by_piece(method: str) -> None:
    bomb = b"".join(compress((bytes(1 << 20) for _ in range(64)), method))
    tracemalloc.start()
    try:
        out: Iterator[bytes] = decompress([bomb], method)
        largest = max(len(piece) for piece in out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest <= 2 * PIECE  # brotli's limit is approximate
    assert peak < 12 << 20  # the dictionary of xz -6 is 8 MiB


@pytest.mark.parametrize("method", ["xz", "lzma", "bzip2", "gzip", "br"])
def test_truncation_is_noticed(method: str) -> None:
    packed = reference(bytes(range(256)) * 40, method)
    for length in (0, 1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(BadCompressedDataError):
            list(decompress([packed[:length]], method))


def test_truncated_zstd_never_yields_the_whole() -> None:
    packed = reference(bytes(range(256)) * 4000, "zstd")
    for length in (1, len(packed) // 2, len(packed) - 5):
        assert len(b"".join(decompress([packed[:length]], "zstd"))) < 256 * 4000


@given(st.sampled_from(PACKED), st.binary(max_size=200), st.integers(0, 60))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_garbage_raises_only_the_documented_error(method: str, garbage: bytes, keep: int) -> None:
    data = reference(b"some plain text " * 9, method)[:keep] + garbage
    try:
        for _ in decompress(pieces(data, 13), method):
            pass
    except BadCompressedDataError:
        pass


def test_decoder_memory_is_bounded() -> None:
    huge = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    with pytest.raises(BadCompressedDataError, match="xz"):
        list(decompress([huge], "xz"))


def test_unknown_method_is_refused_before_any_byte() -> None:
    with pytest.raises(UnknownCompressionError, match="lz77"):
        decompress(iter(()), "lz77")


def test_empty_name_means_none() -> None:
    assert list(decompress([b"x"], "")) == [b"x"]
