"""The one description of the database: every key, every value, every invariant.  Names and layouts, no code that reads.

Numbers in keys are big-endian, so that order is numerical; numbers in values are little-endian.  A *digest* is the 20
bytes of a store path's hash part; a *path id* is a number that a path keeps while it is valid, also when repair gives
it a new tree; an *inode* belongs to one file system object and is never given out again.

    database      key                     value
    ------------  ----------------------  ---------------------------------------------------------------------------
    meta          b"version"              u32: SCHEMA_VERSION
    meta          b"next-inode"           u64: the next inode to give out
    meta          b"next-id"              u64: the next path id, or serial number, to give out
    paths         digest, name            PATH_HEADER, then deriver, content address, signatures (see records.py)
    ids           path id                 the base name, ASCII
    references    path id                 u64 path ids of what the path refers to, itself included, ascending
    referrers     path id                 (sorted duplicates) u64 path id of a path that refers to it, itself excluded
    outputs       digest, name            (sorted duplicates) u64 path id of a valid derivation that makes this path
    makes         path id of a derivation the base names of its outputs, separated by spaces
    dirs          inode                   directory record (see trees.py), or the key of the listing that is one
    listings      BLAKE3 digest of it     directory record that several directories may have (see listings.py)
    nodes         inode                   node record of a file or symbolic link (see trees.py)
    files         content + executable    u64 inode: the node that every tree uses for this content; the key is the
                                          32-byte BLAKE3 digest and one byte, 0 or 1
    unindexed     inode                   the key in ``files`` of a node in the database that this table does not name
    uses          inode                   u64: how many directory entries and tree roots name this regular file; a file
                                          that is named once has no row. The entries of a listing count once
    uses          key of a listing        u64: how many directories have it; one that has one directory has no row
    dying         inode, serial number    u32, base name: root of a removed tree, or a directory below (serial 0), how
                                          many of its entries have been released, and, of a root, the path it had
    dead_blobs    BLAKE3 digest           u64: size of a blob that no node names any more and that may be unlinked
    staged        inode                   name of an intake area: a directory record that holds parts of trees which the
                                          addition with this area has written and will register, or else give up
    narinfo       see narinfo_cache.py    what binary caches said about paths
    realisations  drv hash, output name   u64 path id of what the output is, then the realisation's JSON; the hash
                                          is the derivation's hash modulo, 32 bytes
    realised      path id, key above      nothing: which realisations name a path

Invariants, true after every commit:

* every id in ``references`` has a row in ``ids``, whose digest has a row in ``paths``: the closure of a valid path is
  valid; ``referrers`` is the inverse of ``references``, and ``outputs`` of ``makes``;
* the root of every path, and everything below it, has its row in ``dirs`` or ``nodes``; a directory has one parent;
* every key of a listing in ``dirs`` has its row in ``listings``, and every listing a directory that has it;
* ``files`` and ``unindexed`` together name exactly the regular files in ``nodes``, each once; those in ``unindexed``
  have their contents in the database: an addition that is not registered left them for a later transaction, or another
  one had the same contents at the same time;
* a node record of kind BLOB in ``files`` has its blob file, complete and durable, before the commit that adds it; a
  blob file is unlinked only by a process that holds the write lock and sees no row in ``files`` that names it;
* symbolic links and directories are never shared; inodes of ``dying`` and ``staged`` are named by no valid path;
* every row in ``realisations`` names a valid path and has its row in ``realised``, and the other way round.

Format 2 has listings and ``unindexed``, and is otherwise format 1, which is read as it is by whoever may not write.
Three older tables came without a new number.  A store without these five has no realisations, nothing staged or
unindexed and no listings, and whoever first opens it for writing makes them.
"""

from __future__ import annotations

from _struct import Struct  # all that `struct` has, which is a file more to read

SCHEMA_VERSION = 2

META = "meta"
PATHS = "paths"
IDS = "ids"
REFERENCES = "references"
REFERRERS = "referrers"
OUTPUTS = "outputs"
MAKES = "makes"
DIRS = "dirs"
LISTINGS = "listings"
NODES = "nodes"
FILES = "files"
UNINDEXED = "unindexed"
USES = "uses"
DYING = "dying"
DEAD_BLOBS = "dead_blobs"
NARINFO = "narinfo"
REALISATIONS = "realisations"
REALISED = "realised"
STAGED = "staged"

DATABASES = (
    META,
    PATHS,
    IDS,
    REFERENCES,
    REFERRERS,
    OUTPUTS,
    MAKES,
    DIRS,
    LISTINGS,
    NODES,
    FILES,
    UNINDEXED,
    USES,
    DYING,
    DEAD_BLOBS,
    NARINFO,
    REALISATIONS,
    REALISED,
    STAGED,
)
LATER = frozenset({REALISATIONS, REALISED, STAGED, LISTINGS, UNINDEXED})
SORTED_DUPLICATES = frozenset({REFERRERS, OUTPUTS})

KEY_VERSION = b"version"
KEY_NEXT_INODE = b"next-inode"
KEY_NEXT_ID = b"next-id"

KEY = Struct(">Q")  # inodes and path ids as keys
KEY_SIZE = KEY.size
DYING_KEY = Struct(">QQ")
NUMBER = Struct("<Q")  # counts, inodes and path ids as values

DIGEST_SIZE = 20  # bytes of a hash part
LISTING_KEY_SIZE = 32  # bytes: a directory record is longer

# path id, root inode, NAR size, registration time, SHA-256 of the NAR,
# flags, length of the deriver's base name (0: unknown), of the content address, of the signatures
PATH_HEADER = Struct("<4Q32sBBHI")
FLAG_ULTIMATE = 1

INLINE_LIMIT = 16384  # bytes: contents up to this size live in their node record, larger ones are blob files
