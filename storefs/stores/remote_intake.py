"""Additions to a store behind a daemon: trees are hashed here, and sent when they are registered.

The daemon takes one path after the other and makes each valid by itself; the promise of `storefs.api.Intake` that all
become valid together is the daemon's to keep for each path only. References are therefore sent first.
"""

from __future__ import annotations

from storefs.castore.host_tree import host_runs
from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.hashes import Hasher, hash_little
from storefs.formats.nar import nar_of_bytes, parse_nar, write_nar

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tempfile
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Protocol

    from storefs.api import Tree
    from storefs.castore.host_tree import Keep
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.hashes import Hash
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir, StorePath

    class _Daemon(Protocol):
        """What of `remote.RemoteStore`, which makes these intakes, is needed here."""

        directory: StoreDir

        def add_nar(self, info: PathInfo, chunks: Iterable[bytes], *, repair: bool) -> None: ...

        def add_many(self, additions: Sequence[tuple[PathInfo, Iterable[bytes]]]) -> None: ...


_PIECE = 1 << 18
_LITTLE = 1 << 16  # bytes: the derivations of a small build


class RemoteTree:
    """See `storefs.api.Tree`; `open` yields its NAR again."""

    __slots__ = ("nar_hash", "nar_size", "open")

    def __init__(self, nar_hash: Hash, nar_size: int, open_nar: Callable[[], Iterator[bytes]]) -> None:
        self.nar_hash = nar_hash
        self.nar_size = nar_size
        self.open = open_nar


class RemoteIntake:
    """See `storefs.api.Intake`. A context manager; used in one thread at a time."""

    def __init__(self, store: _Daemon) -> None:
        self._store = store
        self._spools: list[tempfile.SpooledTemporaryFile[bytes]] = []
        self._hashed_so_far = 0

    def __enter__(self) -> RemoteIntake:
        return self

    def __exit__(self, *_: object) -> None:
        while self._spools:
            self._spools.pop().close()

    def add_tree(
        self,
        source: str,
        *,
        move: bool = False,
        nar_sink: Callable[[Buffer], object] | None = None,
        keep: Keep | None = None,
    ) -> RemoteTree:
        """See `storefs.api.Intake`. The source is read again when it is sent; the daemon notices if it has changed."""
        del move  # nothing can be moved through a socket
        return self._hashed(lambda: write_nar(host_runs(source, keep)), nar_sink)

    def add_nar(self, chunks: Iterable[bytes], *, nar_sink: Callable[[Buffer], object] | None = None) -> RemoteTree:
        """See `storefs.api.Intake`. Kept in a temporary file until it is sent."""
        import tempfile  # noqa: PLC0415  4 ms; most who ask a daemon to build send it derivations only

        spool = tempfile.SpooledTemporaryFile(_PIECE)  # noqa: SIM115  closed with the intake
        self._spools.append(spool)
        for piece in write_nar(parse_nar(ByteReader(chunks))):
            spool.write(piece)

        def read() -> Iterator[bytes]:
            spool.seek(0)
            return iter(lambda: spool.read(_PIECE), b"")

        return self._hashed(read, nar_sink)

    def add_bytes(self, content: bytes, *, executable: bool = False) -> RemoteTree:
        """See `storefs.api.Intake`."""
        nar = nar_of_bytes(content, executable)
        self._hashed_so_far += len(nar)
        if self._hashed_so_far <= _LITTLE:
            return RemoteTree(hash_little(nar), len(nar), lambda: iter([nar]))
        return self._hashed(lambda: iter([nar]), None)

    def prepare(self) -> None:
        """See `storefs.api.Intake`; making it durable is the daemon's."""

    def register(self, additions: Sequence[tuple[Tree, PathInfo]], *, replace: bool = False) -> None:
        """See `storefs.api.Intake`, and the module for what can't be promised."""
        known = {}
        for tree, info in additions:
            if not isinstance(tree, RemoteTree):
                raise TypeError("a tree of another store")
            if tree.nar_hash != info.nar_hash:
                raise StoreError(
                    f"the contents of '{self._store.directory.print(info.path)}' are not what was promised"
                )
            known[info.path] = (info, tree)
        ordered = _references_first({path: info for path, (info, _) in known.items()})
        if replace:
            for path in ordered:
                info, tree = known[path]
                self._store.add_nar(info, tree.open(), repair=True)
            return
        self._store.add_many([(known[path][0], known[path][1].open()) for path in ordered])

    @staticmethod
    def _hashed(open_nar: Callable[[], Iterator[bytes]], sink: Callable[[Buffer], object] | None) -> RemoteTree:
        hasher = Hasher("sha256")
        size = 0
        for piece in open_nar():
            hasher.update(piece)
            size += len(piece)
            if sink is not None:
                sink(piece)
        return RemoteTree(hasher.finish(), size, open_nar)


def _references_first(infos: dict[StorePath, PathInfo]) -> list[StorePath]:
    ordered: list[StorePath] = []
    done: set[StorePath] = set()
    for start in infos:
        stack = [(start, False)]
        while stack:
            path, expanded = stack.pop()
            if expanded:
                ordered.append(path)
            elif path in infos and path not in done:
                done.add(path)
                stack.append((path, True))
                stack.extend((reference, False) for reference in infos[path].references)
    return ordered
