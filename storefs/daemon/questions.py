"""The daemon's operations that only ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs.formats.content_address import parse_content_address
from storefs.formats.path_info import InvalidPathError
from storefs.formats.realisation import parse_drv_output
from storefs.protocol import worker_ops as op
from storefs.protocol.realisation_values import write_realisation_answer
from storefs.protocol.worker_values import (
    read_derived_paths,
    read_paths,
    write_optional_path,
    write_paths,
)
from storefs.stores.known_outputs import known_outputs

if TYPE_CHECKING:
    from storefs.api import Offer
    from storefs.daemon.request import Operation, Request
    from storefs.formats.store_path import StorePath


def _is_valid_path(request: Request) -> None:
    answers = request.service.answers
    key = answers.key(request.reader.data())
    with request.work():
        valid = answers.is_valid(key)
    request.writer.boolean(valid)


def _query_valid_paths(request: Request) -> None:
    answers = request.service.answers
    paths = answers.paths(request.reader.byte_strings())
    substitute = request.version >= 27 and request.reader.boolean()
    with request.work():
        if substitute:
            wanted = [request.directory.parse(text.decode("ascii")) for text in paths.values()]
            request.service.substitute(wanted, request.tunnel, hangup_fd=request.hangup_fd)
        valid = answers.valid(paths)
    request.writer.byte_strings(valid)


def _query_all_valid_paths(request: Request) -> None:
    with request.work():
        paths = list(request.store.all_valid_paths())
    write_paths(request.writer, paths, request.directory)


def _query_path_info(request: Request) -> None:
    answers = request.service.answers
    text = request.reader.data()
    key = answers.key(text)
    with request.work():
        info = answers.path_info(key, request.version)
        if info is None and request.version < 17:
            raise InvalidPathError(request.directory, request.directory.parse(text.decode("ascii")))
    if request.version >= 17:
        request.writer.boolean(info is not None)
    if info is not None:
        request.writer.raw(info)


def _query_path_hash(request: Request) -> None:
    path = request.path()
    with request.work():
        info = request.store.path_info(path)
    request.writer.string(info.nar_hash.to_string("base16", False))


def _query_deriver(request: Request) -> None:
    path = request.path()
    with request.work():
        info = request.store.path_info(path)
    write_optional_path(request.writer, info.deriver, request.directory)


def _query_references(request: Request) -> None:
    path = request.path()
    with request.work():
        info = request.store.path_info(path)
    write_paths(request.writer, info.references, request.directory)


def _query_referrers(request: Request) -> None:
    path = request.path()
    with request.work():
        paths = request.store.referrers(path)
    write_paths(request.writer, paths, request.directory)


def _query_valid_derivers(request: Request) -> None:
    path = request.path()
    with request.work():
        paths = request.store.valid_derivers(path)
    write_paths(request.writer, paths, request.directory)


def _query_derivation_outputs(request: Request) -> None:
    path = request.path()
    with request.work():
        outputs = known_outputs(request.store, request.store.derivation(path))
    write_paths(request.writer, outputs.values(), request.directory)


def _query_derivation_output_names(request: Request) -> None:
    path = request.path()
    with request.work():
        names = sorted(request.store.derivation(path).outputs)
    request.writer.strings(names)


def _query_derivation_output_map(request: Request) -> None:
    path = request.path()
    with request.work():
        derivation = request.store.derivation(path)
        outputs = known_outputs(request.store, derivation)
    request.writer.number(len(derivation.outputs))
    for name in sorted(derivation.outputs):
        request.writer.string(name)
        write_optional_path(request.writer, outputs.get(name), request.directory)


def _query_path_from_hash_part(request: Request) -> None:
    hash_part = request.reader.string()
    with request.work():
        path = request.store.from_hash_part(hash_part)
    write_optional_path(request.writer, path, request.directory)


def _nar_from_path(request: Request) -> None:
    path = request.path()
    with request.work():
        chunks = request.store.nar(path)
        first = next(chunks)  # raises here, while the client listens, if the path is not valid
    request.tunnel.flush()
    request.tunnel.send_raw(first)
    for chunk in chunks:
        request.tunnel.send_raw(chunk)


def _has_substitutes(request: Request) -> None:
    path = request.path()
    with request.work():
        found = path in request.service.offers([path])
    request.writer.boolean(found)


def _query_substitutable_paths(request: Request) -> None:
    paths = read_paths(request.reader, request.directory)
    with request.work():
        found = request.service.offers(paths)
    write_paths(request.writer, found, request.directory)


def _query_substitutable_path_info(request: Request) -> None:
    path = request.path()
    with request.work():
        offer = request.service.offers([path]).get(path)
    request.writer.boolean(offer is not None)
    if offer is not None:
        _write_offer(request, offer)


def _query_substitutable_path_infos(request: Request) -> None:
    paths: list[StorePath] = []
    if request.version >= 22:
        for _ in range(request.reader.number()):
            paths.append(request.path())
            address = request.reader.string()
            if address:
                parse_content_address(address)
    else:
        paths = read_paths(request.reader, request.directory)
    with request.work():
        offers = request.service.offers(paths)
    request.writer.number(len(offers))
    for path in sorted(offers):
        request.writer.string(request.directory.print(path))
        _write_offer(request, offers[path])


def _write_offer(request: Request, offer: Offer) -> None:
    write_optional_path(request.writer, offer.info.deriver, request.directory)
    write_paths(request.writer, offer.info.references, request.directory)
    request.writer.number(offer.download_size).number(offer.info.nar_size)


def _query_missing(request: Request) -> None:
    targets = read_derived_paths(request.reader, request.version, request.directory)
    with request.work():
        missing = request.service.missing(targets)
    for paths in (missing.will_build, missing.will_substitute, missing.unknown):
        write_paths(request.writer, paths, request.directory)
    request.writer.number(missing.download_size).number(missing.nar_size)


def _query_realisation(request: Request) -> None:
    text = request.reader.string()
    with request.work():
        found = request.store.realisation(parse_drv_output(text))
    write_realisation_answer(request.writer, request.version, request.directory, found)


def _query_failed_paths(request: Request) -> None:
    with request.work():
        pass
    request.writer.strings([])


def _find_roots(request: Request) -> None:
    with request.work():
        roots = request.service.find_roots(censor=not request.peer.trusted)
    request.writer.number(len(roots))
    for link, path in roots:
        request.writer.string(link).string(request.directory.print(path))


QUESTIONS: dict[int, Operation] = {
    op.IS_VALID_PATH: _is_valid_path,
    op.QUERY_VALID_PATHS: _query_valid_paths,
    op.QUERY_ALL_VALID_PATHS: _query_all_valid_paths,
    op.QUERY_PATH_INFO: _query_path_info,
    op.QUERY_PATH_HASH: _query_path_hash,
    op.QUERY_DERIVER: _query_deriver,
    op.QUERY_REFERENCES: _query_references,
    op.QUERY_REFERRERS: _query_referrers,
    op.QUERY_VALID_DERIVERS: _query_valid_derivers,
    op.QUERY_DERIVATION_OUTPUTS: _query_derivation_outputs,
    op.QUERY_DERIVATION_OUTPUT_NAMES: _query_derivation_output_names,
    op.QUERY_DERIVATION_OUTPUT_MAP: _query_derivation_output_map,
    op.QUERY_PATH_FROM_HASH_PART: _query_path_from_hash_part,
    op.NAR_FROM_PATH: _nar_from_path,
    op.HAS_SUBSTITUTES: _has_substitutes,
    op.QUERY_SUBSTITUTABLE_PATHS: _query_substitutable_paths,
    op.QUERY_SUBSTITUTABLE_PATH_INFO: _query_substitutable_path_info,
    op.QUERY_SUBSTITUTABLE_PATH_INFOS: _query_substitutable_path_infos,
    op.QUERY_MISSING: _query_missing,
    op.QUERY_REALISATION: _query_realisation,
    op.QUERY_FAILED_PATHS: _query_failed_paths,
    op.FIND_ROOTS: _find_roots,
}
