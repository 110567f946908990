"""`verglas mount`: make the store visible as a file system, and say how the mounts are doing."""

from __future__ import annotations

import os
import sys

from storefs import logs
from storefs.errors import SystemRefusedError, UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config
    from storefs.fuse.manner import Manner
    from storefs.options import Invocation

COMMAND = Command(
    "verglas mount",
    "Mount the store as a read-only file system",
    operands="[DIR]",
    options=(
        Option("--background", "-b", help="return once it is mounted and serve in the background"),
        Option("--replace", help="take the place of a living mount; who uses the old one may go on"),
        Option("--if-needed", help="do nothing where this store is mounted already"),
        Option("--transport", takes=("KIND",), help="auto (the default), kernel or pyfuse3"),
        Option("--passthrough", help="let the kernel read large files itself; opens cost a message then"),
        Option("--lazy", help="also show paths that substituters have; they are fetched when they are read"),
        Option("--status", help="show the mounts of this store and their counters instead"),
        Option("--json", help="show the status as JSON"),
        Option("--pid-file", takes=("PATH",), help="write the number of the serving process to PATH when it is ready"),
        Option(
            "--install-units",
            takes=("DIR",),
            help="write systemd units, which mount as these options say, into DIR ('system': where systemd looks)",
        ),
        Option("--serve-descriptor", takes=("NUMBER",), help="serve a file system that is mounted", hidden=True),
    ),
    description="""
Mounts the store on DIR, by default the store directory itself, which must be empty then: what lies in a directory is
hidden by a mount. Whatever is registered, by any process, is visible at once; nothing can be changed through the mount,
not by root either.

With `--lazy`, a path that is not here but that a substituter has appears as soon as it is looked up. Its files are
fetched when the first of them is read, and shown only after hash and signature were checked; what it refers to is
fetched in the background, and registered. A substituter that can't be reached gives an input/output error.

The process serves until the store is unmounted and no program uses it. When it is killed, the mount is dead: reading
gives an error, and the next command that needs the store repairs it. SIGUSR1 makes it log its stacks and counters.

A mount that is repaired or replaced is served as it was before, with the same options and with the settings that its
command line gave (`--option`), if no way to serve it is named: `--transport auto` goes back to the default.
""",
    examples=(
        ("verglas mount --background", "mount the store on /nix/store"),
        ("verglas mount --background --replace", "after an upgrade: a new process for new users"),
        ("verglas mount --install-units system", "let systemd mount it; then: systemctl enable --now verglas-mount"),
        ("verglas mount --status", "who is mounted where, and how much there is to do"),
    ),
)

_MANNER = ("--transport", "--passthrough", "--lazy")
_DEAD = "dead: its process has ended, or its state was replaced; "


def run(invocation: Invocation) -> int:
    """Mount, or show the mounts."""
    config = invocation.config
    if invocation.flag("--status"):
        return _show_status(config, as_json=invocation.flag("--json"))
    if "" in invocation.operands:
        raise UsageError("a directory without a name was given")  # a variable that is not set; it would be this one
    if len(invocation.operands) > 1:
        raise UsageError("verglas mount takes one directory at most")
    target = os.path.realpath(invocation.operands[0] if invocation.operands else config.physical_store_dir)
    from storefs.durable import replace_file
    from storefs.fuse.manner import recall
    from storefs.fuse.mount import TRANSPORTS, MountOptions, mount_and_serve, serve_descriptor

    transport = invocation.value("--transport") or "auto"
    if transport not in TRANSPORTS:
        raise UsageError(f"there is no transport '{transport}'; choose one of {', '.join(TRANSPORTS)}")
    if invocation.flag("--passthrough") and (transport == "pyfuse3" or invocation.flag("--lazy")):
        raise UsageError("only transport 'kernel' passes files through, and not in a lazy mount")
    units = invocation.value("--install-units")
    if units is not None:
        return _install_units(invocation, target, units)
    if not invocation.operands:
        _spare_what_is_there(target, config.verglas_dir)
    descriptor = invocation.value("--serve-descriptor")
    before = None
    if descriptor is None and not any(map(invocation.flag, _MANNER)):
        before = recall(config.verglas_dir, target)
    manner = _manner(invocation, before)
    given = config.overrides()
    config = config.with_settings(pair for pair in manner.settings.items() if pair[0] not in given)
    options = MountOptions(manner, replace=invocation.flag("--replace"), if_needed=invocation.flag("--if-needed"))

    def serve(tell: Callable[[], None]) -> int:
        def ready() -> None:
            if manner.pid_file:
                try:
                    replace_file(manner.pid_file, f"{os.getpid()}\n".encode())
                except OSError as error:
                    error.filename = manner.pid_file  # rather than the temporary one
                    failure = SystemRefusedError("writing the pid file", error)
                    if invocation.value("--pid-file") is not None:
                        raise failure from error
                    logs.warn(str(failure))  # whoever wanted it is not the one who mounts
            tell()

        def serve_store() -> None:
            if descriptor is not None:
                serve_descriptor(config.verglas_dir, int(descriptor), target, options, ready)
            else:
                mount_and_serve(config.verglas_dir, target, options, ready)

        if manner.lazy:
            # Here, behind the fork of `--background`: it starts threads.
            from storefs.stores.open_lazy import open_lazy_paths

            with open_lazy_paths(config) as options.lazy:
                serve_store()
        else:
            serve_store()
        return 0

    if not invocation.flag("--background"):
        return serve(lambda: None)
    from storefs.durable import make_directories
    from storefs.fuse.background import run_in_background

    make_directories(config.verglas_dir, mode=0o700)
    run_in_background(serve, f"{config.verglas_dir}/mount.log")
    return 0


