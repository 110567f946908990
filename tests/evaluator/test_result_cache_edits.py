"""Random edits of files between evaluations: the result cache never gives the answer of yesterday.

Each question looks at a small tree in several ways. After each edit the cache is asked, the question is evaluated anew,
and where the cache has an answer it must be that one. Half of the entries are made to look old, so that the times of
files are believed; the others compare contents.
"""

from __future__ import annotations

import marshal
import os
from random import Random
from typing import TYPE_CHECKING

import pytest

from evaluator.core.calls import force_deep
from evaluator.errors import NixError
from evaluator.evaluation import EvalSettings, open_evaluation
from evaluator.print_value import show_value
from evaluator.recording_io import RecordingIO
from evaluator.result_cache import ResultCache, digest
from evaluator.services import Services
from evaluator.store_io import StoreIO
from storefs.config import load_config
from storefs.options import Command, Invocation
from tests.lang.programs import on_deep_stack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = ("a", "b", "default.nix", "d")
TEXTS = ("1", "2", "{ }", "1 + 2")

# What a question can look at; `p` is a path. Most do not fail whatever is there.
LOOKS = (
    "builtins.pathExists p",
    'builtins.pathExists (p + "/.")',
    "if builtins.pathExists p then builtins.readFileType p else null",
    "if isFile p then builtins.readFile p else null",
    'if isFile p then builtins.hashFile "sha256" p else null',
    "if isFile p then import p else null",
    "if isFile p then builtins.path { path = p; recursive = false; name = ''flat''; } else null",
    "if isFolder p then builtins.readDir p else null",
    'if builtins.pathExists p then "${p}" else null',
    "if isFolder p then builtins.filterSource (path: kind: baseNameOf path == ''a'') p else null",
    "if isFolder p then builtins.filterSource (path: kind: kind != ''directory'') p else null",
    "if builtins.pathExists (p + ''/default.nix'') then import p else null",
    "(builtins.tryEval (builtins.findFile [ { prefix = ''''; path = p; } ] ''a'')).value",
    "<found/a>",
    'builtins.getEnv "COLOUR"',
    "builtins.readFile p",
    "builtins.readDir p",
)
PRELUDE = (
    "let isFolder = p: builtins.pathExists (p + ''/.''); "
    "isFile = p: builtins.pathExists p && builtins.readFileType p == ''regular''; in "
)


class Tree:
    """A few files, directories and links, and random changes to them."""

    def __init__(self, root: Path, random: Random) -> None:
        self.root = root
        self.random = random
        root.mkdir(parents=True)
        for _ in range(15):
            self.edit()

    def place(self) -> Path:
        depth = self.random.choice((1, 1, 2, 3))
        return self.root.joinpath(*(self.random.choice(NAMES) for _ in range(depth)))

    def likely_place(self) -> Path:
        """Most often a place where something is."""
        there = sorted(self.root.rglob("*"))
        return self.random.choice(there) if there and self.random.randrange(4) else self.place()

    def edit(self, places: Sequence[Path] = ()) -> None:
        """Change something, most likely at or below one of `places`."""
        random = self.random
        path = self.place()
        if places and random.randrange(4):
            path = random.choice(places)
            path = path / random.choice(NAMES) if random.randrange(2) else path
        try:
            self._change(path)
        except OSError:
            pass  # no directory above it, a directory that is not empty, a loop: nothing changed

    def _is_ours(self, path: Path) -> bool:
        """Whether a path, with links followed, is in the tree: links lead out of it, changes never do."""
        root = os.path.realpath(self.root)
        return f"{os.path.realpath(path)}/".startswith(f"{root}/")

    def _change(self, path: Path) -> None:
        random = self.random
        other = self.place()
        if not all(self._is_ours(each) for each in (path, path.parent, other.parent)):
            # Root may change anything, and once did: the mode of '/'.
            if path.is_symlink() and self._is_ours(path.parent):
                path.unlink()
            return
        match random.randrange(10):
            case 0 | 1 | 2:
                path.write_text(random.choice(TEXTS))
            case 3:
                path.mkdir()
            case 4:
                path.unlink()
            case 5:
                path.rmdir()
            case 6:
                target = random.choice((*NAMES, "../a", "nowhere", "../..", str(self.place())))
                path.unlink(missing_ok=True)
                path.symlink_to(target)
            case 7:
                path.chmod(random.choice((0o644, 0o755)))
            case 8:
                path.rename(other)
            case 9:
                os.utime(path, (1, 1))


class Question:
    """One question, asked again and again."""

    def __init__(self, tree: Tree, environ: dict[str, str]) -> None:
        random = tree.random
        self.places = [tree.likely_place(), tree.likely_place()]
        looks = [
            f"(let p = {random.choice(self.places)}; in {random.choice(LOOKS)})" for _ in range(random.randrange(1, 8))
        ]
        self.text = f"{PRELUDE}[ {' '.join(looks)} ]"
        self.search_path = [("found", str(tree.place())), ("", str(tree.root))]
        self.environ = environ

    def cache(self, environ: dict[str, str]) -> ResultCache:
        invocation = Invocation(Command("nix-instantiate", ""), "nix-instantiate")
        invocation.given.append(("-E", (self.text,)))
        return ResultCache(load_config(environ), invocation)

    def evaluate(self, environ: dict[str, str]) -> tuple[str | None, RecordingIO]:
        io = RecordingIO(StoreIO(environ["NIX_STORE_DIR"], environ, lambda: None, Services(), read_only=True))
        state = open_evaluation(io, EvalSettings(), self.search_path)
        try:
            return show_value(force_deep(state.evaluate_text(self.text, "/"))), io
        except NixError:
            return None, io


def look_old(folder: Path) -> None:
    """Make an entry seem to be written long after the files that it is about were changed."""
    (entry,) = folder.iterdir()
    written, observations, output = marshal.loads(entry.read_bytes()[20:])
    body = marshal.dumps((written + 10_000_000_000, observations, output))
    entry.write_bytes(digest(body) + body)


@pytest.mark.usefixtures("expects_warnings")  # of a search path that leads nowhere
@pytest.mark.parametrize("seed", range(4))
def test_an_answer_is_what_an_evaluation_gives(
    scratch: Path,
    environ: dict[str, str],
    seed: int,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evaluator.result_cache.WORTH_IT", 0)
    random = Random() if pytestconfig.getoption("--deep") else Random(seed)
    folder = scratch / "home/.cache/verglas/results"
    hits = 0

    def ask_again(number: int) -> None:
        nonlocal hits
        # Links lead up to two levels out of the tree. What is there is ours too: /tmp changes between two looks.
        tree = Tree(scratch / f"around{number}/folder/tree", random)
        question = Question(tree, environ)
        for _ in range(12):
            variables = {**environ, "COLOUR": random.choice(("red", "red", "blue"))}
            remembered = question.cache(variables).find(lambda path: False)
            answer, io = question.evaluate(variables)
            if remembered is not None:
                hits += 1
                assert remembered == [answer], question.text
            elif answer is not None and io.cacheable:
                question.cache(variables).store(io.observations(), [answer])
                if number % 2:
                    look_old(folder)
            for _ in range(random.choice((0, 1, 1, 3))):
                tree.edit(question.places)
        for entry in folder.iterdir() if folder.exists() else ():
            entry.unlink()

    count = 500 if pytestconfig.getoption("--deep") else 30
    on_deep_stack(lambda: [ask_again(number) for number in range(count)])
    assert hits > count
