# C-level shape of contents.py.
cdef class Contents:
    cdef object _area
    cdef object _aside
    cdef Py_ssize_t _inline_limit
    cdef dict _memory
    cdef dict _places
    cdef public Py_ssize_t room
    cdef public Py_ssize_t weight

    cpdef bytes add(self, bytes content)
    cpdef bint is_inline(self, Py_ssize_t size)
    cpdef object inline(self, bytes digest)