def _manner(invocation: Invocation, before: Manner | None) -> Manner:
    """How to serve: as the options say, or, where none says it, as the mount that is there was served `before`."""
    from storefs.fuse.manner import Manner

    pid_file = invocation.value("--pid-file")
    settings = invocation.config.overrides()
    if before is None:
        before = Manner(
            invocation.value("--transport") or "auto",
            passthrough=invocation.flag("--passthrough"),
            lazy=invocation.flag("--lazy"),
        )
    return Manner(
        before.transport,
        passthrough=before.passthrough,
        lazy=before.lazy,
        settings={**before.settings, **settings},
        pid_file=before.pid_file if pid_file is None else os.path.abspath(pid_file),
    )


def _spare_what_is_there(target: str, verglas_dir: str) -> None:
    """Refuse to hide another Nix's store from its programs where nobody has named the directory to mount on.

    Whoever can't mount there at all hears that instead.
    """
    from storefs.fuse.attach import OccupiedError
    from storefs.stores.mount_table import mount_at
    from storefs.stores.mountpoint import may_be_covered

    if mount_at(target) is not None or not os.path.isdir(target):
        return
    may_mount = os.geteuid() == 0 or os.access(target, os.W_OK)
    if may_mount and not may_be_covered(target, verglas_dir):
        raise OccupiedError(
            f"'{target}' is not empty: mounting on it would hide what is there, perhaps another Nix's store; "
            f"choose another directory, or do it with 'verglas mount {target}'"
        )


def _install_units(invocation: Invocation, target: str, folder: str) -> int:
    from storefs.fuse.units import SYSTEM_UNITS, install_units, units_for

    program = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "verglas")
    options = [name for name in ("--passthrough", "--lazy") if invocation.flag(name)]
    # Always named, or the service would be served as a mount of somebody else's that it replaces.
    options += ["--transport", invocation.value("--transport") or "auto"]
    units = units_for(invocation.config, program, target, options)
    for path in install_units(units, SYSTEM_UNITS if folder == "system" else os.path.abspath(folder)):
        sys.stdout.write(path + "\n")
    return 0


def _show_status(config: Config, *, as_json: bool) -> int:
    from shlex import quote

    from storefs.stores.mount_control import ask_all
    from storefs.stores.mount_table import is_alive, store_mounts
    from storefs.stores.mountpoint import find_repairable

    answers = ask_all(config.verglas_dir, {"op": "status"})
    dead = {mount.target: _DEAD for mount in store_mounts(config.verglas_dir) if not is_alive(mount.target)}
    repairable = os.path.realpath(find_repairable(config) or "/") if dead else "/"
    for target in dead:
        if target == repairable:
            dead[target] += "the next command that needs the store mounts it again"
        else:
            name = quote(target)
            dead[target] += f"'verglas mount {name}' mounts it again, 'verglas umount {name}' removes it"
    if as_json:
        import json

        answers += [{"ok": False, "target": target, "error": error} for target, error in dead.items()]
        sys.stdout.write(json.dumps(answers, indent=2) + "\n")
        return 0
    if not answers and not dead:
        sys.stdout.write("not mounted\n")
    for target, error in dead.items():
        sys.stdout.write(f"{target}\n  {error}\n")
    for answer in answers:
        counters = answer.pop("counters")
        assert isinstance(counters, dict)
        sys.stdout.write(f"{answer['target']}\n")
        for name, value in {**answer, **counters}.items():
            if name not in {"ok", "target"}:
                text = " ".join(value) if isinstance(value, list) else str(value)
                sys.stdout.write(f"  {name:<24} {text}\n")
    return 0 if answers else 1
