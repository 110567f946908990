# C-level shape: only what is imported from other compiled modules.
from evaluator.core.calls cimport call1, coerce, is_derivation
from evaluator.core.text_buffer cimport AS_NUMBER, TextBuffer
from evaluator.core.values cimport (
    ContextString, Func, NULL, Path, Thunk, check_stack, force_thunk, make_string, position_of, show_type,
)

cimport cython

cdef const unsigned char *_escape

cpdef str write_string(str text)
cpdef str value_to_json(object state, object value, set context)
cdef int put_string(TextBuffer out, str text) except -1


cdef class _Writer:
    cdef object state
    cdef set context
    cdef TextBuffer out
    cdef object value(self, object value, int depth)
    cdef object items(self, list items, int depth)
    cdef object attrs(self, object attrs, int depth)
    cdef object text_of(self, object attrs, int depth)
