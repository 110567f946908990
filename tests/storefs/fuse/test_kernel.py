"""The kernel transport spoken to directly: the test is the kernel, a socket that keeps message borders is /dev/fuse."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.fuse import kernel_wire as wire
from storefs.fuse.kernel import KernelServer, UnsupportedKernelError
from storefs.fuse.view import ROOT, View
from storefs.metadata import trees
from tests.storefs.fuse.memory_forest import MemoryForest
from tests.storefs.fuse.test_kernel_wire import init_request

if TYPE_CHECKING:
    from collections.abc import Iterator

BIG = bytes(range(251)) * 4000


class Kernel:
    """The kernel's end of a connection."""

    def __init__(self, forest: MemoryForest, *, passthrough: bool = False) -> None:
        self.end, self._server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for side in (self.end, self._server_end):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.end.settimeout(10)
        self.reports: list[tuple[str, int | None]] = []
        self._view = View(forest)
        self.server = KernelServer(
            self._server_end.fileno(),
            self._view,
            lambda text, inode: self.reports.append((text, inode)),
            passthrough=passthrough,
        )
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self._unique = 1

    def _serve(self) -> None:
        try:
            self.server.serve()
        except Exception as error:
            self.failure = error

    def close(self) -> None:
        self.end.close()
        self._thread.join()
        self._view.close()
        self._server_end.close()

    def send(self, opcode: int, node: int, body: bytes = b"") -> int:
        self._unique += 2
        header = struct.pack("<IIQQIIIHH", 40 + len(body), opcode, self._unique, node, 0, 0, 1, 0, 0)
        self.end.send(header + body)
        return self._unique

    def receive(self) -> tuple[int, int, bytes]:
        message = self.end.recv(4 << 20)
        length, error, unique = struct.unpack_from("<IiQ", message)
        assert length == len(message)
        return unique, -error, message[16:]

    def ask(self, opcode: int, node: int, body: bytes = b"") -> tuple[int, bytes]:
        unique = self.send(opcode, node, body)
        answered, error, reply = self.receive()
        assert answered == unique
        return error, reply

    def lookup(self, node: int, name: bytes) -> tuple[int, int]:
        """Return (errno, inode)."""
        error, reply = self.ask(wire.LOOKUP, node, name + b"\0")
        return error, int.from_bytes(reply[:8], "little")

    def walk(self, *names: bytes) -> int:
        node = ROOT
        for name in names:
            error, node = self.lookup(node, name)
            assert error == 0, name
        return node

    def read(self, node: int, offset: int, size: int) -> tuple[int, bytes]:
        return self.ask(wire.READ, node, struct.pack("<QQIIQII", 0, offset, size, 0, 0, 0, 0))

    def list(self, node: int, size: int = 4096, offset: int = 0) -> tuple[list[bytes], bytes]:
        """Return all names, and the last reply."""
        names: list[bytes] = []
        while True:
            error, reply = self.ask(wire.READDIRPLUS, node, struct.pack("<QQIIQII", 0, offset, size, 0, 0, 0, 0))
            assert error == 0
            assert len(reply) <= size
            at = 0
            while at + 152 <= len(reply):
                _, following, length, _ = struct.unpack_from("<QQII", reply, at + 128)
                names.append(reply[at + 152 : at + 152 + length])
                at += (152 + length + 7) & ~7
                offset = following
            if at == 0:
                return names, reply


@pytest.fixture
def forest(scratch: Path) -> MemoryForest:
    forest = MemoryForest(str(scratch), inline_limit=100)
    forest.plant(b"p", {b"small": b"hello", b"big": BIG, b"link": "to/where", b"empty": {}, b"run": b"#!/bin/sh"})
    return forest


@pytest.fixture
def kernel(forest: MemoryForest) -> Iterator[Kernel]:
    kernel = Kernel(forest)
    yield kernel
    kernel.close()


def test_looks_names_up(kernel: Kernel) -> None:
    error, reply = kernel.ask(wire.LOOKUP, kernel.walk(b"p"), b"run\0")
    assert error == 0
    assert len(reply) == 128
    assert int.from_bytes(reply[100:104], "little") == trees.MODE_EXECUTABLE


