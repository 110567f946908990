"""Copying to and from stores on other machines over ssh, by the serve protocol (`nix-store --serve` there).

Blocking. Paths are named on the connection, in batches, never on a command line, so a closure may be of any size.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

from storefs.errors import UsageError
from storefs.formats.narinfo import NarInfo
from storefs.logs import INFO, log
from storefs.stores.copying import topological
from storefs.stores.direct_source import DirectSource
from storefs.stores.serve import ServeStore
from storefs.stores.ssh import SshMaster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from storefs.config import Config
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir, StorePath

_BATCH = 1500  # paths named in one question


def open_ssh(config: Config, uri: str, directory: StoreDir, *, write: bool) -> ServeStore:
    """Connect to the store of `ssh://[USER@]HOST`; parameters as in Nix: `remote-program`, `remote-store`, `ssh-key`.

    Raises:
        StoreError: the machine can't be reached.
    """
    master = SshMaster(config, uri)
    if master.scheme != "ssh":
        raise UsageError(f"don't know how to copy over '{uri}'; only 'ssh://' is supported here")
    program = _serving_program(master, write=write)
    return ServeStore(master.uri, directory, lambda: master.connect(program))


def relay(config: Config, uri: str, *, write: bool) -> int:
    """Let the client on our standard input and output talk to the store of `ssh://[USER@]HOST`, until one of them ends.

    Both speak the serve protocol, so they settle its version between them and nothing is read here. Returns the exit
    status of the program there.

    Raises:
        StoreError: the machine can't be reached.
    """
    master = SshMaster(config, uri)
    return master.hand_over(_serving_program(master, write=write))


def _serving_program(master: SshMaster, *, write: bool) -> list[str]:
    program = [master.parameters.get("remote-program", "nix-store"), "--serve"]
    if write:
        program.append("--write")
    remote = master.parameters.get("remote-store", "")
    if remote:
        program += ["--store", remote]
    return program


class SshSource(DirectSource):
    """A remote store as something to copy from; see `offer_query.Source`. Thread-safe: one question at a time.

    Args:
        remote: the connection.
    """

    is_trusted = False
    priority = 100

    def __init__(self, remote: ServeStore) -> None:
        self._remote = remote
        self._lock = threading.Lock()
        self._infos: dict[StorePath, PathInfo] = {}
        self.uri = remote.uri

    def learn_closure(self, paths: Iterable[StorePath]) -> None:
        """Ask about paths and what they refer to, a level at a time."""
        level = [path for path in paths if path not in self._infos]
        while level:
            found: dict[StorePath, PathInfo] = {}
            with self._lock:
                for start in range(0, len(level), _BATCH):
                    found |= self._remote.path_infos(level[start : start + _BATCH])
            self._infos |= found
            references = {reference for info in found.values() for reference in info.references}
            level = sorted(references - self._infos.keys())

    def closure(self, paths: Iterable[StorePath]) -> list[StorePath]:
        """Paths and what they refer to, sorted, as far as they are valid there; `learn_closure` was called before."""
        seen: set[StorePath] = set()
        todo = list(paths)
        while todo:
            info = self._infos.get(todo.pop())
            if info is not None and info.path not in seen:
                seen.add(info.path)
                todo.extend(info.references)
        return sorted(seen)

    def close(self) -> None:
        """End the connection."""
        self._remote.close()

    def known(self, path: StorePath) -> NarInfo | bool | None:
        """See `offer_query.Source`."""
        info = self._infos.get(path)
        return None if info is None else NarInfo(info, path.base_name, "none", None, 0)

    def ask(self, path: StorePath) -> NarInfo | bool:
        """See `offer_query.Source`."""
        self.learn_closure([path])
        return self.known(path) or False

    @contextmanager
    def open_nar(self, narinfo: NarInfo) -> Iterator[Iterator[bytes]]:
        """See `offer_query.Source`; the connection belongs to this NAR until it has been read."""
        with self._lock:
            pieces = self._remote.nar(narinfo.info.path)
            yield pieces
            for _ in pieces:
                pass


def copy_to_ssh(
    remote: ServeStore,
    infos: Sequence[PathInfo],
    open_nar: Callable[[PathInfo], Iterable[bytes]],
    *,
    substitute: bool = False,
    dry_run: bool = False,
) -> list[PathInfo]:
    """Make paths valid in a remote store, as far as they are not.

    Args:
        remote: the connection.
        infos: what to copy, references included.
        open_nar: opens the NAR of one of them.
        substitute: let the other side fetch what its substituters have.
        dry_run: only find out what is missing.

    Returns:
        what was missing there, references first.
    """
    valid: set[StorePath] = set()
    paths = [info.path for info in infos]
    for start in range(0, len(paths), _BATCH):
        valid |= remote.valid_paths(paths[start : start + _BATCH], lock=True, substitute=substitute)
    missing = [info for info in topological(infos) if info.path not in valid]
    if missing:
        log(INFO, f"copying {len(missing)} missing paths to '{remote.uri}'...")
    for info in () if dry_run else missing:
        log(INFO, f"copying path '{remote.directory.print(info.path)}' to '{remote.uri}'...")
        remote.add_nar(info, open_nar(info))
    return missing
