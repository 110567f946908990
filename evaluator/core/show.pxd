# C-level shape of show.py.
from evaluator.core.parser cimport (
    ASSERT_N, CALL, CUR_POS, FLOAT_N, HAS, HPATH_N, IF_N, INT_N, INTERPOLATION, LAMBDA, LET_N, LIST, NEGATE, NOT,
    PATH_N, PATH_PARTS, SELECT, SKIMMED, STRING, VAR, WITH_N,
)
from evaluator.core.text_buffer cimport TextBuffer
from evaluator.core.values cimport check_stack

cimport cython

cdef int _START, _PART
cdef const unsigned char *_kind_of
cdef const unsigned char *_letter


@cython.final
cdef class _Printer:
    cdef TextBuffer out
    cdef str base_path
    cdef object home
    cdef object blobs
    cdef int put(self, object t) except -1
    cdef int put_other(self, tuple t) except -1
    cdef int enclosed(self, str before, object t, str behind) except -1
    cdef int name(self, str text) except -1
    cdef int string(self, str text) except -1
    cdef str path(self, tuple t)
    cdef int path_parts(self, tuple parts) except -1
    cdef int sum(self, tuple parts, Py_ssize_t begin) except -1
    cdef int attr_path(self, object path) except -1
    cdef int bindings(self, list attrs) except -1
    cdef int function(self, tuple t) except -1
    cdef int operator(self, tuple t) except -1
