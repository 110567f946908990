"""A store behind `nix-store --serve`, as `ssh://` reaches it: the asking side of the serve protocol, 2.1 to 2.7.

It answers few questions, one after the other on one connection: what is valid, what it contains, take this, build
that. Used to build on other machines and to copy to and from them. Not thread-safe. Semantics: serve-protocol.hh and
legacy-ssh-store.cc of Nix 2.8.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.hashes import parse_hash
from storefs.formats.nar import parse_nar, write_nar
from storefs.formats.path_info import PathInfo
from storefs.protocol.built_outputs import read_built_outputs
from storefs.protocol.wire import ProtocolError, Reader, Writer
from storefs.protocol.worker_values import (
    WireBuildResult,
    read_optional_path,
    read_paths,
    write_basic_derivation,
    write_optional_path,
    write_paths,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.stores.ssh import Channel

_MAGIC_1, _MAGIC_2 = 0x390C9DEB, 0x5452EECB
_VERSION = 0x207
_QUERY_VALID, _QUERY_INFOS, _DUMP, _IMPORT, _BUILD_DERIVATION, _ADD_NAR = 1, 2, 3, 4, 8, 9
_EXPORT_MAGIC = 0x4558494E


class ServeStore:
    """See the module.

    Args:
        uri: its name in messages.
        directory: the logical store directory.
        connect: opens the stream.

    Raises:
        StoreError: the other side can't be reached, or speaks something else.
    """

    def __init__(self, uri: str, directory: StoreDir, connect: Callable[[], Channel]) -> None:
        self.uri = uri
        self.directory = directory
        chunks, self._send, self._close = connect()
        self._reader = Reader(chunks)
        self._writer = Writer()
        try:
            self._writer.number(_MAGIC_1).number(_VERSION)
            self._flush()
            if self._reader.number() != _MAGIC_2:
                raise ProtocolError(f"protocol mismatch with 'nix-store --serve' on '{uri}'")
            version = self._reader.number()
        except (StoreError, OSError) as error:
            self._close()
            raise StoreError(f"cannot connect to '{uri}': {error}") from error
        if version >> 8 != 2:
            self._close()
            raise ProtocolError(f"unsupported 'nix-store --serve' protocol version on '{uri}'")
        self._minor = min(version & 0xFF, _VERSION & 0xFF)

    def close(self) -> None:
        """End the connection."""
        self._close()

    def valid_paths(
        self, paths: Iterable[StorePath], *, lock: bool = False, substitute: bool = False
    ) -> set[StorePath]:
        """Return those that are valid there; `lock` keeps them from being collected while we are connected."""
        self._writer.number(_QUERY_VALID).boolean(lock).boolean(substitute)
        write_paths(self._writer, paths, self.directory)
        self._flush()
        return set(read_paths(self._reader, self.directory))

    def path_infos(self, paths: Iterable[StorePath]) -> dict[StorePath, PathInfo]:
        """Return what is registered there about those that are valid (2.4 and later)."""
        self._writer.number(_QUERY_INFOS)
        write_paths(self._writer, paths, self.directory)
        self._flush()
        found = {}
        while text := self._reader.string():
            path = self.directory.parse(text)
            deriver = read_optional_path(self._reader, self.directory)
            references = read_paths(self._reader, self.directory)
            self._reader.number()  # download size
            size = self._reader.number()
            if self._minor < 4:
                raise ProtocolError(f"'{self.uri}' is too old: it does not tell the hashes of paths")
            nar_hash = parse_hash(self._reader.string(), None)
            ca = self._reader.string()
            signatures = self._reader.strings()
            found[path] = PathInfo(path, nar_hash, size, references, deriver, signatures, ca)
        return found

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """Yield the NAR of a valid path. The caller takes all of it before asking anything else."""
        self._writer.number(_DUMP).string(self.directory.print(path))
        self._flush()
        return write_nar(parse_nar(self._reader))

    def add_nar(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
        """Make a path valid there.

        Raises:
            StoreError: the other side refused it.
        """
        if self._minor < 5:
            self._import(info, chunks)
            return
        writer = self._writer
        writer.number(_ADD_NAR).string(self.directory.print(info.path))
        write_optional_path(writer, info.deriver, self.directory)
        writer.string(info.nar_hash.to_string("base16", False))
        write_paths(writer, info.references, self.directory)
        writer.number(info.registration_time).number(info.nar_size).boolean(info.ultimate)
        writer.strings(info.signatures).string(info.ca)
        self._flush()
        for chunk in chunks:
            self._send(chunk)
        self._expect_success(info)

    def _import(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
        self._writer.number(_IMPORT).number(1)
        self._flush()
        for chunk in chunks:
            self._send(chunk)
        self._writer.number(_EXPORT_MAGIC).string(self.directory.print(info.path))
        write_paths(self._writer, info.references, self.directory)
        write_optional_path(self._writer, info.deriver, self.directory)
        self._writer.number(0).number(0)
        self._flush()
        self._expect_success(info)

    def _expect_success(self, info: PathInfo) -> None:
        if self._reader.number() != 1:
            raise StoreError(f"failed to add path '{self.directory.print(info.path)}' to remote host '{self.uri}'")

    def build_derivation(self, path: StorePath, derivation: Derivation, config: Config) -> WireBuildResult:
        """Build a derivation whose inputs are valid there, with the limits of `config`."""
        writer = self._writer
        writer.number(_BUILD_DERIVATION).string(self.directory.print(path))
        write_basic_derivation(writer, derivation, self.directory)
        writer.number(config.integer("max-silent-time")).number(config.integer("timeout"))
        if self._minor >= 2:
            writer.number(config.integer("max-build-log-size"))
        if self._minor >= 3:
            writer.number(config.integer("repeat")).boolean(config.boolean("enforce-determinism"))
        if self._minor >= 7:
            writer.boolean(config.boolean("keep-failed"))
        self._flush()
        reader = self._reader
        result = WireBuildResult(reader.number(), reader.string())
        if self._minor >= 3:
            result.times_built = reader.number()
            result.non_deterministic = reader.boolean()
            result.start_time, result.stop_time = reader.number(), reader.number()
        if self._minor >= 6:
            result.outputs = read_built_outputs(reader)
        return result

    def _flush(self) -> None:
        self._send(self._writer.take())
