"""Builders that know the kernel: escape attempts for which a shell has no words. Each must fail, or reach nothing.

The builder is Python with ctypes, from the host's /usr; its script writes what it achieved to its output.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from builder.cancellation import Cancellation
from builder.output_inspection import seal

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench

PYTHON = "/usr/bin/python3"
SETTINGS = {"sandbox_paths": "/usr /bin /lib /lib64?"}
STRANGER = 54321  # a uid that is nobody's

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists(PYTHON), reason="the host has no Python in /usr"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls have other numbers here"),
]

PRELUDE = """
import ctypes, errno, fcntl, mmap, os, socket, stat, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
out = os.environ["out"]

def call(number, *arguments):
    result = libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "done"

def attempt(function, *arguments, **keywords):
    try:
        return f"done: {function(*arguments, **keywords)}"
    except OSError as error:
        return errno.errorcode[error.errno]

def say(*words):
    with open(out, "a") as file:
        print(*words, file=file)
"""


def run(bench: Workbench, script: str, sandbox: str = "true", **more: object) -> list[str]:
    """Build with a script for Python, which must succeed; return the lines that it said."""
    probe = bench.derive("probe", PRELUDE + dedent(script), builder=PYTHON, **more)  # type: ignore[arg-type]
    bench.told.show_logs = False  # a failure then shows the traceback
    return bench.build_one(probe, sandbox=sandbox, **SETTINGS).splitlines()


def test_it_has_three_descriptors_and_the_variables_that_were_meant_for_it(bench: Workbench) -> None:
    """Row N12."""
    lines = run(
        bench,
        """
        listing = os.open("/proc/self/fd", os.O_RDONLY)
        for name in sorted(os.listdir(listing), key=int):
            if int(name) != listing and os.path.lexists(f"/proc/self/fd/{name}"):
                say("fd", name, os.readlink(f"/proc/self/fd/{name}").rstrip("0123456789"))
        for line in open("/proc/self/environ").read().strip(chr(0)).split(chr(0)):
            say(line.partition("=")[0])
        """,
    )
    assert [line.split()[:2] for line in lines[:3]] == [["fd", "0"], ["fd", "1"], ["fd", "2"]]
    ours = ["NIX_BUILD_CORES", "NIX_BUILD_TOP", "NIX_LOG_FD", "NIX_STORE", "PATH", "PWD"]
    assert sorted(lines[3:]) == sorted(
        [*ours, "HOME", "TEMP", "TEMPDIR", "TERM", "TMP", "TMPDIR", "builder", "name", "out", "system"]
    )


def test_no_call_makes_a_setuid_file(bench: Workbench) -> None:
    """Neither the plain ones nor those that are newer than the filter of Nix, nor those of other system call tables."""
    lines = run(
        bench,
        r"""
        f, at = b"/build/f", -100
        os.close(os.open(f, os.O_CREAT | os.O_WRONLY, 0o755))
        fd = os.open(f, os.O_RDWR)
        # The table of 32-bit programs, which a 64-bit one reaches with int 0x80.
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes.fromhex("53 89f8 89f3 89d1 cd80 5b c3"))  # push rbx; eax, ebx, ecx = arguments; ...; ret
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        int80 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint)(address)
        low = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)  # MAP_32BIT
        low.write(f + bytes(1))
        low_f = ctypes.addressof(ctypes.c_char.from_buffer(low))
        for mode in 0o4755, 0o2755:
            how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, mode, 0)
            say(
                call(90, f, mode),  # chmod
                call(91, fd, mode),  # fchmod
                call(268, at, f, mode),  # fchmodat
                call(452, at, f, mode, 0),  # fchmodat2
                call(2, b"/build/g1", os.O_CREAT | os.O_WRONLY, mode),  # open
                call(85, b"/build/g2", mode),  # creat
                call(257, at, b"/build/g3", os.O_CREAT | os.O_WRONLY, mode),  # openat
                call(257, at, b"/build", os.O_TMPFILE | os.O_WRONLY, mode),
                call(133, b"/build/g4", stat.S_IFREG | mode, 0),  # mknod
                call(259, at, b"/build/g5", stat.S_IFREG | mode, 0),  # mknodat
                call(437, at, b"/build/g6", how, 24),  # openat2
                call(425, 1, bytes(120)),  # io_uring_setup
                call(0x40000000 + 90, f, mode),  # chmod, as an x32 program calls it
                errno.errorcode.get(-int80(15, low_f, mode), "done"),  # chmod
                errno.errorcode.get(-int80(8, low_f, mode), "done"),  # creat
            )
        say(oct(os.stat(f).st_mode), *os.listdir("/build"))
        """,
    )
    refusals = " ".join(["EPERM"] * 10 + ["ENOSYS"] * 2)
    assert [line.rsplit(" ", 3)[0] for line in lines[:2]] == [refusals] * 2
    assert {answer for line in lines[:2] for answer in line.split()[-3:]} <= {"EPERM", "ENOSYS"}
    assert lines[2:] == ["0o100755 f"]


def test_extended_attributes_can_not_be_set(bench: Workbench) -> None:
    lines = run(
        bench,
        """
        f = b"/build/f"
        os.close(os.open(f, os.O_CREAT | os.O_WRONLY, 0o644))
        fd = os.open(f, os.O_RDWR)
        for name in b"user.x", b"security.capability", b"system.posix_acl_access":
            say(call(188, f, name, b"x", 1, 0), call(189, f, name, b"x", 1, 0), call(190, fd, name, b"x", 1, 0))
        say(call(463, -100, f, 0, b"user.x", bytes(16), 16))
        """,
    )
    assert set(" ".join(lines).split()) == {"ENOTSUP"}


def test_other_processes_can_not_be_traced_or_read(bench: Workbench) -> None:
    with subprocess.Popen(["sleep", "1000"]) as victim:
        try:
            lines = run(
                bench,
                f"""
                victim = {victim.pid}
                PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
                say(call(101, PTRACE_ATTACH, victim, 0, 0), call(101, PTRACE_SEIZE, victim, 0, 0))
                buffer = ctypes.create_string_buffer(16)
                area = struct.pack("PP", ctypes.addressof(buffer), 16)
                say(call(310, victim, area, 1, area, 1, 0), call(434, victim, 0))
                say(attempt(os.kill, victim, 9), attempt(open, f"/proc/{{victim}}/environ"), os.getppid())
                try:
                    os.kill(-1, 9)  # everybody but process 1, which is this one
                except ProcessLookupError:
                    pass
                """,
            )
            assert victim.poll() is None
        finally:
            victim.kill()
    assert lines == ["ESRCH ESRCH", "ESRCH ESRCH", "ESRCH ENOENT 0"]


def test_mounts_stay_as_they_are_even_for_root_of_a_nested_namespace(bench: Workbench) -> None:
    dependency = bench.derive("dependency", "/bin/busybox mkdir $out; echo good > $out/file")
    bench.build(dependency)
    shown = bench.shown(dependency)
    lines = run(
        bench,
        f"""
        path, store = {shown.encode()!r}, os.environ["NIX_STORE"].encode()
        MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MNT_DETACH = 1, 32, 4096, 16384, 2
        say("plain", call(165, b"none", b"/dev/shm", b"tmpfs", 0, 0), call(166, path, MNT_DETACH), call(272, 0x20000))
        CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
        uid, gid = os.getuid(), os.getgid()
        if call(272, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) == "done":
            open("/proc/self/setgroups", "w").write("deny")
            open("/proc/self/uid_map", "w").write(f"0 {{uid}} 1")
            open("/proc/self/gid_map", "w").write(f"0 {{gid}} 1")
            say("writable", call(165, b"none", path, None, MS_REMOUNT | MS_BIND, None))
            say("root", call(165, b"none", b"/", None, MS_REMOUNT | MS_BIND, None))
            say("sysctl", call(165, b"none", b"/proc/sys", None, MS_REMOUNT | MS_BIND, None))
            say("unmount", call(166, path, MNT_DETACH), call(166, b"/proc/sys", MNT_DETACH))
            say("beneath", call(165, store, b"/dev/shm", None, MS_BIND, None))
            say("clone", call(428, -100, store, 1))
            if os.fork() == 0:
                say("proc", call(165, b"proc", b"/dev/shm", b"proc", 0, None))
                os._exit(0)
            os.wait()
            say("device", call(133, b"/build/disk", stat.S_IFBLK | 0o666, 0x800))
            assert call(165, b"none", b"/dev/shm", b"tmpfs", 0, None) == "done"  # its own, where it is root
            say("own-device", call(133, b"/dev/shm/d", 0o60666, 0x800))
        say("file", attempt(open, path + b"/file", "w"))
        """,
        inputs={dependency: ("out",)},
    )
    said = dict(line.rsplit(" ", 1) for line in lines)
    refused = {name: answer for name, answer in said.items() if answer in {"EPERM", "EINVAL", "EROFS", "EBUSY"}}
    assert said == refused, lines
    assert b"good" in b"".join(bench.store.nar(bench.out(dependency)))


def test_the_root_is_read_only_and_devices_keep_their_modes(bench: Workbench) -> None:
    lines = run(
        bench,
        """
        for path in "/new", "/etc/new", "/dev/new", "/bin/new":
            say(attempt(os.mkdir, path))
        say(attempt(open, "/etc/passwd", "w"), attempt(os.chmod, "/dev/null", 0), attempt(os.chmod, "/", 0o777))
        say(attempt(os.unlink, "/dev/zero"), attempt(os.rename, "/etc", "/cte"))
        say(os.path.exists("/dev/kvm"), os.path.exists("/dev/vsock"), os.path.exists("/sys"))
        full = os.open("/dev/full", os.O_WRONLY)
        say(attempt(os.write, full, b"x"))
        """,
    )
    answers = " ".join(lines).split()
    assert answers[-4:] == ["False", "False", "False", "ENOSPC"]
    assert set(answers[:-4]) <= {"EROFS", "EPERM", "EACCES"}, lines


def test_a_build_without_network_has_no_other_way_to_the_host(bench: Workbench) -> None:
    """Abstract sockets belong to the network namespace; sockets of virtual machines belong to none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("\0verglas-hostile")
        listener.listen()
        lines = run(
            bench,
            r"""
            s = socket.socket(socket.AF_UNIX)
            say(attempt(s.connect, "\0verglas-hostile"))
            say(attempt(socket.socket, 40, socket.SOCK_STREAM), attempt(socket.socket, 40, socket.SOCK_DGRAM))
            say(attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW))
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            say(attempt(s.connect, ("192.0.2.1", 9)))
            """,
        )
    assert lines == ["ECONNREFUSED", "EAFNOSUPPORT EAFNOSUPPORT", "EPERM", "ENETUNREACH"]


