"""Puts host trees into a scratch state directory, row by row: what a mount needs and nothing else."""

from __future__ import annotations

import hashlib
import os
import stat
from itertools import count

from storefs.castore.blobs import BlobStore
from storefs.castore.digest import digest_bytes
from storefs.formats import nixbase32
from storefs.formats.store_path import StorePath
from storefs.metadata import trees
from storefs.metadata.environment import open_environment
from storefs.metadata.records import PathRecord, path_key
from storefs.metadata.schema import INLINE_LIMIT, KEY, KEY_NEXT_INODE, NUMBER


class Garden:
    """A state directory in which trees can be planted and felled."""

    def __init__(self, verglas_dir: str, sync: bool = False) -> None:
        self.verglas_dir = verglas_dir
        os.makedirs(verglas_dir, exist_ok=True)
        self.environment = open_environment(f"{verglas_dir}/db", sync=sync)
        self.blobs = BlobStore(verglas_dir)
        # Beyond those that a store gives: a planted path that is in use keeps no path alive that a program added.
        self._ids = count(1 << 40)

    def close(self) -> None:
        self.environment.close()

    @staticmethod
    def base_name(name: str) -> str:
        return f"{nixbase32.encode(hashlib.sha256(name.encode()).digest()[:20])}-{name}"

    def plant(self, name: str, tree: str | bytes, base: str = "") -> str:
        """Make a host tree visible under a store path and return its base name. Replaces one that is there."""
        env = self.environment
        base = base or self.base_name(name)

        def work(txn):
            value = txn.get(KEY_NEXT_INODE, db=env.meta)
            planter = _Planter(env, txn, self.blobs, 16 if value is None else NUMBER.unpack(value)[0])
            root, _, _ = planter.add(os.fsencode(tree))
            txn.put(KEY_NEXT_INODE, NUMBER.pack(planter.next), db=env.meta)
            record = PathRecord(next(self._ids), root, 0, 1, bytes(32), False, "", "", ())
            txn.put(path_key(StorePath(base)), record.encode(), db=env.paths)

        env.update(work)
        return base

    def root_of(self, base: str) -> int:
        from storefs.metadata.path_infos import find_root

        with self.environment.snapshot() as txn:
            return find_root(self.environment, txn, base.encode())

    def unregister(self, base: str) -> int:
        """Make a path invalid, as a collector's first commit does, and return its root's inode."""
        root = self.root_of(base)
        self.environment.update(lambda txn: txn.delete(path_key(StorePath(base)), db=self.environment.paths))
        return root

    def fell(self, root: int) -> None:
        """Remove a tree's records and blobs, as a collector's last step does."""
        env = self.environment

        def work(txn):
            pending = [root]
            while pending:
                key = KEY.pack(pending.pop())
                uses = txn.get(key, db=env.uses)
                if uses is not None:
                    left = NUMBER.unpack(uses)[0] - 1
                    if left > 1:
                        txn.put(key, NUMBER.pack(left), db=env.uses)
                    else:
                        txn.delete(key, db=env.uses)
                    continue
                record = txn.get(key, db=env.dirs)
                if record is not None:
                    pending += [inode for inode, _ in trees.decode_inodes(record)]
                    txn.delete(key, db=env.dirs)
                    continue
                node = txn.get(key, db=env.nodes)
                if node is None:
                    continue
                if trees.node_kind(node) != trees.SYMLINK:
                    executable = trees.node_mode(node) == trees.MODE_EXECUTABLE
                    payload = trees.node_payload(node)
                    digest = payload if trees.node_kind(node) == trees.BLOB else digest_bytes(payload)
                    txn.delete(digest + bytes([executable]), db=env.files)
                    if trees.node_kind(node) == trees.BLOB:
                        try:
                            os.unlink(self.blobs.path(digest))
                        except FileNotFoundError:
                            pass
                txn.delete(key, db=env.nodes)

        env.update(work)


class _Planter:
    def __init__(self, env, txn, blobs, first) -> None:
        self.env, self.txn, self.blobs, self.next = env, txn, blobs, first

    def take(self) -> int:
        self.next += 1
        return self.next - 1

    def add(self, path: bytes) -> tuple[int, int, int]:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            inode = self.take()
            entries = [(name, *self.add(path + b"/" + name)) for name in sorted(os.listdir(path))]
            self.txn.put(KEY.pack(inode), trees.encode_directory(inode, entries), db=self.env.dirs)
            return inode, 0, trees.MODE_DIRECTORY
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(path)
            inode = self.take()
            self.txn.put(KEY.pack(inode), trees.encode_symlink(inode, target), db=self.env.nodes)
            return inode, len(target), trees.MODE_SYMLINK
        with open(path, "rb") as file:
            content = file.read()
        executable = bool(status.st_mode & 0o111)
        digest = digest_bytes(content)
        key = digest + bytes([executable])
        known = self.txn.get(key, db=self.env.files)
        if known is not None:
            uses = self.txn.get(KEY.pack(NUMBER.unpack(known)[0]), db=self.env.uses)
            count = 1 if uses is None else NUMBER.unpack(uses)[0]
            self.txn.put(KEY.pack(NUMBER.unpack(known)[0]), NUMBER.pack(count + 1), db=self.env.uses)
            return NUMBER.unpack(known)[0], len(content), trees.file_mode(executable)
        inode = self.take()
        if len(content) <= INLINE_LIMIT:
            node = trees.encode_inline(inode, executable, content)
        else:
            node = trees.encode_blob(inode, executable, len(content), digest)
            blob = self.blobs.path(digest)
            if not os.path.exists(blob):
                os.makedirs(os.path.dirname(blob), exist_ok=True)
                with open(blob, "wb") as file:
                    file.write(content)
        self.txn.put(KEY.pack(inode), node, db=self.env.nodes)
        self.txn.put(key, NUMBER.pack(inode), db=self.env.files)
        return inode, len(content), trees.file_mode(executable)
