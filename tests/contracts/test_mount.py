"""What every transport does, seen through the kernel by ordinary system calls and ordinary programs.

The specification's rows on the mount, and what shows them:

| row        | shown by                                                                                              |
|------------|-------------------------------------------------------------------------------------------------------|
| S8 S9      | here: what root can't change, remounted writable or not, with Python's bytecode, during a collection  |
| S10        | here: sizes and offsets of more than 32 bits                                                          |
| S12        | here: canonical metadata; whatever is behind it, they come from the database (`test_view.py`)         |
| O3         | here: equal files share an inode unless one is executable                                             |
| V6         | here: a replaced path is never missing and never mixed; killed at any call: `tests/crash`             |
| S1         | `metadata/test_environment.py`: maps that grow, readers that are killed, full tables and disks        |
| G3         | here: open and mapped files outlive their path; `gc/test_collector.py`, `tests/crash`                 |
| G5         | `gc/test_reserve.py`; readers on a full disk: `fuse/test_endurance.py`                                |
"""

from __future__ import annotations

import ctypes
import errno
import filecmp
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.metadata import trees
from storefs.metadata.schema import KEY
from storefs.stores.mount_control import ask_all, forget_paths
from tests.conftest import BIN
from tests.storefs.fuse.mounted_store import MountedStore, example_tree, mounted_store
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

LIBC = ctypes.CDLL(None, use_errno=True)
VARIANTS = {
    "kernel": ("--transport", "kernel"),
    "passthrough": ("--transport", "kernel", "--passthrough"),
    "pyfuse3": ("--transport", "pyfuse3"),
}


