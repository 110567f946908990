"""The answering side of the serve protocol, 2.1 to 2.7: what `nix-store --serve` speaks to `ssh://` clients.

One client, on one stream, one question after the other. What builders print goes to standard error, which ssh passes
on as it comes. Semantics: `opServe` in nix-store.cc of Nix 2.8.
"""

from __future__ import annotations

import os

from builder.serve_work import DaemonsStore, OwnStore
from storefs import logs
from storefs.errors import StoreError, UsageError
from storefs.formats.byte_reader import UnexpectedEndError
from storefs.formats.derivation import FLOATING
from storefs.formats.derived_path import DerivedPath
from storefs.formats.export import read_export
from storefs.formats.hashes import Hash
from storefs.formats.nar import NarStream, parse_nar
from storefs.formats.path_info import PathInfo
from storefs.protocol.built_outputs import write_built_outputs
from storefs.protocol.wire import ProtocolError, Reader, Writer
from storefs.protocol.worker_values import (
    read_basic_derivation,
    read_optional_path,
    read_paths,
    write_optional_path,
    write_paths,
)
from storefs.stores.closure import closure, closure_with_outputs
from storefs.stores.derivation_outputs import drv_hash_text
from storefs.stores.local import LocalStore
from storefs.stores.mountpoint import mount_for_everybody
from storefs.stores.open import open_remote_store
from storefs.stores.transfer import export_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.serve_work import ServedStore
    from storefs.api import BuildResult
    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.stores.remote import RemoteStore

_MAGIC_1, _MAGIC_2 = 0x390C9DEB, 0x5452EECB
_VERSION = 0x207


class ServeSession:
    """One client.

    Args:
        config: settings; those that the client sends are added.
        served: what is served.
        reader: what the client says.
        send: answers.
        may_write: whether the client may add and build (`--write`).
    """

    def __init__(
        self,
        config: Config,
        served: ServedStore,
        reader: Reader,
        send: Callable[[bytes], object],
        *,
        may_write: bool,
    ) -> None:
        self._config = config
        self._served = served
        self._store = served.store
        self._directory = served.store.directory
        self._reader = reader
        self._writer = Writer()
        self._send = send
        self._may_write = may_write
        self._minor = 0

    def run(self) -> None:
        """Serve until the client is gone.

        Raises:
            StoreError: the client broke the protocol, or something failed for which the protocol has no answer.
        """
        if self._reader.number() != _MAGIC_1:
            raise ProtocolError("protocol mismatch")
        self._writer.number(_MAGIC_2).number(_VERSION)
        self._flush()
        self._minor = min(self._reader.number() & 0xFF, _VERSION & 0xFF)
        while True:
            try:
                number = self._reader.number()
            except UnexpectedEndError:
                return
            operation = _OPERATIONS.get(number)
            if operation is None:
                raise ProtocolError(f"unknown serve command {number}")
            operation(self)
            self._flush()

    def _flush(self) -> None:
        self._send(self._writer.take())

    def _require_write(self) -> None:
        if not self._may_write:
            raise UsageError("this connection may not change the store; 'nix-store --serve --write' may")

    def _query_valid(self) -> None:
        lock, substitute = self._reader.boolean(), self._reader.boolean()
        paths = read_paths(self._reader, self._directory)
        if lock and self._may_write:
            for path in paths:
                self._store.add_temp_root(path)
        if substitute and self._may_write:
            self._served.fetch(self._config, set(paths) - self._store.valid_paths(paths))
        write_paths(self._writer, sorted(self._store.valid_paths(paths)), self._directory)

    def _query_infos(self) -> None:
        paths = read_paths(self._reader, self._directory)
        for path, info in self._served.path_infos(paths).items():
            self._writer.string(self._directory.print(path))
            write_optional_path(self._writer, info.deriver, self._directory)
            write_paths(self._writer, info.references, self._directory)
            self._writer.number(info.nar_size).number(info.nar_size)
            if self._minor >= 4:
                self._writer.string(info.nar_hash.to_string("base32", True))
                self._writer.string(info.ca).strings(info.signatures)
        self._writer.string("")

    def _dump(self) -> None:
        path = self._directory.parse(self._reader.string())
        for piece in self._store.nar(path):
            self._send(piece)

    def _import(self) -> None:
        self._require_write()
        with self._store.intake() as intake:
            additions = []
            for tree, exported in read_export(self._reader, self._directory, intake.add_nar):
                self._store.add_temp_root(exported.path)
                info = PathInfo(exported.path, tree.nar_hash, tree.nar_size, exported.references, exported.deriver)
                additions.append((tree, info))
            intake.register(additions)
        self._writer.number(1)

    def _export(self) -> None:
        self._reader.number()
        for piece in export_paths(self._store, read_paths(self._reader, self._directory)):
            self._send(piece)

    def _read_limits(self) -> None:
        """Take the settings that a build request begins with."""
        reader, minor = self._reader, self._minor
        pairs = [("max-silent-time", str(reader.number())), ("timeout", str(reader.number()))]
        if minor >= 2:
            pairs.append(("max-build-log-size", str(reader.number())))
        if minor >= 3:
            pairs += [("repeat", str(reader.number())), ("enforce-determinism", _truth(reader.boolean()))]
        if minor >= 7:
            pairs.append(("keep-failed", _truth(reader.boolean())))
        self._config = self._config.with_settings(pairs)

    def _build_paths(self) -> None:
        self._require_write()
        texts = self._reader.strings()
        self._read_limits()
        targets = []
        for text in texts:
            name, _, outputs = text.partition("!")
            path = self._directory.parse(name)
            wanted = tuple(outputs.split(",")) if outputs else ()
            targets.append(DerivedPath(path, wanted if path.is_derivation else None))
        failed = [result for result in self._served.build(self._config, targets) if not result.ok]
        if failed:
            self._writer.number(failed[0].status.value).string(failed[0].message)
        else:
            self._writer.number(0)

    def _query_closure(self) -> None:
        include_outputs = self._reader.boolean()
        paths = read_paths(self._reader, self._directory)
        found = (closure_with_outputs if include_outputs else closure)(self._store, paths)
        write_paths(self._writer, sorted(found), self._directory)

    def _build_derivation(self) -> None:
        self._require_write()
        path = self._directory.parse(self._reader.string())
        derivation = read_basic_derivation(self._reader, path.name.removesuffix(".drv"), self._directory)
        self._read_limits()
        self._write_result(self._served.build_derivation(self._config, path, derivation), derivation)

    def _write_result(self, result: BuildResult, derivation: Derivation) -> None:
        self._writer.number(result.status.value).string(result.message)
        if self._minor >= 3:
            self._writer.number(1 if result.stop_time else 0).boolean(False)
            self._writer.number(result.start_time).number(result.stop_time)
        if self._minor >= 6:
            # Whoever asks knows the paths that are written in the derivation.
            outputs = result.outputs if derivation.kind() is FLOATING else {}
            write_built_outputs(self._writer, outputs, drv_hash_text(self._store, derivation))

    def _add_nar(self) -> None:
        self._require_write()
        reader = self._reader
        path = self._directory.parse(reader.string())
        deriver = read_optional_path(reader, self._directory)
        nar_hash = Hash("sha256", bytes.fromhex(reader.string()))
        references = read_paths(reader, self._directory)
        registered, size, ultimate = reader.number(), reader.number(), reader.boolean()
        signatures, ca = reader.strings(), reader.string()
        info = PathInfo(path, nar_hash, size, references, deriver, signatures, ca, registered, ultimate)
        self._served.take_nar(info, NarStream(parse_nar(reader)))
        self._writer.number(1)


_OPERATIONS = {
    1: ServeSession._query_valid,
    2: ServeSession._query_infos,
    3: ServeSession._dump,
    4: ServeSession._import,
    5: ServeSession._export,
    6: ServeSession._build_paths,
    7: ServeSession._query_closure,
    8: ServeSession._build_derivation,
    9: ServeSession._add_nar,
}


def _truth(value: bool) -> str:
    return "true" if value else "false"


def serve_stdio(config: Config, store: LocalStore | RemoteStore, *, may_write: bool) -> int:
    """Serve one client on standard input and output; nothing else is printed there.

    Raises:
        StoreError: the client broke the protocol.
    """
    output = os.dup(1)
    os.dup2(2, 1)  # whatever prints by mistake must not get into the protocol
    if may_write and isinstance(store, LocalStore):
        # Who copies something to a machine, or builds it there, wants to find it there, too.
        try:
            mount_for_everybody(config)
        except StoreError as error:
            logs.warn(f"what is copied to this store can't be seen in its directory: {error}")

    def send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(output, view) :]

    reader = Reader(iter(lambda: os.read(0, 1 << 16), b""))
    if isinstance(store, LocalStore):
        served: ServedStore = OwnStore(store, hangup_fd=0)
    else:
        served = DaemonsStore(store, open_remote_store)
    ServeSession(config, served, reader, send, may_write=may_write).run()
    return 0
