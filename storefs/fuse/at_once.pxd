# C-level shape of at_once.py.
cimport cython
from cpython.object cimport PyObject
from storefs.metadata.entry_search cimport RecentDirectories

cdef extern from "Python.h":
    ctypedef struct TypeSlots "PyTypeObject":
        PyObject *(*tp_iternext)(PyObject *) noexcept

ctypedef TypeSlots *TypeSlots_p

cdef extern from "poll.h" nogil:
    cdef struct pollfd:
        int fd
        short events
    int POLLIN
    int poll(pollfd *fds, unsigned long count, int timeout)

cdef Py_ssize_t ENTRY_HEAD
cdef Py_ssize_t LONGEST_NAME

# The front of a fuse_attr of linux/fuse.h.
cdef packed struct Attributes:
    unsigned long long inode
    unsigned long long size
    unsigned long long blocks
    unsigned char times[36]
    unsigned int mode


@cython.final
cdef class Answer:
    cdef public object value

cdef PyObject *_hand_over(PyObject *answer) noexcept


@cython.final
cdef class Readiness:
    cdef int fd
    cdef Answer answer


@cython.final
cdef class LookUps:
    cdef readonly unsigned long long found
    cdef RecentDirectories recent
    cdef object elsewhere
    cdef Answer answer
    cdef object entry
    cdef object negative
