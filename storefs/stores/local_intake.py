"""One addition to the local store: bytes into blob files, then everything else in one transaction.

Implements `storefs.api.Intake` for stores/local.py, which alone makes it.  The order that makes it durable: contents
are written while they are read; `register` syncs them, then commits rows that name them; only then are they visible.
Of what would take much memory, parts are in the database before (`staging`).  A crash before the commit leaves an
intake area, blobs that nothing names and parts that nobody registers, and the collector takes all of them.
"""

from __future__ import annotations

import time

from storefs.castore.contents import Contents
from storefs.castore.host_tree import host_runs
from storefs.castore.ingest import ingest_bytes, ingest_events
from storefs.castore.intake_area import new_area
from storefs.castore.trees import FileNode, IngestedTree, StoredNode
from storefs.formats.byte_reader import ByteReader
from storefs.formats.derivation import BadDerivationError, read_derivation
from storefs.formats.nar import BadNarError, NarStream, parse_nar
from storefs.formats.path_info import InvalidPathError
from storefs.gc.sweep import is_named, unnamed
from storefs.metadata import path_infos
from storefs.metadata.schema import INLINE_LIMIT
from storefs.metadata.tree_release import begin_release
from storefs.metadata.tree_writer import TreeWriter
from storefs.metadata.trees import MODE_EXECUTABLE, MODE_REGULAR
from storefs.stores.mismatch import HashMismatchError
from storefs.stores.staging import Staging, not_durable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from storefs.api import Tree
    from storefs.castore.blobs import BlobStore
    from storefs.castore.host_tree import Keep
    from storefs.castore.intake_area import IntakeArea
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.derivation import Derivation
    from storefs.formats.nar import EventOrRun
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.metadata.environment import Environment, Transaction


class Registered:
    """What a registration did."""

    __slots__ = ("added", "released", "replaced")

    def __init__(self) -> None:
        self.added: list[StorePath] = []
        self.released: list[int] = []  # records that held parts of the trees
        self.replaced: list[tuple[StorePath, int]] = []  # with the root inode that was taken out of use