@pytest.fixture(scope="module", params=list(VARIANTS))
def store(request: pytest.FixtureRequest) -> Iterator[MountedStore]:
    with mounted_store(*VARIANTS[request.param]) as store:
        yield store


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_tree(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def tree(store: MountedStore, source: Path) -> Path:
    return store.plant("example", source)


def fails_with(code: int, action: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        action()
    assert caught.value.errno == code, caught.value


def read(path: Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["cat", path], capture_output=True, check=False)


class TestReading:
    def test_every_byte_and_name_is_what_was_planted(self, tree: Path, source: Path) -> None:
        done = subprocess.run(["diff", "-r", "--no-dereference", source, tree], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b"")
        for folder, names, files in os.walk(source):
            relative = os.path.relpath(folder, source)
            assert sorted(os.listdir(tree / relative)) == sorted(names + files)

    def test_metadata_are_canonical(self, tree: Path) -> None:
        seen = set()
        for folder, names, files in os.walk(tree):
            for name in [".", *names, *files]:
                status = os.lstat(os.path.join(folder, name))
                assert (status.st_uid, status.st_gid) == (0, 0)
                assert {status.st_mtime, status.st_ctime, status.st_atime} == {1.0}
                seen.add(status.st_mode)
        assert seen == {0o40555, 0o100444, 0o100555, 0o120777}

    def test_sizes_and_blocks_add_up(self, tree: Path, source: Path) -> None:
        for name in ("small", "empty", "big"):
            assert os.stat(tree / name).st_size == os.stat(source / name).st_size
            assert os.stat(tree / name).st_blocks == (os.stat(source / name).st_size + 511) // 512

    def test_equal_files_share_an_inode_unless_one_is_executable(self, tree: Path) -> None:
        inodes = {name: os.stat(tree / name).st_ino for name in ("small", "hello-again", "hello-x")}
        assert inodes["small"] == inodes["hello-again"] != inodes["hello-x"]
        assert os.access(tree / "hello-x", os.X_OK)

    def test_directories_never_share_an_inode(self, store: MountedStore, source: Path, tree: Path) -> None:
        other = store.plant("twin", source)
        assert os.stat(other / "bin").st_ino != os.stat(tree / "bin").st_ino
        assert os.stat(other / "small").st_ino == os.stat(tree / "small").st_ino

    def test_symbolic_links(self, tree: Path) -> None:
        assert os.readlink(tree / "link") == "bin/hello"
        assert len(os.readlink(tree / "dangling")) == 1013 == os.lstat(tree / "dangling").st_size
        fails_with(errno.ENOENT, lambda: os.stat(tree / "dangling"))
        fails_with(errno.EINVAL, lambda: os.readlink(tree / "small"))

    def test_names_that_are_not_there(self, store: MountedStore, tree: Path) -> None:
        for _ in range(2):  # the second time from the kernel's memory
            fails_with(errno.ENOENT, lambda: os.stat(tree / "nothing"))
            fails_with(errno.ENOENT, lambda: os.stat(store.root / "nothing"))
            fails_with(errno.ENOENT, lambda: os.stat(store.root / tree.name[:-1]))
            fails_with(errno.ENOTDIR, lambda: os.stat(tree / "small" / "x"))
            fails_with(errno.ENAMETOOLONG, lambda: os.stat(tree / ("x" * 256)))

    def test_dots_lead_where_they_should(self, store: MountedStore, tree: Path) -> None:
        down = tree / "deep" / "down"
        assert os.stat(f"{down}/..").st_ino == os.stat(tree / "deep").st_ino
        assert os.stat(f"{tree}/..").st_ino == os.stat(store.root).st_ino == 1
        done = subprocess.run(
            ["sh", "-c", "cd deep/down/down && cd .. && pwd -P"], cwd=tree, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(tree / "deep" / "down")
        assert sorted(
            subprocess.run(["ls", "-a", tree / "none"], capture_output=True, text=True, check=True).stdout.split()
        ) == [".", ".."]

    def test_reading_at_any_offset(self, tree: Path, source: Path) -> None:
        size = os.path.getsize(source / "big")
        with open(tree / "big", "rb", buffering=0) as ours, open(source / "big", "rb", buffering=0) as theirs:
            for offset in (0, 1, 4095, 4096, 65537, size - 1, size, size + 1, 10 * size):
                for length in (0, 1, 4096, 300_001):
                    assert os.pread(ours.fileno(), length, offset) == os.pread(theirs.fileno(), length, offset)

    def test_sizes_and_offsets_have_more_than_32_bits(self, store: MountedStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(os.urandom(400_000))
        path = store.plant(f"huge-{os.urandom(4).hex()}", tmp_path / "file")
        environment, inode, size = store.garden.environment, store.garden.root_of(path.name), (5 << 30) + 3
        row = environment.update(lambda txn: txn.get(KEY.pack(inode), db=environment.nodes))
        digest = trees.node_payload(row)
        with open(store.garden.blobs.path(digest), "r+b") as blob:  # sparse, and of no contents that have this digest
            blob.truncate(size)
            blob.seek(size - 3)
            blob.write(b"end")
        row = trees.encode_blob(inode, False, size, digest)
        environment.update(lambda txn: txn.put(KEY.pack(inode), row, db=environment.nodes))
        with open(path, "rb", buffering=0) as file:
            assert os.fstat(file.fileno()).st_size == size
            assert os.pread(file.fileno(), 10, size - 4) == b"\0end"
            assert os.pread(file.fileno(), 10, 4 << 30) == bytes(10)
            assert os.pread(file.fileno(), 10, size) == b""

    def test_holes_are_data(self, tree: Path) -> None:
        with open(tree / "big", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            assert os.lseek(file.fileno(), 10, os.SEEK_DATA) == 10
            assert os.lseek(file.fileno(), 10, os.SEEK_HOLE) == size
            fails_with(errno.ENXIO, lambda: os.lseek(file.fileno(), size, os.SEEK_DATA))
            assert os.lseek(file.fileno(), -5, os.SEEK_END) == size - 5

    def test_mapping(self, tree: Path, source: Path) -> None:
        code = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sys.stdout.buffer.write(mapped[:])
"""
        done = subprocess.run([sys.executable, "-c", code, tree / "big"], capture_output=True, check=True)
        assert done.stdout == (source / "big").read_bytes()

    def test_programs_and_scripts_run(self, tree: Path) -> None:
        assert subprocess.run([tree / "bin" / "true"], check=False).returncode == 0
        assert subprocess.run([tree / "link"], capture_output=True, check=True).stdout.startswith(b"hello from ")
        fails_with(errno.EACCES, lambda: subprocess.run([tree / "small"], check=False))

    def test_libraries_are_loaded(self, store: MountedStore) -> None:
        library = re.search(r"/\S*libm\.so\.6", Path("/proc/self/maps").read_text())
        path = Path(library.group()) if library else next(Path("/lib").rglob("libm.so.6"))
        planted = store.plant("libm.so.6", path.resolve())
        code = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.cos.restype, library.cos.argtypes = ctypes.c_double, [ctypes.c_double]
print(library.cos(0.0))
"""
        assert subprocess.run([sys.executable, "-c", code, planted], capture_output=True, check=True).stdout == b"1.0\n"

    def test_access_follows_the_modes(self, tree: Path) -> None:
        assert os.access(tree / "small", os.R_OK)
        assert not os.access(tree / "small", os.X_OK)
        assert os.access(tree / "bin" / "hello", os.R_OK | os.X_OK)
        assert os.access(tree / "bin", os.X_OK)
        for name in ("small", "bin", "bin/hello"):
            assert not os.access(tree / name, os.W_OK)

    def test_extended_attributes_are_not_supported_cleanly(self, tree: Path) -> None:
        for _ in range(2):
            fails_with(errno.ENOTSUP, lambda: os.getxattr(tree / "small", "user.x"))
            fails_with(errno.ENOTSUP, lambda: os.listxattr(tree / "small"))
            fails_with(errno.ENOTSUP, lambda: os.getxattr(tree / "bin", "security.selinux"))

    def test_statfs_tells_the_room_where_the_bytes_are(self, store: MountedStore) -> None:
        ours, theirs = os.statvfs(store.root), os.statvfs(store.folder)
        assert (ours.f_blocks, ours.f_frsize, ours.f_namemax) == (theirs.f_blocks, theirs.f_frsize, 255)
        assert ours.f_flag & os.ST_RDONLY

    def test_locks_and_syncs_of_readers_work(self, tree: Path) -> None:
        import fcntl

        fd = os.open(tree / "small", os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        finally:
            os.close(fd)
        folder = os.open(tree / "bin", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def test_sparse_seeks_in_a_large_directory(self, tree: Path) -> None:
        """telldir and seekdir, as ls and rsync never do but samba and nfsd do."""
        LIBC.opendir.restype = LIBC.readdir64.restype = ctypes.c_void_p
        for name in ("readdir64", "closedir", "telldir", "seekdir", "rewinddir"):
            getattr(LIBC, name).argtypes = [ctypes.c_void_p] + ([ctypes.c_long] if name == "seekdir" else [])
        LIBC.telldir.restype = ctypes.c_long

        def name_of(entry: int | None) -> bytes | None:
            return None if entry is None else ctypes.string_at(entry + 19)

        folder = LIBC.opendir(os.fsencode(tree / "wide"))
        try:
            names, positions = [], []
            while True:
                positions.append(LIBC.telldir(folder))
                name = name_of(LIBC.readdir64(folder))
                if name is None:
                    break
                names.append(name)
            assert len(names) == len(set(names)) == 1202
            for index in (0, 1, 500, 1199, 1201, 3):
                LIBC.seekdir(folder, positions[index])
                assert name_of(LIBC.readdir64(folder)) == names[index]
        finally:
            LIBC.closedir(folder)


MUTATIONS: dict[str, Callable[[Path], object]] = {
    "open for writing": lambda tree: os.open(tree / "small", os.O_WRONLY),
    "open for both": lambda tree: os.open(tree / "small", os.O_RDWR),
    "create": lambda tree: os.open(tree / "new", os.O_WRONLY | os.O_CREAT),
    "truncate": lambda tree: os.truncate(tree / "small", 0),
    "unlink": lambda tree: os.unlink(tree / "small"),
    "mkdir": lambda tree: os.mkdir(tree / "new"),
    "rmdir": lambda tree: os.rmdir(tree / "none"),
    "rename": lambda tree: os.rename(tree / "small", tree / "renamed"),
    "link": lambda tree: os.link(tree / "small", tree / "linked"),
    "symlink": lambda tree: os.symlink("x", tree / "new"),
    "mknod": lambda tree: os.mknod(tree / "new", stat.S_IFIFO | 0o600),
    "chmod": lambda tree: os.chmod(tree / "small", 0o777),
    "chown": lambda tree: os.chown(tree / "small", 1, 1),
    "utime": lambda tree: os.utime(tree / "small"),
    "setxattr": lambda tree: os.setxattr(tree / "small", "user.x", b"y"),
    "removexattr": lambda tree: os.removexattr(tree / "small", "user.x"),
    "O_TMPFILE": lambda tree: os.open(tree, os.O_TMPFILE | os.O_RDWR),
    "O_TRUNC": lambda tree: os.open(tree / "small", os.O_RDONLY | os.O_TRUNC),
    "remove a path": os.rmdir,
    "rename a path": lambda tree: os.rename(tree, tree.parent / "other"),
    "add a path": lambda tree: os.mkdir(tree.parent / "other"),
}


class TestReadOnly:
    @pytest.mark.parametrize("name", list(MUTATIONS))
    def test_nothing_can_be_changed_by_root(self, tree: Path, name: str) -> None:
        fails_with(errno.EROFS, lambda: MUTATIONS[name](tree))

    def test_remounting_writable_does_not_help(self, store: MountedStore, tree: Path) -> None:
        before = (tree / "small").read_bytes()
        subprocess.run(["mount", "-i", "-o", "remount,rw", store.root], check=False, capture_output=True)
        for name, action in MUTATIONS.items():
            try:
                result = action(tree)
            except OSError as error:
                # libfuse does not know O_TMPFILE and says so, in the moment before the mount is read-only again.
                assert error.errno == errno.EROFS or (name, error.errno) == ("O_TMPFILE", errno.EOPNOTSUPP), name
                continue
            # Opening says yes where the transport is not asked; writing says no.
            assert isinstance(result, int), name
            with pytest.raises(OSError, match="Read-only file system"):
                os.write(result, b"changed")
                os.fsync(result)
            os.close(result)
        assert (tree / "small").read_bytes() == before
        assert sorted(os.listdir(tree.parent)) == sorted(set(os.listdir(tree.parent)))
        wait_until(lambda: bool(os.statvfs(store.root).f_flag & os.ST_RDONLY))

    def test_python_leaves_no_bytecode(self, tree: Path) -> None:
        code = f"import sys; sys.path.insert(0, {str(tree)!r}); import module; print(module.VALUE)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "42\n"
        assert not (tree / "__pycache__").exists()
        assert os.stat(tree).st_mtime == 1


def _why_alive(store: MountedStore, path: str | Path) -> str:
    done = subprocess.run(
        [BIN / "verglas", "why-alive", path], env=store.environ, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


class TestChanges:
    def test_a_new_path_is_visible_at_once_to_stat_and_ls(self, store: MountedStore, source: Path) -> None:
        for index in range(20):
            names = os.listdir(store.root)
            path = store.root / store.garden.base_name(f"new-{index}")
            assert not path.exists()
            store.garden.plant(f"new-{index}", str(source / "bin"))
            assert path.is_dir()
            assert set(os.listdir(store.root)) == {*names, path.name}

    def test_what_other_processes_add_and_remove_comes_and_goes_with_their_end(
        self, store: MountedStore, source: Path
    ) -> None:
        """Whatever the kernel remembers of names that were not there, and of files that are gone."""

        def program(*words: str | Path) -> str:
            done = subprocess.run(
                [BIN / words[0], *words[1:]], env=store.environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr + _why_alive(store, words[-1])
            return done.stdout.strip()

        planned = Path(program("nix-store", "--add", source / "bin"))
        for _ in range(3):
            assert (planned / "hello").exists()
            assert planned.name in os.listdir(store.root)
            program("nix-store", "--delete", planned)
            fails_with(errno.ENOENT, lambda: os.stat(planned / "hello"))
            fails_with(errno.ENOENT, lambda: os.stat(planned))
            assert planned.name not in os.listdir(store.root)
            assert program("nix-store", "--add", source / "bin") == str(planned)
        program("nix-store", "--delete", planned)

    def test_a_collected_path_vanishes_at_once(self, store: MountedStore, source: Path) -> None:
        path = store.plant("short-lived", source)
        assert filecmp.cmp(path / "big", source / "big", shallow=False)
        subprocess.run(["find", path], capture_output=True, check=True)
        store.collect(path)
        assert path.name not in os.listdir(store.root)
        fails_with(errno.ENOENT, lambda: os.stat(path))
        fails_with(errno.ENOENT, lambda: os.stat(path / "big"))
        wait_until(lambda: store.counters()["collected files held"] == 0)

    def test_nothing_can_be_made_in_a_path_that_is_being_collected(self, store: MountedStore, source: Path) -> None:
        path = store.plant("being-collected", source / "bin")
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY)
        try:
            root = store.garden.unregister(path.name)
            forget_paths(store.verglas_dir, [path.name], [root])
            for _ in range(2):  # what was answered is not remembered
                fails_with(errno.EROFS, lambda: os.mkdir("new", dir_fd=folder))
                fails_with(errno.EROFS, lambda: os.symlink("target", "new", dir_fd=folder))
                fails_with(errno.ESTALE, lambda: os.stat("hello", dir_fd=folder))
            store.garden.fell(root)
        finally:
            os.close(folder)
        wait_until(lambda: store.counters()["collected directories"] == 0)

    def test_open_and_mapped_files_outlive_their_path(self, store: MountedStore, tmp_path: Path) -> None:
        tree = tmp_path / "t"
        tree.mkdir()
        contents = {"small": os.urandom(5000), "big": os.urandom(3_000_000), "mapped": os.urandom(2_000_000)}
        for name, content in contents.items():
            (tree / name).write_bytes(content)
        path = store.plant(f"outlived-{os.urandom(4).hex()}", tree)
        code = """
import mmap, os, sys
small, big = (open(os.path.join(sys.argv[1], name), "rb", buffering=0) for name in ("small", "big"))
with open(os.path.join(sys.argv[1], "mapped"), "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print("ready", flush=True)
sys.stdin.readline()
for file in (small, big):
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what is read comes from the process that serves
    sys.stdout.buffer.write(file.readall())
sys.stdout.buffer.write(mapped[:])
"""
        with subprocess.Popen(
            [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdin is not None and reader.stdout is not None
            assert reader.stdout.readline() == b"ready\n"
            store.collect(path)
            assert not path.exists()
            wait_until(lambda: store.counters()["collected files held"] == 3)
            reader.stdin.write(b"go\n")
            reader.stdin.close()
            assert reader.stdout.read() == b"".join(contents.values())
        wait_until(lambda: store.counters()["collected files held"] == 0)

    def test_a_replaced_path_is_never_missing_and_never_mixed(self, store: MountedStore, tmp_path: Path) -> None:
        versions = []
        for letter in "ab":
            tree = tmp_path / letter
            (tree / "sub").mkdir(parents=True)
            (tree / "sub" / "file").write_text(letter * 30_000)
            versions.append(tree)
        path = store.plant("replaced", versions[0])
        stop = threading.Event()
        problems: list[str] = []
        reads = 0

        def look() -> None:
            nonlocal reads
            while not stop.is_set():
                try:
                    text = (path / "sub" / "file").read_text()
                except OSError as error:
                    problems.append(str(error))
                    return
                if text not in {"a" * 30_000, "b" * 30_000}:
                    problems.append(f"mixed: {len(text)} {set(text)}")
                    return
                reads += 1

        readers = [threading.Thread(target=look) for _ in range(2)]
        for reader in readers:
            reader.start()
        for index in range(60):
            old = store.garden.root_of(path.name)
            store.garden.plant("replaced", str(versions[1 - index % 2]))
            forget_and_fell(store, path.name, old)
        stop.set()
        for reader in readers:
            reader.join()
        assert problems == []
        assert reads > 0
        assert (path / "sub" / "file").read_text()[0] == "a"

    def test_a_listing_survives_paths_that_come_and_go(self, store: MountedStore, source: Path) -> None:
        stay = {store.plant(f"stay-{index}", source / "small").name for index in range(30)}
        for index in range(10):
            gone = store.plant(f"goes-{index}", source / "small")
            names = os.listdir(store.root)
            assert stay <= set(names)
            assert len(names) == len(set(names))
            store.collect(gone)


def forget_and_fell(store: MountedStore, name: str, root: int) -> None:
    answers = ask_all(store.verglas_dir, {"op": "forget", "names": [name], "roots": [root]})
    assert [answer["ok"] for answer in answers] == [True]
    store.garden.fell(root)


class TestFailures:
    def test_a_corrupt_blob_is_an_error_that_names_the_store_path(self, store: MountedStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(os.urandom(400_000))
        content = (tmp_path / "file").read_bytes()
        path = store.plant(f"corrupt-{os.urandom(4).hex()}", tmp_path / "file")
        from storefs.castore.digest import digest_bytes

        blob = Path(store.garden.blobs.path(digest_bytes(content)))
        blob.write_bytes(content[:-100])
        done = read(path)
        assert done.returncode == 1
        assert b"Input/output error" in done.stderr
        assert not content.startswith(done.stdout) or len(done.stdout) < len(content)
        wait_until(lambda: path.name in store.log)
        lines = [line for line in store.log.splitlines() if path.name in line]
        assert len(lines) == 1, "logged once"
        assert "399900 bytes instead of 400000" in lines[0]
        blob.write_bytes(content)
        assert read(path).stdout == content

    def test_a_damaged_row_of_the_database_is_an_error_that_names_the_store_path(
        self, store: MountedStore, tmp_path: Path
    ) -> None:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "file").write_bytes(os.urandom(100))
        path = store.plant(f"damaged-{os.urandom(4).hex()}", tmp_path / "tree")
        environment, key = store.garden.environment, KEY.pack(os.stat(path / "file").st_ino)
        row = environment.update(lambda txn: txn.get(key, db=environment.nodes))
        environment.update(lambda txn: txn.put(key, b"\xff" + row[1:], db=environment.nodes))
        assert b"Input/output error" in read(path / "file").stderr
        line = f"warning: store path '{path.name}': a file record in the database is damaged\n"
        wait_until(lambda: line in store.log)
        environment.update(lambda txn: txn.put(key, row, db=environment.nodes))
        assert read(path / "file").returncode == 0

    def test_a_signal_shows_stacks_and_counters(self, store: MountedStore) -> None:
        assert not (store.root / "nothing").exists()  # one request at least, whatever other tests have asked for
        process = int(str(store.status()["pid"]))
        for count in range(1, 31):  # though no request comes that would wake the serving thread
            os.kill(process, signal.SIGUSR1)
            wait_until(lambda count=count: store.log.count("requests lookup: ") >= count)  # type: ignore[misc]
        assert "most recent call first" in store.log

    def test_signals_do_not_disturb_what_is_being_served(self, store: MountedStore) -> None:
        process = int(str(store.status()["pid"]))
        for index in range(1000):  # the stacks of all threads are read while they change
            os.kill(process, signal.SIGUSR1)
            assert not (store.root / f"nothing{index}").exists()
            assert store.status()["pid"] == process

    def test_bad_control_requests_are_refused(self, store: MountedStore) -> None:
        for request in ({"op": "nonsense"}, {}, {"op": "forget", "names": 5}):
            (answer,) = ask_all(store.verglas_dir, request)
            assert answer["ok"] is False
        assert store.status()["ok"]


class TestPrograms:
    def test_tar(self, tree: Path, source: Path, tmp_path: Path) -> None:
        subprocess.run(["tar", "cf", tmp_path / "t.tar", "-C", tree, "."], check=True)
        (tmp_path / "out").mkdir()
        subprocess.run(["tar", "xf", tmp_path / "t.tar", "-C", tmp_path / "out"], check=True)
        subprocess.run(["diff", "-r", "--no-dereference", source, tmp_path / "out"], check=True)
        subprocess.run(["chmod", "-R", "u+w", tmp_path / "out"], check=True)

    def test_find_and_grep(self, tree: Path) -> None:
        found = subprocess.run(["find", tree, "-type", "f", "-name", "file-*"], capture_output=True, check=True)
        assert len(found.stdout.splitlines()) == 1200
        hits = subprocess.run(["grep", "-rlx", "777", tree], capture_output=True, text=True, check=True)
        assert len(hits.stdout.splitlines()) == 1

    @pytest.mark.skipif(not Path("/usr/bin/gcc").exists(), reason="no gcc")
    def test_a_compiler_reads_sources_and_headers(self, store: MountedStore, tmp_path: Path) -> None:
        (tmp_path / "p").mkdir()
        (tmp_path / "p" / "answer.h").write_text("#define ANSWER 42\n")
        (tmp_path / "p" / "main.c").write_text('#include "answer.h"\nint main(void) { return ANSWER; }\n')
        path = store.plant("c-source", tmp_path / "p")
        subprocess.run(["gcc", "-o", tmp_path / "a.out", path / "main.c"], check=True)
        assert subprocess.run([tmp_path / "a.out"], check=False).returncode == 42

    @pytest.mark.skipif(not Path("/usr/bin/git").exists(), reason="no git")
    def test_git_compares_trees(self, tree: Path, source: Path) -> None:
        done = subprocess.run(
            ["git", "diff", "--no-index", "--stat", source / "wide", tree / "wide"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "changed" not in done.stdout or "mode change" in done.stdout

    def test_compileall_complains_and_changes_nothing(self, tree: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "compileall", "-q", tree / "module.py"], capture_output=True, text=True, check=False
        )
        assert "Read-only file system" in done.stdout + done.stderr

    @pytest.mark.skipif(not Path("/usr/bin/rsync").exists(), reason="no rsync")
    def test_rsync(self, tree: Path, source: Path, tmp_path: Path) -> None:
        subprocess.run(["rsync", "-rlp", f"{tree}/", tmp_path / "copy"], check=True)
        subprocess.run(["diff", "-r", "--no-dereference", source, tmp_path / "copy"], check=True)
        subprocess.run(["chmod", "-R", "u+w", tmp_path / "copy"], check=True)

    def test_a_thousand_bind_mounts_while_paths_come_and_go(
        self, store: MountedStore, source: Path, tmp_path: Path
    ) -> None:
        paths = [store.plant(f"bound-{index}", source / "bin") for index in range(1000)]
        code = """
import os, subprocess, sys
from storefs.stores import mount_syscalls as syscalls
from storefs.stores.namespace import enter_mount_namespace
enter_mount_namespace()
folder, paths = sys.argv[1], sys.stdin.read().split()
for index, path in enumerate(paths):
    os.mkdir(f"{folder}/{index}")
    syscalls.bind(path, f"{folder}/{index}")
for index in range(len(paths)):
    assert len(os.listdir(f"{folder}/{index}")) == 2
    with open(f"{folder}/{index}/hello") as file:
        assert file.read().startswith("#!/bin/sh")
subprocess.run([f"{folder}/999/hello"], check=True)
"""
        with subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdin is not None
            child.stdin.write("\n".join(map(str, paths)))
            child.stdin.close()
            rounds = 0
            while child.poll() is None:
                store.collect(store.plant("comes-and-goes", source / "bin"))
                rounds += 1
            assert child.stdout is not None
            assert child.stdout.read().startswith("hello from")
        assert child.returncode == 0
        assert rounds > 1
        for path in paths:
            store.garden.unregister(path.name)


class TestSilence:
    """The `kernel` transport is asked nothing at all about what is warm."""

    def test_a_warm_tree_costs_no_message(self, store: MountedStore, tree: Path) -> None:
        if store.status()["transport"] != "kernel" or "--passthrough" in store.options:
            pytest.skip("only without opens")
        commands = (
            ["find", str(tree), "-ls"],
            ["tar", "cf", "/dev/null", "-C", str(tree), "."],
            ["grep", "-r", "nothing", str(tree)],
        )
        for command in commands:
            asked = {}
            for _ in range(5):  # somebody else on this machine may drop caches in between
                before = store.counters()
                subprocess.run(command, capture_output=True, check=False)
                after = store.counters()
                asked = {key: value - before.get(key, 0) for key, value in after.items() if key.startswith("requests")}
                if not any(asked.values()):
                    break
            assert not any(asked.values()), (command, asked)
