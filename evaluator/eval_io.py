"""Every effect that the Nix language can have, as one small interface: reading files, asking and filling the store,
building, fetching.

`EvalIO` is the contract; it says what each effect means and does none itself, except for the files of this machine,
which every implementation reads alike. `store_io.py` implements it over a store and a builder, `access.py` narrows it
(restricted and pure evaluation), `result_cache.py` notes down what was asked. The language (`core`, `builtins`) calls
nothing but this.

Paths are absolute, canonical host paths as `str` (`surrogateescape`). Failures of the operating system arrive as
`OSError`, those of the store as `storefs.errors.StoreError`; the language turns both into errors with a position.
"""

from __future__ import annotations

import os
import sys
import time

from evaluator.errors import NO_POS, EvalError
from evaluator.host_files import HostFiles
from storefs.errors import StoreError
from storefs.formats.store_path import StoreDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from storefs.formats.derivation import Derivation
    from storefs.formats.hashes import Hash


class EffectRefusedError(StoreError):
    """An effect that the evaluation must not have, or lacks the means for. The text says what is missing."""


class EvalIO(HostFiles):
    """The effects. A subclass overrides what it can do; the rest is refused with `EffectRefusedError`.

    Attributes:
        directory: the logical store directory.
        read_only: the store is not written; store paths are only computed.
    """

    def __init__(self, store_dir: str, environment: Mapping[str, str]) -> None:
        self.directory = StoreDir(store_dir)
        self.read_only = True
        self._environment = environment

    # Files, beyond those of `HostFiles`.

    def read_source(self, path: str) -> bytes:
        """Return the text of a Nix file; EvalError where the system refuses."""
        try:
            return self.read_file(path)
        except OSError as error:
            raise EvalError(f"opening file '{path}': {error.strerror}", NO_POS) from None

    def resolve_expr_path(self, path: str) -> str:
        """Return the file that evaluating `path` reads: final links followed, `/default.nix` added to a directory."""
        current = path
        for _ in range(1024):
            try:
                kind = self.file_type(current)
            except OSError as error:
                raise EvalError(f"getting status of '{current}': {error.strerror}", NO_POS) from None
            if kind is None:
                raise EvalError(f"path '{current}' does not exist", NO_POS)
            if kind == "directory":
                return f"{current}/default.nix" if current != "/" else "/default.nix"
            if kind != "symlink":
                return current
            current = os.path.normpath(os.path.join(os.path.dirname(current), self.read_link(current)))
        raise EvalError(f"too many symbolic links encountered while traversing the path '{path}'", NO_POS)

    # The rest of the machine.

    def home(self) -> str:
        """Return the user's home directory, which `~` stands for in paths."""
        return self.variable("HOME") or os.path.expanduser("~")

    def variable(self, name: str) -> str:
        """Return an environment variable, '' for one that is not set."""
        return self._environment.get(name, "")

    def read_stdin(self) -> bytes:
        """Return what is on standard input, to its end. Blocks."""
        return sys.stdin.buffer.read()

    def current_time(self) -> int:
        """Return the seconds since 1970."""
        return int(time.time())

    # The store. Store paths are text, `<store directory>/<hash>-<name>`.

    def is_valid(self, path: str) -> bool:
        """Return whether a store path is valid."""
        raise EffectRefusedError(f"cannot ask about '{path}': this evaluation has no store")

    def references(self, path: str) -> list[str] | None:
        """Return what a store path refers to, None if it is not valid."""
        raise EffectRefusedError(f"cannot ask about '{path}': this evaluation has no store")

    def closure(self, path: str) -> list[str]:
        """Return a valid store path and everything that it refers to, however indirectly."""
        raise EffectRefusedError(f"cannot ask about '{path}': this evaluation has no store")

    def derivation(self, path: str) -> Derivation:
        """Return the derivation at a valid store path."""
        raise EffectRefusedError(f"cannot read '{path}': this evaluation has no store")

    def output_names(self, path: str) -> list[str]:
        """Return the names of the outputs of the derivation at a store path, also of one that was only computed."""
        return sorted(self.derivation(path).outputs)

    def ensure(self, path: str) -> None:
        """Make a store path valid by substitution if it is not valid yet. May block for long."""
        raise EffectRefusedError(f"cannot get '{path}': this evaluation has no store")

    def add_path(
        self,
        name: str,
        path: str,
        *,
        recursive: bool = True,
        keep: Callable[[str, str], bool] | None = None,
        expected: Hash | None = None,
    ) -> str:
        """Copy a file or a tree into the store and return its store path; when `read_only`, only compute that.

        Args:
            name: of the store path.
            path: a host path.
            recursive: hash the NAR serialisation; otherwise the content of the regular file.
            keep: called with each path beneath `path`, and `path` itself, and its type; False leaves it out.
            expected: its hash; a valid path with this hash is returned unread, another hash is an error.
        """
        raise EffectRefusedError(f"cannot copy '{path}' to the store: this evaluation has no store")

    def copy_to_store(self, path: str) -> str:
        """Copy a file or a tree under its own name, as interpolating a path does."""
        try:
            return self.add_path(os.path.basename(path), path)
        except OSError as error:
            name = error.filename or path
            if isinstance(error, FileNotFoundError):
                raise EvalError(f"path '{name}' does not exist", NO_POS) from None
            raise EvalError(f"getting status of '{name}': {error.strerror}", NO_POS) from None

    def nar_hash(self, path: str) -> Hash:
        """Return the SHA-256 of the NAR serialisation of a store path that was added or is valid."""
        raise EffectRefusedError(f"cannot hash '{path}': this evaluation has no store")

    def add_text(self, name: str, content: bytes, references: Iterable[str]) -> str:
        """Add a text-addressed file and return its store path; when `read_only`, only compute that.

        It may be written later, but before anything that needs it, and at the latest by `flush`.
        """
        raise EffectRefusedError(f"cannot write '{name}': this evaluation has no store")

    def add_derivation(
        self, path: str, content: bytes, digest: bytes, references: list[str], outputs: list[str]
    ) -> None:
        """Add a `.drv` whose store path is known already. Like `add_text`, it may be written later.

        Args:
            path: its store path.
            content: its text.
            digest: the SHA-256 of the text.
            references: the store paths that it refers to, sorted.
            outputs: the names of its outputs.
        """
        raise EffectRefusedError(f"cannot write '{path}': this evaluation has no store")

    def flush(self) -> None:
        """Write what was added and not written yet."""

    # What takes long.

    def realise(self, outputs: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """Build or substitute outputs, given as derivation path -> output names. Blocks for long.

        Returns:
            placeholder -> path of the outputs whose path was not known before; usually empty.
        """
        drv_path = next(iter(outputs))
        raise EffectRefusedError(f"cannot build '{drv_path}' during evaluation: this evaluation has no builder")

    def download(self, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
        """Put what a URL names into the store, unpacked if it is an archive, and return its store path. Blocks."""
        raise EffectRefusedError(f"cannot download '{url}': this evaluation has no network")

    def fetch_repository(self, request: RepositoryRequest) -> RepositoryTree:
        """Put a revision of a repository into the store. Blocks."""
        raise EffectRefusedError(f"cannot fetch '{request.url}': this evaluation must not run git")

    def fetch_closure(self, request: ClosureRequest) -> str:
        """Make a path of a binary cache valid, and return the one that it has here. Blocks."""
        raise EffectRefusedError(f"cannot fetch '{request.path}': this evaluation has no network")


class ClosureRequest:
    """What to fetch from a binary cache, for `builtins.fetchClosure`.

    Attributes:
        store: the URI of the cache.
        path: the store path that is wanted, with what it refers to.
        rewrite: whether it is wanted under a name that follows from its contents.
        rewritten: that name; None if the expression does not say it.
        content_addressed: whether any other name is refused.
    """

    __slots__ = ("content_addressed", "path", "rewrite", "rewritten", "store")

    def __init__(self, store: str, path: str, rewrite: bool, rewritten: str | None, content_addressed: bool) -> None:
        self.store = store
        self.path = path
        self.rewrite = rewrite
        self.rewritten = rewritten
        self.content_addressed = content_addressed


class RepositoryRequest:
    """What to fetch from a repository.

    Attributes:
        kind: 'git' or 'hg', Mercurial.
        url: a URL, or the path of a repository on this machine.
        ref: a branch or tag; None is the default branch, or the working tree of a local repository.
        rev: a commit, 40 hexadecimal digits, or None.
        submodules, all_refs, shallow: as in `builtins.fetchGit`.
        name: of the store path.
    """

    __slots__ = ("all_refs", "kind", "name", "ref", "rev", "shallow", "submodules", "url")

    def __init__(
        self,
        url: str,
        *,
        kind: str = "git",
        ref: str | None = None,
        rev: str | None = None,
        submodules: bool = False,
        all_refs: bool = False,
        shallow: bool = False,
        name: str = "source",
    ) -> None:
        self.url = url
        self.kind = kind
        self.ref = ref
        self.rev = rev
        self.submodules = submodules
        self.all_refs = all_refs
        self.shallow = shallow
        self.name = name


class RepositoryTree:
    """What was fetched: store path, NAR hash, commit (None for a dirty tree), how many are before it, its date (None
    if the repository does not say), and its branch where the kind of repository has it in a commit.
    """

    __slots__ = ("branch", "last_modified", "nar_hash", "path", "rev", "rev_count")

    def __init__(
        self,
        path: str,
        nar_hash: Hash,
        rev: str | None,
        rev_count: int | None,
        last_modified: int | None,
        branch: str = "",
    ) -> None:
        self.branch = branch
        self.path = path
        self.nar_hash = nar_hash
        self.rev = rev
        self.rev_count = rev_count
        self.last_modified = last_modified
