"""From a tree in memory to its rows in dirs, listings, nodes, files and uses, inside the transaction that registers it.

Or, of a large one, to the rows of its parts in earlier transactions: then a directory record of its own *holds* them,
whose row in ``staged`` says whose they are, until what contains them is written; and small files may be in
``unindexed`` until the index of files is told of all of them at once.  Called by the stores only.  The order of the
steps that make it durable is theirs: contents in blob files before the transaction, everything else in it.
"""

from __future__ import annotations

import cython

from storefs.castore.digest import digest_bytes
from storefs.metadata import trees
from storefs.metadata.file_index import index_files
from storefs.metadata.listings import files_to_share, share_listing
from storefs.metadata.residency import scattered_looks
from storefs.metadata.schema import KEY, KEY_NEXT_INODE, NUMBER
from storefs.metadata.uses import find_uses

if cython.compiled:
    from cython.cimports.storefs.castore.trees import DirectoryNode, FileNode, LinkNode, StoredNode
else:
    from storefs.castore.trees import DirectoryNode, FileNode, LinkNode, StoredNode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from storefs.castore.contents import Contents
    from storefs.castore.trees import IngestedTree, Node
    from storefs.metadata.environment import Environment, Transaction
    from storefs.metadata.residency import Residency

_FEW = 32  # files: where there are no more, what looking for them makes resident is not looked after


