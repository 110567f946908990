"""`builtins.fetchMercurial`: revisions of Mercurial repositories, and working trees of local ones.

Uses the program `hg`. Repositories, local ones as well, are mirrored in the user's cache directory and pulled again
after `tarball-ttl`; a commit that the mirror has is never asked for again. Semantics: fetchers/mercurial.cc of Nix
2.8. Blocking; called by `session.py` only.
"""

from __future__ import annotations

import os
import subprocess
import tempfile

from evaluator.eval_io import RepositoryTree
from evaluator.mirrors import Mirror
from storefs.errors import StoreError
from storefs.logs import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.eval_io import EvalIO, RepositoryRequest
    from storefs.config import Config


class MercurialError(StoreError):
    """The program `hg` failed, or a repository lacks what was asked for."""


def fetch_mercurial(config: Config, io: EvalIO, request: RepositoryRequest) -> RepositoryTree:
    """Put a tree into the store.

    Raises:
        MercurialError: there is no such repository, branch or commit.
    """
    url = request.url.removeprefix("file://")
    if url.startswith("/"):
        url = os.path.normpath(url)
        if request.ref is None and request.rev is None and os.path.exists(f"{url}/.hg"):
            changed = _run(config, "status", "-R", url, "--modified", "--added", "--removed")
            if changed:
                return _working_tree(config, io, request, url)
    mirror = _mirror(config, request, url)
    fields = ("log", "-R", mirror, "-r", request.rev or request.ref or "default", "--template", "{node} {rev} {branch}")
    rev, number, branch = _run(config, *fields).decode("utf-8", "surrogateescape").split(" ", 2)
    with tempfile.TemporaryDirectory(prefix="verglas-hg-") as scratch:
        tree = f"{scratch}/tree"
        _run(config, "archive", "-R", mirror, "-r", rev, tree)
        os.unlink(f"{tree}/.hg_archival.txt")
        store_path = io.add_path(request.name, tree)
    return RepositoryTree(store_path, io.nar_hash(store_path), rev, int(number), None, branch)


def _working_tree(config: Config, io: EvalIO, request: RepositoryRequest, path: str) -> RepositoryTree:
    """Take what is tracked in a local repository as it is now."""
    if not config.boolean("allow-dirty"):
        raise MercurialError(f"Mercurial tree '{path}' is unclean")
    if config.boolean("warn-dirty"):
        warn(f"Mercurial tree '{path}' is unclean")
    branch = _run(config, "branch", "-R", path).decode("utf-8", "surrogateescape").strip()
    listed = _run(config, "status", "-R", path, "--clean", "--modified", "--added", "--no-status", "--print0")
    files = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    folders = {""}
    for name in files:
        parent = os.path.dirname(name)
        while parent not in folders:
            folders.add(parent)
            parent = os.path.dirname(parent)

    def keep(entry: str, kind: str) -> bool:
        return entry[len(path) + 1 :] in (folders if kind == "directory" else files)

    store_path = io.add_path(request.name, path, keep=keep)
    return RepositoryTree(store_path, io.nar_hash(store_path), None, None, None, branch)


def _mirror(config: Config, request: RepositoryRequest, url: str) -> str:
    """Pull into the mirror of a repository, if it may lack what is wanted, and return its path."""
    mirror = Mirror(config, "hg", url, ".hg/verglas-pulled")
    rev = request.rev
    suffices = None if rev is None else lambda: _has(config, mirror.path, rev)
    mirror.update(suffices, lambda lock: _pull(config, mirror.path, url, lock))
    return mirror.path


def _has(config: Config, path: str, rev: str) -> bool:
    try:
        _run(config, "log", "-R", path, "-r", rev, "--template", "1")
    except MercurialError:
        return False
    return True


def _pull(config: Config, path: str, url: str, lock: int) -> None:
    """Make the mirror at `path` what the repository is now. The caller holds the lock."""
    if not os.path.exists(path):
        _run(config, "clone", "--noupdate", "--", url, path, lock=lock)
        return
    if os.path.exists(f"{path}/.hg/store/journal"):
        _run(config, "recover", "-R", path, lock=lock)  # a pull that was killed
    _run(config, "pull", "-R", path, "--", url, lock=lock)


def _run(config: Config, *arguments: str, lock: int | None = None) -> bytes:
    """Run `hg`, without what users set for their eyes, and return what it printed. It inherits the descriptor `lock`.

    Raises:
        MercurialError: it failed, or is not installed.
    """
    environment = {**config.environment(), "HGPLAIN": "", "LC_ALL": "C.UTF-8"}
    try:
        inherited = () if lock is None else (lock,)
        done = subprocess.run(["hg", *arguments], capture_output=True, check=False, env=environment, pass_fds=inherited)
    except FileNotFoundError:
        raise MercurialError(
            "fetching from Mercurial repositories needs the program 'hg', which is not installed"
        ) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise MercurialError(f"program 'hg' failed with exit code {done.returncode}: {said[-1] if said else ''}")
    return done.stdout
