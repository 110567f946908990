"""`builtins.fetchGit`: revisions of git repositories, and working trees of local ones.

Uses the program `git`. Repositories of other machines are mirrored in the user's cache directory and fetched again
after `tarball-ttl`; a commit that the mirror has is never asked for again. Semantics: fetchers/git.cc of Nix 2.8.
Blocking; called by `session.py` only.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from io import BytesIO

from evaluator.archives import unpack
from evaluator.eval_io import RepositoryTree
from evaluator.mirrors import Mirror
from storefs.errors import StoreError
from storefs.logs import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.eval_io import EvalIO, RepositoryRequest
    from storefs.config import Config


class GitError(StoreError):
    """The program `git` failed, or a repository lacks what was asked for."""


class _Git:
    """The program, in the user's environment without what would bend its answers."""

    def __init__(self, environment: dict[str, str]) -> None:
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            environment.pop(name, None)
        self._environment = {**environment, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def run(self, arguments: list[str], *, where: str | None = None, lock: int | None = None) -> bytes:
        """Run it in the repository `where` and return what it printed. It inherits the descriptor `lock`.

        Raises:
            GitError: it failed, or is not installed.
        """
        command = ["git", *(["-C", where] if where else []), *arguments]
        try:
            inherited = () if lock is None else (lock,)
            done = subprocess.run(command, capture_output=True, check=False, env=self._environment, pass_fds=inherited)
        except FileNotFoundError:
            raise GitError("fetching from git repositories needs the program 'git', which is not installed") from None
        if done.returncode:
            # The reason is in any of its lines: before 'fatal:' if it is ssh's, behind it if git says what to do.
            said = " ".join(done.stderr.decode("utf-8", "replace").split())
            raise GitError(f"program 'git' failed with exit code {done.returncode}: {said}")
        return done.stdout

    def ask(self, arguments: list[str], where: str) -> str:
        """Like `run`, for one line of text."""
        return self.run(arguments, where=where).decode("utf-8", "surrogateescape").strip()


def fetch_git(config: Config, io: EvalIO, request: RepositoryRequest) -> RepositoryTree:
    """Put a tree into the store.

    Raises:
        GitError: there is no such repository, branch or commit.
    """
    git = _Git(config.environment())
    url = request.url
    local = url[7:] if url.startswith("file://") else url if url.startswith("/") else None
    local = None if local is None else os.path.normpath(local)
    if local is not None and url.startswith("file://") and config.variable("_NIX_FORCE_HTTP") == "1":
        local = None  # Nix's own tests ask for it: a repository of this machine as if it were another's
    if local is not None and not os.path.exists(local):
        raise GitError(f"'{local}' does not exist")
    if local is not None and request.ref is None and request.rev is None and os.path.exists(f"{local}/.git"):
        dirty = _working_tree(git, config, io, request, local)
        if dirty is not None:
            return dirty
    repository = local if local is not None else _mirror(git, config, request)
    rev = request.rev or _resolve(git, repository, request.ref or "HEAD", url)
    if not request.shallow and git.ask(["rev-parse", "--is-shallow-repository"], repository) == "true":
        raise GitError(f"'{url}' is a shallow Git repository, but a non-shallow repository is needed")
    return _revision(git, io, request, repository, rev)


def _working_tree(
    git: _Git, config: Config, io: EvalIO, request: RepositoryRequest, path: str
) -> RepositoryTree | None:
    """Take a local repository as it is, if it differs from its last commit; None if it does not."""
    has_head = True
    try:
        head = git.ask(["rev-parse", "--verify", "HEAD"], path)
    except GitError:
        has_head, head = False, ""
        git.run(["rev-parse", "--git-dir"], where=path)  # fails where git does not want to look, as at others' files
    if has_head and not git.ask(["status", "--porcelain", "--untracked-files=no"], path):
        return None
    if not config.boolean("allow-dirty"):
        raise GitError(f"Git tree '{path}' is dirty")
    if config.boolean("warn-dirty"):
        warn(f"Git tree '{path}' is dirty")
    listed = git.run(["ls-files", "-z", *(["--recurse-submodules"] if request.submodules else [])], where=path)
    files = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    folders = {""}
    for name in files:
        parent = os.path.dirname(name)
        while parent not in folders:
            folders.add(parent)
            parent = os.path.dirname(parent)

    def keep(entry: str, kind: str) -> bool:
        relative = entry[len(path) + 1 :]
        return relative in (folders if kind == "directory" else files)

    store_path = io.add_path(request.name, os.path.abspath(path), keep=keep)
    modified = int(git.ask(["log", "-1", "--format=%ct", "--no-show-signature", head], path)) if has_head else 0
    return RepositoryTree(store_path, io.nar_hash(store_path), None, None, modified)


def _resolve(git: _Git, repository: str, ref: str, url: str) -> str:
    for candidate in (f"refs/heads/{ref}", f"refs/tags/{ref}^{{commit}}", f"refs/remotes/origin/{ref}", ref):
        try:
            return git.ask(["rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}"], repository)
        except GitError:
            continue
    raise GitError(f"cannot find Git revision '{ref}' in the repository '{url}'")


def _no_revision(request: RepositoryRequest, rev: str) -> GitError:
    return GitError(
        f"Cannot find Git revision '{rev}' in ref '{request.ref or 'HEAD'}' of repository '{request.url}'! "
        "Please make sure that the rev exists on the ref you've specified or add allRefs = true;."
    )


def _revision(git: _Git, io: EvalIO, request: RepositoryRequest, repository: str, rev: str) -> RepositoryTree:
    try:
        git.run(["cat-file", "-e", f"{rev}^{{commit}}"], where=repository)
    except GitError:
        raise _no_revision(request, rev) from None
    modified = int(git.ask(["log", "-1", "--format=%ct", "--no-show-signature", rev], repository))
    count = None if request.shallow else int(git.ask(["rev-list", "--count", "--first-parent", rev], repository))
    with tempfile.TemporaryDirectory(prefix="verglas-git-") as scratch:
        tree = f"{scratch}/tree"
        os.mkdir(tree)
        if request.submodules:
            git.run(["clone", "--quiet", "--no-checkout", repository, tree])
            git.run(["-c", "advice.detachedHead=false", "checkout", "--quiet", rev], where=tree)
            git.run(
                ["-c", "protocol.file.allow=always", "submodule", "update", "--init", "--recursive", "--quiet"],
                where=tree,
            )
            _remove_git_folders(tree)
        elif git.ask(["ls-tree", "--name-only", rev], repository):  # of an empty tree git makes what tarfile can't read
            archive = git.run(["archive", "--format=tar", rev], where=repository)
            unpack(BytesIO(archive), tree)
        store_path = io.add_path(request.name, tree)
    return RepositoryTree(store_path, io.nar_hash(store_path), rev, count, modified)


def _remove_git_folders(tree: str) -> None:
    for folder, names, files in os.walk(tree):
        if ".git" in files:
            os.unlink(f"{folder}/.git")
        if ".git" in names:
            names.remove(".git")
            import_path = f"{folder}/.git"
            for inner, _, inner_files in os.walk(import_path, topdown=False):
                for file in inner_files:
                    os.unlink(f"{inner}/{file}")
                for name in os.listdir(inner):
                    os.rmdir(f"{inner}/{name}")
            os.rmdir(import_path)


def _mirror(git: _Git, config: Config, request: RepositoryRequest) -> str:
    """Fetch into the mirror of another machine's repository, if it may lack what is wanted, and return its path.

    Raises:
        GitError: the commit that is named is not on the branch that is named, or nowhere.
    """
    mirror = Mirror(config, "git", request.url, "verglas-fetched")
    path = mirror.path
    reaches = None if request.rev is None else lambda: _reaches(git, request, path)
    fetched = mirror.update(reaches, lambda lock: _fetch(git, path, request.url, lock))
    if fetched and request.rev is not None and not _reaches(git, request, path):
        raise _no_revision(request, request.rev)
    return path


def _reaches(git: _Git, request: RepositoryRequest, repository: str) -> bool:
    """Whether the commit is on the branch that is named: of another machine's repository, only that is asked for.

    What the mirror happens to have must not decide whether an expression works.
    """
    assert request.rev is not None
    try:
        if request.all_refs:
            git.run(["cat-file", "-e", f"{request.rev}^{{commit}}"], where=repository)
        else:
            tip = _resolve(git, repository, request.ref or "HEAD", request.url)
            git.run(["merge-base", "--is-ancestor", request.rev, tip], where=repository)
    except GitError:
        return False
    return True


def _fetch(git: _Git, path: str, url: str, lock: int) -> None:
    """Make the mirror at `path` what the repository is now. The caller holds the lock.

    Raises:
        GitError: the repository can't be had, and never was.
    """
    is_new = not os.path.exists(path)
    if is_new:
        git.run(["init", "--quiet", "--bare", path], lock=lock)
    _remove_left_locks(path)
    command = [
        *("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"),  # who goes on by itself keeps the lock
        *("fetch", "--quiet", "--force", "--tags", "--", url),
        *("+refs/heads/*:refs/heads/*", "+HEAD:refs/verglas/head"),
    ]
    try:
        git.run(command, where=path, lock=lock)
    except GitError as error:
        if is_new:
            raise
        warn(
            f"could not update local clone of Git repository '{url}'; continuing with the most recent version: {error}"
        )
        return
    git.run(["symbolic-ref", "HEAD", "refs/verglas/head"], where=path, lock=lock)


def _remove_left_locks(path: str) -> None:
    """Remove what a git that was killed has left in a mirror that nobody else changes now."""
    for folder, names, files in os.walk(path):
        if folder == f"{path}/objects":
            names[:] = ["info", "pack"]
        for file in files:
            if file.endswith(".lock") or file.startswith("tmp_"):
                os.unlink(f"{folder}/{file}")
