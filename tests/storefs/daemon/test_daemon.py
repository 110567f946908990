"""Our daemon as a process: activation, rights, bad input, many clients, restarts."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, nar_of_bytes, write_nar
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir
from storefs.protocol import worker_ops as op
from storefs.protocol.connection import Events
from storefs.protocol.wire import Writer
from storefs.stores.remote import RemoteStore
from storefs.stores.remote_connection import ConnectionPool, connect_unix
from tests.daemon_process import BIN, DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.fuse, pytest.mark.slow]

STRANGER = 12345  # a uid that nobody has


@pytest.fixture(autouse=True)
def _open_to_strangers(scratch: Path) -> None:
    scratch.chmod(0o755)


@pytest.fixture
def daemon(environ: dict[str, str]) -> Iterator[DaemonProcess]:
    with DaemonProcess(environ) as daemon:
        yield daemon


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[RemoteStore]:
    store = daemon.store()
    yield store
    store.close()


def as_stranger(daemon: DaemonProcess, script: str) -> str:
    """Run Python as somebody whom the daemon does not trust; `store` is the store behind it."""
    prelude = (
        "import os, sys\n"
        f"os.setgid({STRANGER}); os.setuid({STRANGER})\n"
        "from storefs.errors import StoreError\n"
        "from storefs.formats.hashes import hash_bytes\n"
        "from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, nar_of_bytes, write_nar\n"
        "from storefs.formats.path_info import PathInfo\n"
        "from storefs.formats.store_path import StoreDir\n"
        "from storefs.protocol.worker_values import ClientOptions\n"
        "from storefs.stores.remote import RemoteStore\n"
        "from storefs.stores.remote_connection import connect_unix\n"
        f"directory = StoreDir({daemon.env['NIX_STORE_DIR']!r})\n"
        f"store = RemoteStore('daemon', directory, lambda: connect_unix({daemon.socket_path!r}), ClientOptions())\n"
        "def refused(action):\n"
        "    try:\n"
        "        action()\n"
        "    except StoreError as error:\n"
        "        print('refused:', error)\n"
        "    else:\n"
        "        print('ALLOWED')\n"
    )
    done = subprocess.run([sys.executable, "-c", prelude + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def honest(directory: StoreDir, name: str) -> Derivation:
    from storefs.formats.derivation_hash import DerivationHasher

    derivation = Derivation(
        name, {"out": DerivationOutput(None)}, {}, set(), "x86_64-linux", "/bin/sh", ["-c", "echo honest > $out"], {}
    )
    derivation.env = {"name": name, "out": ""}

    def read(_: object) -> Derivation:
        raise AssertionError

    masked = DerivationHasher(directory, read).modulo(derivation, mask_outputs=True)
    derivation.outputs["out"] = DerivationOutput(directory.make_output_path("out", masked.hash, name))
    path = derivation.outputs["out"].path
    assert path is not None
    derivation.env["out"] = directory.print(path)
    return derivation


@pytest.mark.parametrize("version", [37, 34, 30, 29, 26, 24, 22, 20, 18, 16, 12, 10])
def test_every_version_is_spoken(daemon: DaemonProcess, version: int) -> None:
    store = daemon.store(version)
    assert store.protocol_version == version
    text = store.add_text("hello.txt", b"hello")
    assert store.path_info(text).nar_hash == hash_bytes("sha256", nar_of_bytes(b"hello"))
    flat = store.add_content_addressed("flat", "fixed:sha1", [b"flat"])
    nar = nar_of_bytes(b"nar")
    tree = store.add_content_addressed("tree", "fixed:r:sha256", [nar])
    assert store.valid_paths([text, flat.path, tree.path]) == {text, flat.path, tree.path}
    assert b"".join(store.nar(tree.path)) == nar
    if version >= 18:
        path = store.directory.parse(f"{store.directory.path}/{'0' * 32}-trusted")
        store.add_nar(PathInfo(path, hash_bytes("sha256", nar), len(nar), [text]), [nar], check=False)
        assert store.referrers(text) == [path]
    store.close()


class TestActivation:
    def test_a_socket_that_was_passed_is_used(self, environ: dict[str, str], scratch: Path) -> None:
        path = str(scratch / "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        inode = os.stat(path).st_ino
        script = (
            "import os, sys\n"
            "os.dup2(int(sys.argv[1]), 3)\n"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
            f"os.execv({str(BIN / 'nix-daemon')!r}, ['nix-daemon'])\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno())],
            env=environ,
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        listener.close()
        store = RemoteStore("daemon", StoreDir(environ["NIX_STORE_DIR"]), lambda: connect_unix(path))
        assert list(store.all_valid_paths()) == []
        store.close()
        process.terminate()
        assert process.wait(30) == 0
        assert os.stat(path).st_ino == inode
        subprocess.run([BIN / "verglas", "umount"], env=environ, check=False, capture_output=True)

    @pytest.mark.parametrize("variables", [{"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "2"}])
    def test_variables_of_somebody_else_are_refused(self, environ: dict[str, str], variables: dict[str, str]) -> None:
        done = subprocess.run(
            [BIN / "nix-daemon"], env={**environ, **variables}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "unexpected systemd environment variables" in done.stderr
        subprocess.run([BIN / "verglas", "umount"], env=environ, check=False, capture_output=True)

    def test_a_long_state_directory(self, environ: dict[str, str], scratch: Path) -> None:
        environ["NIX_STATE_DIR"] = f"{scratch}/{'d' * 200}"
        with DaemonProcess(environ) as daemon, closing(daemon.store()) as store:
            assert list(store.all_valid_paths()) == []


class TestRights:
    def test_who_is_not_allowed_gets_no_connection(self, environ: dict[str, str]) -> None:
        with DaemonProcess(environ, "allowed-users = root\n") as daemon:
            assert "refused" in as_stranger(daemon, "refused(lambda: list(store.all_valid_paths()))")
            daemon.stop()
            assert "is not allowed to connect" in daemon.log

    def test_who_connects_gets_directories_for_profiles_and_roots(self, daemon: DaemonProcess) -> None:
        nobody = pwd.getpwuid(65534)
        become = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
        path = f"{daemon.env['NIX_STORE_DIR']}/{'0' * 32}-x"
        daemon.client(*become, str(BIN / "nix-store"), "--check-validity", path, status=1)
        for kind in ("profiles", "gcroots"):
            folder = os.stat(f"{daemon.env['NIX_STATE_DIR']}/{kind}/per-user/{nobody.pw_name}")
            assert (folder.st_uid, folder.st_mode & 0o777) == (nobody.pw_uid, 0o755)

    def test_strangers_add_only_what_proves_itself(self, daemon: DaemonProcess) -> None:
        printed = as_stranger(
            daemon,
            "print(store.is_valid(store.add_text('a.txt', b'a')))\n"
            "nar = nar_of_bytes(b'evil')\n"
            "path = directory.parse(directory.path + '/' + '0' * 32 + '-firefox')\n"
            "info = PathInfo(path, hash_bytes('sha256', nar), len(nar), ultimate=True)\n"
            "refused(lambda: store.add_nar(info, [nar], check=False))\n"
            "refused(lambda: store.add_nar(info, [nar], repair=True, check=False))\n"
            "lie = info.replace(ca='fixed:r:' + hash_bytes('sha256', b'x').to_string('base32', True))\n"
            "refused(lambda: store.add_nar(lie, [nar]))\n"
            "refused(lambda: store.add_signatures(store.add_text('a.txt', b'a'), ['k:c2ln']))\n"
            "refused(lambda: store.verify(check_contents=False, repair=True))\n"
            "refused(lambda: store.collect_garbage(2, ignore_liveness=True))\n"
            "print(store.is_valid(path))\n",
        )
        lines = printed.splitlines()
        assert lines[0] == "True"
        assert [line.partition(":")[0] for line in lines[1:7]] == ["refused"] * 6, printed
        assert "lacks a valid signature" in lines[1]
        assert lines[7] == "False"

    def test_a_trojan_cannot_take_the_place_of_an_honest_build(
        self, daemon: DaemonProcess, client: RemoteStore
    ) -> None:
        """Row Y2: Alice knows the derivation that Bob will build, and tries to be first."""
        good = honest(client.directory, "firefox")
        evil = honest(client.directory, "firefox")
        evil.args = ["-c", "echo evil > $out"]
        printed = as_stranger(
            daemon,
            f"refused(lambda: store.add_text('firefox.drv', {evil.unparse(client.directory)!r}))\n"
            f"text = {evil.unparse(client.directory)!r}\n"
            "nar = nar_of_bytes(text)\n"
            "path = directory.make_text_path('firefox.drv', hash_bytes('sha256', text))\n"
            "ca = 'text:' + hash_bytes('sha256', text).to_string('base32', True)\n"
            "refused(lambda: store.add_nar(PathInfo(path, hash_bytes('sha256', nar), len(nar), ca=ca), [nar]))\n",
        )
        assert printed.count("has incorrect output") == 2, printed
        drv = client.add_text("firefox.drv", good.unparse(client.directory))
        from storefs.formats.derived_path import DerivedPath

        client.build_paths([DerivedPath(drv, ("out",))])
        out = good.outputs["out"].path
        assert out is not None
        assert Path(client.directory.print(out)).read_text() == "honest\n"

    def test_strangers_cannot_set_what_weakens_checks(self, daemon: DaemonProcess) -> None:
        printed = as_stranger(
            daemon,
            "options = ClientOptions(overrides={'require-sigs': 'false', 'sandbox': 'false'})\n"
            f"store = RemoteStore('daemon', directory, lambda: connect_unix({daemon.socket_path!r}), options)\n"
            "nar = nar_of_bytes(b'evil')\n"
            "path = directory.parse(directory.path + '/' + '0' * 32 + '-firefox')\n"
            "refused(lambda: store.add_nar(PathInfo(path, hash_bytes('sha256', nar), len(nar)), [nar]))\n",
        )
        assert printed.startswith("refused")

    def test_strangers_cannot_repair(self, daemon: DaemonProcess, client: RemoteStore) -> None:
        """Row V8: whoever may repair may replace what others use."""
        path = client.add_text("tool", b"honest")
        content = b"".join(client.nar(path))
        drv = client.add_text("firefox.drv", honest(client.directory, "firefox").unparse(client.directory))
        printed = as_stranger(
            daemon,
            "from storefs.formats.derived_path import DerivedPath\n"
            f"path = directory.parse({client.directory.print(path)!r})\n"
            f"drv = directory.parse({client.directory.print(drv)!r})\n"
            "info, nar = store.path_info(path), b''.join(store.nar(path))\n"
            "refused(lambda: store.add_nar(info, [nar], repair=True))\n"
            "refused(lambda: store.build_paths([DerivedPath(drv, ('out',))], 1))\n",
        )
        by_nar, by_build = printed.splitlines()
        assert by_nar == "refused: you are not privileged to repair paths"
        assert by_build == "refused: repairing is not allowed because you are not in 'trusted-users'"
        assert b"".join(client.nar(path)) == content


class TestBadInput:
    def test_a_directory_as_a_flat_file_is_told_and_read_to_its_end(self, daemon: DaemonProcess) -> None:
        """Row D3, as clients before 1.25 ask: the archive has to be taken though it can't be used."""
        pool = ConnectionPool("daemon", lambda: connect_unix(daemon.socket_path), None, Events(), 24)
        link = b"".join(write_nar([Symlink(b"", b"/etc/passwd")]))
        folder = b"".join(write_nar([Directory(b""), Regular(b"file", False, 200_000), bytes(200_000), EndDirectory()]))
        for nar in (link, folder):
            request = Writer().number(op.ADD_TO_STORE).string("flat").number(1).number(0).string("sha256").raw(nar)
            with pytest.raises(StoreError, match="regular file expected"), pool.exchange() as connection:
                connection.send(request.take())
                connection.finish(Events())
        with pool.exchange() as connection:  # the same one
            connection.send(Writer().number(op.ADD_TEXT_TO_STORE).string("x").data(b"x").number(0).take())
            connection.finish(Events())
            assert connection.reader.string().endswith("-x")
        pool.close()

    def test_a_truncated_addition_leaves_nothing(self, daemon: DaemonProcess, client: RemoteStore) -> None:
        before = list(client.all_valid_paths())
        with daemon.connect() as raw:
            raw.sendall(Writer().number(op.CLIENT_MAGIC).number(0x125).number(0).number(0).take())
            raw.sendall(Writer().number(op.ADD_TO_STORE).string("x").string("text:sha256").number(0).number(0).take())
            raw.sendall(Writer().number(100).raw(b"only this much").take())
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(1 << 16):
                pass
        assert list(client.all_valid_paths()) == before
        spooled = [name for _, _, names in os.walk(f"{daemon.env['NIX_STATE_DIR']}/verglas/tmp") for name in names]
        assert spooled == []

    @pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
    def test_what_is_installed_is_asked_at_once_for_all_packages(self, daemon: DaemonProcess, scratch: Path) -> None:
        """Row D6: how many messages `nix-env -qas` sends does not depend on how many packages there are."""
        sent = []
        for count in (2, 100):
            package = 'derivation { name = "p${toString n}-1"; system = "x86_64-linux"; builder = "/b"; }'
            (scratch / "packages.nix").write_text(f"builtins.genList (n: {package}) {count}")
            command = ["strace", "-f", "-qq", "-e", "trace=sendto", "-o", str(scratch / "trace"), str(BIN / "nix-env")]
            command += ["-f", str(scratch / "packages.nix"), "-qas"]
            done = subprocess.run(command, env=daemon.env, check=True, capture_output=True, text=True)
            assert len(done.stdout.splitlines()) == count
            sent.append((scratch / "trace").read_text().count("sendto("))
        assert 0 < sent[0] == sent[1]

    def test_an_unknown_operation_is_answered_and_logged(self, daemon: DaemonProcess) -> None:
        with daemon.connect() as raw:
            raw.sendall(Writer().number(op.CLIENT_MAGIC).number(0x125).number(0).number(0).number(999).take())
            data = b""
            while piece := raw.recv(1 << 16):
                data += piece
        assert b"invalid operation 999" in data
        daemon.stop()
        assert "error processing client input: invalid operation 999 (pid" in daemon.log

    def test_errors_keep_the_connection_in_step(self, client: RemoteStore) -> None:
        missing = client.directory.parse(f"{client.directory.path}/{'0' * 32}-missing")
        for _ in range(3):
            with pytest.raises(StoreError, match="is not valid"):
                client.path_info(missing)
            with pytest.raises(StoreError, match="is not valid"):
                list(client.nar(missing))
            with pytest.raises(StoreError):
                client.add_content_addressed("bad name!", "fixed:sha256", [b"x" * 100_000])
            with pytest.raises(StoreError):
                client.add_content_addressed("x", "fixed:r:sha256", [b"no nar" * 50_000])
        assert client.is_valid(client.add_text("x", b"x"))

    def test_what_can_be_no_root_is_refused(self, client: RemoteStore) -> None:
        for link in ("relative", "/with\0zero", ""):
            with pytest.raises(StoreError, match="is not an absolute path"):
                client.add_indirect_root(link)

    def test_signatures_that_are_no_text_are_kept(self, client: RemoteStore) -> None:
        path = client.add_text("x", b"x")
        client.add_signatures(path, ["k:\udcff"])
        assert client.path_info(path).signatures == ("k:\udcff",)

    def test_noise_ends_only_its_own_connection(
        self, daemon: DaemonProcess, client: RemoteStore, request: pytest.FixtureRequest
    ) -> None:
        count = 2_000 if request.config.getoption("--deep") else 150  # tests/fuzz does this without processes
        source = random.Random(5)
        hello = Writer().number(op.CLIENT_MAGIC).number(0x125).number(0).number(0).take()
        operations = [value for name, value in vars(op).items() if name.isupper() and value in range(1, 48)]
        for _ in range(count):
            with daemon.connect() as raw:
                raw.settimeout(20)
                body = _noise(source, operations)
                try:
                    raw.sendall(hello + body)
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(1 << 16):
                        pass
                except (BrokenPipeError, ConnectionResetError):
                    pass
        assert client.is_valid(client.add_text("x", b"x"))
        daemon.stop()
        assert "internal error" not in daemon.log


def _noise(source: random.Random, operations: list[int]) -> bytes:
    """One request whose shape is right, mostly: numbers where numbers go, strings that are nearly store paths."""
    writer = Writer().number(source.choice(operations))
    for _ in range(source.randrange(12)):
        match source.randrange(6):
            case 0:
                writer.number(source.choice([0, 1, 2, 2**32, 2**63, 2**64 - 1]))
            case 1:
                writer.string(source.choice(["", "x", "/nix/store/x", "text:sha256", "fixed:r:md5", "a\0b", "é" * 50]))
            case 2:
                writer.strings(["x"] * source.randrange(4))
            case 3:
                writer.raw(source.randbytes(source.randrange(40)))
            case 4:
                writer.raw(struct.pack("<Q", source.randrange(64)) + source.randbytes(64))
            case _:
                writer.number(source.randrange(4))
    return writer.take()


def test_a_graceful_stop_ends_clients_with_a_clear_error(daemon: DaemonProcess) -> None:
    store = daemon.store()
    made = store.add_text("x", b"x")
    daemon.stop()
    with pytest.raises(StoreError, match=r"broke|end-of-file|cannot connect"):
        store.is_valid(made)
    store.close()
