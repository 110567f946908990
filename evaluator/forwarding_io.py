"""Effects that another `EvalIO` has: the base of those that stand before one and change a few of its answers."""

from __future__ import annotations

from evaluator.eval_io import EvalIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from evaluator.eval_io import ClosureRequest, RepositoryRequest, RepositoryTree
    from storefs.formats.derivation import Derivation
    from storefs.formats.hashes import Hash


class ForwardingIO(EvalIO):
    """Passes on to `inner` every effect that is one question to the machine or the store.

    `exists`, `resolve` and the other effects that `EvalIO` composes of these stay composed, so that a subclass sees
    each question; so does `variable`, which has an answer without `inner`: none is set.

    Args:
        inner: has the effects.
    """

    def __init__(self, inner: EvalIO) -> None:
        super().__init__(inner.directory.path, {})
        self.read_only = inner.read_only
        self._inner = inner

    def file_type(self, path: str) -> str | None:
        """See `EvalIO`."""
        return self._inner.file_type(path)

    def read_file(self, path: str) -> bytes:
        """See `EvalIO`."""
        return self._inner.read_file(path)

    def read_link(self, path: str) -> str:
        """See `EvalIO`."""
        return self._inner.read_link(path)

    def list_dir(self, path: str) -> dict[str, str]:
        """See `EvalIO`."""
        return self._inner.list_dir(path)

    def is_executable(self, path: str) -> bool:
        """See `EvalIO`."""
        return self._inner.is_executable(path)

    def home(self) -> str:
        """See `EvalIO`."""
        return self._inner.home()

    def current_time(self) -> int:
        """See `EvalIO`."""
        return self._inner.current_time()

    def is_valid(self, path: str) -> bool:
        """See `EvalIO`."""
        return self._inner.is_valid(path)

    def references(self, path: str) -> list[str] | None:
        """See `EvalIO`."""
        return self._inner.references(path)

    def closure(self, path: str) -> list[str]:
        """See `EvalIO`."""
        return self._inner.closure(path)

    def derivation(self, path: str) -> Derivation:
        """See `EvalIO`."""
        return self._inner.derivation(path)

    def output_names(self, path: str) -> list[str]:
        """See `EvalIO`."""
        return self._inner.output_names(path)

    def ensure(self, path: str) -> None:
        """See `EvalIO`."""
        self._inner.ensure(path)

    def add_path(
        self,
        name: str,
        path: str,
        *,
        recursive: bool = True,
        keep: Callable[[str, str], bool] | None = None,
        expected: Hash | None = None,
    ) -> str:
        """See `EvalIO`."""
        return self._inner.add_path(name, path, recursive=recursive, keep=keep, expected=expected)

    def nar_hash(self, path: str) -> Hash:
        """See `EvalIO`."""
        return self._inner.nar_hash(path)

    def add_text(self, name: str, content: bytes, references: Iterable[str]) -> str:
        """See `EvalIO`."""
        return self._inner.add_text(name, content, references)

    def add_derivation(
        self, path: str, content: bytes, digest: bytes, references: list[str], outputs: list[str]
    ) -> None:
        """See `EvalIO`."""
        self._inner.add_derivation(path, content, digest, references, outputs)

    def flush(self) -> None:
        """See `EvalIO`."""
        self._inner.flush()

    def realise(self, outputs: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """See `EvalIO`."""
        return self._inner.realise(outputs)

    def download(self, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
        """See `EvalIO`."""
        return self._inner.download(url, name, unpack=unpack, expected=expected)

    def last_modified(self, path: str) -> int:
        """See `EvalIO`."""
        return self._inner.last_modified(path)

    def fetch_repository(self, request: RepositoryRequest) -> RepositoryTree:
        """See `EvalIO`."""
        return self._inner.fetch_repository(request)

    def fetch_closure(self, request: ClosureRequest) -> str:
        """See `EvalIO`."""
        return self._inner.fetch_closure(request)
