"""The few interfaces by which layers meet: stores, caches, builders. No implementation, no I/O.

Who implements what: `Store` by LocalStore, MemoryStore and RemoteStore (`storefs/stores/`); `Substituter` by binary
caches and by other stores; `Builder` by `builder.local_builder`, by the daemon's client and by remote machines. They
are injected as arguments; only `open.py` files, `evaluator/session.py` and `commands/` choose one.

Stores are synchronous and may be called from any thread, because the commands people type most only ask one question
and must not pay 150 ms for an event loop. Code that runs under trio calls what may block in a thread. So are caches:
what waits for many answers at once is one loop inside the HTTP client. Builders are async.
"""

from __future__ import annotations

from storefs.records import Enum, field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from storefs.formats.byte_reader import Buffer
    from storefs.formats.derivation import Derivation
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.hashes import Hash
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StoreDir, StorePath
else:
    Protocol = object


class Tree(Protocol):
    """A file-system object whose bytes are in the store already, but which no valid path names yet."""

    @property
    def nar_hash(self) -> Hash:
        """SHA-256 of its NAR serialisation."""

    @property
    def nar_size(self) -> int:
        """Size of its NAR serialisation in bytes."""


class Intake(Protocol):
    """Additions that become valid together. Made by `Store.intake`; used in one thread at a time.

    From the first byte to `register` the collector leaves the new blobs alone. Leaving the context without `register`
    leaves nothing valid, and at worst unreachable bytes.
    """

    def add_tree(
        self,
        source: str,
        *,
        move: bool = False,
        nar_sink: Callable[[Buffer], object] | None = None,
        keep: Callable[[bytes, str], bool] | None = None,
    ) -> Tree:
        """Take in the file, symbolic link or directory at the host path `source`, in canonical form.

        Args:
            source: a host path; not changed, unless `move`.
            move: large files may be renamed into the store; `source` is of no use afterwards.
            nar_sink: also given the NAR serialisation, in pieces, for hashing and for scanning in the same pass: in
                order, perhaps on another thread, and not after this has returned. A piece may be a view, of what will
                be something else after the call: who keeps it copies it.
            keep: called with each entry's path and type ('regular', 'directory', 'symlink', 'unknown'); False leaves
                the entry and what is beneath it out.

        Raises:
            StoreError: an object that a store cannot hold (a socket, a device), or the disk is full.
        """

    def add_nar(self, chunks: Iterable[bytes], *, nar_sink: Callable[[Buffer], object] | None = None) -> Tree:
        """Take in a NAR serialisation; `nar_sink` as in `add_tree`.

        Raises:
            StoreError: the bytes are no canonical NAR.
        """

    def add_bytes(self, content: bytes, *, executable: bool = False) -> Tree:
        """Take in one regular file."""

    def prepare(self) -> None:
        """Do beforehand what registering would wait longest for: make durable what was taken in. Never needed.

        Raises:
            StoreError: as `register`.
        """

    def register(self, additions: Sequence[tuple[Tree, PathInfo]], *, replace: bool = False) -> None:
        """Make all of them valid, durably, in one transaction. A path that is valid already is left as it is.

        Args:
            additions: what was taken in, and under which path. References must be valid or part of the same call.
            replace: give paths that are valid already the new tree, atomically: repair.

        Raises:
            StoreError: a reference is not valid, a hash differs, or the disk is full.
        """


class Store(Protocol):
    """A store: which paths are valid, what they refer to, what they contain.

    Raises in every method: StoreError, whose text names the path.
    """

    @property
    def directory(self) -> StoreDir:
        """The logical store directory."""

    @property
    def uri(self) -> str:
        """The store's name in messages, as in `local` or `daemon`."""

    def is_valid(self, path: StorePath) -> bool:
        """Return whether the path is registered."""

    def valid_paths(self, paths: Iterable[StorePath]) -> set[StorePath]:
        """Return those of `paths` that are registered, in one question."""

    def all_valid_paths(self) -> Iterator[StorePath]:
        """Yield every registered path, ordered by hash part."""

    def path_info(self, path: StorePath) -> PathInfo:
        """Return what is registered about a path.

        Raises:
            InvalidPathError: it is not valid.
        """

    def find_path_info(self, path: StorePath) -> PathInfo | None:
        """Return what is registered about a path, None if it is not valid."""

    def from_hash_part(self, hash_part: str) -> StorePath | None:
        """Return the valid path with these 32 characters, None if there is none."""

    def referrers(self, path: StorePath) -> list[StorePath]:
        """Return the valid paths that refer to `path`, sorted."""

    def valid_derivers(self, path: StorePath) -> list[StorePath]:
        """Return the valid derivations that have `path` among their outputs, sorted."""

    def derivation(self, path: StorePath) -> Derivation:
        """Return the derivation kept at the valid path `path`."""

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """Yield the NAR serialisation of a valid path, in pieces."""

    def intake(self) -> AbstractContextManager[Intake]:
        """Begin an addition."""

    def add_text(self, name: str, content: bytes, references: Iterable[StorePath] = ()) -> StorePath:
        """Add a text-addressed file (`builtins.toFile`, a `.drv`) and return its path."""

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """Return what an output of a derivation is known to be, None if nobody said so."""

    def register_realisations(self, realisations: Sequence[Realisation]) -> None:
        """Note which paths outputs are: of valid paths, dependencies first. Signatures are not checked.

        Raises:
            StoreError: an output is known to be another path, or a path is not valid.
        """

    def add_temp_root(self, path: StorePath) -> None:
        """Keep `path`, valid or not, from being collected while this process lives."""