class TreeWriter:
    """Writes any number of trees in one transaction; `finish` completes them.

    Inodes are given out in the order of writing and grow for ever, so every row of dirs and nodes is appended.
    """

    def __init__(
        self,
        env: Environment,
        txn: Transaction,
        contents: Contents,
        repair: bool = False,
        unindexed: dict[bytes, int] | None = None,
        defer: bool = False,
    ) -> None:
        """Begin to write.

        Args:
            env, txn: where.
            contents: has the small files.
            repair: a small file that exists already is compared, and overwritten where it is damaged.
            unindexed: the keys and inodes of small files that the same addition has written in earlier transactions,
                and that the index does not name.
            defer: leave these, and the small files that are new here, out of the index for now.
        """
        self._env = env
        self._txn = txn
        self._contents = contents
        self._repair = repair
        self._unindexed = unindexed or {}
        self._defer = defer
        value = txn.get(KEY_NEXT_INODE, db=env.meta)
        self.first = self._next = trees.FIRST_INODE if value is None else NUMBER.unpack(value)[0]
        self._inodes: dict[bytes, int] = {}
        self._residency: Residency | None = None  # not before it is needed
        self._created: set[bytes] = set()  # what was not there
        self._deferred: set[bytes] = set()  # what of that is left out of the index
        self._compared: set[bytes] = set()  # what repair has looked at
        self._any_dead = bool(txn.stat(env.dead_blobs)["entries"])  # no others die in this transaction
        self._uses: dict[bytes, int] = {}
        self.blobs: list[bytes] = []  # digests of blob files that rows now name for the first time
        self.released: list[int] = []  # inodes of records that held what something else names now
        self.unindexed: dict[bytes, int] = {}  # small files that are new, and left out of the index

    @property
    def inodes(self) -> range:
        """The inodes that were given out."""
        return range(self.first, self._next)

    def write(self, tree: IngestedTree) -> int:
        """Write one tree and return the inode of its root."""
        if tree.holder:
            self._release((tree.holder,))
        self._find((tree.root,))
        inode: int = self._node(tree.root).inode
        return inode

    def hold(self, nodes: Iterable[Node], owner: bytes) -> tuple[int, list[StoredNode]]:
        """Write these, and a directory record that holds them for the addition whose area is ``owner``.

        Returns its inode, and what takes the place of the nodes.
        """
        nodes = list(nodes)
        self._find(nodes)
        stored = [self._node(node) for node in nodes]
        holder = self._allocate()
        entries = [(b"%08d" % place, node.inode, node.size, node.mode) for place, node in enumerate(stored)]
        self._txn.put(KEY.pack(holder), trees.encode_directory(holder, entries), append=True, db=self._env.dirs)
        self._txn.put(KEY.pack(holder), owner, db=self._env.staged)
        return holder, stored

    def _node(self, node: Node) -> StoredNode:
        if isinstance(node, FileNode):
            return StoredNode(self._file(node), node.size, trees.file_mode(node.executable))
        if isinstance(node, LinkNode):
            return StoredNode(self._link(node), len(node.target), trees.MODE_SYMLINK)
        if isinstance(node, DirectoryNode):
            return StoredNode(self._directory(node), 0, trees.MODE_DIRECTORY)
        return node

    def _release(self, holders: Iterable[int]) -> None:
        """Take away records that hold what is being named: the uses that they counted for are the new names'."""
        for holder in holders:
            key = KEY.pack(holder)
            if not self._txn.delete(key, db=self._env.staged):
                raise RuntimeError("a tree was registered twice")
            self._txn.delete(key, db=self._env.dirs)
            self.released.append(holder)

    def _directory(self, root: DirectoryNode) -> int:
        root_inode = self._allocate()
        # Breadth first: a directory's row is written before those of its children, whose inodes are larger.
        queue = [(root_inode, root)]
        position = 0
        dirs = self._env.dirs
        put = self._txn.put
        while position < len(queue):
            inode, directory = queue[position]
            queue[position] = (inode, _EMPTY)  # what is written need not be held
            position += 1
            self._release(directory.holders)
            files = files_to_share(directory.entries)
            if files:
                put(KEY.pack(inode), self._listing(files), append=True, db=dirs)
                continue
            entries = []
            for name, node in directory.entries:
                if isinstance(node, FileNode):
                    file: FileNode = node
                    entries.append((name, self._file(file), file.size, trees.file_mode(file.executable)))
                elif isinstance(node, DirectoryNode):
                    child = self._allocate()
                    queue.append((child, node))
                    entries.append((name, child, 0, trees.MODE_DIRECTORY))
                elif isinstance(node, StoredNode):
                    entries.append((name, node.inode, node.size, node.mode))
                else:
                    entries.append((name, self._link(node), len(node.target), trees.MODE_SYMLINK))
            put(KEY.pack(inode), trees.encode_directory(inode, entries), append=True, db=dirs)
        return root_inode

    def _listing(self, files: Sequence[tuple[bytes, FileNode]]) -> bytes:
        """The key of the listing of a directory with these files."""
        entries = [(name, self._inode(node), node.size, trees.file_mode(node.executable)) for name, node in files]
        record = trees.encode_directory(0, entries)
        listing = digest_bytes(record)
        if share_listing(self._env, self._txn, listing, record, self._repair):
            for _, node in files:
                self._file(node)
        return listing

    def finish(self) -> None:
        """Write what is shared by all trees: the index of files and how often each is used."""
        env, txn = self._env, self._txn
        txn.put(KEY_NEXT_INODE, NUMBER.pack(self._next), db=env.meta)
        inodes, deferred = self._inodes, self._deferred
        # Into pages that `_find` took into the transaction: none is looked for.
        rows = sorted((key, NUMBER.pack(inodes[key])) for key in self._created if key not in deferred)
        txn.cursor(env.files).putmulti(rows)
        if not self._defer:
            index_files(env, txn, sorted(self._unindexed.items()))
        elif deferred:
            self.unindexed = {key: inodes[key] for key in deferred}
            later = sorted((KEY.pack(inode), key) for key, inode in self.unindexed.items())
            txn.cursor(env.unindexed).putmulti(later, append=True)
        for key, count in self._uses.items():
            inode = KEY.pack(self._inodes[key])
            total = count if key in self._created else count + find_uses(env, txn, inode)
            if total > 1:
                txn.put(inode, NUMBER.pack(total), db=env.uses)
        if self._residency is not None:
            self._residency.give_up()
            self._residency.end()

    def _find(self, nodes: Iterable[Node]) -> None:
        """Look for all files below these in the index; those that it lacks get a row, whose inode `finish` writes, or
        are left out of it for now.

        In the order of the keys: each page of the index is looked at once, those beside it in the file are looked at
        next, because an earlier addition wrote them in this order, and what is written of it lies together again.
        """
        known = self._inodes
        created = self._created
        unindexed, deferred = self._unindexed, self._deferred
        keys: dict[bytes, bool] = {}  # and whether their rows are deferred
        folders = [nodes]
        while folders:
            for node in folders.pop():
                if isinstance(node, FileNode):
                    file: FileNode = node
                    keys[file.key] = self._defer and self._contents.is_inline(file.size)
                elif isinstance(node, DirectoryNode):
                    folders.append([child for _, child in node.entries])
        put, get, files = self._txn.put, self._txn.get, self._env.files
        if self._residency is None and len(known) + len(created) + len(keys) > _FEW:
            self._residency = scattered_looks(self._env.path)
        residency = self._residency
        for key in sorted(keys):
            if key in known or key in created:
                continue
            if key in unindexed:
                known[key] = unindexed[key]
                continue
            if keys[key]:
                value = get(key, db=files)
                if value is None:
                    created.add(key)
                    deferred.add(key)
                else:
                    known[key] = NUMBER.unpack(value)[0]
            elif put(key, _NO_INODE, overwrite=False, db=files):
                created.add(key)
            else:
                known[key] = NUMBER.unpack(get(key, b"", db=files))[0]
            if residency is not None:
                residency.tick()

    def _allocate(self) -> int:
        inode = self._next
        self._next = inode + 1
        return inode

    def _link(self, node: LinkNode) -> int:
        inode = self._allocate()
        self._txn.put(KEY.pack(inode), trees.encode_symlink(inode, node.target), append=True, db=self._env.nodes)
        return inode

    def _file(self, node: FileNode) -> int:
        self._uses[node.key] = self._uses.get(node.key, 0) + 1
        return self._inode(node)

    def _inode(self, node: FileNode) -> int:
        """The inode of a file, which somebody is going to name."""
        key = node.key
        inode = self._inodes.get(key)
        if inode is None:
            inode = self._allocate()
            self._inodes[key] = inode
            if self._contents.is_inline(node.size):
                record = trees.encode_inline(inode, node.executable, self._contents.inline(node.digest))
            else:
                record = trees.encode_blob(inode, node.executable, node.size, node.digest)
                self.blobs.append(node.digest)
                if self._any_dead:
                    self._txn.delete(node.digest, db=self._env.dead_blobs)
            self._txn.put(KEY.pack(inode), record, append=True, db=self._env.nodes)
        elif self._repair and key not in self._created and key not in self._compared:
            self._compared.add(key)
            self._mend(inode, node)
        return inode

    def _mend(self, inode: int, node: FileNode) -> None:
        if self._contents.is_inline(node.size):
            record = trees.encode_inline(inode, node.executable, self._contents.inline(node.digest))
        else:
            record = trees.encode_blob(inode, node.executable, node.size, node.digest)
        if self._txn.get(KEY.pack(inode), db=self._env.nodes) != record:
            self._txn.put(KEY.pack(inode), record, db=self._env.nodes)


_NO_INODE = NUMBER.pack(0)
_EMPTY = DirectoryNode()