def test_a_missing_path_is_an_error_that_is_not_remembered(kernel: Kernel) -> None:
    assert kernel.ask(wire.LOOKUP, ROOT, b"nothing\0") == (errno.ENOENT, b"")


def test_a_name_missing_inside_a_path_is_remembered(kernel: Kernel) -> None:
    error, reply = kernel.ask(wire.LOOKUP, kernel.walk(b"p"), b"nothing\0")
    assert (error, reply) == (0, wire.NO_SUCH_ENTRY)


def test_reads_exactly_what_there_is(kernel: Kernel) -> None:
    small, big = kernel.walk(b"p", b"small"), kernel.walk(b"p", b"big")
    assert kernel.read(small, 0, 4096) == (0, b"hello")
    assert kernel.read(small, 3, 1) == (0, b"l")
    assert kernel.read(small, 99, 10) == (0, b"")
    assert kernel.read(big, 0, 1 << 20) == (0, BIG)
    assert kernel.read(big, 1000, 5000) == (0, BIG[1000:6000])
    assert kernel.read(big, len(BIG) - 10, 4096) == (0, BIG[-10:])
    assert kernel.read(big, len(BIG) + 5, 4096) == (0, b"")
    assert kernel.server.statistics()["bytes read"] == 5 + 1 + len(BIG) + 5000 + 10


def test_lists_a_directory_in_pieces_of_any_size(kernel: Kernel, forest: MemoryForest) -> None:
    expected = [b"entry-%03d" % index for index in range(150)]
    forest.plant(b"wide", dict.fromkeys(expected, b"x"))
    node = kernel.walk(b"wide")
    for size in (512, 4096, 1 << 20):
        names, _ = kernel.list(node, size)
        assert names == [*expected, b".", b".."]
    names, reply = kernel.list(kernel.walk(b"p", b"empty"))
    assert names == [b".", b".."]
    assert reply == b""


def test_the_end_of_the_root_is_no_empty_reply(kernel: Kernel, forest: MemoryForest) -> None:
    for index in range(60):
        forest.plant(b"path-%d" % index, b"")
    for size in (512, 4096, 1 << 20):
        names, reply = kernel.list(ROOT, size)
        assert sorted(names) == sorted([b".", b"..", b"p", *(b"path-%d" % index for index in range(60))])
        assert reply == bytes(8), "an empty reply would let the kernel keep the listing"


def test_opens_are_refused_for_good(kernel: Kernel) -> None:
    for opcode in (wire.OPEN, wire.OPENDIR, wire.GETXATTR, wire.LISTXATTR, wire.FLUSH, wire.LSEEK, wire.ACCESS):
        assert kernel.ask(opcode, kernel.walk(b"p"))[0] == errno.ENOSYS, wire.OPCODE_NAMES[opcode]


def test_every_change_is_refused(kernel: Kernel) -> None:
    for opcode in wire.MUTATING:
        assert kernel.ask(opcode, kernel.walk(b"p"))[0] == errno.EROFS, wire.OPCODE_NAMES[opcode]


def test_silent_requests_get_no_answer(kernel: Kernel) -> None:
    kernel.send(wire.FORGET, 16, struct.pack("<Q", 1))
    kernel.send(wire.BATCH_FORGET, 0, struct.pack("<IIQQ", 1, 0, 16, 1))
    kernel.send(wire.INTERRUPT, 0, struct.pack("<Q", 3))
    assert kernel.lookup(ROOT, b"p")[0] == 0  # and not the answer to one of those


def test_an_unknown_request_is_not_supported(kernel: Kernel) -> None:
    assert kernel.ask(4095, ROOT)[0] == errno.ENOSYS


def test_what_was_collected_is_stale(kernel: Kernel, forest: MemoryForest) -> None:
    root, small = kernel.walk(b"p"), kernel.walk(b"p", b"small")
    forest.fell(b"p")
    assert kernel.lookup(root, b"small")[0] == errno.ESTALE
    assert kernel.ask(wire.GETATTR, small)[0] == errno.ESTALE
    assert kernel.read(small, 0, 10)[0] == errno.ESTALE
    assert kernel.lookup(ROOT, b"p")[0] == errno.ENOENT


