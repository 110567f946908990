"""The result cache through the command that uses it: an answer is either right or not there."""

from __future__ import annotations

import marshal
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from evaluator.result_cache import digest
from tests.conftest import BIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner

# Expensive enough to be worth remembering.
WORK = "builtins.seq (builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 400000))"


class Asker:
    """Evaluates one expression again and again, and tells whether the answer was remembered."""

    def __init__(self, run: Runner, scratch: Path, expression: str) -> None:
        self.run = run
        self.results = scratch / "home/.cache/verglas/results"
        self.file = scratch / "question.nix"
        self.file.write_text(f"{WORK} ({expression})")
        old = self.file.stat().st_mtime - 100
        for path in [*scratch.rglob("*")]:
            if path.is_file() and not path.is_symlink():
                os.utime(path, (old, old))

    def ask(self, *options: str, **variables: str) -> str:
        return self.run("nix-instantiate", "--eval", "--strict", *options, str(self.file), **variables).stdout.strip()

    def entry(self) -> Path:
        (path,) = self.results.iterdir()
        return path

    def poison(self, text: str) -> None:
        """Change the remembered output, so that a hit can be told from an evaluation."""
        data = self.entry().read_bytes()[20:]
        body = data.replace(b"remembered-0", text.encode())
        assert body != data
        self.entry().write_bytes(digest(body) + body)


@pytest.fixture
def aside(scratch: Path) -> Path:
    folder = scratch / "aside"
    folder.mkdir()
    (folder / "data").write_text("0")
    (scratch / "aside-link").symlink_to(folder / "data")
    return folder


def asker(run: Runner, scratch: Path, expression: str) -> Asker:
    found = Asker(run, scratch, f'"remembered-" + ({expression})')
    assert found.ask() == '"remembered-0"'
    found.poison("remembered-9")
    return found


@pytest.mark.slow
def test_an_unchanged_question_is_answered_from_the_cache(run: Runner, scratch: Path, aside: Path) -> None:
    question = asker(run, scratch, f"builtins.readFile {aside}/data")
    # Files written just now are compared by content; everything is as it was.
    assert question.ask() == '"remembered-9"'
    assert question.ask("--no-eval-cache") == '"remembered-0"'
    assert question.ask("--option", "eval-cache", "false") == '"remembered-0"'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "change"),
    [
        ("builtins.readFile {aside}/data", "echo 0 > {aside}/data"),
        ("builtins.readFile {aside}/data", "printf 2 > {aside}/data"),
        (
            "builtins.toString (builtins.length (builtins.attrNames (builtins.readDir {aside})) - 1)",
            "touch {aside}/more",
        ),
        ("builtins.toString (builtins.length (builtins.attrNames (builtins.readDir {aside})) - 1)", "rm {aside}/data"),
        ('if builtins.pathExists {aside}/nothing then "x" else "0"', "touch {aside}/nothing"),
        ('if builtins.pathExists {aside}/data then "0" else "x"', "rm {aside}/data"),
        ('builtins.seq "${{{aside}}}" "0"', "touch {aside}/more"),
        ('builtins.seq "${{{aside}}}" "0"', "printf 2 > {aside}/data"),
        ('builtins.seq "${{{aside}}}" "0"', "chmod +x {aside}/data"),
        ('if builtins.readFileType {aside}/data == "regular" then "0" else "x"', "ln -sf /dev/null {aside}/data"),
        ('if builtins.getEnv "HOMER" == "" then "0" else "x"', ""),
        # Read and copied: the mode matters as well as the content.
        (
            'let text = builtins.readFile {aside}/data; in builtins.seq text (builtins.seq "${{{aside}/data}}" text)',
            "chmod +x {aside}/data",
        ),
        (
            'builtins.seq (builtins.path {{ path = {aside}-link; recursive = false; name = "x"; }}) "0"',
            "printf 2 > {aside}/data",
        ),
    ],
)
def test_every_change_that_matters_is_noticed(
    run: Runner, scratch: Path, aside: Path, expression: str, change: str
) -> None:
    import subprocess

    question = asker(run, scratch, expression.format(aside=aside))
    subprocess.run(["sh", "-c", change.format(aside=aside)], check=True)
    answer = run("nix-instantiate", "--eval", "--strict", str(question.file), HOMER="d'oh", status=None)
    assert "remembered-9" not in answer.stdout


