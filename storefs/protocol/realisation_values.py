"""How realisations look in the worker protocol: as their JSON text since 1.31, as a bare path before.

Sans-I/O, over `wire`. Apart from `worker_values`, because realisations need `json`, and few connections carry one.
Semantics: worker-protocol.cc and daemon.cc of Nix 2.8.
"""

from __future__ import annotations

from storefs.formats.realisation import Realisation, parse_drv_output, parse_realisation
from storefs.formats.store_path import StorePath
from storefs.protocol.worker_values import read_paths, write_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.realisation import DrvOutput
    from storefs.formats.store_path import StoreDir
    from storefs.protocol.wire import Reader, Writer

_JSON_SINCE = 31


def write_registration(writer: Writer, version: int, realisation: Realisation) -> None:
    """Add the arguments of REGISTER_DRV_OUTPUT."""
    if version < _JSON_SINCE:
        writer.string(str(realisation.id)).string(realisation.path.base_name)
    else:
        writer.data(realisation.to_json())


def read_registration(reader: Reader, version: int) -> Realisation:
    """Take the arguments of REGISTER_DRV_OUTPUT; raises BadRealisationError."""
    if version < _JSON_SINCE:
        output = parse_drv_output(reader.string())
        return Realisation(output, StorePath(reader.string()))
    return parse_realisation(reader.string(), "protocol")


def write_realisation_answer(writer: Writer, version: int, store_dir: StoreDir, found: Realisation | None) -> None:
    """Add the answer to QUERY_REALISATION: a set of at most one."""
    if version < _JSON_SINCE:
        write_paths(writer, [] if found is None else [found.path], store_dir)
    else:
        writer.number(0 if found is None else 1)
        if found is not None:
            writer.data(found.to_json())


def read_realisation_answer(reader: Reader, version: int, store_dir: StoreDir, output: DrvOutput) -> Realisation | None:
    """Take the answer to QUERY_REALISATION; raises BadRealisationError."""
    if version < _JSON_SINCE:
        paths = read_paths(reader, store_dir)
        return Realisation(output, paths[0]) if paths else None
    found = [parse_realisation(reader.string(), "protocol") for _ in range(reader.number())]
    return found[0] if found else None
