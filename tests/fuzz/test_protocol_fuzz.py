"""Hostile sessions with the daemon: each ends in an answer or in one clear error, and the store stays what it was.

And hostile daemons: what they say costs the client an error.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import threading
import time
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

from builder.daemon_service import BuildingService
from storefs.daemon.peer import Peer
from storefs.daemon.session import serve_client
from storefs.errors import StoreError
from storefs.formats.content_address import FLAT, RECURSIVE, parse_content_address
from storefs.formats.derived_path import DerivedPath
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes, parse_nar
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.protocol.wire import Reader, Writer
from storefs.protocol.worker_ops import STDERR_ERROR, STDERR_LAST
from storefs.stores.remote import RemoteStore
from tests.fuzz.protocol_cases import Sessions, damaged
from tests.store_invariants import check_invariants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storefs.config import Config
    from storefs.stores.local import LocalStore
    from tests.fuzz.protocol_cases import Session

pytestmark = pytest.mark.slow

CASES = 100_000  # with --deep, over all seeds
SEEDS = 20
BLOCK = 100  # sessions between two looks at the store
SLOWEST = 10  # seconds of processor time
GROWTH = 64 << 20  # bytes
TRUSTED, STRANGER = Peer(1, "root", trusted=True), Peer(2, "mallory", trusted=False)
_YES = Writer().number(STDERR_LAST).number(1).take()
_ERROR = Writer().number(STDERR_ERROR).take()


@pytest.fixture
def silence() -> Iterator[None]:
    """No log: it would warn of settings that make no sense, in texts that are no text."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def hangup_fd() -> Iterator[int]:
    """A descriptor that never hangs up."""
    read, write = os.pipe()
    yield read
    os.close(read)
    os.close(write)


def plant(store: LocalStore) -> list[StorePath]:
    """Paths that an administrator has added, with references, a deriver and a signature."""
    with store.intake() as intake:
        file, other = intake.add_bytes(b"planted"), intake.add_bytes(b"other" * 100)
        first = PathInfo(StorePath("0" * 32 + "-first"), file.nar_hash, file.nar_size, ultimate=True)
        second = PathInfo(
            StorePath("1" * 32 + "-second"),
            other.nar_hash,
            other.nar_size,
            [first.path, StorePath("1" * 32 + "-second")],
            StorePath("2" * 32 + "-second.drv"),
            ["k:c2ln"],
        )
        intake.register([(file, first), (other, second)])
    return [first.path, second.path]


def serve(service: BuildingService, session: Session, peer: Peer, hangup_fd: int, step: int) -> None:
    """Let the daemon serve one session, and look at what it says."""
    data, said = session.data, []
    reader = Reader(data[start : start + step] for start in range(0, len(data), step))
    failed = False
    begun = time.thread_time()
    try:
        served = serve_client(reader, said.append, service, peer, hangup_fd=hangup_fd)
    except StoreError as error:
        failed = True
        assert "Traceback" not in str(error)
    assert time.thread_time() - begun < SLOWEST
    if not session.in_step:
        return
    if failed:
        assert any(piece.startswith(_ERROR) for piece in said[-2:]), said
    else:
        assert served == session.requests
        assert said[-1] == _YES


