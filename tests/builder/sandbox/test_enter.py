"""The sandbox from the inside: what a builder sees and can do, and all the ways out that it must not have."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench

pytestmark = pytest.mark.slow


def outcome(bench: Workbench, script: str, **env: str) -> dict[str, str]:
    """Run lines of the form `name: command`; return the output of each, or 'refused' where it failed."""
    body = "\n".join(
        f"if value=$({command.strip()} 2>&1); then echo \"{name}=$value\"; else echo '{name}=refused'; fi >> $out"
        for name, _, command in (line.strip().partition(":") for line in script.strip().splitlines())
    )
    text = bench.build_one(bench.derive("probe", f"busybox=/bin/busybox\n{body}\ntrue", PATH="/bin", **env))
    pairs = [line.partition("=") for line in text.splitlines()]
    return {name: value for name, _, value in pairs}


def test_it_is_process_one_of_its_own_world(bench: Workbench) -> None:
    seen = outcome(
        bench,
        """
        pid: echo $$
        others: /bin/busybox ls /proc | /bin/busybox grep -c '^[0-9]'
        host: /bin/busybox hostname
        host-length: /bin/busybox hostname | /bin/busybox wc -c
        domain: /bin/busybox cat /proc/sys/kernel/domainname
        user: /bin/busybox id -u
        group: /bin/busybox id -g
        passwd: /bin/busybox grep nixbld /etc/passwd
        interfaces: /bin/busybox ls /sys/class/net
        """,
    )
    assert seen["pid"] == "1"
    assert int(seen["others"]) < 6
    assert (seen["host"], seen["host-length"], seen["domain"]) == ("localhost", "10", "(none)")
    assert (seen["user"], seen["group"]) == ("1000", "100")
    assert seen["passwd"] == "nixbld:x:1000:100:Nix build user:/build:/noshell"
    assert seen["interfaces"] == "refused"  # there is no /sys


def test_it_inherits_nothing_but_its_standard_descriptors(bench: Workbench) -> None:
    """Row N12: a pipe that leaks into a builder never ends for whoever reads it."""
    script = "for fd in 0 1 2 3 4 5 6 7 8 9; do if test -e /proc/1/fd/$fd; then echo $fd; fi; done > $out"
    assert bench.build_one(bench.derive("probe", script)).split() == ["0", "1", "2"]


def test_the_root_holds_what_was_declared_and_nothing_else(bench: Workbench) -> None:
    dependency = bench.derive("dependency", "echo dependency > $out")
    bench.build_one(dependency)
    other = bench.derive("other", "echo other > $out")
    bench.build_one(other)
    probe = bench.derive(
        "probe",
        "/bin/busybox ls / > $out; /bin/busybox ls $NIX_STORE >> $out; /bin/busybox ls /etc >> $out;"
        f"/bin/busybox cat {bench.shown(dependency)} >> $out;"
        f"/bin/busybox cat {bench.shown(other)} || echo hidden >> $out",
        inputs={dependency: ("out",)},
    )
    lines = bench.build_one(probe).split("\n")
    top = bench.store.directory.path.split("/")[1]
    expected = sorted({"bin", "build", "dev", "etc", "proc", "tmp", top})
    assert lines[: len(expected)] == expected
    # The output itself is there, for the listing is being written to it.
    assert lines[len(expected) :] == [
        *sorted([bench.out(dependency).base_name, bench.out(probe).base_name]),
        "group",
        "hosts",
        "passwd",
        "dependency",
        "hidden",
        "",
    ]


def test_the_network_is_a_loopback_of_its_own(bench: Workbench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # A listener without input says at once that it has no more, and a sender may then leave before it has sent.
        listen = "until test -s got; do /bin/busybox nc -l -p 5555 > got; done"
        send = "until test -s got; do echo hello | /bin/busybox nc 127.0.0.1 5555; done"
        seen = outcome(
            bench,
            f"""
            host: /bin/busybox nc -w 1 127.0.0.1 {port} < /dev/null
            inside: {{ {listen}; }} & {send}; wait; /bin/busybox cat got
            loopback: /bin/busybox ip -o link | /bin/busybox wc -l
            up: /bin/busybox ip -o link show lo | /bin/busybox grep -q LOWER_UP && echo yes
            """,
        )
    assert seen["host"] == "refused"
    assert seen["inside"] == "hello"
    assert (seen["loopback"], seen["up"]) == ("1", "yes")


def test_two_builds_use_the_same_port_at_once(bench: Workbench) -> None:
    script = """
        (until test -s got; do /bin/busybox nc -l -p 5555 > got; done) &
        until test -s got; do echo {0} | /bin/busybox nc 127.0.0.1 5555; done
        wait
        /bin/busybox cat got > $out"""
    results = bench.build(*(bench.derive(f"port{number}", script.format(number)) for number in range(2)), max_jobs="2")
    assert [result.message for result in results] == ["", ""]


ESCAPES = """
mount: /bin/busybox mount -t tmpfs none /tmp
remount: /bin/busybox mount -o remount,rw /proc/sys
unmount: /bin/busybox umount /proc/sys
device: /bin/busybox mknod /build/disk b 8 0
device-outside: /bin/busybox mknod $NIX_STORE/null c 1 3
setuid: echo > f; /bin/busybox chmod 4755 f
setgid: echo > f; /bin/busybox chmod 2755 f
setuid-create: /bin/busybox mkdir d; /bin/busybox install -m 4755 /bin/busybox d/busybox
chroot: /bin/busybox chroot / /bin/sh -c true
host-name: /bin/busybox hostname other
kernel: echo x > /proc/sys/kernel/core_pattern
sysrq: echo h > /proc/sysrq-trigger
kill-others: kill -0 -1
kernel-memory: /bin/busybox test -e /dev/mem
kernel-log: /bin/busybox dmesg
reboot: /bin/busybox reboot -f
time: /bin/busybox date -s 2000-01-01; test $(/bin/busybox date +%Y) = 2000
old-root: /bin/busybox ls /.old-root
root-account: /bin/busybox su root -c true
"""


@pytest.mark.parametrize("line", ESCAPES.strip().splitlines(), ids=lambda line: line.partition(":")[0])
def test_escapes_are_refused(bench: Workbench, line: str) -> None:
    name, _, command = line.partition(":")
    assert outcome(bench, f"{name}:{command}") == {name: "refused"}


def test_an_input_can_not_be_changed_or_linked(bench: Workbench) -> None:
    dependency = bench.derive("dependency", "/bin/busybox mkdir $out; echo good > $out/file")
    bench.build(dependency)
    path = bench.shown(dependency)
    probe = bench.derive(
        "probe",
        f"""
        echo bad > {path}/file || echo write >> $out
        echo bad > {path}/new || echo create >> $out
        /bin/busybox rm -rf {path}/file && echo removed || echo remove >> $out
        /bin/busybox chmod 777 {path} || echo chmod >> $out
        /bin/busybox ln {path}/file /build/link || echo link >> $out
        /bin/busybox mv {path} {path}-moved || echo move >> $out
        /bin/busybox mount -o remount,rw,bind {path} || echo remount >> $out
        true""",
        inputs={dependency: ("out",)},
    )
    assert bench.build_one(probe).split() == ["write", "create", "remove", "chmod", "link", "move", "remount"]
    assert b"good" in b"".join(bench.store.nar(bench.out(dependency)))


def test_a_nested_user_namespace_gains_nothing(bench: Workbench) -> None:
    """A builder may have namespaces of its own, as under Nix; in them it is root of nothing that matters."""
    seen = outcome(
        bench,
        """
        nested: /bin/busybox unshare -Ur /bin/sh -c 'echo x > /proc/sys/kernel/core_pattern'
        nested-mount: /bin/busybox unshare -Urm /bin/sh -c '/bin/busybox umount /proc/sys'
        nested-device: /bin/busybox unshare -Ur /bin/busybox mknod /build/disk b 8 0
        """,
    )
    assert set(seen.values()) == {"refused"}


def test_signals_do_not_reach_the_host(bench: Workbench) -> None:
    with subprocess.Popen(["sleep", "1000"]) as victim:
        try:
            outcome(bench, f"kill: kill -9 {victim.pid}")
            assert victim.poll() is None
        finally:
            victim.kill()


def test_abstract_sockets_of_the_host_are_out_of_reach_of_networked_builds(bench: Workbench) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("\0verglas-test")
        listener.listen()
        # busybox's nc knows `local:` with a leading NUL only as @; what counts is that connect(2) fails.
        digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        probe = bench.derive(
            "probe",
            "/bin/busybox nc -w 1 local:@verglas-test < /dev/null && echo reached; echo hello > $out",
            fixed=("sha256", digest),
        )
        bench.build_one(probe)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_background_processes_end_with_the_builder(bench: Workbench) -> None:
    bench.build_one(bench.derive("forker", "/bin/busybox sleep 4711 & echo > $out"))
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(b"4711" in command for command in commands)


def test_shared_memory_is_its_own(bench: Workbench) -> None:
    before = set(os.listdir("/dev/shm"))
    seen = outcome(bench, "shm: echo x > /dev/shm/verglas-probe && /bin/busybox cat /dev/shm/verglas-probe")
    assert seen == {"shm": "x"}
    assert set(os.listdir("/dev/shm")) == before


@pytest.mark.parametrize(
    ("settings", "system", "command", "expected"),
    [
        ({"impersonate_linux_26": "true"}, "x86_64-linux", "uname -r", "2.6"),
        ({}, "i686-linux", "uname -m", "i686"),
    ],
)
def test_uname_is_what_is_asked_for(
    bench: Workbench, settings: dict[str, str], system: str, command: str, expected: str
) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("a matter of this architecture")
    target = bench.derive("uname", f"/bin/busybox {command} > $out", system=system)
    assert bench.build_one(target, **settings).startswith(expected)


def test_no_mount_is_left_on_a_shared_root(bench: Workbench) -> None:
    """Row N7: where systemd made every mount shared, a build's mounts must not come back to the host."""
    before = Path("/proc/self/mountinfo").read_text().count("\n")
    bench.build_one(bench.derive("shared", "echo > $out"))
    assert Path("/proc/self/mountinfo").read_text().count("\n") == before


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="this machine can't run virtual machines")
def test_a_build_that_requires_kvm_can_use_it(bench: Workbench) -> None:
    """Row W2."""
    target = bench.derive("machine", "exec 3<>/dev/kvm && echo open > $out", requiredSystemFeatures="kvm")
    assert bench.build_one(target) == "open\n"


def test_what_the_host_shows_is_no_place_to_make_mount_points_in(bench: Workbench, scratch: Path) -> None:
    """With `/bin /bin/sh=...` root's Nix 2.8 empties the host's /bin/sh, and makes what is missing in /bin."""
    shown = scratch / "shown"
    (shown / "deep").mkdir(parents=True)
    victim = scratch / "victim"
    victim.write_text("of the host")
    (shown / "relative").symlink_to("../victim")
    (shown / "absolute").symlink_to(victim)
    (shown / "here").symlink_to("there")
    (shown / "there").write_text("of the host")
    other = scratch / "other"
    other.write_text("mounted")
    mine = {"sandbox_paths": f"{' '.join(bench.config.words('sandbox-paths'))} /shown={shown}"}
    for name, said in (
        ("absent", "'/shown/absent' does not exist in what the host shows at '/shown'"),
        ("deep/absent/file", "'/shown/deep/absent' does not exist in what the host shows at '/shown/deep'"),
        ("relative", "'/shown/relative' does not exist"),  # in the sandbox it leads to nothing
        ("absolute", "does not exist"),
    ):
        target = bench.derive("never", "echo > $out", n=name)
        result = bench.fail(target, sandbox_paths=f"{mine['sandbox_paths']} /shown/{name}={other}")
        assert said in result.message
    read = bench.derive("read", "/bin/busybox cat /shown/here > $out")
    assert bench.build_one(read, sandbox_paths=f"{mine['sandbox_paths']} /shown/here={other}") == "mounted"
    assert victim.read_text() == (shown / "there").read_text() == "of the host"
    assert sorted(path.name for path in shown.rglob("*")) == ["absolute", "deep", "here", "relative", "there"]


def test_mount_points_are_made_in_what_is_the_builds_own(bench: Workbench, scratch: Path) -> None:
    other = scratch / "other"
    other.write_text("mounted\n")
    paths = [f"{bench.store.directory.path}/{'0' * 32}-made/up", "/tmp/up", "/build/up", "/some/where/else"]
    words = " ".join(f"{path}={other}" for path in paths)
    target = bench.derive("made", f"/bin/busybox cat {' '.join(paths)} > $out")
    text = bench.build_one(target, sandbox_paths=f"{' '.join(bench.config.words('sandbox-paths'))} {words}")
    assert text == 4 * "mounted\n"
