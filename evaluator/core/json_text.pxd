# C-level shape: only what is imported from other compiled modules.
from evaluator.core.calls cimport call1, coerce, is_derivation
from evaluator.core.values cimport (
    ContextString, Func, NULL, Path, Thunk, force_thunk, position_of, show_type,
)

cimport cython

cpdef str write_string(str text)
cpdef object value_to_json(object state, object value, set context, list out)


cdef class _Writer:
    cdef object state
    cdef set context
    cdef list out
    cdef dict names
    cdef object value(self, object value, int depth)
    cdef object items(self, list items, int depth)
    cdef object attrs(self, object attrs, int depth)
    cdef object text_of(self, object attrs, int depth)
