"""What an evaluation may have to wait for: builds, downloads, repositories. An interface that refuses everything.

`store_io` hands such effects on to one of these; `session` overrides it with what a builder and the network can do.
"""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from evaluator.eval_io import ClosureRequest, EvalIO, RepositoryRequest, RepositoryTree
    from storefs.formats.hashes import Hash


class Services:
    """What takes long; the session overrides it. Every method may block."""

    def realise(self, outputs: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """See `EvalIO.realise`; everything it needs is in the store by then."""
        raise StoreError(f"cannot build '{next(iter(outputs))}' during evaluation: there is no builder")

    def ensure(self, path: str) -> None:
        """See `EvalIO.ensure`; called for paths that are not valid."""
        raise StoreError(f"path '{path}' is not valid")

    def download(self, io: EvalIO, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
        """See `EvalIO.download`."""
        raise StoreError(f"cannot download '{url}' in this evaluation")

    def fetch_repository(self, io: EvalIO, request: RepositoryRequest) -> RepositoryTree:
        """See `EvalIO.fetch_repository`."""
        raise StoreError(f"cannot fetch '{request.url}' in this evaluation")

    def fetch_closure(self, request: ClosureRequest) -> str:
        """See `EvalIO.fetch_closure`."""
        raise StoreError(f"cannot fetch '{request.path}' in this evaluation")
