"""The environment that `nix-shell` gives: dependencies built, variables as a builder would have them, setup sourced.

Semantics: nix-build.cc of Nix 2.8. The shell sees the store at its real path, in a mount namespace of its own if need
be.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import sys
import tempfile

from evaluator.building import evaluate_operands, select
from evaluator.core.values import force
from evaluator.instantiate import get_derivation
from storefs.errors import StoreError, UsageError
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.formats.derived_path import DerivedPath
from storefs.formats.resolution import resolve
from storefs.logs import NOTICE, log
from storefs.logs import error as log_error
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

_KEPT = frozenset((
    "DISPLAY", "HOME", "IN_NIX_SHELL", "LOGNAME", "NIX_BUILD_SHELL", "NIX_SHELL_PRESERVE_PROMPT", "PAGER", "PATH",
    "SHLVL", "TERM", "TZ", "USER", "WAYLAND_DISPLAY", "WAYLAND_SOCKET", "XDG_RUNTIME_DIR", "all_proxy", "ftp_proxy",
    "http_proxy", "https_proxy", "no_proxy",
))  # fmt: skip


class Shell:
    """What was evaluated: the derivation whose environment is wanted, and the shell to run in it."""

    __slots__ = ("bash_drv", "derivation", "drv_path")

    def __init__(self, drv_path: StorePath, derivation: Derivation, bash_drv: StorePath | None) -> None:
        self.drv_path = drv_path
        self.derivation = derivation
        self.bash_drv = bash_drv


def prepare_shell(session: Session, invocation: Invocation) -> Shell:
    """Evaluate the operands of `nix-shell`. Runs in the evaluation.

    Raises:
        UsageError: they are not exactly one derivation.
    """
    if invocation.flag("--packages") and invocation.flag("--expr"):
        raise UsageError("'-p' and '-E' are mutually exclusive")
    session.auto_args.setdefault("inNixShell", True)
    directory = session.store_io.directory
    if invocation.flag("--packages"):
        packages = "".join(f"({operand}) " for operand in invocation.operands)
        text = (
            "{...}@args: with import <nixpkgs> args; (pkgs.runCommandCC or pkgs.runCommand) "
            f'"shell" {{ buildInputs = [ {packages}]; }} ""'
        )
        found = select(session, invocation, [session.evaluate_expression(text)])
        drv_paths = [package.require_drv_path() for package in found]
    else:
        script = invocation.value("--script")
        if script is not None and not invocation.flag("--expr"):
            folder = os.path.dirname(os.path.abspath(script))
            invocation.operands = [os.path.join(folder, operand) for operand in invocation.operands]
        # Which outputs a derivation is wanted for does not change its environment.
        only = invocation.operands[0].partition("!")[0] if len(invocation.operands) == 1 else ""
        operand = os.path.realpath(only) if only else ""
        if operand.endswith(".drv") and directory.maybe_parse(operand) is not None:
            drv_paths = [operand]
        else:
            default = "shell.nix" if os.path.exists("shell.nix") else "default.nix"
            values = evaluate_operands(session, invocation, default)
            drv_paths = [package.require_drv_path() for package in select(session, invocation, values)]
    if len(drv_paths) != 1:
        raise UsageError("nix-shell requires a single derivation")
    session.io.flush()
    derivation = session.store_io.derivation(drv_paths[0])
    return Shell(directory.parse(drv_paths[0]), derivation, _bash(session))


def _bash(session: Session) -> StorePath | None:
    """The derivation of a shell for people, from <nixpkgs>; None where there is none and the user's own must do."""
    if session.config.variable("NIX_BUILD_SHELL"):
        return None
    try:
        package = get_derivation(
            session.state, force(session.evaluate_expression("(import <nixpkgs> {}).bashInteractive"))
        )
        if package is None:
            raise StoreError("the 'bashInteractive' attribute in <nixpkgs> did not evaluate to a derivation")
        return session.store_io.directory.parse(package.require_drv_path())
    except StoreError as error:
        log_error(str(error).splitlines()[0])
        log(NOTICE, "will use bash from your environment")
        return None


