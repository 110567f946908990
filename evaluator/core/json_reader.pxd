# C-level shape of json_reader.py.
from evaluator.core.calls cimport force_string_no_context
from evaluator.core.values cimport NULL, check_stack

cimport cython

cdef const unsigned char *_plain


@cython.final
cdef class Reader:
    cdef bytes text
    cdef const unsigned char *s
    cdef Py_ssize_t n
    cdef Py_ssize_t at
    cdef dict names
    cdef int skip(self)
    cdef object value(self)
    cdef int word(self, bytes word, Py_ssize_t n)
    cdef object items(self)
    cdef object attrs(self)
    cdef object string(self)
    cdef object unicode_escape(self, bytearray out)
    cdef int hex_digits(self) except -1
    cdef object number(self)
    cdef Py_ssize_t more_digits(self, Py_ssize_t at) except -1
