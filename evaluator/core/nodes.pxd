# C-level shape of what other compiled modules need of nodes.py.
from evaluator.core.calls cimport (
    call, call1, call2, call_primop, call_primop1, call_primop2, call_traced, coerce, equal, force_attrs, force_list,
    force_string_no_context, less, type_error,
)
from evaluator.core.values cimport (
    Attrs, BLACKHOLE, ContextString, Counters, Frame, Func, Lambda, Lazy, Merged, MergedByNames, MergedLoosely, Node, NULL,
    Path, PrimOp, Thunk, check_stack, counters, empty_frame, force_thunk, is_merged, make_path, make_string,
    merged_positions, merged_set, new_attrs, new_frame, new_merged,
    new_frame2, new_func, new_thunk, position_of,
    run_body, run_body1, run_body2, shape_of, shaped_set, show_type,
)


cdef int _FEW
cdef Node constant(object value)
cdef Node variable(int level, Py_ssize_t index, long long pos)
cdef Node selection(Node e, str name, long long pos)
cdef Node long_selection(Node e, list path, Node default, long long pos, list where, object show)
cdef Node variable_of_with(str name, list levels, Py_ssize_t at, long long pos)
cdef Node condition_of(Node condition, Node a, Node b, long long pos)
cdef Node list_of(list items)
cdef Node interpolation(list parts, list where, long long pos, object state)
cdef Node operation(object kind, Node a, Node b, long long pos, long long pos2, object state)
cdef Node call_of(Node f, list args, long long pos)
cdef class Mapping:
    cdef Node node
    cdef list source


cdef bint _mapping_wanted
cdef Mapping mapping_of(object x)
cdef bint mapping_is_wanted()
cdef Mapping new_mapping(object f, list source)
cdef object mapped(Mapping m, object x)
cdef Node delayed(object f)
cdef Node delayed2(object f)
cdef object delay_call(Node node, object a)
cdef object delay_call2(Node node, object a, object b)
cpdef object add(object state, object x, object y, long long pos, long long pos2)
cdef object not_numbers(object x, object y, long long pos, tuple operands)
cpdef object subtract(object x, object y, long long pos)
cpdef object multiply(object x, object y, long long pos)
cpdef object divide(object x, object y, long long pos)
cpdef str canonical_path(str path)
