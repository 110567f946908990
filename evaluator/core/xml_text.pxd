# C-level shape: only what is imported from other compiled modules.
from evaluator.core.calls cimport call1, coerce, is_derivation
from evaluator.core.text_buffer cimport TextBuffer
from evaluator.core.values cimport (
    ContextString, Func, NULL, Path, Thunk, check_stack, force_thunk, make_string, position_of, show_type,
)

cdef int put_quoted(TextBuffer out, str text) except -1


cdef class _Writer:
    cdef TextBuffer out
    cdef object state
    cdef set context
    cdef bint strict
    cdef bint location
    cdef set seen
    cdef int line(self, int indent, str text) except -1
    cdef int element(self, int indent, str start, str text) except -1
    cdef int open(self, int indent, str tag, long long pos, object name) except -1
    cdef object value(self, object value, int indent)
    cdef object attributes(self, object attrs, int indent)
    cdef object derivation(self, object attrs, int indent)
    cdef object function(self, Func function, int indent)