def test_a_networked_build_can_use_the_network_and_not_change_it(bench: Workbench) -> None:
    text = "EPERM EPERM EPERM\n"
    lines = run(
        bench,
        """
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        down = struct.pack("16sh14x", b"lo", 0)
        raw = attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
        say(attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW), raw, attempt(fcntl.ioctl, s, 0x8914, down))
        """,
        fixed=("sha256", hashlib.sha256(text.encode()).hexdigest()),
    )
    assert lines == text.splitlines()


@pytest.mark.parametrize("sandbox", ["true", "false"])
def test_keys_of_the_user_are_not_to_be_had(bench: Workbench, sandbox: str) -> None:
    """A session keyring is inherited, and whoever has it may read the keys in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    add_key, keyctl, session, unlink = 248, 250, -3, 9
    name = f"verglas-hostile-{os.getpid()}".encode()  # the keyring is that of all tests of this user
    key = libc.syscall(add_key, b"user", name, b"secret", 6, session)
    if key < 0:
        pytest.skip(f"no keys here: {os.strerror(ctypes.get_errno())}")
    try:
        lines = run(
            bench,
            f"""
            KEYCTL_SEARCH, KEYCTL_READ, SESSION = 10, 11, -3
            say(call(250, KEYCTL_SEARCH, SESSION, b"user", {name!r}, 0))
            say(call(250, KEYCTL_READ, {key}, ctypes.create_string_buffer(100), 100))
            say(call(248, b"user", b"own", b"own", 3, SESSION))
            """,
            sandbox=sandbox,
        )
    finally:
        libc.syscall(keyctl, unlink, key, session)
    assert lines == ["ENOKEY", "EACCES", "done"]


def test_nothing_can_be_typed_into_the_terminal_of_the_user(bench: Workbench) -> None:
    drv = bench.derive(
        "typist",
        PRELUDE
        + dedent(
            r"""
            TIOCSTI = 0x5412
            say(attempt(os.open, "/dev/tty", os.O_RDWR))
            for fd in 0, 1, 2:
                for letter in b"xyzzy\n":
                    attempt(fcntl.ioctl, fd, TIOCSTI, bytes([letter]))
            """
        ),
        builder=PYTHON,
    )
    environ = bench.config.environment()
    environ["NIX_CONFIG"] += f"sandbox-paths = {SETTINGS['sandbox_paths']}\n"
    program = Path(sys.executable).parent / "nix-store"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(program, [str(program), "-r", bench.store.directory.print(drv)], environ)
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:
        pass  # everybody has left the terminal
    finally:
        waiting = fcntl.ioctl(terminal, termios.FIONREAD, b"\0" * 4)
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert status == 0, shown
    assert waiting == b"\0" * 4
    assert bench.read(drv) == "ENXIO\n"
    assert b"xyzzy" not in shown


@pytest.mark.root
def test_others_can_not_meet_a_builder_in_its_directory(bench: Workbench, scratch: Path) -> None:
    """A file open for writing could be handed over at a socket there, and be changed when it is in the store."""
    scratch.chmod(0o755)
    temporary = Path(bench.config.variable("TMPDIR"))
    temporary.chmod(0o1777)
    drv = bench.derive(
        "host",
        PRELUDE
        + dedent(
            """
            os.chmod("/build", 0o777)
            s = socket.socket(socket.AF_UNIX)
            s.bind("/build/meet")
            os.chmod("/build/meet", 0o777)
            s.listen()
            print("listening", flush=True)
            s.accept()
            """
        ),
        builder=PYTHON,
    )
    met: list[str] = []
    deadline = time.monotonic() + 30
    with Cancellation() as cancellation:

        def visit() -> None:
            while "listening" not in bench.told.lines and time.monotonic() < deadline:
                os.sched_yield()
            met.extend(str(path) for path in temporary.rglob("meet"))  # root finds it
            code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
            command = [PYTHON, "-c", code, met[0]]
            visitor = subprocess.run(
                command, user=STRANGER, group=STRANGER, extra_groups=[], capture_output=True, check=False
            )
            met.append(visitor.stderr.decode())
            cancellation.cancel()

        thread = threading.Thread(target=visit)
        thread.start()
        bench.build(drv, cancellation=cancellation, **SETTINGS)
        thread.join()
    assert "PermissionError" in met[1]


@pytest.mark.root
def test_directories_of_an_output_are_taken_from_those_who_have_them_open(scratch: Path) -> None:
    """Row Y4: an accomplice can't lead root elsewhere while it reads what a networked build left."""
    scratch.chmod(0o755)
    output, secret = scratch / "output", scratch / "secret"
    for path in (output, output / "inner", secret):
        path.mkdir()
        path.chmod(0o777)
        os.chown(path, STRANGER, STRANGER)
    (output / "link").symlink_to(secret)
    accomplice = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (output, output / "inner")]
    seal(str(output))
    code = (
        "import os\n"
        "for fd in 3, 4:\n"
        "    try: os.symlink('/etc', 'link2', dir_fd=fd)\n"
        "    except PermissionError: print('refused')\n"
    )
    for number, descriptor in enumerate(accomplice, 3):
        os.dup2(descriptor, number + 100)
    held = [number + 100 for number in (3, 4)]
    done = subprocess.run(
        [PYTHON, "-c", code.replace("3, 4", f"{held[0]}, {held[1]}")],
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        pass_fds=held,
        capture_output=True,
        text=True,
        check=True,
    )
    for descriptor in (*accomplice, *held):
        os.close(descriptor)
    assert done.stdout.split() == ["refused", "refused"]
    assert secret.stat().st_uid == STRANGER  # the link was not followed
