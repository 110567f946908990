"""Stores of other machines, as building there needs them: what is valid, take this, build that, give it back.

Three kinds behind one small interface: `ssh://` (the serve protocol), `ssh-ng://` (the worker protocol) and a
directory, a chroot store of this machine. Blocking; used in the thread of one build.
"""

from __future__ import annotations

from storefs.api import BuildStatus
from storefs.config import load_config
from storefs.errors import UsageError
from storefs.records import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from typing import Protocol

    from builder.machine import LocalMachine
    from builder.machines import Machine
    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StorePath
    from storefs.stores.remote import RemoteStore
    from storefs.stores.serve import ServeStore
else:
    Protocol = object


@record(frozen=True, slots=True)
class RemoteResult:
    """How a build elsewhere ended, and what it says that outputs have become."""

    status: BuildStatus
    message: str
    outputs: Mapping[str, StorePath] = field(default_factory=dict)


class RemoteBuildStore(Protocol):
    """What is needed of another machine."""

    def valid_paths(self, paths: Collection[StorePath], *, substitute: bool) -> set[StorePath]:
        """Return those that are valid there, and keep them from being collected; it may first fetch some itself."""

    def path_infos(self, paths: Collection[StorePath]) -> dict[StorePath, PathInfo]:
        """Return what is registered there about those that are valid."""

    def add_nar(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
        """Make a path valid there."""

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """Yield the NAR of a valid path, to be taken whole."""

    def build(self, path: StorePath, derivation: Derivation) -> RemoteResult:
        """Build a derivation whose inputs are all valid there."""

    def abort(self) -> None:
        """Cut the connection, from another thread."""

    def close(self) -> None:
        """End the connection."""


def open_remote(
    local: LocalMachine, machine: Machine, on_data: Callable[[bytes], None], on_line: Callable[[str], None]
) -> RemoteBuildStore:
    """Connect to a machine.

    Args:
        local: this machine, whose settings hold.
        machine: the other.
        on_data: given what programs there print on standard error.
        on_line: given lines of build logs that come by the worker protocol.

    Raises:
        StoreError: it can't be reached.
    """
    config = local.config
    scheme = machine.uri.partition("://")[0]
    if scheme == "ssh":
        return _ServeMachine(config, machine, on_data)
    if scheme == "ssh-ng":
        return _WorkerMachine(config, machine, on_data, on_line)
    if machine.uri.startswith("/"):
        return _ChrootMachine(config, machine, on_line)
    raise UsageError(f"don't know how to build on '{machine.uri}'; it is 'ssh://HOST', 'ssh-ng://HOST' or a directory")


class _ServeMachine:
    def __init__(self, config: Config, machine: Machine, on_data: Callable[[bytes], None]) -> None:
        from storefs.formats.store_path import StoreDir  # noqa: PLC0415
        from storefs.stores.serve import ServeStore  # noqa: PLC0415
        from storefs.stores.ssh import SshMaster  # noqa: PLC0415

        self._master = master = SshMaster(config, machine.uri, machine.key, machine.host_key)
        program = [master.parameters.get("remote-program", "nix-store"), "--serve", "--write"]
        if "remote-store" in master.parameters:
            program += ["--store", master.parameters["remote-store"]]
        self._config = config
        self._store: ServeStore = ServeStore(
            machine.uri, StoreDir(config.store_dir), lambda: master.connect(program, on_data)
        )

    def valid_paths(self, paths: Collection[StorePath], *, substitute: bool) -> set[StorePath]:
        return self._store.valid_paths(paths, lock=True, substitute=substitute)

    def path_infos(self, paths: Collection[StorePath]) -> dict[StorePath, PathInfo]:
        return self._store.path_infos(paths)

    def add_nar(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
        self._store.add_nar(info, chunks)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        return self._store.nar(path)

    def build(self, path: StorePath, derivation: Derivation) -> RemoteResult:
        result = self._store.build_derivation(path, derivation, self._config)
        return RemoteResult(BuildStatus(result.status), result.message, result.outputs)

    def abort(self) -> None:
        self._master.abort()

    def close(self) -> None:
        self._store.close()


class _WorkerMachine:
    def __init__(
        self, config: Config, machine: Machine, on_data: Callable[[bytes], None], on_line: Callable[[str], None]
    ) -> None:
        from builder.progress import BUILD_LOG_LINE  # noqa: PLC0415
        from storefs.formats.store_path import StoreDir  # noqa: PLC0415
        from storefs.protocol.connection import Events  # noqa: PLC0415
        from storefs.protocol.worker_values import ClientOptions  # noqa: PLC0415
        from storefs.stores.remote import RemoteStore  # noqa: PLC0415
        from storefs.stores.ssh import SshMaster  # noqa: PLC0415

        class LogLines(Events):
            """Passes on what builders print there."""

            def result(self, activity: int, kind: int, fields: list[int | str]) -> None:
                """See `Events`."""
                if kind == BUILD_LOG_LINE and fields:
                    on_line(str(fields[0]))

        self._master = master = SshMaster(config, machine.uri, machine.key, machine.host_key)
        program = [master.parameters.get("remote-program", "nix-daemon"), "--stdio"]
        if "remote-store" in master.parameters:
            program += ["--store", master.parameters["remote-store"]]
        # Nix tells nothing. Who limits a build means the one there, too; the message has other settings beside that.
        options = ClientOptions(
            keep_failed=config.boolean("keep-failed"),
            max_silent_time=config.integer("max-silent-time"),
            overrides={"timeout": str(config.integer("timeout"))},
        )
        limited = options.keep_failed or options.max_silent_time or config.integer("timeout")
        self._store: RemoteStore = RemoteStore(
            machine.uri,
            StoreDir(config.store_dir),
            lambda: master.connect(program, on_data),
            options if limited else None,
            LogLines(),
        )
        self._store.valid_paths([])  # connects, so that a machine that can't be reached is known as one

    def valid_paths(self, paths: Collection[StorePath], *, substitute: bool) -> set[StorePath]:
        for path in paths:
            self._store.add_temp_root(path)
        return self._store.valid_paths(paths, substitute=substitute)

    def path_infos(self, paths: Collection[StorePath]) -> dict[StorePath, PathInfo]:
        found = {path: self._store.find_path_info(path) for path in paths}
        return {path: info for path, info in found.items() if info is not None}

    def add_nar(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
        self._store.add_nar(info, chunks, check=False)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        return self._store.nar(path)

    def build(self, path: StorePath, derivation: Derivation) -> RemoteResult:
        result = self._store.build_derivation(path, derivation)
        return RemoteResult(BuildStatus(result.status), result.message, result.outputs)

    def abort(self) -> None:
        self._master.abort()

    def close(self) -> None:
        self._store.close()


class _ChrootMachine:
    """A chroot store of this machine, as in `builders = /some/root`: its builds run in this process."""

    def __init__(self, config: Config, machine: Machine, on_line: Callable[[str], None]) -> None:
        from builder.cancellation import Cancellation  # noqa: PLC0415
        from builder.machine import LocalMachine  # noqa: PLC0415
        from builder.progress import Activity, Progress  # noqa: PLC0415
        from storefs.stores.local import LocalStore  # noqa: PLC0415

        class Lines(Progress):
            """Passes on what builders print, and nothing else."""

            def start(self, kind, name, text, fields=(), level=3):  # type: ignore[no-untyped-def]
                return Activity(kind, name, text)

            def line(self, activity: Activity, text: str) -> None:
                on_line(text)

            def stop(self, activity: Activity, *, ok: bool = True) -> None:
                pass

        features = " ".join(sorted(machine.features | machine.mandatory))
        other = load_config(config.environment(), config.overrides().items(), machine.uri)
        self._config = other.with_settings([("system-features", features), ("max-jobs", "1"), ("builders", "")])
        self._store = LocalStore(self._config)
        self._machine = LocalMachine(self._config, self._store, Lines())
        self._cancellation = Cancellation()

    def valid_paths(self, paths: Collection[StorePath], *, substitute: bool) -> set[StorePath]:
        for path in paths:
            self._store.add_temp_root(path)
        return self._store.valid_paths(paths)

    def path_infos(self, paths: Collection[StorePath]) -> dict[StorePath, PathInfo]:
        return self._store.path_infos(paths)

    def add_nar(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
        with self._store.intake() as intake:
            intake.register([(intake.add_nar(chunks), info)])

    def nar(self, path: StorePath) -> Iterator[bytes]:
        return self._store.nar(path)

    def build(self, path: StorePath, derivation: Derivation) -> RemoteResult:
        from builder.derivation_builder import build_derivation  # noqa: PLC0415
        from builder.failures import BuildError  # noqa: PLC0415
        from builder.request import Request  # noqa: PLC0415
        from storefs.api import BuildMode  # noqa: PLC0415
        from storefs.stores.known_outputs import known_outputs  # noqa: PLC0415

        name = f"building of '{self._store.directory.print(path)}'"
        request = Request(path, derivation, frozenset(derivation.input_srcs), BuildMode.NORMAL, name)
        try:
            build_derivation(self._machine, request, self._cancellation)
        except BuildError as error:
            return RemoteResult(error.status, str(error))
        return RemoteResult(BuildStatus.BUILT, "", known_outputs(self._store, derivation))

    def abort(self) -> None:
        self._cancellation.cancel()

    def close(self) -> None:
        self._machine.__exit__(None, None, None)
        self._store.close()
        self._cancellation.__exit__(None, None, None)
