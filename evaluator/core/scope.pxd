# C-level shape of scope.py.
from evaluator.core.parser cimport (
    ASSERT_N, ATTRS, CALL, CUR_POS, FLOAT_N, HAS, HPATH_N, IF_N, INT_N, INTERPOLATION, LAMBDA, LET_N, LIST, NEGATE, NOT,
    OPERATOR, PATH_N, PATH_PARTS, SELECT, SKIMMED, STRING, VAR, WITH_N,
)
from evaluator.core.nodes cimport (
    call_of, condition_of, constant, interpolation, list_of, long_selection, operation, selection, variable, variable_of_with,
)
from evaluator.core.values cimport Counters, Lazy, Node, Thunk, check_stack, counters


cdef class Scope:
    cdef dict names
    cdef Scope up


cdef class Builder:
    cdef object state
    cdef dict globals
    cdef long long base
    cdef str base_path
    cdef bint operators_redefined
    cdef bint traced
    cdef bint calls_traced
    cdef bint calls_counted
    cdef object blobs
    cdef long long at(self, long long pos) noexcept
    cdef object place(self, object tree)
    cdef list places(self, object path)
    cdef Node operand(self, object tree, Scope scope, str text)
    cdef Node call_of(self, str builtin, Node node, object pos, object start)
    cdef Node assertion(self, object tree, Scope scope)
    cdef Node build(self, object tree, Scope scope, object name)
    cdef Node lazy(self, object tree, Scope scope, object name)
    cdef Node later(self, object tree, Scope scope, object name)
    cdef bint is_local(self, str name, Scope scope)
    cdef Node variable(self, str name, Scope scope, object pos)
    cdef list path(self, object path, Scope scope)
    cdef Node selection(self, object tree, Scope scope)
    cdef Node call(self, object tree, Scope scope)
    cdef Node calling(self, Node f, list arguments, object pos)
    cdef Node operator(self, object tree, Scope scope)
    cdef Node function(self, object tree, Scope scope, object name)
    cdef Node body(self, object tree, Scope scope, object name)
    cdef Node attrs(self, object tree, Scope scope)
    cdef object dynamic(self, list entries, Scope scope)
    cdef Node recursive_attrs(self, object tree, Scope scope)
    cdef object bindings(self, object tree, Scope scope)
    cdef list unpacked(self, tuple names, tuple starts, Scope scope)
    cdef Node let(self, object tree, Scope scope)
    cdef Node interpolation(self, object tree, Scope scope)
    cdef Node path_parts(self, object tree, Scope scope)
