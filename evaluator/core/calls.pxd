# C-level shape of calls.py.
from evaluator.core.values cimport (
    Attrs, ContextString, Counters, Func, Lambda, Node, NULL, Path, PrimOp, Thunk,
    check_stack, counters, force_thunk, make_string, new_thunk, position_of, show_type,
)


cdef object call_primop(PrimOp p, list args, long long pos)
cdef object call_primop1(PrimOp p, object a, long long pos)
cdef object call_primop2(PrimOp p, object a, object b, long long pos)
cpdef object call(object f, list args, long long pos=*)
cpdef object call1(object f, object a, long long pos=*)
cpdef object call2(object f, object a, object b, long long pos=*)
cdef object call_traced(object f, list args, long long pos)
cpdef str coerce(object state, object v, set context, bint more=*, bint copy=*, str doing=*, long long pos=*)
cpdef list force_list(object v, str doing=*, long long pos=*)
cpdef dict force_attrs(object v, str doing=*, long long pos=*)
cpdef str force_string(object v, str doing=*, long long pos=*)
cpdef str force_string_no_context(object v, str doing=*, long long pos=*)
cpdef str force_string_context(object v, set context, str doing=*, long long pos=*)
cpdef object force_int(object v, str doing=*, long long pos=*)
cdef int force_bool_c(object v, str doing, long long pos) except -1
cpdef object force_function(object v, str doing=*, long long pos=*)
cpdef object force_float(object v, str doing=*, long long pos=*)
cdef int same(object x, object y) except -1
cdef int equal(object x, object y) except -1
cdef int less(object x, object y, long long pos=*) except -1
cdef int text_less(str x, str y) except -1
cpdef object is_derivation(object v)
cdef object type_error(object v, str wanted, long long pos, str doing=*)
cdef object not_callable(object v, long long pos)
cpdef object not_comparable(object x, object y)
