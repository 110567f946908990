"""Numbers, strings and frames, and what a hostile peer may send in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.errors import StoreError
from storefs.formats.byte_reader import UnexpectedEndError
from storefs.protocol.wire import ProtocolError, Reader, Writer, frame


def reader_of(data: bytes, step: int = 1 << 20) -> Reader:
    return Reader([data[start : start + step] for start in range(0, len(data), step)])


def test_numbers_are_eight_bytes_little_endian() -> None:
    assert Writer().number(1).number(2**64 - 1).take() == b"\1" + b"\0" * 7 + b"\xff" * 8


def test_strings_are_padded_with_zeros_to_eight() -> None:
    assert Writer().string("abc").take() == b"\3" + b"\0" * 7 + b"abc" + b"\0" * 5
    assert Writer().string("12345678").take() == b"\x08" + b"\0" * 7 + b"12345678"
    assert Writer().string("").take() == b"\0" * 8


@given(st.binary(max_size=40), st.integers(0, 2**64 - 1), st.integers(1, 9))
def test_what_was_written_is_read_again_however_it_is_cut(data: bytes, number: int, step: int) -> None:
    reader = reader_of(Writer().data(data).number(number).strings(["a", "", "ü"]).take(), step)
    assert reader.data() == data
    assert reader.number() == number
    assert reader.strings() == ["a", "", "ü"]
    assert reader.at_end()


def test_text_that_is_no_utf8_survives() -> None:
    data = Writer().data(b"\xff\xfe").take()
    assert Writer().string(reader_of(data).string()).take() == data


def test_padding_that_is_not_zero_is_refused() -> None:
    data = bytearray(Writer().string("abc").take())
    data[-1] = 1
    with pytest.raises(ProtocolError, match="non-zero padding"):
        reader_of(bytes(data)).data()


def test_a_string_longer_than_allowed_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(ProtocolError, match="longer than"):
        reader_of(Writer().number(2**40).take()).data()


@given(st.integers(0, 30))
def test_a_stream_that_stops_is_an_error(length: int) -> None:
    whole = Writer().string("hello").number(7).strings(["x"]).take()
    reader = reader_of(whole[: min(length, len(whole) - 1)])
    with pytest.raises(UnexpectedEndError):
        reader.data(), reader.number(), reader.strings()


def test_frames_end_with_an_empty_one_and_leave_the_rest() -> None:
    reader = reader_of(frame(b"abc") + frame(b"defgh") + frame(b"") + Writer().number(9).take(), 5)
    assert b"".join(bytes(piece) for piece in reader.frames()) == b"abcdefgh"
    assert reader.number() == 9


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12), st.integers(1, 120))
def test_frames_do_not_depend_on_where_the_stream_is_cut(contents: list[bytes], step: int) -> None:
    framed = b"".join(map(frame, [*contents, b""]))
    reader = reader_of(framed + Writer().number(9).take(), step)
    assert b"".join(bytes(piece) for piece in reader.frames()) == b"".join(contents)
    assert reader.consumed == len(framed)
    assert reader.number() == 9


def test_frames_that_stop_short_are_no_transfer() -> None:
    framed = frame(b"abc") * 3
    for size in range(len(framed) + 1):
        with pytest.raises(UnexpectedEndError):
            list(Reader([framed[:size]]).frames())


@given(st.binary(max_size=200))
def test_any_bytes_give_values_or_an_error(data: bytes) -> None:
    reader = reader_of(data)
    try:
        for _ in range(20):
            reader.strings()
            reader.data()
    except StoreError:
        pass
