"""Shells that complete command lines with our scripts, as for somebody who types: what do they offer?

bash and zsh complete only on a terminal, so each has one here, and answers through a named pipe; nothing waits for time
to pass. fish answers in a program.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from profiles.all_commands import all_commands
from profiles.completions import script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Offers = list[set[str]]
    Asker = Callable[[int, str], set[str]]

# Reads a line, asks the completion system about its end, and says what would be offered.
_ZSHRC = r"""
autoload -Uz compinit; compinit -D -u
source $ZDOTDIR/script
typeset -gaU found
compadd() {
    # With these the caller only wants to know.
    if [[ " ${(j: :)@[1,(i)(-|--)]} " == *\ -[a-zA-Z12]#[OAD]\ * ]]; then builtin compadd "$@"; return; fi
    local -a these
    builtin compadd -A these "$@"
    found+=($these)
    (( $#these ))  # nothing is added: a long list would ask whether it should be shown
}
ask() {
    IFS= read -r BUFFER < $ZDOTDIR/question
    CURSOR=$#BUFFER found=()
    zle list-choices
    print -r -- "${(pj:\t:)found}" > $ZDOTDIR/answer
    BUFFER=
}
zle -N ask
bindkey '^T' ask  # no key that other keys begin with: zsh would wait for more
print > $ZDOTDIR/answer
"""
# The first key puts everything that is offered into the line, the second says what is there.
_BASHRC = r"""
PS1=
source "$HOME/script"
set -o emacs
bind 'set enable-bracketed-paste off' 2>/dev/null
say() { printf '%s\n' "$READLINE_LINE" > "$HOME/answer"; READLINE_LINE=; READLINE_POINT=0; }
bind '"\C-o": insert-completions'
bind -x '"\C-t": say'
printf '\n' > "$HOME/answer"
"""


def offers(shell: str, folder: Path, lines: list[str]) -> Offers:
    """Return what a shell offers for the end of each line, completing in `folder`; skips the test without the shell."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (folder / "script").write_text(script(shell, all_commands()))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](program, folder, lines)


def _fish(program: str, folder: Path, lines: list[str]) -> Offers:
    questions = "".join([f"complete -C '{line}'; echo '%%'\n" for line in lines])
    (folder / "questions").write_text("source script\n" + questions)
    done = subprocess.run(
        [program, "--no-config", "questions"],
        cwd=folder,
        env={"HOME": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = done.stdout.split("%%\n")[:-1]
    return [{offer.partition("\t")[0] for offer in answer.splitlines()} for answer in answers]


def _zsh(program: str, folder: Path, lines: list[str]) -> Offers:
    (folder / ".zshrc").write_text(_ZSHRC)
    os.mkfifo(folder / "question")

    def ask(terminal: int, line: str) -> set[str]:
        os.write(terminal, b"\x14")
        (folder / "question").write_text(line + "\n")
        return set((folder / "answer").read_text().rstrip("\n").split("\t")) - {""}

    return _on_a_terminal([program, "-i"], folder, lines, ask)


def _bash(program: str, folder: Path, lines: list[str]) -> Offers:
    (folder / "rc").write_text(_BASHRC)

    def ask(terminal: int, line: str) -> set[str]:
        os.write(terminal, line.encode() + b"\x0f\x14")
        whole = (folder / "answer").read_text().rstrip("\n")
        before, _, current = line.rpartition(" ")
        assert whole.startswith(before), whole
        return set(whole[len(before) :].split()) - {current}

    return _on_a_terminal([program, "--noprofile", "--rcfile", "rc", "-i"], folder, lines, ask)


def _on_a_terminal(command: list[str], folder: Path, lines: list[str], ask: Asker) -> Offers:
    os.mkfifo(folder / "answer")
    terminal, theirs = pty.openpty()
    env = {"HOME": str(folder), "ZDOTDIR": str(folder), "TERM": "dumb", "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=folder, start_new_session=True
    )
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(terminal,))
    reader.start()
    try:
        (folder / "answer").read_text()  # it is ready
        return [ask(terminal, line) for line in lines]
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(terminal)


def _drain(terminal: int) -> None:
    """Take what is shown, or the shell would wait; ends with the last process on the terminal."""
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass
