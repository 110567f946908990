"""Where a process finds the store: for root, for an ordinary user, and in a namespace of its own."""

from __future__ import annotations

import json
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.stores.mount_table import mount_at, mounts, store_mounts
from storefs.stores.mountpoint import ensure_mounted, find_mount
from tests.conftest import BIN
from tests.storefs.fuse.mounted_store import MountedStore
from tests.storefs.fuse.planting import Garden

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.slow]

USER = pwd.getpwnam("nobody").pw_uid  # fusermount3 wants to know its name


@pytest.fixture
def store(scratch: Path) -> Iterator[MountedStore]:
    (scratch / "hello").write_text("hello\n")
    store = MountedStore(scratch)
    store.plant("hello", scratch / "hello")
    yield store
    store.verglas("umount", "--lazy")
    store.garden.close()


@pytest.fixture
def hello(store: MountedStore) -> str:
    return store.garden.base_name("hello")


def as_user(*command: str | Path, environ: dict[str, str], scratch: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as an ordinary user on a machine whose /dev/fuse everybody may use, as distributions have it."""
    become = f'exec setpriv --reuid {USER} --regid {USER} --clear-groups "$@"'
    return run_with_device(become, *command, environ=environ, scratch=scratch)


def run_with_device(
    script: str, *arguments: str | Path, environ: dict[str, str], scratch: Path
) -> subprocess.CompletedProcess[str]:
    """Run a script as root where everybody may use /dev/fuse, in a mount namespace of its own."""
    device = scratch / "fuse"
    if not device.exists():
        os.mknod(device, 0o020666, os.makedev(10, 229))
        os.chmod(device, 0o666)
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount --bind {device} /dev/fuse\n{script}", "sh", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd="/",
    )


@pytest.fixture
def user_store(store: MountedStore, scratch: Path) -> MountedStore:
    """The store of an ordinary user."""
    store.garden.close()
    os.chmod(scratch, 0o755)
    for folder, names, files in os.walk(scratch):
        for name in [".", *names, *files]:
            os.chown(os.path.join(folder, name), USER, USER, follow_symlinks=False)
    store.garden = type(store.garden)(store.verglas_dir)
    return store


ENSURE = """
import sys
from storefs.config import load_config
from storefs.stores.mountpoint import ensure_mounted
config = load_config()
where = ensure_mounted(config)
print(where, open(where + "/" + sys.argv[1]).read().strip(), ensure_mounted(config) == where)
"""


def kill(store: MountedStore) -> None:
    """End the process of the only living mount, and wait until its mount is dead."""
    watcher = os.pidfd_open(int(str(store.status()["pid"])))
    signal.pidfd_send_signal(watcher, signal.SIGKILL)
    select.select([watcher], [], [])
    os.close(watcher)


class TestRoot:
    def test_mounts_on_the_store_directory(self, store: MountedStore, hello: str) -> None:
        config = load_config(store.environ)
        assert find_mount(config) is None
        assert ensure_mounted(config) == str(store.root)
        assert (store.root / hello).read_text() == "hello\n"
        assert find_mount(config) == ensure_mounted(config) == str(store.root)
        assert len(store_mounts(store.verglas_dir)) == 1

    def test_covers_nothing_that_belongs_to_others(self, store: MountedStore, hello: str) -> None:
        store.root.mkdir()
        (store.root / "of-another-nix").write_text("keep out")
        where = ensure_mounted(load_config(store.environ))
        assert where == f"{store.verglas_dir}/mnt"
        assert Path(where, hello).read_text() == "hello\n"
        assert os.listdir(store.root) == ["of-another-nix"]

    def test_repairs_a_dead_mount(self, store: MountedStore, hello: str) -> None:
        config = load_config(store.environ)
        ensure_mounted(config)
        pid = int(str(store.status()["pid"]))
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert find_mount(config) is None
        assert ensure_mounted(config) == str(store.root)
        assert (store.root / hello).read_text() == "hello\n"

    def test_repairs_a_dead_mount_where_it_was(self, store: MountedStore, scratch: Path, hello: str) -> None:
        config = load_config(store.environ)
        elsewhere = str(scratch / "else where")
        store.verglas("mount", "--background", "--passthrough", elsewhere)
        kill(store)
        assert f"{elsewhere}\n  dead: " in (text := store.verglas("mount", "--status", status=1))
        assert "the next command that needs the store mounts it again" in text
        assert ensure_mounted(config) == elsewhere
        assert Path(elsewhere, hello).read_text() == "hello\n"
        assert [mount.target for mount in store_mounts(store.verglas_dir)] == [elsewhere]
        assert store.status()["options"] == ["--passthrough"]

    def test_of_two_dead_mounts_the_one_on_the_store_directory_is_repaired(
        self, store: MountedStore, scratch: Path, hello: str
    ) -> None:
        config = load_config(store.environ)
        elsewhere = str(scratch / "else where")
        store.verglas("mount", "--background", elsewhere)
        kill(store)
        store.verglas("mount", "--background")
        kill(store)
        by_target = {
            answer["target"]: answer["error"] for answer in json.loads(store.verglas("mount", "--status", "--json"))
        }
        assert "the next command" in by_target[str(store.root)]
        assert f"'verglas mount '{elsewhere}'' mounts it again" in by_target[elsewhere]
        assert ensure_mounted(config) == str(store.root)
        # A living mount is enough for everybody: what status says of the other one stays true.
        (dead,) = (answer for answer in json.loads(store.verglas("mount", "--status", "--json")) if not answer["ok"])
        assert (dead["target"], dead["error"]) == (elsewhere, by_target[elsewhere])
        assert ensure_mounted(config) == str(store.root)
        assert sorted(mount.target for mount in store_mounts(store.verglas_dir)) == [elsewhere, str(store.root)]
        store.verglas("mount", "--background", elsewhere)
        assert Path(elsewhere, hello).read_text() == "hello\n"

    def test_repairs_a_dead_mount_in_a_place_that_is_read_only_now(
        self, store: MountedStore, scratch: Path, hello: str
    ) -> None:
        place = scratch / "place"
        place.mkdir()
        subprocess.run(["mount", "--bind", place, place], check=True)
        try:
            store.verglas("mount", "--background", place / "view")
            kill(store)
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
            assert ensure_mounted(load_config(store.environ)) == str(place / "view")
            assert (place / "view" / hello).read_text() == "hello\n"
        finally:
            store.verglas("umount")
            subprocess.run(["umount", place], check=True)

    def test_replaces_the_mount_of_a_state_that_was_deleted(self, store: MountedStore, scratch: Path) -> None:
        config = load_config(store.environ)
        ensure_mounted(config)
        store.garden.close()
        shutil.rmtree(scratch / "state")
        store.garden = Garden(store.verglas_dir)
        path = store.plant("again", scratch / "hello")
        assert find_mount(config) is None
        assert ensure_mounted(config) == str(store.root)
        assert path.read_text() == "hello\n"
        assert len(store_mounts(store.verglas_dir)) == 1

    def test_uses_a_mount_somewhere_else(self, store: MountedStore, scratch: Path, hello: str) -> None:
        store.verglas("mount", "--background", scratch / "elsewhere")
        assert ensure_mounted(load_config(store.environ)) == str(scratch / "elsewhere")

    def test_a_chroot_store_lies_below_its_root(self, scratch: Path) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(scratch)}
        config = load_config(environ, store_uri=str(scratch / "root"))
        where = ensure_mounted(config)
        try:
            assert where == f"{scratch}/root/nix/store"
            assert os.listdir(where) == []
            assert stat.S_IMODE(os.stat(config.verglas_dir).st_mode) == 0o700, "as a store makes it"
        finally:
            subprocess.run([BIN / "verglas", "umount", "--store", scratch / "root"], env=environ, check=True)


def kill_server(mount: Path) -> str:
    """The shell commands that kill the only mount's process, and wait until the mount is dead."""
    status = f"{BIN / 'verglas'} mount --status"
    return f"kill -9 $({status} | sed -n 's/^  pid *//p'); while stat -f {mount} >{mount}.out 2>&1; do :; done"


class TestUser:
    def test_enters_a_namespace_with_the_store_at_its_real_path(
        self, user_store: MountedStore, scratch: Path, hello: str
    ) -> None:
        environ = user_store.environ | {"NIX_STORE_DIR": "/a-root-that/is-not-there/store"}
        done = as_user(sys.executable, "-c", ENSURE, hello, environ=environ, scratch=scratch)
        assert done.stdout == "/a-root-that/is-not-there/store hello True\n", done.stderr
        assert not Path("/a-root-that").exists()

    def test_mounts_on_a_store_directory_of_his_own_for_all_his_programs(
        self, user_store: MountedStore, scratch: Path, hello: str
    ) -> None:
        if not Path("/usr/bin/fusermount3").exists():
            pytest.skip("no fusermount3")
        own = scratch / "own"
        own.mkdir()
        os.chown(own, USER, USER)
        script = f"""
            {sys.executable} -c '{ENSURE}' {hello}
            cat {own}/{hello}
            {kill_server(own)}
            {sys.executable} -c '{ENSURE}' {hello}
            stat -f {own} >{own}.out && cat {own}/{hello}
            {BIN / "verglas"} umount {own}
            ls {own}
        """
        environ = user_store.environ | {"NIX_STORE_DIR": str(own)}
        done = as_user("sh", "-c", script, environ=environ, scratch=scratch)
        assert done.stdout.split() == [str(own), "hello", "True", "hello"] * 2, done.stdout + done.stderr

    def test_repairs_his_dead_mount_where_it_was(self, user_store: MountedStore, scratch: Path, hello: str) -> None:
        if not Path("/usr/bin/fusermount3").exists():
            pytest.skip("no fusermount3")
        view = scratch / "view"
        view.mkdir()
        os.chown(view, USER, USER)
        script = f"""
            {BIN / "verglas"} mount --background {view}
            {kill_server(view)}
            {BIN / "verglas"} mount --status | grep -c 'the next command'
            {sys.executable} -c '{ENSURE}' {hello}
            {BIN / "verglas"} umount
            ls {view}
        """
        done = as_user("sh", "-c", script, environ=user_store.environ, scratch=scratch)
        assert done.stdout.split() == ["1", str(view), "hello", "True"], done.stdout + done.stderr

    def test_makes_a_store_directory_that_is_missing_for_the_first_command_as_for_later_ones(
        self, user_store: MountedStore, scratch: Path, hello: str
    ) -> None:
        if not Path("/usr/bin/fusermount3").exists():
            pytest.skip("no fusermount3")
        own = scratch / "below" / "own"
        script = f"""
            {sys.executable} -c '{ENSURE}' {hello}
            cat {own}/{hello}
            {sys.executable} -c '{ENSURE}' {hello}
            {BIN / "verglas"} mount --status | grep -c '^  pid '
            {BIN / "verglas"} umount {own}
        """
        environ = user_store.environ | {"NIX_STORE_DIR": str(own)}
        done = as_user("sh", "-c", script, environ=environ, scratch=scratch)
        shown = [str(own), "hello", "True"]
        assert done.stdout.split() == [*shown, "hello", *shown, "1"], done.stdout + done.stderr

    def test_waits_for_threads_that_are_about_to_be_gone(
        self, user_store: MountedStore, scratch: Path, hello: str
    ) -> None:
        code = f"import threading, time\nthreading.Thread(target=time.sleep, args=[0.1]).start()\n{ENSURE}"
        environ = user_store.environ | {"NIX_STORE_DIR": "/not-there/store"}
        done = as_user(sys.executable, "-c", code, hello, environ=environ, scratch=scratch)
        assert done.stdout == "/not-there/store hello True\n", done.stderr

    def test_mounts_over_what_the_user_may_not_change(
        self, user_store: MountedStore, scratch: Path, hello: str
    ) -> None:
        environ = user_store.environ | {"NIX_STORE_DIR": "/usr/share/verglas-test/store"}
        script = f"cat /usr/share/verglas-test/store/{hello}; test -d /usr/share/doc; id -u; ls /proc/self/fd | wc -l"
        done = as_user(BIN / "verglas", "run", "sh", "-c", script, environ=environ, scratch=scratch)
        assert done.stdout.split() == ["hello", str(USER), "4"], done.stdout + done.stderr
        assert not Path("/usr/share/verglas-test").exists()

    @pytest.mark.parametrize("folder", ["/", "/usr/share/"])
    def test_nothing_can_be_written_into_a_folder_that_is_shown_as_a_copy(
        self, user_store: MountedStore, scratch: Path, hello: str, folder: str
    ) -> None:
        """It would be gone at the end; beneath what is in it everything is as it was."""
        environ = user_store.environ | {"NIX_STORE_DIR": f"{folder}not-there/store"}
        script = (
            f"cat {folder}not-there/store/{hello}; echo kept > {scratch}/kept; touch {folder}new || mkdir {folder}new"
        )
        done = as_user(BIN / "verglas", "run", "sh", "-c", script, environ=environ, scratch=scratch)
        assert done.stdout == "hello\n"
        assert done.stderr.count("Read-only file system") == 2, done.stderr
        assert done.returncode == 1
        assert (scratch / "kept").read_text() == "kept\n"

    def test_mounts_over_what_is_dead_and_not_his_own(
        self, user_store: MountedStore, scratch: Path, hello: str
    ) -> None:
        """Such as root's mount whose process was killed: it can't even be looked at."""
        other = MountedStore(scratch / "other")
        other.environ["NIX_STORE_DIR"] = str(user_store.root)
        try:
            other.mount()
            pid = int(str(other.status()["pid"]))
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            file = user_store.root / hello
            done = as_user(BIN / "verglas", "run", "cat", file, environ=user_store.environ, scratch=scratch)
            assert done.stdout == "hello\n", done.stderr
        finally:
            other.close()

    def test_a_directory_that_is_not_his_own_is_named(self, user_store: MountedStore, scratch: Path) -> None:
        (scratch / "of-root").mkdir()
        command = (BIN / "verglas", "mount", "--background", scratch / "of-root")
        done = as_user(*command, environ=user_store.environ, scratch=scratch)
        assert done.returncode == 1
        assert f"can't mount on '{scratch}/of-root', which is not his own; choose another" in done.stderr
        (scratch / "of-root/other").touch()
        done = as_user(
            *command[:-1], environ={**user_store.environ, "NIX_STORE_DIR": f"{scratch}/of-root"}, scratch=scratch
        )
        assert done.returncode == 1
        assert f"can't mount on '{scratch}/of-root', which is not his own; choose another" in done.stderr

    def test_without_a_usable_device_the_error_says_what_to_do(self, user_store: MountedStore) -> None:
        script = f'chmod 600 /dev/fuse; exec setpriv --reuid {USER} --regid {USER} --clear-groups "$@"'
        done = subprocess.run(
            [
                "unshare",
                "-m",
                "sh",
                "-c",
                f"mount -t tmpfs x /dev; mknod /dev/fuse c 10 229; mknod -m 666 /dev/null c 1 3; {script}",
                "sh",
                str(BIN / "verglas"),
                "run",
                "true",
            ],
            env=user_store.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("error: can't open '/dev/fuse': Permission denied; user"), done.stderr

    def test_fusermount_serves_where_namespaces_are_not_to_be_had(
        self, user_store: MountedStore, scratch: Path, hello: str
    ) -> None:
        if not Path("/usr/bin/fusermount3").exists():
            pytest.skip("no fusermount3")
        # A process with threads can't enter a user namespace.
        code = f"import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n{ENSURE}"
        code += "import subprocess; subprocess.run([sys.argv[2], 'umount'], check=True)\n"
        environ = user_store.environ | {"NIX_STORE_DIR": "/not-there/store"}
        done = as_user(sys.executable, "-c", code, hello, str(BIN / "verglas"), environ=environ, scratch=scratch)
        assert done.stdout == f"{user_store.verglas_dir}/mnt hello True\n", done.stderr

    @pytest.mark.parametrize("transport", ["kernel", "pyfuse3"])
    def test_both_transports_serve_through_fusermount(
        self, user_store: MountedStore, scratch: Path, hello: str, transport: str
    ) -> None:
        if not Path("/usr/bin/fusermount3").exists():
            pytest.skip("no fusermount3")
        program = BIN / "verglas"
        script = f"""
            set -e
            {program} mount --background --transport {transport} {scratch}/by-hand
            cat {scratch}/by-hand/{hello}
            {program} mount --status | grep -c "^  transport  *{transport}$"
            {program} mount --background --replace {scratch}/by-hand
            cat {scratch}/by-hand/{hello}
            {program} umount {scratch}/by-hand
            ls {scratch}/by-hand | wc -l
        """
        done = as_user("sh", "-c", script, environ=user_store.environ, scratch=scratch)
        assert done.stdout.split() == ["hello", "1", "hello", "0"], done.stdout + done.stderr

    @pytest.mark.parametrize("permitted", [True, False])
    def test_others_may_look_where_the_administrator_permits_it(
        self, user_store: MountedStore, scratch: Path, hello: str, permitted: bool
    ) -> None:
        if not Path("/usr/bin/fusermount3").exists():
            pytest.skip("no fusermount3")
        (scratch / "fuse.conf").write_text("user_allow_other\n" if permitted else "")
        owner, other = (f"setpriv --reuid {uid} --regid {uid} --clear-groups" for uid in (USER, USER - 1))
        script = f"""
            mount --bind {scratch}/fuse.conf /etc/fuse.conf
            {owner} {BIN}/verglas mount --background {scratch}/by-hand
            {owner} cat {scratch}/by-hand/{hello}
            {other} cat {scratch}/by-hand/{hello}
            {owner} {BIN}/verglas umount
        """
        done = run_with_device(script, environ=user_store.environ, scratch=scratch)
        assert done.stdout == "hello\n" * (2 if permitted else 1), done.stderr
        assert ("Permission denied" in done.stderr) is not permitted


class TestRun:
    def test_exit_statuses_are_passed_on(self, store: MountedStore) -> None:
        store.verglas("run", "sh", "-c", "exit 37", status=37)
        store.verglas("run", "no-such-program", status=127)
        store.verglas("run", store.folder / "hello", status=126)
        store.verglas("run", status=1)
        done = subprocess.run([BIN / "verglas", "run", "sh", "-c", "kill -9 $$"], env=store.environ, check=False)
        assert done.returncode == -signal.SIGKILL

    def test_the_store_is_seen_inside_only_and_nothing_is_left(self, store: MountedStore, hello: str) -> None:
        """The server ends by itself, because the namespace ended: the check after every test waits for it."""
        # Those of others can go meanwhile: a mount ends, in all namespaces, with the directory that it is on.
        before = {mount.target for mount in mounts()}
        assert store.verglas("run", "cat", store.root / hello) == "hello\n"
        assert {mount.target for mount in mounts()} <= before
        assert mount_at(str(store.root)) is None

    def test_a_store_that_is_mounted_is_used_as_it_is(self, store: MountedStore, hello: str) -> None:
        store.mount()
        inside = store.verglas("run", "readlink", "/proc/self/ns/mnt").strip()
        assert inside == os.readlink("/proc/self/ns/mnt")

    def test_a_mount_whose_process_was_killed_is_repaired(self, store: MountedStore, hello: str) -> None:
        store.mount()
        pid = int(str(store.status()["pid"]))
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert store.verglas("run", "cat", store.root / hello) == "hello\n"
        assert (store.root / hello).read_text() == "hello\n", "for everybody"

    def test_a_shell(self, store: MountedStore, hello: str) -> None:
        store.environ["SHELL"] = "/bin/sh"
        assert store.verglas("shell", "--", "-c", f"cat {store.root}/{hello}") == "hello\n"

    @pytest.mark.parametrize("user", [True, False], ids=["user", "root"])
    def test_what_is_written_beside_a_store_directory_that_is_missing_is_kept(
        self, user_store: MountedStore, scratch: Path, hello: str, user: bool
    ) -> None:
        home = scratch / "home"
        home.mkdir()
        os.chown(home, USER, USER)
        environ = user_store.environ | {"NIX_STORE_DIR": f"{home}/nix/store"}
        begin = as_user if user else run_with_device
        become = () if user else ('exec "$@"',)
        for name in ("first", "second"):
            script = (
                f"cat {home}/nix/store/{hello}; echo {name} > {home}/{name}; echo {name} > {home}/nix/{name}; exit 7"
            )
            command = (*become, BIN / "verglas", "run", "sh", "-c", script)
            done = begin(*command, environ=environ, scratch=scratch)
            assert (done.returncode, done.stdout) == (7, "hello\n"), done.stderr
            assert [(home / where / name).read_text() for where in (".", "nix")] == [f"{name}\n"] * 2
            assert os.listdir(home / "nix" / "store") == [], "it is shown in the namespace only"

    def test_the_working_directory_stays(self, user_store: MountedStore, scratch: Path) -> None:
        environ = user_store.environ | {"NIX_STORE_DIR": "/not-there/store"}
        done = as_user("sh", "-c", f"cd {scratch} && {BIN}/verglas run pwd", environ=environ, scratch=scratch)
        assert done.stdout.strip() == str(scratch), done.stderr

    def test_children_that_stay_keep_the_store(self, user_store: MountedStore, scratch: Path, hello: str) -> None:
        environ = user_store.environ | {"NIX_STORE_DIR": "/not-there/store"}
        script = f"(read line; cat /not-there/store/{hello}) < {scratch}/pipe > {scratch}/out & echo started"
        os.mkfifo(scratch / "pipe")
        os.chown(scratch / "pipe", USER, USER)
        starter = subprocess.Popen(["timeout", "300", "sh", "-c", f"echo go > {scratch}/pipe"])
        done = as_user(BIN / "verglas", "run", "sh", "-c", script + "; wait", environ=environ, scratch=scratch)
        starter.wait()
        assert done.stdout == "started\n", done.stderr
        assert (scratch / "out").read_text() == "hello\n"