@pytest.mark.slow
def test_what_the_system_refuses_to_tell_may_be_told_tomorrow(run: Runner, scratch: Path) -> None:
    (scratch / "loop").symlink_to("loop")
    question = Asker(run, scratch, f"builtins.pathExists {scratch}/loop/x")
    assert question.ask() == "false"
    (scratch / "loop").unlink()
    (scratch / "loop/x").mkdir(parents=True)
    assert question.ask() == "true"


@pytest.mark.slow
def test_a_link_in_the_store_may_lead_to_what_changes(run: Runner, scratch: Path, aside: Path) -> None:
    (scratch / "tree").mkdir()
    (scratch / "tree/link").symlink_to(aside / "data")
    (scratch / "tree/file").write_text("0")
    path = f'"${{{scratch}/tree}}"'
    stored = run("nix-instantiate", "--eval", "--raw", "--read-write-mode", "-E", path).stdout
    for entry in (scratch / "home/.cache/verglas/results").glob("*"):
        entry.unlink()
    inside = asker(run, scratch, f'builtins.readFile "{stored}/file"')
    assert inside.ask() == '"remembered-9"'
    inside.entry().unlink()
    question = Asker(run, scratch, f'"remembered-" + builtins.readFile "{stored}/link"')
    assert question.ask() == '"remembered-0"'
    (aside / "data").write_text("2")
    assert question.ask() == '"remembered-2"'


@pytest.mark.slow
def test_what_can_be_read_once_or_changes_without_a_trace_is_not_believed(run: Runner, scratch: Path) -> None:
    pipe = Asker(run, scratch, 'builtins.readFile "/dev/stdin"')
    for text in ("a", "b"):
        assert run("nix-instantiate", "--eval", str(pipe.file), stdin=text).stdout == f'"{text}"\n'
    # A file of the kernel, of no size and with the times of when it was first looked at.
    clock = Asker(run, scratch, 'builtins.readFile "/proc/uptime"')
    clock.ask()
    entry = clock.entry()
    written, observations, _ = marshal.loads(entry.read_bytes()[20:])
    body = marshal.dumps((written + 10_000_000_000, observations, ["old"]))
    entry.write_bytes(digest(body) + body)
    assert clock.ask() != "old"


@pytest.mark.slow
def test_damage_is_a_miss(run: Runner, scratch: Path) -> None:
    question = Asker(run, scratch, '"remembered-0"')
    assert question.ask() == '"remembered-0"'
    whole = question.entry().read_bytes()
    for damaged in (b"", whole[:-1], whole[:30] + b"x" + whole[31:]):
        question.entry().write_bytes(damaged)
        assert question.ask() == '"remembered-0"'


