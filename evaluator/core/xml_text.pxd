# C-level shape: only what is imported from other compiled modules.
from evaluator.core.calls cimport call1, coerce, is_derivation
from evaluator.core.values cimport (
    ContextString, Func, NULL, Path, Thunk, force_thunk, position_of, show_type,
)

cdef str _quoted(str text)


cdef class _Writer:
    cdef list out
    cdef object state
    cdef set context
    cdef bint strict
    cdef bint location
    cdef set seen
    cdef object place(self, long long pos)
    cdef object value(self, object value, str indent)
    cdef object attributes(self, object attrs, str indent)
    cdef object derivation(self, object attrs, str indent)
    cdef object function(self, Func function, str indent)
