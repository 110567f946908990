"""Requests that no kernel would send: each is answered once, with bytes or an errno, and the next one as ever."""

from __future__ import annotations

import errno
import random
import select
import struct
from typing import TYPE_CHECKING

import pytest

from storefs.fuse import kernel_wire as wire
from storefs.fuse.view import ROOT
from tests.storefs.fuse.memory_forest import MemoryForest
from tests.storefs.fuse.test_kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def kernel(scratch: Path) -> Iterator[Kernel]:
    forest = MemoryForest(str(scratch), inline_limit=100)
    forest.plant(b"p", {b"small": b"hello", b"big": bytes(5000), b"link": "to/where", b"empty": {}})
    kernel = Kernel(forest)
    yield kernel
    kernel.close()


def has_answer(kernel: Kernel) -> bool:
    return bool(select.select([kernel.end], [], [], 0)[0])


@pytest.mark.parametrize("opcode", [wire.LOOKUP, wire.READ, wire.READDIRPLUS, wire.INIT])
def test_a_request_that_is_cut_short_is_an_error_that_is_reported(kernel: Kernel, opcode: int) -> None:
    for length in range(wire.SMALLEST[opcode] - wire.REQUEST_SIZE):
        assert kernel.ask(opcode, kernel.walk(b"p"), bytes(length)) == (errno.EIO, b"")
    assert len(kernel.reports) == wire.SMALLEST[opcode] - wire.REQUEST_SIZE
    assert "cut short" in kernel.reports[0][0]


def test_less_than_a_header_gets_no_answer(kernel: Kernel) -> None:
    for length in range(1, wire.REQUEST_SIZE):
        kernel.end.send(struct.pack("<IIQQIIIHH", length, wire.LOOKUP, 5, ROOT, 0, 0, 1, 0, 0)[:length])
    assert kernel.walk(b"p") > ROOT
    assert not has_answer(kernel)


def test_bytes_of_an_earlier_request_are_not_read(kernel: Kernel) -> None:
    kernel.lookup(ROOT, b"p" * 200)
    assert kernel.ask(wire.LOOKUP, ROOT, b"p\0")[0] == 0
    assert kernel.ask(wire.LOOKUP, ROOT, b"q\0")[0] == errno.ENOENT


def test_random_requests_are_answered_once_each(kernel: Kernel) -> None:
    generator = random.Random(4)
    nodes = [ROOT, 0, 2**64 - 1, 99, *(kernel.walk(b"p", *names) for names in ((), (b"small",), (b"big",), (b"link",)))]
    opcodes = sorted(set(range(1, 70)) - wire.SILENT - {wire.INIT})
    for number in range(3000):
        opcode, node = generator.choice(opcodes), generator.choice(nodes)
        offset = generator.choice((0, 3, 160, 2**62, 2**64 - 1))
        size = generator.choice((0, 512, 2**32 - 1))
        names = (b"small\0", b"big\0", b"p\0", b"\0", b"a" * 255 + b"\0", b"a" * 256 + b"\0")
        bodies = (
            generator.randbytes(generator.randrange(120)),
            struct.pack("<QQIIQII", 0, offset, size, 0, 0, 0, 0),
            generator.choice(names),
        )
        body = generator.choice(bodies)
        error, reply = kernel.ask(opcode, node, body)
        assert error == 0 or not reply, (number, opcode)
    assert kernel.failure is None
    assert kernel.read(kernel.walk(b"p", b"small"), 0, 100) == (0, b"hello")
    assert not has_answer(kernel)