@pytest.mark.slow
@pytest.mark.parametrize(
    "expression",
    [
        'builtins.trace "hello" true',
        "builtins.currentTime > 0",
        "__currentTime > 0",
        'builtins.${"current" + "Time"} > 0',
        'with builtins; builtins ? ${"current" + "Time"} && currentTime > 0',
        "(builtins // { }).currentTime > 0",
        'builtins.getAttr ("current" + "Time") builtins > 0',
        'let inherit (builtins) ${"currentTime"}; in currentTime > 0',
        'builtins.isInt (builtins.intersectAttrs { ${"current" + "Time"} = 1; } builtins).${"current" + "Time"}',
        "builtins.elem true (builtins.map (x: builtins.isInt x && x > 1000000000) (builtins.attrValues builtins))",
    ],
)
def test_what_speaks_or_looks_at_the_clock_is_not_remembered(run: Runner, scratch: Path, expression: str) -> None:
    question = Asker(run, scratch, expression)
    assert question.ask() == "true"
    assert not question.results.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "expression",
    [
        "builtins.readFile (builtins.fetchurl file:{aside}/data)",
        "builtins.readFile (builtins.fetchTree {{ type = ''file''; url = ''file://{aside}/data''; }})",
        "builtins.readFile (builtins.fetchGit {aside} + ''/data'')",
    ],
)
def test_what_may_be_another_tomorrow_is_not_remembered(
    run: Runner, scratch: Path, aside: Path, expression: str
) -> None:
    for words in (["init", "-q"], ["add", "data"], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", aside, *words], check=True)
    question = Asker(run, scratch, expression.format(aside=aside))
    assert question.ask() == '"0"'
    assert not question.results.exists()


@pytest.mark.slow
def test_the_search_path_is_part_of_the_question(run: Runner, scratch: Path) -> None:
    question = Asker(run, scratch, "builtins.length builtins.nixPath")
    assert question.ask(NIX_PATH="a=/x:b=/y") == "2"
    assert question.ask(NIX_PATH="a=/x:b=/y:c=/z") == "3"
    assert question.ask("-I", "d=/", NIX_PATH="a=/x:b=/y:c=/z") == "4"


@pytest.mark.slow
def test_a_store_path_must_still_be_there(run: Runner, scratch: Path, aside: Path) -> None:
    path = run("nix-store", "--add", aside / "data").stdout.strip()
    question = Asker(run, scratch, f"builtins.stringLength (builtins.storePath {path})")
    assert question.ask("--read-write-mode") == str(len(path))
    run("nix-store", "--delete", path)
    command = ("nix-instantiate", "--eval", "--strict", "--read-write-mode", question.file)
    assert path in run(*command, status=1).stderr


@pytest.mark.slow
def test_the_clock_may_be_mentioned(run: Runner, scratch: Path) -> None:
    assert re.search(r"currentTime = \d+;", run("nix-instantiate", "--eval", "-E", "builtins").stdout)
    question = asker(run, scratch, 'if builtins ? currentTime then "0" else toString builtins.currentTime')
    assert question.ask() == '"remembered-9"'


@pytest.mark.slow
def test_standard_input_is_not_remembered(run: Runner, scratch: Path) -> None:
    for answer in ("1", "2"):
        done = run("nix-instantiate", "--eval", "-", stdin=f"{WORK} {answer}")
        assert done.stdout == f"{answer}\n"
        done = run("verglas", "eval", "--file", "-", stdin=f"{WORK} {answer}")
        assert done.stdout == f"{answer}\n"


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only these can be another kind of machine")
def test_a_machine_of_another_kind_asks_for_itself(run: Runner, scratch: Path, environ: dict[str, str]) -> None:
    """A home may be on several."""
    question = Asker(run, scratch, "builtins.currentSystem")
    assert question.ask() == '"x86_64-linux"'
    command = ["setarch", "i686", BIN / "nix-instantiate", "--eval", "--strict", question.file]
    done = subprocess.run(command, env=environ, cwd=scratch, capture_output=True, text=True, check=True)
    assert done.stdout == '"i686-linux"\n'


@pytest.mark.slow
def test_small_questions_are_not_worth_an_entry(run: Runner, scratch: Path) -> None:
    assert run("nix-instantiate", "--eval", "-E", "1").stdout == "1\n"
    assert not (scratch / "home/.cache/verglas/results").exists()


@pytest.mark.slow
def test_derivations_must_still_be_there(run: Runner, scratch: Path) -> None:
    (scratch / "default.nix").write_text(
        f'{WORK} (derivation {{ name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; }})'
    )
    os.utime(scratch / "default.nix", (1, 1))
    path = run("nix-instantiate").stdout.strip()
    run("nix-store", "--delete", path)
    assert run("nix-instantiate").stdout.strip() == path
    run("verglas", "cat", path)
