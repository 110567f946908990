"""How the values of the worker protocol look on the wire, per protocol version.

Sans-I/O, over `wire`. Both sides use it: `storefs.stores.remote` asks, `storefs.daemon` answers. Semantics:
worker-protocol.cc, daemon.cc and remote-store.cc of Nix 2.8, and worker-protocol.cc of Nix 2.30 for 1.35 to 1.37.
"""

from __future__ import annotations

from storefs.formats.derivation import FIXED, Derivation, DerivationOutput
from storefs.formats.derived_path import DerivedPath, parse_derived_path
from storefs.formats.hashes import parse_hash
from storefs.formats.path_info import PathInfo
from storefs.protocol.built_outputs import NO_HASH, read_built_outputs, write_built_outputs
from storefs.protocol.wire import ProtocolError
from storefs.protocol.worker_ops import STDERR_ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.protocol.wire import Reader, Writer


class ClientOptions:
    """What SET_OPTIONS carries: the client's settings, as numbers and as (name, text) overrides."""

    __slots__ = (
        "build_cores",
        "fallback",
        "keep_failed",
        "keep_going",
        "max_jobs",
        "max_silent_time",
        "overrides",
        "substitute",
        "verbose_build",
        "verbosity",
    )

    def __init__(
        self,
        *,
        keep_failed: bool = False,
        keep_going: bool = False,
        fallback: bool = False,
        verbosity: int = 3,
        max_jobs: int = 1,
        max_silent_time: int = 0,
        verbose_build: bool = True,
        build_cores: int = 0,
        substitute: bool = True,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.keep_failed = keep_failed
        self.keep_going = keep_going
        self.fallback = fallback
        self.verbosity = verbosity
        self.max_jobs = max_jobs
        self.max_silent_time = max_silent_time
        self.verbose_build = verbose_build
        self.build_cores = build_cores
        self.substitute = substitute
        self.overrides = dict(overrides or {})


def read_options(reader: Reader, version: int) -> ClientOptions:
    """Take the arguments of SET_OPTIONS."""
    numbers = [reader.number() for _ in range(12)]
    overrides = {}
    if version >= 12:
        for _ in range(reader.number()):
            name = reader.string()
            overrides[name] = reader.string()
    return ClientOptions(
        keep_failed=numbers[0] != 0,
        keep_going=numbers[1] != 0,
        fallback=numbers[2] != 0,
        verbosity=numbers[3],
        max_jobs=numbers[4],
        max_silent_time=numbers[5],
        verbose_build=numbers[7] == 0,
        build_cores=numbers[10],
        substitute=numbers[11] != 0,
        overrides=overrides,
    )


def write_options(writer: Writer, options: ClientOptions, version: int) -> None:
    """Add the arguments of SET_OPTIONS."""
    writer.boolean(options.keep_failed).boolean(options.keep_going).boolean(options.fallback)
    writer.number(options.verbosity).number(options.max_jobs & 0xFFFFFFFF).number(options.max_silent_time)
    writer.number(1)  # the build hook is always used
    writer.number(0 if options.verbose_build else 7)
    writer.number(0).number(0)  # log type, build trace
    writer.number(options.build_cores).boolean(options.substitute)
    if version >= 12:
        writer.number(len(options.overrides))
        for name, value in sorted(options.overrides.items()):
            writer.string(name).string(value)


def read_paths(reader: Reader, store_dir: StoreDir) -> list[StorePath]:
    """Take a set of store paths."""
    return [store_dir.parse(text) for text in reader.strings()]


def write_paths(writer: Writer, paths: Iterable[StorePath], store_dir: StoreDir) -> None:
    """Add a set of store paths, sorted as Nix sorts them."""
    writer.strings(sorted([store_dir.print(path) for path in paths]))  # texts compare faster than paths


def read_optional_path(reader: Reader, store_dir: StoreDir) -> StorePath | None:
    """Take a store path, or None for an empty string."""
    text = reader.string()
    return store_dir.parse(text) if text else None


def write_optional_path(writer: Writer, path: StorePath | None, store_dir: StoreDir) -> None:
    """Add a store path, or an empty string for None."""
    writer.string("" if path is None else store_dir.print(path))


def read_path_info(reader: Reader, version: int, store_dir: StoreDir, path: StorePath | None = None) -> PathInfo:
    """Take what is known about a path; the path itself comes first where `path` is None."""
    if path is None:
        path = store_dir.parse(reader.string())
    deriver = read_optional_path(reader, store_dir)
    nar_hash = parse_hash(reader.string(), "sha256")
    references = read_paths(reader, store_dir)
    registration_time = reader.number()
    nar_size = reader.number()
    ultimate, signatures, ca = False, [], ""
    if version >= 16:
        ultimate = reader.boolean()
        signatures = reader.strings()
        ca = reader.string()
    return PathInfo(path, nar_hash, nar_size, references, deriver, signatures, ca, registration_time, ultimate)


def write_path_info(
    writer: Writer, info: PathInfo, version: int, store_dir: StoreDir, *, with_path: bool = False
) -> None:
    """Add what is known about a path, preceded by the path itself if `with_path`."""
    if with_path:
        writer.string(store_dir.print(info.path))
    write_optional_path(writer, info.deriver, store_dir)
    writer.string(info.nar_hash.to_string("base16", False))
    write_paths(writer, info.references, store_dir)
    writer.number(info.registration_time).number(info.nar_size)
    if version >= 16:
        writer.boolean(info.ultimate).strings(info.signatures).string(info.ca)


def read_derived_paths(reader: Reader, version: int, store_dir: StoreDir) -> list[DerivedPath]:
    """Take what a client wants to have realised."""
    return [parse_target(text, version, store_dir) for text in reader.strings()]


def parse_target(text: str, version: int, store_dir: StoreDir) -> DerivedPath:
    """Read one target; before 1.30 a derivation without outputs meant all of them."""
    target = parse_derived_path(text, store_dir)
    if version < 30 and target.outputs is None and target.path.is_derivation:
        return DerivedPath(target.path, ())
    return target


def write_derived_paths(writer: Writer, targets: Iterable[DerivedPath], version: int, store_dir: StoreDir) -> None:
    """Add what is to be realised.

    Raises:
        ProtocolError: a derivation file itself is wanted, which a server before 1.30 can't be told.
    """
    writer.strings(_print_target(target, version, store_dir) for target in targets)


def _print_target(target: DerivedPath, version: int, store_dir: StoreDir) -> str:
    text = target.to_string(store_dir)
    if version >= 30:
        return text
    if target.outputs is None and target.path.is_derivation:
        raise ProtocolError(
            f"trying to request '{text}', but daemon protocol 1.{version} is too old (< 1.29) "
            "to request a derivation file"
        )
    return text.removesuffix("!*")


def read_basic_derivation(reader: Reader, name: str, store_dir: StoreDir) -> Derivation:
    """Take a derivation without its input derivations (BUILD_DERIVATION); `name` is without `.drv`."""
    outputs = {}
    for _ in range(reader.number()):
        output = reader.string()
        path = read_optional_path(reader, store_dir)
        algorithm = reader.string()
        outputs[output] = DerivationOutput(path, algorithm, reader.string())
        if outputs[output].kind == FIXED:
            outputs[output].promised()  # refused here, not when it has been built
    sources = set(read_paths(reader, store_dir))
    system, builder = reader.string(), reader.string()
    arguments = reader.strings()
    environment = {}
    for _ in range(reader.number()):
        key = reader.string()
        environment[key] = reader.string()
    return Derivation(
        name=name,
        outputs=outputs,
        input_drvs={},
        input_srcs=sources,
        system=system,
        builder=builder,
        args=arguments,
        env=environment,
    )


def write_basic_derivation(writer: Writer, derivation: Derivation, store_dir: StoreDir) -> None:
    """Add a derivation without its input derivations, whose outputs belong among its sources."""
    writer.number(len(derivation.outputs))
    for name, output in sorted(derivation.outputs.items()):
        writer.string(name)
        write_optional_path(writer, output.path, store_dir)
        writer.string(output.hash_algo).string(output.hash)
    write_paths(writer, derivation.input_srcs, store_dir)
    writer.string(derivation.system).string(derivation.builder).strings(derivation.args)
    writer.number(len(derivation.env))
    for key, value in sorted(derivation.env.items()):
        writer.string(key).string(value)


class WireBuildResult:
    """The outcome of one build, as the protocol carries it (`storefs.api.BuildStatus` names the numbers).

    Attributes:
        status: the number of a BuildStatus.
        message: why it failed, '' if it did not.
        outputs: output name to store path.
        drv_hash: the derivation's hash modulo, as text; of no use to clients unless outputs float.
        start_time, stop_time: seconds since the epoch.
        cpu_user, cpu_system: microseconds, None where nobody counted; since 1.37.
    """

    __slots__ = (
        "cpu_system",
        "cpu_user",
        "drv_hash",
        "message",
        "non_deterministic",
        "outputs",
        "start_time",
        "status",
        "stop_time",
        "times_built",
    )

    def __init__(
        self,
        status: int,
        message: str = "",
        outputs: Mapping[str, StorePath] | None = None,
        *,
        start_time: int = 0,
        stop_time: int = 0,
        times_built: int = 0,
        non_deterministic: bool = False,
        cpu_user: int | None = None,
        cpu_system: int | None = None,
        drv_hash: str = NO_HASH,
    ) -> None:
        self.status = status
        self.message = message
        self.outputs = dict(outputs or {})
        self.start_time = start_time
        self.stop_time = stop_time
        self.times_built = times_built
        self.non_deterministic = non_deterministic
        self.cpu_user = cpu_user
        self.cpu_system = cpu_system
        self.drv_hash = drv_hash


def read_build_result(reader: Reader, version: int) -> WireBuildResult:
    """Take the outcome of one build."""
    result = WireBuildResult(reader.number(), reader.string())
    if version >= 29:
        result.times_built = reader.number()
        result.non_deterministic = reader.boolean()
        result.start_time = reader.number()
        result.stop_time = reader.number()
    if version >= 37:
        result.cpu_user = reader.number() if reader.number() else None
        result.cpu_system = reader.number() if reader.number() else None
    if version >= 28:
        result.outputs = read_built_outputs(reader)
    return result


def read_build_results(
    reader: Reader, version: int, store_dir: StoreDir, targets: Sequence[DerivedPath]
) -> list[WireBuildResult]:
    """Take the outcomes of several targets, and return them in the order of these.

    Nix answers in the order in which it builds, and once for targets of the same derivation.

    Raises:
        ProtocolError: a target has no outcome.
    """
    results = []
    for _ in range(reader.number()):
        path = parse_derived_path(reader.string(), store_dir).path
        results.append((path, read_build_result(reader, version)))
    if [path for path, _ in results] == [target.path for target in targets]:
        return [result for _, result in results]
    by_path = dict(results)
    try:
        return [by_path[target.path] for target in targets]
    except KeyError as error:
        raise ProtocolError(f"there is no result for '{error.args[0]}'") from error


def write_build_result(writer: Writer, result: WireBuildResult, version: int) -> None:
    """Add the outcome of one build."""
    writer.number(result.status).string(result.message)
    if version >= 29:
        writer.number(result.times_built).boolean(result.non_deterministic)
        writer.number(result.start_time).number(result.stop_time)
    if version >= 37:
        for used in (result.cpu_user, result.cpu_system):
            if used is None:
                writer.number(0)
            else:
                writer.number(1).number(used)
    if version >= 28:
        write_built_outputs(writer, result.outputs, result.drv_hash)


class RemoteError(ProtocolError):
    """What the other side reported as its error; `exit_code` is the status it gave, 1 by default."""

    def __init__(self, message: str, exit_code: int = 1, traces: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.traces = traces


def read_error(reader: Reader, version: int) -> RemoteError:
    """Take what follows STDERR_ERROR.

    Raises:
        ProtocolError: an error of a shape that nobody sends.
    """
    if version < 26:
        message = reader.string()
        return RemoteError(_strip_error(message), reader.number() & 0xFF or 1)
    kind = reader.string()
    if kind != "Error":
        raise ProtocolError(f"error of unknown type '{kind}'")
    reader.number()  # level
    reader.string()  # name, of no meaning any more
    message = reader.string()
    reader.number()  # position, never sent
    traces = []
    for _ in range(reader.number()):
        reader.number()
        traces.append(reader.string())
    return RemoteError(_strip_error(message), 1, tuple(traces))


def _strip_error(message: str) -> str:
    for prefix in ("\x1b[31;1merror:\x1b[0m ", "error: "):
        message = message.removeprefix(prefix)
    return message


def write_error(writer: Writer, message: str, exit_code: int, version: int) -> None:
    """Add STDERR_ERROR and what follows it."""
    writer.number(STDERR_ERROR)
    if version < 26:
        writer.string("error: " + message).number(exit_code)
    else:
        writer.string("Error").number(0).string("Error").string(message).number(0).number(0)
