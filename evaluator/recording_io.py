"""Effects that are written down: what the result cache needs to know of an evaluation.

Stands outermost, between the language and the other `EvalIO`s. Everything that was looked at becomes an observation
(`result_cache.py` says of what form), once each. Effects whose answer may be another tomorrow for reasons that nobody
can check (a download without a hash, a git branch, the clock) make the result impossible to remember.
"""

from __future__ import annotations

from evaluator.forwarding_io import ForwardingIO
from evaluator.host_files import COREPKGS
from evaluator.result_cache import digest, is_regular, listing_digest, signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    T = TypeVar("T")

    from evaluator.eval_io import ClosureRequest, EvalIO, RepositoryRequest, RepositoryTree
    from evaluator.result_cache import Observation
    from storefs.formats.hashes import Hash


class RecordingIO(ForwardingIO):
    """The effects of `inner`, noted down."""

    def __init__(self, inner: EvalIO) -> None:
        super().__init__(inner)
        self.cacheable = True
        self._prefix = inner.directory.path + "/"
        self._within: set[str] = set()
        self._observations: dict[tuple[str, str], Observation] = {}

    def observations(self) -> list[Observation]:
        """Return everything that was observed, in the order of the first time."""
        return list(self._observations.values())

    def require_valid(self, path: str) -> None:
        """Note that the result is worth nothing without this store path."""
        self._note("valid", path, True)

    def _note(self, kind: str, path: str, answer: object, found: tuple[int, ...] | None = None) -> None:
        self._observations.setdefault((kind, path), (kind, path, answer, found))

    def _ask(self, effect: Callable[[str], T], path: str) -> T:
        """Return what `effect` says of a path.

        What the system refuses to tell is no error everywhere (`pathExists`), and may be told tomorrow.
        """
        try:
            return effect(path)
        except OSError:
            self.cacheable = False
            raise

    def _fixed(self, path: str) -> bool:
        """Whether what is at `path` can't change: a file of the program, or one in a valid store path."""
        if path.startswith(COREPKGS):
            return True
        if not path.startswith(self._prefix):
            return False
        base_name, slash, _ = path[len(self._prefix) :].partition("/")
        if not base_name or not self.is_valid(self._prefix + base_name):
            return False
        folder = path.rpartition("/")[0]
        if slash and folder not in self._within:
            self._within.add(folder)
            self._stay_within(folder)
        return True

    def _fixed_to_its_end(self, path: str) -> bool:
        """As `_fixed`, for a path that is read: a link at its end is followed, too."""
        if not self._fixed(path):
            return False
        if not path.startswith(COREPKGS) and self._ask(self._inner.file_type, path) == "symlink":
            self._stay_within(path)
        return True

    def _stay_within(self, path: str) -> None:
        """Give up remembering if links lead from a path of the store to files that change, through links that do."""
        real = self._ask(self._inner.resolve, path)
        if not real.startswith(self._prefix) and not real.startswith(self._inner.resolve(self.directory.path) + "/"):
            self.cacheable = False

    # Files.

    def file_type(self, path: str) -> str | None:
        """See `EvalIO`."""
        kind = self._ask(self._inner.file_type, path)
        if not self._fixed(path):
            self._note("type", path, kind)
        return kind

    def read_file(self, path: str) -> bytes:
        """See `EvalIO`."""
        if self._fixed_to_its_end(path):
            return self._inner.read_file(path)
        before = signature(path)
        content = self._ask(self._inner.read_file, path)
        if before is not None and not is_regular(before):
            self.cacheable = False  # a pipe, which can be read once
        # Files of the kernel have contents that change without a trace, and sizes that are not theirs.
        self._note("file", path, digest(content), None if before is None or before[1] != len(content) else before)
        return content

    def read_link(self, path: str) -> str:
        """See `EvalIO`."""
        target = self._ask(self._inner.read_link, path)
        if not self._fixed(path):
            self._note("link", path, target)
        return target

    def list_dir(self, path: str) -> dict[str, str]:
        """See `EvalIO`."""
        if self._fixed_to_its_end(path):
            return self._inner.list_dir(path)
        before = signature(path)
        entries = self._ask(self._inner.list_dir, path)
        self._note("directory", path, listing_digest(entries), before)
        return entries

    def is_executable(self, path: str) -> bool:
        """See `EvalIO`."""
        before = signature(path)
        answer = self._inner.is_executable(path)
        if not self._fixed_to_its_end(path):
            self._note("executable", path, answer, before)
        return answer

    # The rest of the machine.

    def read_stdin(self) -> bytes:
        """See `EvalIO`; what comes there next time, nobody knows."""
        self.cacheable = False
        return self._inner.read_stdin()

    def current_time(self) -> int:
        """See `EvalIO`; the language asks when a program looks at it."""
        self.cacheable = False
        return self._inner.current_time()

    def variable(self, name: str) -> str:
        """See `EvalIO`."""
        value = self._inner.variable(name)
        self._note("variable", name, value)
        return value

    # The store.

    def is_valid(self, path: str) -> bool:
        """See `EvalIO`."""
        answer = self._inner.is_valid(path)
        self._note("valid", path, answer)
        return answer

    def references(self, path: str) -> list[str] | None:
        """See `EvalIO`; those of a valid path don't change."""
        answer = self._inner.references(path)
        self._note("valid", path, answer is not None)
        return answer

    def ensure(self, path: str) -> None:
        """See `EvalIO`."""
        self._inner.ensure(path)
        self._note("valid", path, True)

    def add_path(
        self,
        name: str,
        path: str,
        *,
        recursive: bool = True,
        keep: Callable[[str, str], bool] | None = None,
        expected: Hash | None = None,
    ) -> str:
        """See `EvalIO`; everything in the tree that was not left out is observed."""
        if keep is None:
            # A single file may be found through links.
            self._observe_tree(path if recursive else self.resolve(path))
            return self._inner.add_path(name, path, recursive=recursive, expected=expected)
        choose = keep

        def noting(entry: str, kind: str) -> bool:
            kept = choose(entry, kind)
            if kept:
                self._observe(entry, kind)
            return kept

        self._observe(path, self.file_type(path))
        return self._inner.add_path(name, path, recursive=recursive, keep=noting, expected=expected)

    def _observe(self, path: str, kind: str | None) -> None:
        """Note down something that is about to be copied: a file by its times alone, it is read only once."""
        if self._fixed(path):
            return
        if kind == "regular":
            self._note("copy", path, None, signature(path))
        elif kind == "symlink":
            self.read_link(path)
        elif kind == "directory":
            self.list_dir(path)

    def _observe_tree(self, path: str) -> None:
        kind = self.file_type(path)
        self._observe(path, kind)
        if kind == "directory" and not self._fixed(path):
            for name in self._inner.list_dir(path):
                self._observe_tree(f"{path}/{name}")

    # What takes long.

    def realise(self, outputs: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """See `EvalIO`; what was built must still be there for the result to count."""
        rewrites = self._inner.realise(outputs)
        for drv_path, names in outputs.items():
            described = self._inner.derivation(drv_path).outputs
            for name in names:
                output = described.get(name)
                if output is None or output.path is None:
                    self.cacheable = False
                else:
                    self._note("valid", self.directory.print(output.path), True)
        return rewrites

    def download(self, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
        """See `EvalIO`; without a hash the answer may be another tomorrow."""
        path = self._inner.download(url, name, unpack=unpack, expected=expected)
        if expected is None:
            self.cacheable = False
        else:
            self._note("valid", path, True)
        return path

    def last_modified(self, path: str) -> int:
        """See `EvalIO`; a date is not looked at again."""
        self.cacheable = False
        return self._inner.last_modified(path)

    def fetch_repository(self, request: RepositoryRequest) -> RepositoryTree:
        """See `EvalIO`; only a named commit stays what it is."""
        tree = self._inner.fetch_repository(request)
        if request.rev is None:
            self.cacheable = False
        else:
            self._note("valid", tree.path, True)
        return tree

    def fetch_closure(self, request: ClosureRequest) -> str:
        """See `EvalIO`; what is named stays what it is."""
        path = self._inner.fetch_closure(request)
        self._note("valid", path, True)
        return path