def test_a_failure_is_eio_and_is_reported_and_the_next_request_is_answered(
    kernel: Kernel, forest: MemoryForest
) -> None:
    root = kernel.walk(b"p")
    forest.find_entry = lambda directory, name: 1 // 0  # type: ignore[assignment,method-assign]  # a bug
    error, _ = kernel.ask(wire.LOOKUP, root, b"small\0")
    assert error == errno.EIO
    assert kernel.lookup(ROOT, b"nothing")[0] == errno.ENOENT
    assert len(kernel.reports) == 1
    assert kernel.reports[0][0].startswith("request lookup failed: ")
    assert kernel.reports[0][1] == root


def test_a_corrupt_blob_is_eio(kernel: Kernel, forest: MemoryForest) -> None:
    big = kernel.walk(b"p", b"big")
    path = forest.blob_path(forest.content(big)[1])
    with open(path, "r+b") as file:
        file.truncate(100)
    assert kernel.read(big, 0, 4096)[0] == errno.EIO
    assert [inode for _, inode in kernel.reports] == [big]


def test_a_blob_cut_short_while_it_is_open_is_eio_not_zeros(kernel: Kernel, forest: MemoryForest) -> None:
    big = kernel.walk(b"p", b"big")
    assert kernel.read(big, 0, 10) == (0, BIG[:10])
    with open(forest.blob_path(forest.content(big)[1]), "r+b") as file:
        file.truncate(100)
    assert kernel.read(big, 0, 4096)[0] == errno.EIO


def test_agrees_with_the_kernel_first(forest: MemoryForest) -> None:
    kernel = Kernel(forest)
    try:
        error, reply = kernel.ask(wire.INIT, 0, init_request())
        assert error == 0
        assert len(reply) == 64
    finally:
        kernel.close()
    assert kernel.failure is None


def test_agrees_with_kernels_whose_offer_is_shorter(forest: MemoryForest) -> None:
    # Up to 7.35 (Linux 5.16) it has 16 bytes: there are no further flags behind the first ones.
    kernel = Kernel(forest, passthrough=True)
    try:
        error, reply = kernel.ask(wire.INIT, 0, init_request(minor=31)[:16])
        assert error == 0
        assert len(reply) == 64
        assert kernel.walk(b"p") > ROOT
    finally:
        kernel.close()
    assert kernel.failure is None
    assert not kernel.reports


def test_refuses_an_old_kernel(forest: MemoryForest) -> None:
    kernel = Kernel(forest)
    try:
        assert kernel.ask(wire.INIT, 0, init_request(minor=23))[0] == errno.EPROTO
    finally:
        kernel.close()
    assert isinstance(kernel.failure, UnsupportedKernelError)


def test_passing_through_falls_back_where_the_kernel_refuses(forest: MemoryForest) -> None:
    kernel = Kernel(forest, passthrough=True)
    try:
        kernel.ask(wire.INIT, 0, init_request())
        big = kernel.walk(b"p", b"big")
        # A socket does not know the ioctl: whatever the refusal, the file is read the usual way.
        error, reply = kernel.ask(wire.OPEN, big, struct.pack("<II", os.O_RDONLY, 0))
        assert error == 0
        _, flags, backing = struct.unpack("<QIi", reply)
        assert flags & wire.FOPEN_KEEP_CACHE
        assert not flags & wire.FOPEN_PASSTHROUGH
        assert backing == 0
        assert "not passed through" in kernel.reports[0][0]
        assert kernel.ask(wire.OPEN, big, struct.pack("<II", os.O_RDWR, 0))[0] == errno.EROFS
        assert kernel.ask(wire.RELEASE, big, bytes(24))[0] == 0
        assert kernel.read(big, 0, 10) == (0, BIG[:10])
    finally:
        kernel.close()


def test_statfs_is_that_of_the_blobs(kernel: Kernel, scratch: Path) -> None:
    error, reply = kernel.ask(wire.STATFS, ROOT)
    assert error == 0
    assert struct.unpack_from("<Q", reply)[0] == os.statvfs(scratch).f_blocks


def test_counts_requests(kernel: Kernel) -> None:
    kernel.walk(b"p", b"small")
    kernel.lookup(ROOT, b"nothing")
    assert kernel.server.statistics()["requests lookup"] == 3
