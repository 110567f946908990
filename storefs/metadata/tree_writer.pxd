# C-level shape of tree_writer.py.
cimport cython

from storefs.castore.trees cimport FileNode, LinkNode


@cython.final
cdef class TreeWriter:
    cdef object _env
    cdef object _txn
    cdef object _contents
    cdef object _residency
    cdef bint _repair
    cdef bint _defer
    cdef bint _any_dead
    cdef dict _unindexed
    cdef public unsigned long long first
    cdef unsigned long long _next
    cdef dict _inodes
    cdef dict _uses
    cdef set _created
    cdef set _deferred
    cdef set _compared
    cdef public list blobs
    cdef public list released
    cdef public dict unindexed

    cdef unsigned long long _allocate(self) except? 0
    cdef unsigned long long _link(self, LinkNode node) except? 0
    cdef unsigned long long _file(self, FileNode node) except? 0
    cdef unsigned long long _inode(self, FileNode node) except? 0