@record(frozen=True, slots=True)
class Offer:
    """What a substituter says about a path it has."""

    info: PathInfo
    download_size: int  # bytes over the wire, 0 if unknown


class Substituter(Protocol):
    """Somewhere that valid paths can be copied from: a binary cache, another store."""

    @property
    def uri(self) -> str:
        """Its name in messages."""

    @property
    def priority(self) -> int:
        """Lower is asked first."""

    def offers(self, paths: Collection[StorePath]) -> Mapping[StorePath, Offer]:
        """Return what it knows about those of `paths` that it has. One that can't be reached says so once."""

    def nar(self, offer: Offer) -> Iterator[bytes]:
        """Yield the uncompressed NAR of an offered path. The caller checks hash, size and signature.

        Raises:
            StoreError: the transfer failed.
        """


class BuildMode(Enum):
    """What to do with outputs that are valid already."""

    NORMAL = 0
    REPAIR = 1
    CHECK = 2


class BuildStatus(Enum):
    """How a build ended; the numbers are those of the worker protocol."""

    BUILT = 0
    SUBSTITUTED = 1
    ALREADY_VALID = 2
    PERMANENT_FAILURE = 3
    INPUT_REJECTED = 4
    OUTPUT_REJECTED = 5
    TRANSIENT_FAILURE = 6
    CACHED_FAILURE = 7
    TIMED_OUT = 8
    MISC_FAILURE = 9
    DEPENDENCY_FAILED = 10
    LOG_LIMIT_EXCEEDED = 11
    NOT_DETERMINISTIC = 12
    RESOLVES_TO_ALREADY_VALID = 13
    NO_SUBSTITUTERS = 14


@record(frozen=True, slots=True)
class CpuTime:
    """What a build took of the processors, in microseconds; all its processes together."""

    user: int
    system: int

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user + other.user, self.system + other.system)

    def __str__(self) -> str:
        return f"user CPU {self.user / 1e6:.3f}s, system CPU {self.system / 1e6:.3f}s"


@record(frozen=True, slots=True)
class BuildResult:
    """The outcome of one target."""

    target: DerivedPath
    status: BuildStatus
    outputs: Mapping[str, StorePath] = field(default_factory=dict)
    message: str = ""
    exit_code: int = 0  # 0, or 100, 101, 102, 104 as `nix-build` would end with
    start_time: int = 0  # seconds since the epoch
    stop_time: int = 0
    cpu_time: CpuTime | None = None  # None where nobody counted (`use-cgroups`)

    @property
    def ok(self) -> bool:
        """Whether the target is there now."""
        return self.exit_code == 0


@record(frozen=True, slots=True)
class Missing:
    """What realising something would take."""

    will_build: frozenset[StorePath]
    will_substitute: frozenset[StorePath]
    unknown: frozenset[StorePath]
    download_size: int
    nar_size: int


class Builder(Protocol):
    """Makes derived paths valid, by building or by substituting."""

    async def build(self, targets: Sequence[DerivedPath], mode: BuildMode = BuildMode.NORMAL) -> list[BuildResult]:
        """Realise all targets and return one result for each, in order.

        A failed build is a result, not an exception. Cancelling ends all builds of this call that nobody else waits
        for and leaves no process, mount or directory.

        Raises:
            StoreError: nothing could be attempted (no store, no sandbox).
        """

    async def missing(self, targets: Sequence[DerivedPath]) -> Missing:
        """Say what `build` would have to do, without doing it."""
