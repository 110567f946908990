# C-level shape of text_buffer.py.
cimport cython

cdef int AS_NUMBER
cdef const unsigned char *_hex_digit


@cython.final
cdef class TextBuffer:
    cdef char *data
    cdef Py_ssize_t used
    cdef Py_ssize_t room
    cdef int reserve(self, Py_ssize_t more) except -1
    cdef int put(self, str text) except -1
    cdef int put_byte(self, int byte) except -1
    cdef int put_blanks(self, Py_ssize_t n) except -1
    cdef int put_bytes(self, const void *source, Py_ssize_t n) except -1
    cdef int put_quoted(self, str text, const unsigned char *letters) except -1
    cdef int put_literal(self, const unsigned char *source, Py_ssize_t n, const unsigned char *letters) except -1
    cdef int put_int(self, long long number) except -1
    cdef int put_float(self, double number) except -1
    cdef bytes content(self)
    cdef str text(self)
