"""The effects of the language over an injected store.

`StoreIO` implements `EvalIO`: store paths are computed here, written through a `Store`, and read back through it
whether the store is mounted or not. What takes long (building, downloading) is handed to `Services`, which `session.py`
provides. The store is opened when it is first needed: most evaluations that only print something never need it.

Derivations and texts are written in batches, since a transaction for each would cost more than evaluating them.
"""

from __future__ import annotations

import os

from evaluator.core.sha256 import sha256
from evaluator.eval_io import EvalIO
from evaluator.texts import Text, write_texts
from storefs.errors import StoreError
from storefs.formats.hashes import Hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from evaluator.eval_io import ClosureRequest, RepositoryRequest, RepositoryTree
    from evaluator.services import Services
    from evaluator.store_files import StoreFiles
    from storefs.api import Intake, Store, Tree
    from storefs.formats.derivation import Derivation
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StorePath

    T = TypeVar("T")

_BATCH = 2000  # texts that may wait to be written
_BATCH_BYTES = 16 << 20


class PathMismatchError(StoreError):
    """What was added does not have the hash that the expression gives for it."""


class StoreIO(EvalIO):
    """Effects over a store.

    Args:
        store_dir: the logical store directory.
        environment: the environment variables that expressions may see.
        open_store: opens the store, once; None where there is none (`dummy://`, a machine without one).
        services: builds and downloads.
        read_only: write nothing; only compute store paths.
    """

    def __init__(
        self,
        store_dir: str,
        environment: Mapping[str, str],
        open_store: Callable[[], Store | None],
        services: Services,
        *,
        read_only: bool,
    ) -> None:
        super().__init__(store_dir, environment)
        self.read_only = read_only
        self._open_store = open_store
        self._services = services
        self._store: Store | None = None
        self._files: StoreFiles | None = None
        self._opened = False
        self._prefix = self.directory.path + "/"
        self._texts: dict[str, Text] = {}
        self._pending: list[str] = []
        self._pending_bytes = 0
        self._valid: set[str] = set()
        self._nar_hashes: dict[str, Hash] = {}

    @property
    def store(self) -> Store | None:
        """The store, None where there is none. Opens it: may block, may raise StoreError."""
        if not self._opened:
            self._opened = True
            self._store = self._open_store()
            if self._store is not None:
                from evaluator.store_files import StoreFiles  # noqa: PLC0415  only with a store

                self._files = StoreFiles(self._store)
        return self._store

    def writing(self, fetch: Callable[[], T]) -> T:
        """Return what `fetch` returns, which writes to the store in any case: it will be read from there."""
        before, self.read_only = self.read_only, False
        if self._store is None:
            self._opened = False
        try:
            return fetch()
        finally:
            self.read_only = before

    def _writable(self) -> Store:
        store = self.store
        if store is None:
            raise StoreError("this evaluation has no store to write to")
        return store

    # Files: those in the store are read through the store object.

    def _inside(self, path: str) -> tuple[StoreFiles, StorePath, str] | None:
        """The store path that `path` is in and the rest of it, if that store path is valid in our store."""
        if not path.startswith(self._prefix) or self.store is None or self._files is None:
            return None
        base_name, slash, rest = path[len(self._prefix) :].partition("/")
        store_path = self.directory.maybe_parse(self._prefix + base_name)
        if store_path is None or not self._known_valid(self._prefix + base_name, store_path):
            return None
        return self._files, store_path, slash + rest

    def _known_valid(self, text: str, store_path: StorePath) -> bool:
        if text in self._valid:
            return True
        if text in self._texts and not self.read_only:
            self.flush()
        store = self.store
        if store is not None and store.is_valid(store_path):
            self._valid.add(text)
            return True
        return False

    def file_type(self, path: str) -> str | None:
        """See `EvalIO`."""
        inside = self._inside(path)
        if inside is not None:
            return inside[0].file_type(inside[1], inside[2])
        if path in self._texts:
            return "regular"
        kind = super().file_type(path)
        if kind is None:
            folder, _, name = path.rpartition("/")
            real = self._behind_links(folder)
            if real is not None and (inside := self._inside(f"{real}/{name}")) is not None:
                return inside[0].file_type(inside[1], inside[2])
        return kind

    def _behind_links(self, path: str) -> str | None:
        """Where a path outside of the store leads in it, through a profile say; asked when this machine has no answer,
        because the store is mounted nowhere. None if it leads elsewhere.
        """
        real = os.path.realpath(path)
        return self.resolve(real) if real.startswith(self._prefix) and not path.startswith(self._prefix) else None

    def read_file(self, path: str) -> bytes:
        """See `EvalIO`."""
        inside = self._inside(path)
        if inside is not None:
            real = self.resolve(path)
            inside = self._inside(real)
            if inside is not None:
                return inside[0].read_file(inside[1], inside[2])
            path = real
        text = self._texts.get(path)
        if text is not None and text.content is not None:
            return text.content
        try:
            return super().read_file(path)
        except FileNotFoundError:
            behind = self._behind_links(path)
            if behind is None:
                raise
            return self.read_file(behind)

    def read_link(self, path: str) -> str:
        """See `EvalIO`."""
        inside = self._inside(path)
        if inside is not None:
            return inside[0].read_link(inside[1], inside[2])
        try:
            return super().read_link(path)
        except FileNotFoundError:
            folder, _, name = path.rpartition("/")
            behind = self._behind_links(folder)
            if behind is None:
                raise
            return self.read_link(f"{behind}/{name}")

    def list_dir(self, path: str) -> dict[str, str]:
        """See `EvalIO`."""
        inside = self._inside(path)
        if inside is not None:
            inside = self._inside(self.resolve(path))
        if inside is not None:
            return inside[0].list_dir(inside[1], inside[2])
        try:
            return super().list_dir(path)
        except FileNotFoundError:
            behind = self._behind_links(path)
            if behind is None:
                raise
            return self.list_dir(behind)

    def is_executable(self, path: str) -> bool:
        """See `EvalIO`."""
        inside = self._inside(path)
        return inside[0].is_executable(inside[1], inside[2]) if inside is not None else super().is_executable(path)

    # The store.

    def is_valid(self, path: str) -> bool:
        """See `EvalIO`; what was added in this evaluation counts, written or not."""
        if path in self._valid or (path in self._texts and not self.read_only):
            return True
        store_path = self.directory.maybe_parse(path)
        return store_path is not None and self._known_valid(path, store_path)

    def _info(self, path: str) -> PathInfo | None:
        store, store_path = self.store, self.directory.maybe_parse(path)
        return store.find_path_info(store_path) if store is not None and store_path is not None else None

    def references(self, path: str) -> list[str] | None:
        """See `EvalIO`."""
        text = self._texts.get(path)
        if text is not None:
            return text.references
        info = self._info(path)
        return None if info is None else [self.directory.print(reference) for reference in info.references]

    def closure(self, path: str) -> list[str]:
        """See `EvalIO`."""
        found, todo = {path}, [path]
        while todo:
            current = todo.pop()
            references = self.references(current)
            if references is None:
                raise StoreError(f"path '{current}' is not valid")
            todo.extend(new := set(references) - found)
            found |= new
        return sorted(found)

    def derivation(self, path: str) -> Derivation:
        """See `EvalIO`."""
        store_path = self.directory.parse(path)
        text = self._texts.get(path)
        if text is not None and text.content is not None:
            from storefs.formats.derivation import read_derivation  # noqa: PLC0415  rarely needed

            return read_derivation(text.content, self.directory, store_path)
        store = self.store
        if store is None or not store.is_valid(store_path):
            raise StoreError(f"path '{path}' is not valid")
        return store.derivation(store_path)

    def output_names(self, path: str) -> list[str]:
        """See `EvalIO`."""
        text = self._texts.get(path)
        return text.outputs if text is not None else super().output_names(path)

    def ensure(self, path: str) -> None:
        """See `EvalIO`."""
        if not self.is_valid(path):
            self._services.ensure(path)

    def add_path(
        self,
        name: str,
        path: str,
        *,
        recursive: bool = True,
        keep: Callable[[str, str], bool] | None = None,
        expected: Hash | None = None,
    ) -> str:
        """See `EvalIO`. Blocks while the tree is read."""
        directory = self.directory
        if expected is not None:
            wanted = directory.print(directory.make_fixed_output_path(recursive, expected, name))
            if self.is_valid(wanted):
                return wanted
        if self.read_only:
            digest = self._hash_tree(path, recursive, keep)
            fixed = directory.make_fixed_output_path
            added = self._source_path(digest, name) if recursive else directory.print(fixed(False, digest, name))
        else:
            added = self._copy_tree(name, path, recursive, keep)
        if expected is not None and added != wanted:
            raise PathMismatchError(f"store path mismatch in (possibly filtered) path added from '{path}'")
        return added

    def _hash_tree(self, path: str, recursive: bool, keep: Callable[[str, str], bool] | None) -> Hash:
        if not recursive:
            return Hash("sha256", sha256(self.read_file(path)).digest())
        state = sha256()
        self._write_tree(path, keep, state.update)
        return Hash("sha256", state.digest())

    def _source_path(self, digest: Hash, name: str) -> str:
        from evaluator.core.derivations import store_path  # noqa: PLC0415  only when something is copied

        added = store_path(self.directory.path, "source", digest.digest.hex(), name)
        self._nar_hashes[added] = digest
        return added

    def _write_tree(self, path: str, keep: Callable[[str, str], bool] | None, sink: Callable[[bytes], object]) -> None:
        from evaluator.tree_nar import write_tree  # noqa: PLC0415  only when something is copied

        write_tree(self, path, keep, sink)

    def _copy_tree(self, name: str, path: str, recursive: bool, keep: Callable[[str, str], bool] | None) -> str:
        store = self._writable()
        with store.intake() as intake:
            if not recursive:
                content = self.read_file(path)
                digest = Hash("sha256", sha256(content).digest())
                tree = intake.add_bytes(content)
            else:
                tree = self._take_in(intake, path, keep)
                digest = tree.nar_hash
            store_path = self.directory.make_fixed_output_path(recursive, digest, name)
            store.add_temp_root(store_path)
            if not store.is_valid(store_path):
                ca = f"fixed:{'r:' if recursive else ''}{digest.to_string('base32', True)}"
                from storefs.formats.path_info import PathInfo  # noqa: PLC0415  only when something is written

                intake.register([(tree, PathInfo(store_path, tree.nar_hash, tree.nar_size, ca=ca))])
        text = self.directory.print(store_path)
        self._valid.add(text)
        return text

    def _take_in(self, intake: Intake, path: str, keep: Callable[[str, str], bool] | None) -> Tree:
        if self._inside(path) is not None or path in self._texts or self.file_type(path) is None:
            pieces: list[bytes] = []
            self._write_tree(path, keep, pieces.append)
            return intake.add_nar(pieces)
        if keep is None:
            return intake.add_tree(path)
        chosen = keep

        def keep_bytes(entry: bytes, kind: str) -> bool:
            below = os.fsdecode(entry)
            return below == path or chosen(below, kind)

        return intake.add_tree(path, keep=keep_bytes)

    def nar_hash(self, path: str) -> Hash:
        """See `EvalIO`."""
        info = self._info(path)
        if info is not None:
            return info.nar_hash
        return self._nar_hashes.get(path) or self._hash_tree(path, True, None)

    def add_text(self, name: str, content: bytes, references: Iterable[str]) -> str:
        """See `EvalIO`."""
        directory = self.directory
        digest = Hash("sha256", sha256(content).digest())
        listed = list(references)
        path = directory.print(directory.make_text_path(name, digest, [directory.parse(each) for each in listed]))
        self._note(path, Text(content, digest.digest, listed, []))
        return path

    def add_derivation(
        self, path: str, content: bytes, digest: bytes, references: list[str], outputs: list[str]
    ) -> None:
        """See `EvalIO`."""
        if path not in self._texts:
            # When nothing is written nobody will ask for the text, and there may be a hundred thousand.
            self._note(path, Text(None if self.read_only else content, digest, references, outputs))

    def _note(self, path: str, text: Text) -> None:
        if path in self._texts:
            return
        self._texts[path] = text
        if self.read_only or text.content is None:
            return
        self._pending.append(path)
        self._pending_bytes += len(text.content)
        if len(self._pending) > _BATCH or self._pending_bytes > _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """See `EvalIO`. One transaction for all."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if pending:
            write_texts(self._writable(), {self.directory.parse(path): self._texts[path] for path in pending})
            self._valid.update(pending)

    # What takes long.

    def realise(self, outputs: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """See `EvalIO`."""
        self.flush()
        return self._services.realise(outputs)

    def download(self, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
        """See `EvalIO`."""
        return self._services.download(self, url, name, unpack=unpack, expected=expected)

    def fetch_repository(self, request: RepositoryRequest) -> RepositoryTree:
        """See `EvalIO`."""
        return self._services.fetch_repository(self, request)

    def fetch_closure(self, request: ClosureRequest) -> str:
        """See `EvalIO`."""
        return self._services.fetch_closure(request)
