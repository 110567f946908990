# C-level shape: only what is imported from other compiled modules.
from evaluator.core.calls cimport call1, coerce, is_derivation
from evaluator.core.values cimport (
    ContextString, Func, NULL, Path, Thunk, force_thunk, position_of, show_type,
)

cimport cython

cpdef str write_string(str text)
cpdef object value_to_json(object state, object value, set context, list out, int depth=*)
