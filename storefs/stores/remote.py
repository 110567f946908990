"""A store behind the worker protocol: a daemon's socket, or the pipes of a program such as ssh.

Synchronous, and able to be used by several threads, each of which gets a connection of its own (`remote_connection`).
"""

from __future__ import annotations

from storefs.formats.derivation import read_derivation
from storefs.formats.nar import parse_nar, write_nar
from storefs.formats.path_info import InvalidPathError
from storefs.protocol import worker_ops as op
from storefs.protocol.connection import Events
from storefs.protocol.worker_values import (
    RemoteError,
    read_build_result,
    read_build_results,
    read_optional_path,
    read_path_info,
    read_paths,
    write_basic_derivation,
    write_derived_paths,
    write_optional_path,
    write_paths,
)
from storefs.stores.remote_connection import ConnectionPool, one_after_the_other

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from storefs.api import Missing
    from storefs.formats.derivation import Derivation
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.nar import Event
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.protocol.worker_values import ClientOptions, WireBuildResult
    from storefs.stores.remote_connection import Channel
    from storefs.stores.remote_intake import RemoteIntake


class RemoteStore:
    """A `storefs.api.Store` that somebody else keeps.

    Args:
        uri: its name in messages.
        directory: the logical store directory.
        connect: opens one more stream to it.
        options: what every connection tells the server first.
        events: hears what the server says during operations.
    """

    def __init__(
        self,
        uri: str,
        directory: StoreDir,
        connect: Callable[[], Channel],
        options: ClientOptions | None = None,
        events: Events | None = None,
        version: int = op.NEWEST,
    ) -> None:
        self.uri = uri
        self.directory = directory
        self.events = events or Events()
        self._connections = ConnectionPool(uri, connect, options, self.events, version)
        self._exchange = self._connections.exchange

    def close(self) -> None:
        """Close all idle connections."""
        self._connections.close()

    @property
    def protocol_version(self) -> int:
        """The minor version of the protocol that holds. Connects if there was no reason to yet."""
        with self._exchange() as connection:
            return connection.version

    @property
    def trusted(self) -> bool | None:
        """Whether the server trusts us; None if it does not say (before 1.35)."""
        with self._exchange() as connection:
            return connection.trusted

    # Questions

    def is_valid(self, path: StorePath) -> bool:
        """See `storefs.api.Store`."""
        with self._exchange() as connection:
            connection.writer.number(op.IS_VALID_PATH).string(self.directory.print(path))
            connection.finish(self.events)
            return connection.reader.boolean()

    def valid_paths(self, paths: Iterable[StorePath], *, substitute: bool = False) -> set[StorePath]:
        """See `storefs.api.Store`; with `substitute` the server first fetches what it can (1.27 and later)."""
        paths = list(paths)
        with self._exchange() as connection:
            if connection.version >= 12:
                connection.writer.number(op.QUERY_VALID_PATHS)
                write_paths(connection.writer, paths, self.directory)
                if connection.version >= 27:
                    connection.writer.boolean(substitute)
                connection.finish(self.events)
                return set(read_paths(connection.reader, self.directory))
        return {path for path in paths if self.is_valid(path)}

    def all_valid_paths(self) -> Iterator[StorePath]:
        """See `storefs.api.Store`."""
        return iter(self._ask_paths(op.QUERY_ALL_VALID_PATHS, None))

    def path_info(self, path: StorePath) -> PathInfo:
        """See `storefs.api.Store`."""
        info = self.find_path_info(path)
        if info is None:
            raise InvalidPathError(self.directory, path)
        return info

    def find_path_info(self, path: StorePath) -> PathInfo | None:
        """See `storefs.api.Store`."""
        with self._exchange() as connection:
            connection.writer.number(op.QUERY_PATH_INFO).string(self.directory.print(path))
            try:
                connection.finish(self.events)
            except RemoteError as error:
                if connection.version < 17 and "is not valid" in str(error):
                    return None
                raise
            if connection.version >= 17 and not connection.reader.boolean():
                return None
            return read_path_info(connection.reader, connection.version, self.directory, path)

    def from_hash_part(self, hash_part: str) -> StorePath | None:
        """See `storefs.api.Store`."""
        with self._exchange() as connection:
            connection.writer.number(op.QUERY_PATH_FROM_HASH_PART).string(hash_part)
            connection.finish(self.events)
            return read_optional_path(connection.reader, self.directory)

    def referrers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`."""
        return self._ask_paths(op.QUERY_REFERRERS, path)

    def valid_derivers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`."""
        return self._ask_paths(op.QUERY_VALID_DERIVERS, path)

    def derivation(self, path: StorePath) -> Derivation:
        """See `storefs.api.Store`."""
        events = self.nar_events(path)
        next(events)
        text = b"".join(piece for piece in events if isinstance(piece, (bytes, memoryview)))
        return read_derivation(text, self.directory, path)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """See `storefs.api.Store`."""
        return write_nar(self.nar_events(path))

    def nar_events(self, path: StorePath) -> Iterator[Event]:
        """Yield the NAR of a valid path as events of `storefs.formats.nar`, checked while they arrive."""
        with self._exchange() as connection:
            connection.writer.number(op.NAR_FROM_PATH).string(self.directory.print(path))
            connection.finish(self.events)
            yield from parse_nar(connection.reader)

    def derivation_outputs(self, path: StorePath) -> dict[str, StorePath | None]:
        """Return output names and paths of a derivation as the server knows them (1.22 and later)."""
        with self._exchange() as connection:
            connection.writer.number(op.QUERY_DERIVATION_OUTPUT_MAP).string(self.directory.print(path))
            connection.finish(self.events)
            reader = connection.reader
            return {reader.string(): read_optional_path(reader, self.directory) for _ in range(reader.number())}

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `storefs.api.Store` (1.27 and later)."""
        from storefs.protocol.realisation_values import read_realisation_answer  # noqa: PLC0415  only for what floats

        with self._exchange() as connection:
            if connection.version < 27:
                return None
            connection.writer.number(op.QUERY_REALISATION).string(str(output))
            connection.finish(self.events)
            return read_realisation_answer(connection.reader, connection.version, self.directory, output)

    def register_realisations(self, realisations: Sequence[Realisation]) -> None:
        """See `storefs.api.Store` (1.27 and later)."""
        from storefs.protocol.realisation_values import write_registration  # noqa: PLC0415  only for what floats

        for realisation in realisations:
            with self._exchange() as connection:
                connection.writer.number(op.REGISTER_DRV_OUTPUT)
                write_registration(connection.writer, connection.version, realisation)
                connection.finish(self.events)

    def substitutable_paths(self, paths: Iterable[StorePath]) -> set[StorePath]:
        """Return those of `paths` that the server could fetch."""
        with self._exchange() as connection:
            connection.writer.number(op.QUERY_SUBSTITUTABLE_PATHS)
            write_paths(connection.writer, paths, self.directory)
            connection.finish(self.events)
            return set(read_paths(connection.reader, self.directory))

    def missing(self, targets: Sequence[DerivedPath]) -> Missing:
        """Say what `build` would have to do (1.19 and later)."""
        from storefs.api import Missing  # noqa: PLC0415  the interfaces' dataclasses cost 5 ms

        with self._exchange() as connection:
            connection.writer.number(op.QUERY_MISSING)
            write_derived_paths(connection.writer, targets, connection.version, self.directory)
            connection.finish(self.events)
            reader = connection.reader
            build, substitute, unknown = (frozenset(read_paths(reader, self.directory)) for _ in range(3))
            return Missing(build, substitute, unknown, reader.number(), reader.number())

    # Additions

    def intake(self) -> RemoteIntake:
        """See `storefs.api.Store`, and `remote_intake` for what a daemon can't promise."""
        from storefs.stores.remote_intake import RemoteIntake  # noqa: PLC0415  questions do not need it

        return RemoteIntake(self)

    def add_text(self, name: str, content: bytes, references: Iterable[StorePath] = ()) -> StorePath:
        """See `storefs.api.Store`."""
        return self.add_content_addressed(name, "text:sha256", [content], references).path

    def add_content_addressed(
        self, name: str, method: str, chunks: Iterable[bytes], references: Iterable[StorePath] = ()
    ) -> PathInfo:
        """Add an object whose path follows from its content; the server computes it.

        Args:
            method: 'text:sha256', 'fixed:ALGO' (the chunks are a file) or 'fixed:r:ALGO' (the chunks are a NAR).
        """
        from storefs.formats.nar import nar_of_bytes  # noqa: PLC0415

        with self._exchange() as connection:
            writer = connection.writer
            if connection.version >= 25:
                writer.number(op.ADD_TO_STORE).string(name).string(method)
                write_paths(writer, references, self.directory)
                writer.boolean(False)
                connection.send_framed(chunks)
                connection.finish(self.events)
                return read_path_info(connection.reader, connection.version, self.directory)
            if method == "text:sha256":
                writer.number(op.ADD_TEXT_TO_STORE).string(name).data(b"".join(chunks))
                write_paths(writer, references, self.directory)
            else:
                recursive = method.startswith("fixed:r:")
                algorithm = method.rpartition(":")[2]
                plain = recursive and algorithm == "sha256"
                writer.number(op.ADD_TO_STORE).string(name).boolean(not plain).boolean(recursive).string(algorithm)
                connection.send(writer.take())
                for chunk in chunks if recursive else [nar_of_bytes(b"".join(chunks))]:
                    connection.send(chunk)
            connection.finish(self.events)
            path = self.directory.parse(connection.reader.string())
        return self.path_info(path)

    def add_nar(self, info: PathInfo, chunks: Iterable[bytes], *, repair: bool = False, check: bool = True) -> None:
        """Make a path valid whose information is known, from its NAR (1.18 and later)."""
        with self._exchange() as connection:
            writer = connection.writer
            writer.number(op.ADD_TO_STORE_NAR).string(self.directory.print(info.path))
            write_optional_path(writer, info.deriver, self.directory)
            writer.string(info.nar_hash.to_string("base16", False))
            write_paths(writer, info.references, self.directory)
            writer.number(info.registration_time).number(info.nar_size).boolean(info.ultimate)
            writer.strings(info.signatures).string(info.ca).boolean(repair).boolean(not check)
            if connection.version >= 23:
                connection.send_framed(chunks)
                connection.finish(self.events)
            elif connection.version >= 21:
                connection.finish(self.events, source=chunks)
            else:
                connection.send(writer.take())
                for chunk in chunks:
                    connection.send(chunk)
                connection.finish(self.events)

    def add_many(self, additions: Sequence[tuple[PathInfo, Iterable[bytes]]], *, check: bool = True) -> None:
        """Make several paths valid in one exchange, in an order in which references come first."""
        with self._exchange() as connection:
            if connection.version >= 32:
                connection.writer.number(op.ADD_MULTIPLE_TO_STORE).boolean(False).boolean(not check)
                connection.send_framed(one_after_the_other(additions, self.directory))
                connection.finish(self.events)
                return
        for info, chunks in additions:
            self.add_nar(info, chunks, check=check)

    def add_signatures(self, path: StorePath, signatures: Iterable[str]) -> None:
        """Add signatures to a valid path; only for trusted users."""
        self._tell(op.ADD_SIGNATURES, lambda w: w.string(self.directory.print(path)).strings(signatures))

    def add_temp_root(self, path: StorePath) -> None:
        """See `storefs.api.Store`; the root lives as long as the connection."""
        self._tell(op.ADD_TEMP_ROOT, lambda w: w.string(self.directory.print(path)))

    def add_indirect_root(self, link: str) -> None:
        """Register the symbolic link at the absolute path `link` as a root."""
        self._tell(op.ADD_INDIRECT_ROOT, lambda w: w.string(link))

    def add_build_log(self, derivation: StorePath, log: Iterable[bytes]) -> None:
        """Keep the log of a build (1.34 and later); only for trusted users."""
        with self._exchange() as connection:
            connection.writer.number(op.ADD_BUILD_LOG).string(derivation.base_name)
            connection.send_framed(log)
            connection.finish(self.events)
            connection.reader.number()

    # Work

    def build_paths(self, targets: Sequence[DerivedPath], mode: int = 0) -> None:
        """Realise all targets.

        Raises:
            RemoteError: one of them failed; `exit_code` says how where the server does.
        """
        with self._exchange() as connection:
            connection.writer.number(op.BUILD_PATHS)
            write_derived_paths(connection.writer, targets, connection.version, self.directory)
            if connection.version >= 15:
                connection.writer.number(mode)
            connection.finish(self.events)
            connection.reader.number()

    def build_paths_with_results(self, targets: Sequence[DerivedPath], mode: int = 0) -> list[WireBuildResult]:
        """Realise all targets and return how each ended (1.34 and later)."""
        with self._exchange() as connection:
            connection.writer.number(op.BUILD_PATHS_WITH_RESULTS)
            write_derived_paths(connection.writer, targets, connection.version, self.directory)
            connection.writer.number(mode)
            connection.finish(self.events)
            return read_build_results(connection.reader, connection.version, self.directory, targets)

    def build_derivation(self, path: StorePath, derivation: Derivation, mode: int = 0) -> WireBuildResult:
        """Build one derivation that the server need not have; its inputs must be valid there. For trusted users."""
        with self._exchange() as connection:
            connection.writer.number(op.BUILD_DERIVATION).string(self.directory.print(path))
            write_basic_derivation(connection.writer, derivation, self.directory)
            connection.writer.number(mode)
            connection.finish(self.events)
            return read_build_result(connection.reader, connection.version)

    def ensure_path(self, path: StorePath) -> None:
        """Make the server fetch a path that is not valid."""
        self._tell(op.ENSURE_PATH, lambda w: w.string(self.directory.print(path)))

    def find_roots(self) -> list[tuple[str, StorePath]]:
        """Return (link, store path) for all roots of the collector; what is none of our business is censored."""
        with self._exchange() as connection:
            connection.writer.number(op.FIND_ROOTS)
            connection.finish(self.events)
            reader = connection.reader
            return [(reader.string(), self.directory.parse(reader.string())) for _ in range(reader.number())]

    def collect_garbage(
        self, action: int, paths: Iterable[StorePath] = (), max_freed: int = 2**64 - 1, *, ignore_liveness: bool = False
    ) -> tuple[list[str], int]:
        """Let the server collect; see GC_* in `worker_ops`. Returns paths and freed bytes."""
        with self._exchange() as connection:
            connection.writer.number(op.COLLECT_GARBAGE).number(action)
            write_paths(connection.writer, paths, self.directory)
            connection.writer.boolean(ignore_liveness).number(max_freed).number(0).number(0).number(0)
            connection.finish(self.events)
            reader = connection.reader
            result = reader.strings(), reader.number()
            reader.number()
            return result

    def optimise(self) -> None:
        """Let the server deduplicate."""
        self._tell(op.OPTIMISE_STORE, lambda w: w)

    def verify(self, *, check_contents: bool, repair: bool) -> bool:
        """Let the server verify itself. Returns whether errors remain."""
        with self._exchange() as connection:
            connection.writer.number(op.VERIFY_STORE).boolean(check_contents).boolean(repair)
            connection.finish(self.events)
            return connection.reader.boolean()

    def _tell(self, number: int, arguments: Callable[..., object]) -> None:
        with self._exchange() as connection:
            arguments(connection.writer.number(number))
            connection.finish(self.events)
            connection.reader.number()

    def _ask_paths(self, number: int, path: StorePath | None) -> list[StorePath]:
        with self._exchange() as connection:
            connection.writer.number(number)
            if path is not None:
                connection.writer.string(self.directory.print(path))
            connection.finish(self.events)
            return sorted(read_paths(connection.reader, self.directory))
