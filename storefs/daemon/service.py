"""What a daemon offers its clients beyond a `Store`, as one injected interface.

The session translates the protocol into these calls and nothing else. The store's part is implemented in
`storefs.daemon.store_service`; what needs a Builder is added where one exists, by the command that runs the daemon.
Everything is synchronous and runs in the process that serves the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from storefs.api import BuildMode, BuildResult, Missing, Offer, Store
    from storefs.daemon.peer import Peer
    from storefs.daemon.stored_answers import StoredAnswers
    from storefs.daemon.tunnel import Tunnel
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.derivation import Derivation
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath
    from storefs.protocol.worker_values import ClientOptions


class Service(Protocol):
    """One client's view of the store. Raises StoreError in every method; what is said meanwhile goes to `tunnel`."""

    @property
    def store(self) -> Store:
        """The store that is served."""

    @property
    def answers(self) -> StoredAnswers:
        """What its database says about valid paths."""

    def configure(self, options: ClientOptions, tunnel: Tunnel, peer: Peer) -> None:
        """Take over the client's settings, as far as it is trusted."""

    def add_content_addressed(
        self, name: str, method: str, chunks: Iterable[Buffer], references: Iterable[StorePath], *, repair: bool
    ) -> PathInfo:
        """Add an object whose path follows from its content ('text:sha256', 'fixed:ALGO', 'fixed:r:ALGO')."""

    def add_nars(
        self, additions: Iterable[tuple[PathInfo, Iterable[Buffer]]], *, repair: bool, check_signatures: bool
    ) -> None:
        """Make paths valid from their NARs, references first."""

    def import_paths(self, chunks: Iterable[Buffer], *, check_signatures: bool) -> list[StorePath]:
        """Add the paths of an export stream."""

    def export_path(self, path: StorePath) -> Iterator[bytes]:
        """Yield one path of an export stream."""

    def add_signatures(self, path: StorePath, signatures: Iterable[str]) -> None:
        """Add signatures to a valid path."""

    def register_realisation(self, realisation: Realisation, *, check_signatures: bool) -> None:
        """Note which valid path an output of a derivation is."""

    def add_build_log(self, derivation: StorePath, chunks: Iterable[Buffer]) -> None:
        """Keep the log of a build."""

    def build(
        self, targets: Sequence[DerivedPath], mode: BuildMode, tunnel: Tunnel, *, hangup_fd: int
    ) -> list[BuildResult]:
        """Realise all targets; cancelled when the other end of `hangup_fd` goes away."""

    def build_derivation(
        self, path: StorePath, derivation: Derivation, mode: BuildMode, tunnel: Tunnel, *, hangup_fd: int
    ) -> BuildResult:
        """Build one derivation whose inputs are valid."""

    def missing(self, targets: Sequence[DerivedPath]) -> Missing:
        """Say what `build` would have to do."""

    def offers(self, paths: Iterable[StorePath]) -> Mapping[StorePath, Offer]:
        """Return what the substituters say about those of `paths` that they have."""

    def substitute(self, paths: Iterable[StorePath], tunnel: Tunnel, *, hangup_fd: int) -> None:
        """Make those of `paths` valid that substituters have."""

    def add_root(self, link: str) -> None:
        """Register the symbolic link at the absolute path `link` as an indirect root."""

    def find_roots(self, *, censor: bool) -> list[tuple[str, StorePath]]:
        """Return (link, store path) for all roots, sorted; `censor` hides whose the roots of processes are."""

    def collect_garbage(self, action: int, paths: Iterable[StorePath], max_freed: int) -> tuple[list[StorePath], int]:
        """Collect; returns the paths concerned and the bytes freed. Actions are GC_* of `worker_ops`."""

    def optimise(self) -> None:
        """Deduplicate, where adding has not done so already."""

    def verify(self, *, check_contents: bool, repair: bool) -> bool:
        """Verify the store; returns whether errors remain."""
