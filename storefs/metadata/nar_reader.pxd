# C-level shape of nar_reader.py.
cimport cython
from cpython.buffer cimport Py_buffer


cdef extern from "Python.h":
    Py_buffer *PyMemoryView_GET_BUFFER(object view)


cdef Py_ssize_t _KIND, _INODE, _SIZE, _MODE, _HEAD, _BATCH, _FRAMING


@cython.final
cdef class _Output:
    cdef bytearray data
    cdef Py_ssize_t used
    cdef int make_room(self, Py_ssize_t size) except -1
    @cython.locals(size=Py_ssize_t)
    cdef int put(self, bytes piece) except -1
    cdef int put_number(self, unsigned long long number) except -1
    @cython.locals(size=Py_ssize_t)
    cdef int put_payload(self, object node) except -1
    cdef object take(self)


@cython.final
cdef class _Frame:
    cdef list entries
    cdef Py_ssize_t position


@cython.locals(kind=int, count="unsigned long long", length=Py_ssize_t)
cdef list _files(object env, _Frame frame, _Output output)
cdef unsigned long long _number(object record, Py_ssize_t at, Py_ssize_t size)