def enter_shell(session: Session, invocation: Invocation, shell: Shell) -> int:
    """Build what the shell needs and become it; returns only with --dry-run."""
    excluded = [re.compile(pattern) for pattern in invocation.values("--exclude")]
    directory = session.store_io.directory
    targets = [
        DerivedPath(path, tuple(outputs))
        for path, outputs in sorted(shell.derivation.input_drvs.items())
        if not any(pattern.search(directory.print(path)) for pattern in excluded)
    ]
    targets += [DerivedPath(path) for path in sorted(shell.derivation.input_srcs)]
    if shell.bash_drv is not None:
        targets.append(DerivedPath(shell.bash_drv, ("out",)))
    if invocation.flag("--dry-run"):
        session.announce(targets)
        return 0
    results = session.build(targets, announce=True)
    session.require_success(results)
    bash = session.config.variable("NIX_BUILD_SHELL") or "bash"
    if shell.bash_drv is not None:
        bash = directory.print(results[-1].outputs["out"]) + "/bin/bash"

    folder = tempfile.mkdtemp(prefix="nix-shell-")
    derivation = _resolved(session, shell.derivation)
    environment, keep_folder, structured = _environment(session, invocation, derivation, folder)
    rc_file = f"{folder}/rc"
    with open(rc_file, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(_startup(session, invocation, bash, folder, keep_folder, structured))
    interactive = sys.stdin.isatty() and sys.stderr.isatty()
    interactive = interactive and invocation.value("--run") is None and invocation.value("-i") is None
    words = ["bash", "--rcfile", rc_file] if interactive else ["bash", rc_file]
    return _become(session, bash, words, environment)


def _resolved(session: Session, derivation: Derivation) -> Derivation:
    """The derivation with what its inputs made in their place, where that can differ and all of them are built."""
    if not has_feature(session.config, CA_DERIVATIONS):
        return derivation
    directory = session.store_io.directory
    made = {
        (path, name): output
        for path in derivation.input_drvs
        for name, output in known_outputs(session.store, session.store_io.derivation(directory.print(path))).items()
    }
    wanted = {(path, name) for path, names in derivation.input_drvs.items() for name in names}
    return resolve(derivation, made, directory) if wanted <= made.keys() else derivation


def _become(session: Session, program: str, words: list[str], environment: dict[str, str]) -> int:
    from storefs.stores.mountpoint import enter_store  # noqa: PLC0415  only when a shell is really started

    enter_store(session.config)
    sys.stdout.flush()
    atexit._run_exitfuncs()  # another program takes our place
    try:
        os.execvpe(program, words, environment)
    except OSError as error:
        raise StoreError(f"executing shell '{program}': {error.strerror}") from error


def _environment(
    session: Session, invocation: Invocation, derivation: Derivation, folder: str
) -> tuple[dict[str, str], bool, str]:
    """The variables of the shell, whether files for them are in `folder`, and shell text of structured attributes."""
    pure = invocation.flag("--pure")
    environment = session.config.environment()
    environment["IN_NIX_SHELL"] = "pure" if pure else "impure"
    if pure:
        kept = _KEPT.union(invocation.values("--keep"))
        environment = {name: value for name, value in environment.items() if name in kept}
        environment["__ETC_PROFILE_SOURCED"] = "1"  # keeps NixOS' /etc/bashrc from sourcing /etc/profile
    scratch = session.config.variable("TMPDIR") or session.config.variable("XDG_RUNTIME_DIR") or "/tmp"
    for name in ("NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP"):
        environment[name] = scratch
    environment["NIX_STORE"] = session.store_io.directory.path
    environment["NIX_BUILD_CORES"] = str(session.config.integer("cores"))
    as_files = set(derivation.env.get("passAsFile", "").split())
    kept_files = 0
    for name, value in derivation.env.items():
        if name in as_files:
            path = f"{folder}/.attr-{kept_files}"
            kept_files += 1
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(value)
            environment[name + "Path"] = path
        else:
            environment[name] = value
    structured = ""
    if "__json" in derivation.env:
        structured = _structured(session, derivation, folder)
        environment["NIX_ATTRS_SH_FILE"] = f"{folder}/.attrs.sh"
        environment["NIX_ATTRS_JSON_FILE"] = f"{folder}/.attrs.json"
    return environment, bool(kept_files or structured), structured


def _structured(session: Session, derivation: Derivation, folder: str) -> str:
    """Write the files of structured attributes and return their shell form."""
    import json  # noqa: PLC0415  few derivations have structured attributes

    from storefs.formats.json_input import parse_json  # noqa: PLC0415

    try:
        attributes = parse_json(derivation.env["__json"])
    except ValueError as error:
        raise StoreError(f"cannot process __json attribute of '{derivation.name}': {error}") from None
    if not isinstance(attributes, dict):
        raise StoreError(f"the __json attribute of '{derivation.name}' is no object")
    directory = session.store_io.directory
    attributes["outputs"] = {
        name: directory.print(output.path) for name, output in derivation.outputs.items() if output.path is not None
    }
    text = session.shell_attributes(attributes)
    with open(f"{folder}/.attrs.json", "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(attributes, file)
    with open(f"{folder}/.attrs.sh", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    return text


def _startup(
    session: Session, invocation: Invocation, bash: str, folder: str, keep_folder: bool, structured: str
) -> str:
    """The file that the shell reads first; the order of its commands is that of Nix, setup scripts depend on it."""
    pure = invocation.flag("--pure")
    shell = bash if "/" in bash else f"$(command -v {shlex.quote(bash)} || echo {shlex.quote(bash)})"
    lines = [f"_nix_shell_clean_tmpdir() {{ command rm -rf {shlex.quote(folder)}; }}"]
    if keep_folder:
        lines += [
            "trap _nix_shell_clean_tmpdir EXIT",
            "exitHooks+=(_nix_shell_clean_tmpdir)",
            "failureHooks+=(_nix_shell_clean_tmpdir)",
        ]
    else:
        lines.append("_nix_shell_clean_tmpdir")
    if not pure:
        lines += ['[ -n "$PS1" ] && [ -e ~/.bashrc ] && source ~/.bashrc', "p=$PATH"]
    if "/" not in bash:
        lines.append(f"_nix_shell={shell}")
    lines += ["unset PATH", "dontAddDisableDepTrack=1", structured, "[ -e $stdenv/setup ] && source $stdenv/setup"]
    if not pure:
        lines += ["PATH=${PATH:+$PATH:}$p", "unset p"]
    if "/" in bash:
        lines += [
            f'PATH={shlex.quote(os.path.dirname(bash))}:"$PATH"',
            f"SHELL={shlex.quote(bash)}",
            f"BASH={shlex.quote(bash)}",
        ]
    else:
        lines += ['PATH="${_nix_shell%/*}":"$PATH"', "SHELL=$_nix_shell", "BASH=$_nix_shell", "unset _nix_shell"]
    zone = session.config.variable("TZ")
    lines += [
        "set +e",
        '[ -n "$PS1" -a -z "$NIX_SHELL_PRESERVE_PROMPT" ] && '
        r"PS1='\n\[\033[1;32m\][nix-shell:\w]\$\[\033[0m\] '",
        'if [ "$(type -t runHook)" = function ]; then runHook shellHook; fi',
        "unset NIX_ENFORCE_PURITY",
        "shopt -u nullglob",
        "unset TZ",
        f"export TZ={shlex.quote(zone)}" if zone else "",
        "shopt -s execfail",
        _command(invocation),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _command(invocation: Invocation) -> str:
    interpreter = invocation.value("-i")
    if interpreter is not None:
        script = shlex.quote(invocation.value("--script") or "")
        arguments = " ".join(shlex.quote(word) for word in invocation.values("--script-argument"))
        if "ruby" in interpreter:
            # Ruby reads the #! line itself and would start nix-shell again.
            return f"exec {interpreter} -e 'load(ARGV.shift)' -- {script} {arguments}"
        # So would perl, unless its name says otherwise.
        renamed = "-a PERL " if "perl" in interpreter else ""
        return f"exec {renamed}{interpreter} {script} {arguments}"
    command = invocation.value("--run", invocation.value("--command"))
    return "" if command is None else f"{command}\nexit"