def check_block(store: LocalStore, before: dict[StorePath, PathInfo], peer: Peer) -> None:
    """A stranger has changed nothing that was there, and what they added proves itself."""
    spooled = [name for _, _, names in os.walk(f"{store.config.verglas_dir}/tmp") for name in names]
    assert spooled == []
    infos = store.path_infos(store.all_valid_paths())
    assert infos.keys() >= before.keys()
    if peer.trusted:
        return  # who may repair what was there, and add what nothing proves
    for path, info in before.items():
        assert infos[path] == info
    for path in infos.keys() - before.keys():
        info = infos[path]
        assert info.ca, path
        assert not info.ultimate, path
        address = parse_content_address(info.ca)
        others = [reference for reference in info.references if reference != path]
        assert path == address.store_path(store.directory, path.name, others, path in info.references)
        if address.method == RECURSIVE:
            content = b"".join(store.nar(path))
        else:
            assert address.method == FLAT or address.hash.algo == "sha256"
            content = b"".join(
                bytes(event) for event in parse_nar(Reader(store.nar(path))) if isinstance(event, (bytes, memoryview))
            )
        assert hash_bytes(address.hash.algo, content) == address.hash, path


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=pytest.mark.deep if seed > 1 else ()) for seed in range(SEEDS)],
)
def test_hostile_sessions_change_nothing(
    local_fuzz_store: LocalStore, config: Config, hangup_fd: int, seed: int, request: pytest.FixtureRequest
) -> None:
    deep = request.config.getoption("--deep")
    # Fresh seeds in depth; what fails is told with its seed.
    random = Random(chosen := time.time_ns() if deep else seed)
    print(f"seed {chosen}")
    config = config.with_settings([("substituters", ""), ("max-jobs", "0"), ("fsync-metadata", "false")])
    store = local_fuzz_store
    known = plant(store)
    sessions = Sessions(random, store.directory, [store.directory.print(path) for path in known])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for block in range(CASES // SEEDS // BLOCK if deep else 4):
        peer = random.choice([TRUSTED, STRANGER])
        before = store.path_infos(store.all_valid_paths())
        for _ in range(BLOCK):
            session = sessions.session()
            service = BuildingService(store, config)
            serve(service, session, peer, hangup_fd, random.choice([1, 8, 13, 4096, 1 << 16]))
        check_block(store, before, peer)
        if block % 10 == 9:
            check_invariants(store)
            store.release_temp_roots()
            collector = store.collector()
            collector.delete(set(store.all_valid_paths()) - set(known))
            collector.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown << 10 < GROWTH


# What a client may ask, for what a server may answer.
QUESTIONS: list[Callable[[RemoteStore, StorePath], object]] = [
    lambda remote, path: remote.path_info(path),
    lambda remote, path: remote.find_path_info(path),
    lambda remote, path: remote.valid_paths([path]),
    lambda remote, path: list(remote.all_valid_paths()),
    lambda remote, path: remote.referrers(path),
    lambda remote, path: remote.valid_derivers(path),
    lambda remote, path: remote.from_hash_part(path.hash_part),
    lambda remote, path: b"".join(remote.nar(path)),
    lambda remote, path: remote.missing([DerivedPath(path)]),
    lambda remote, path: remote.build_paths_with_results([DerivedPath(path)]),
    lambda remote, path: remote.add_text("text", b"text", [path]),
    lambda remote, path: remote.add_content_addressed("nar", "fixed:r:sha256", [nar_of_bytes(b"x")]),
    lambda remote, path: remote.find_roots(),
    lambda remote, path: remote.collect_garbage(0),
]


def recorded(service: BuildingService, ask: Callable[[RemoteStore], object], version: int, hangup_fd: int) -> bytes:
    """What a client hears from our daemon while it asks."""
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        while data := ours.recv(1 << 16):
            heard.append(data)
            yield data

    def answer() -> None:
        with theirs:
            reader = Reader(iter(lambda: theirs.recv(1 << 16), b""))
            serve_client(reader, theirs.sendall, service, TRUSTED, hangup_fd=hangup_fd)

    server = threading.Thread(target=answer)
    server.start()
    remote = client_of(service.store, chunks(), ours.sendall, ours.close, version)
    with closing(remote):
        ask(remote)
    server.join()
    return b"".join(heard)


def client_of(
    store: LocalStore,
    chunks: Iterator[bytes],
    send: Callable[[bytes], object],
    close: Callable[[], object],
    version: int,
) -> RemoteStore:
    return RemoteStore("daemon", store.directory, lambda: (chunks, send, close), version=version)


def test_a_hostile_daemon_costs_its_client_an_error(
    local_fuzz_store: LocalStore, config: Config, hangup_fd: int, request: pytest.FixtureRequest
) -> None:
    config = config.with_settings([("substituters", ""), ("max-jobs", "0")])
    path = plant(local_fuzz_store)[1]
    random = Random(chosen := time.time_ns() if request.config.getoption("--deep") else 1)
    print(f"seed {chosen}")
    service = BuildingService(local_fuzz_store, config)
    known = []
    for version in (37, 34, 21):
        for ask in QUESTIONS[: None if version >= 34 else 8]:
            heard = recorded(service, lambda remote, ask=ask: ask(remote, path), version, hangup_fd)
            known.append((ask, version, heard))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(CASES if request.config.getoption("--deep") else 1000):
        ask, version, heard = random.choice(known)
        bad, step = damaged(random, heard), random.choice([1, 8, 13, 1 << 16])
        pieces = (bad[start : start + step] for start in range(0, len(bad), step))
        remote = client_of(local_fuzz_store, pieces, lambda data: None, lambda: None, version)
        begun = time.thread_time()
        try:
            ask(remote, path)
        except StoreError as error:
            assert "Traceback" not in str(error)
        assert time.thread_time() - begun < SLOWEST
        remote.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory << 10 < GROWTH
