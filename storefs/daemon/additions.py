"""The daemon's operations that add something to the store.

Whoever is not trusted can't make a path hold other content than its name promises: signatures are checked, what a
client claims to have built itself is not believed, and content addresses are computed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs.errors import StoreError
from storefs.formats.hashes import parse_hash
from storefs.formats.nar import NarStream, Regular, parse_nar, write_nar
from storefs.formats.path_info import PathInfo
from storefs.protocol import worker_ops as op
from storefs.protocol.realisation_values import read_registration
from storefs.protocol.wire import ProtocolError, Reader
from storefs.protocol.worker_values import read_optional_path, read_path_info, read_paths, write_path_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.daemon.request import Operation, Request


class NotPrivilegedError(StoreError):
    """An operation that only trusted users may ask for."""


def _add_to_store(request: Request) -> None:
    if request.version < 25:
        _add_to_store_unframed(request)
        return
    name, method = request.reader.string(), request.reader.string()
    references = read_paths(request.reader, request.directory)
    repair = request.reader.boolean()
    with request.work(), request.framed() as frames:
        _check_repair(request, asked=repair)
        info = request.service.add_content_addressed(name, method, frames, references, repair=repair)
    write_path_info(request.writer, info, request.version, request.directory, with_path=True)


def _add_to_store_unframed(request: Request) -> None:
    name = request.reader.string()
    fixed, recursive = request.reader.boolean(), request.reader.number()
    algorithm = request.reader.string()
    if recursive > 1:
        raise ProtocolError(f"unsupported FileIngestionMethod with value of {recursive}")
    if not fixed:  # how clients before 1.2 asked for a source
        recursive, algorithm = 1, "sha256"
    method = f"fixed:{'r:' if recursive else ''}{algorithm}"
    # The end of a NAR is only found by parsing it: the next request follows directly.
    events = parse_nar(request.reader)
    content: Iterator[bytes]
    if recursive:
        content = write_nar(events)
    else:
        first = next(events)
        if not isinstance(first, Regular):
            for _ in events:  # a clear answer needs a stream in step (row D3)
                pass
            request.tunnel.start_work()
            raise StoreError("regular file expected")
        content = (bytes(piece) for piece in events if isinstance(piece, (bytes, bytearray, memoryview)))
    with request.work():
        try:
            info = request.service.add_content_addressed(name, method, content, (), repair=False)
        finally:
            for _ in content:
                pass
    request.writer.string(request.directory.print(info.path))


def _add_text_to_store(request: Request) -> None:
    name, content = request.reader.string(), request.reader.data()
    references = read_paths(request.reader, request.directory)
    with request.work():
        path = request.store.add_text(name, content, references)
    request.writer.string(request.directory.print(path))


def _add_to_store_nar(request: Request) -> None:
    reader = request.reader
    path = request.path()
    deriver = read_optional_path(reader, request.directory)
    nar_hash = parse_hash(reader.string(), "sha256")
    references = read_paths(reader, request.directory)
    registration_time, nar_size, ultimate = reader.number(), reader.number(), reader.boolean()
    signatures, address = reader.strings(), reader.string()
    repair, unchecked = reader.boolean(), reader.boolean()
    trusted = request.peer.trusted
    info = PathInfo(
        path, nar_hash, nar_size, references, deriver, signatures, address, registration_time, ultimate and trusted
    )
    check = not (unchecked and trusted)
    add = request.service.add_nars
    if request.version >= 23:
        with request.work(), request.framed() as frames:
            _check_repair(request, asked=repair)
            add([(info, frames)], repair=repair, check_signatures=check)
    elif request.version >= 21:
        with request.work():
            _check_repair(request, asked=repair)
            add([(info, request.tunnel.requested_data())], repair=repair, check_signatures=check)
    else:
        nar = NarStream(parse_nar(reader))
        with request.work():
            try:
                _check_repair(request, asked=repair)
                add([(info, nar)], repair=repair, check_signatures=check)
            finally:
                for _ in nar.events:
                    pass


def _add_multiple_to_store(request: Request) -> None:
    repair, unchecked = request.reader.boolean(), request.reader.boolean()
    check = not (unchecked and request.peer.trusted)
    with request.work(), request.framed() as frames:
        _check_repair(request, asked=repair)
        request.service.add_nars(_read_additions(request, Reader(frames)), repair=repair, check_signatures=check)


def _read_additions(request: Request, inner: Reader) -> Iterator[tuple[PathInfo, NarStream]]:
    for _ in range(inner.number()):
        info = read_path_info(inner, 16, request.directory)
        nar = NarStream(parse_nar(inner))
        yield (info if request.peer.trusted else info.replace(ultimate=False)), nar
        for _ in nar.events:
            pass


def _import_paths(request: Request) -> None:
    with request.work():
        chunks = request.tunnel.requested_data()
        paths = request.service.import_paths(chunks, check_signatures=not request.peer.trusted)
    request.writer.strings(request.directory.print(path) for path in paths)


def _export_path(request: Request) -> None:
    path = request.path()
    request.reader.number()  # whether to sign, of no meaning any more
    with request.work():
        for chunk in request.service.export_path(path):
            request.tunnel.send_data(chunk)
    request.writer.number(1)


def _add_signatures(request: Request) -> None:
    path, signatures = request.path(), request.reader.strings()
    with request.work():
        _require_trust(request, "you are not privileged to add signatures")
        request.service.add_signatures(path, signatures)
    request.writer.number(1)


def _add_build_log(request: Request) -> None:
    path = request.directory.parse(f"{request.directory.path}/{request.reader.string()}")
    with request.work(), request.framed() as frames:
        _require_trust(request, "you are not privileged to add logs")
        request.service.add_build_log(path, frames)
    request.writer.number(1)


def _add_temp_root(request: Request) -> None:
    path = request.path()
    with request.work():
        request.store.add_temp_root(path)
    request.writer.number(1)


def _add_indirect_root(request: Request) -> None:
    link = request.reader.string()
    with request.work():
        request.service.add_root(link)
    request.writer.number(1)


def _register_drv_output(request: Request) -> None:
    realisation = read_registration(request.reader, request.version)
    with request.work():
        request.service.register_realisation(realisation, check_signatures=not request.peer.trusted)


def _check_repair(request: Request, *, asked: bool) -> None:
    """Refuse repairs to somebody who is not trusted: they must not be able to replace what is there (row V8)."""
    if asked and not request.peer.trusted:
        raise NotPrivilegedError("you are not privileged to repair paths")


def _require_trust(request: Request, message: str) -> None:
    if not request.peer.trusted:
        raise NotPrivilegedError(message)


ADDITIONS: dict[int, Operation] = {
    op.ADD_TO_STORE: _add_to_store,
    op.ADD_TEXT_TO_STORE: _add_text_to_store,
    op.ADD_TO_STORE_NAR: _add_to_store_nar,
    op.ADD_MULTIPLE_TO_STORE: _add_multiple_to_store,
    op.IMPORT_PATHS: _import_paths,
    op.EXPORT_PATH: _export_path,
    op.ADD_SIGNATURES: _add_signatures,
    op.ADD_BUILD_LOG: _add_build_log,
    op.ADD_TEMP_ROOT: _add_temp_root,
    op.ADD_INDIRECT_ROOT: _add_indirect_root,
    op.REGISTER_DRV_OUTPUT: _register_drv_output,
}
