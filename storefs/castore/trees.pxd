# C-level shape of trees.py: who cimports it reads the fields of a node without asking Python for them.
cimport cython


@cython.final
cdef class FileNode:
    cdef public bytes key
    cdef public Py_ssize_t size


@cython.final
cdef class LinkNode:
    cdef public bytes target


@cython.final
cdef class StoredNode:
    cdef public unsigned long long inode
    cdef public Py_ssize_t size
    cdef public unsigned int mode


@cython.final
cdef class DirectoryNode:
    cdef public list entries
    cdef public Py_ssize_t stored
    cdef public tuple holders


cpdef bytes file_key(bytes digest, bint executable)