class LocalIntake:
    """See `storefs.api.Intake`.  A context manager; used in one thread at a time."""

    def __init__(
        self,
        env: Environment,
        blobs: BlobStore,
        directory: StoreDir,
        *,
        repair: bool = False,
        inline_limit: int = INLINE_LIMIT,
        check_derivations: Callable[[dict[StorePath, Derivation]], None],
        on_registered: Callable[[Registered], None] | None = None,
    ) -> None:
        self._env = env
        self._blobs = blobs
        self._directory = directory
        self._repair = repair
        self._check_derivations = check_derivations
        self._on_registered = on_registered
        self._area_or_none: IntakeArea | None = None
        self._contents = Contents(self._open_area, inline_limit)
        self._staging = Staging(env, blobs, self._open_area, self._contents, repair)
        self._durable: set[bytes] = set()  # digests of blobs that were synced under their names

    def __enter__(self) -> LocalIntake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what was not registered."""
        area = self._area_or_none
        if area is not None:
            try:
                self._staging.give_up()
                self._withdraw_unnamed(area)
            finally:
                self._area_or_none = None
                area.close()

    def add_tree(
        self,
        source: str,
        *,
        move: bool = False,
        nar_sink: Callable[[Buffer], object] | None = None,
        keep: Keep | None = None,
    ) -> IngestedTree:
        """See `storefs.api.Intake`."""
        return self.add_events(host_runs(source, keep), move=move, nar_sink=nar_sink)

    def add_nar(self, chunks: Iterable[Buffer], *, nar_sink: Callable[[Buffer], object] | None = None) -> IngestedTree:
        """See `storefs.api.Intake`; the stream ends with the NAR."""
        if isinstance(chunks, NarStream):
            return self.add_events(chunks.events, nar_sink=nar_sink)
        reader = ByteReader(chunks)
        tree = self.add_events(parse_nar(reader), nar_sink=nar_sink)
        if not reader.at_end():
            raise BadNarError("something follows its end")
        return tree

    def add_events(
        self, events: Iterable[EventOrRun], *, move: bool = False, nar_sink: Callable[[Buffer], object] | None = None
    ) -> IngestedTree:
        """Take in a tree that is told in events, as `storefs.formats.nar.parse_nar` tells it."""
        tree = ingest_events(
            events,
            self._open_area,
            self._contents,
            make_room=self._staging.write_ahead,
            move=move,
            nar_sink=nar_sink,
        )
        self._staging.trees.append(tree)
        return tree

    def add_bytes(self, content: bytes, *, executable: bool = False) -> IngestedTree:
        """See `storefs.api.Intake`."""
        tree = ingest_bytes(content, executable, self._contents)
        self._staging.trees.append(tree)
        if self._contents.weight > self._contents.room:
            self._staging.write_ahead([])
        return tree

    @property
    def syncs_all(self) -> bool:
        """Whether registering may sync the whole file system, not only what was taken in."""
        return self._area_or_none is not None and self._area_or_none.syncs_all

    def prepare(self) -> None:
        """See `storefs.api.Intake`.

        What the collector takes away before the commit gets its name back in `_write`, which syncs that again.
        """
        area = self._area_or_none
        if area is not None:
            self._staging.wait()
            area.publish()
            if not self._blobs.synced:
                return  # and need not know which would have to be waited for
            fresh = set(not_durable(self._env, area, area.digests)) - self._durable
            area.sync(list(fresh))
            self._durable |= fresh

    def register(
        self,
        additions: Sequence[tuple[Tree, PathInfo]],
        *,
        replace: bool = False,
        realisations: Sequence[Realisation] = (),
        drv_path: StorePath | None = None,
    ) -> None:
        """See `storefs.api.Intake`.

        With ``realisations``, which of the paths are what outputs is registered with them; ``drv_path`` makes these.
        """
        trees: list[tuple[IngestedTree, PathInfo]] = []
        self._staging.wait()
        for tree, info in additions:
            if not isinstance(tree, IngestedTree):
                raise TypeError("a tree of another store")
            if tree.nar_hash != info.nar_hash:
                raise HashMismatchError(self._directory.print(info.path), info.nar_hash, tree.nar_hash)
            trees.append((tree, info))
        derivations = {info.path: self._derivation(tree, info.path) for tree, info in trees if info.path.is_derivation}
        if derivations:
            self._check_derivations(derivations)
        outputs = [_output_paths(derivations.get(info.path)) for _, info in trees]
        self.prepare()
        self._staging.index_ahead()

        def write(txn: Transaction) -> Registered:
            written = self._write(txn, trees, outputs, replace)
            if realisations:
                from storefs.metadata.realisations import put_all  # noqa: PLC0415  json, for what floats

                put_all(self._env, txn, realisations, self._directory, drv_path)
            return written

        registered = self._env.update(write)
        self._staging.registered([tree for tree, _ in trees], registered.released)
        if self._on_registered is not None:
            self._on_registered(registered)

    def _open_area(self) -> IntakeArea:
        if self._area_or_none is None:
            self._area_or_none = new_area(self._blobs, self._repair)
        return self._area_or_none

    def _derivation(self, tree: IngestedTree, path: StorePath) -> Derivation:
        node = tree.root
        if isinstance(node, StoredNode) and node.mode in (MODE_REGULAR, MODE_EXECUTABLE):
            from storefs.metadata.tree_reader import TreeReader  # noqa: PLC0415  most are registered from memory

            content = TreeReader(self._env, lambda: self._blobs).read(node.inode)
        elif not isinstance(node, FileNode):
            raise BadDerivationError(f"error parsing derivation '{self._directory.print(path)}': it is no regular file")
        elif self._contents.is_inline(node.size):
            content = bytes(self._contents.inline(node.digest))
        else:
            content = self._open_area().read(node.digest)
        return read_derivation(content, self._directory, path)

    def _withdraw_unnamed(self, area: IntakeArea) -> None:
        """Take back blobs that got their names for nothing: registering failed, or the paths were valid already."""
        if not area.published or not unnamed(self._env, area.published):
            return

        def work(txn: Transaction) -> None:
            # Changes no row, and so succeeds on a full disk too; the transaction is for its lock.
            for digest in area.published:
                if not is_named(self._env, txn, digest):
                    area.withdraw(digest)

        self._env.update(work)

    def _write(
        self,
        txn: Transaction,
        trees: list[tuple[IngestedTree, PathInfo]],
        outputs: list[list[StorePath]],
        replace: bool,
    ) -> Registered:
        env = self._env
        result = Registered()
        writer = TreeWriter(env, txn, self._contents, self._repair, self._staging.unindexed)
        now = int(time.time())
        written: list[tuple[int, PathInfo]] = []
        for (tree, info), its_outputs in zip(trees, outputs, strict=True):
            path = info.path
            if not info.registration_time:
                info = info.replace(registration_time=now)  # noqa: PLW2901  the same record, completed
            if info.nar_size != tree.nar_size:
                info = info.replace(nar_size=tree.nar_size)  # noqa: PLW2901
            record = path_infos.find(env, txn, path)
            if record is None:
                path_id = path_infos.insert(env, txn, info, writer.write(tree))
                path_infos.set_outputs(env, txn, path_id, its_outputs)
                written.append((path_id, info))
                result.added.append(path)
            elif replace:
                path_infos.put_record(env, txn, info, record.id, writer.write(tree))
                begin_release(env, txn, record.root, path.base_name)
                written.append((record.id, info))
                result.replaced.append((path, record.root))
        # only now are all the paths of the batch there, which may refer to each other in any order
        for path_id, info in written:
            path_infos.set_references(
                env, txn, path_id, [self._valid_id(txn, reference) for reference in info.references]
            )
        writer.finish()
        result.released = writer.released
        area = self._area_or_none
        if area is not None:
            restored = area.ensure(writer.blobs)
            if restored:
                area.sync(restored)
        return result

    def _valid_id(self, txn: Transaction, path: StorePath) -> int:
        path_id = path_infos.find_id(self._env, txn, path)
        if path_id is None:
            raise InvalidPathError(self._directory, path)
        return path_id


def _output_paths(derivation: Derivation | None) -> list[StorePath]:
    if derivation is None:
        return []
    return [output.path for output in derivation.outputs.values() if output.path is not None]
