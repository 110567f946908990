# C-level shape of values.py; see there for what everything means.
cimport cython

# Errors of Nix programs pass through millions of these functions; a Python traceback of them would need gigabytes and
# help nobody. Cython's code that adds a frame to the traceback gives up when it gets none. The first one is made all the
# same, because code that handles an exception takes for granted that it has a traceback. Run the core uncompiled
# (tests/lang/uncompiled.py) to see where one of its own bugs is.
cdef extern from *:
    """
    #include <frameobject.h>
    #if PY_VERSION_HEX >= 0x030C0000
    #define HAS_TRACEBACK(thread) \\
        ((thread)->current_exception && ((PyBaseExceptionObject *)(thread)->current_exception)->traceback)
    #else
    #define HAS_TRACEBACK(thread) ((thread)->curexc_traceback)
    #endif
    #define PyFrame_New(thread, code, globals, locals) \\
        (HAS_TRACEBACK(thread) ? (PyFrameObject *)0 : PyFrame_New(thread, code, globals, locals))
    #if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000
    #define COUNT_NO_C_CALLS() ((void)(PyThreadState_Get()->c_recursion_remaining = INT_MAX / 2))
    #else
    #define COUNT_NO_C_CALLS() ((void)0)
    #endif
    """
    # Python 3.12 and 3.13 allow some thousands of nested calls of C functions, however much room the stack has.
    void count_no_c_calls "COUNT_NO_C_CALLS"()


@cython.final
@cython.no_gc
cdef class Frame:
    cdef Frame up
    cdef object first


@cython.final
@cython.no_gc
cdef class Frame2:
    cdef Frame up
    cdef object first
    cdef object second


@cython.final
@cython.no_gc
cdef class FrameN:  # more slots lie behind it: frames.pxd
    cdef Frame up
    cdef object first
    cdef object second
    cdef Py_ssize_t more


cdef class Node:
    cdef object eval(self, Frame env)
    cdef object delay(self, Frame env)
    cdef object peek(self, Frame env)
    cdef int test(self, Frame env, long long pos) except -1


@cython.final
@cython.no_gc
cdef class Lazy(Node):
    cdef object tree
    cdef object scope
    cdef object builder
    cdef object name
    cdef Node node
    cdef bint delayed
    cdef bint always_thunk
    cdef Node built(self)


cdef class Lambda(Node):
    cdef public Node body
    cdef public int arity
    cdef public long long pos
    cdef public object name
    cdef object enter(self, Func f, object argument, long long pos)
    cdef object enter2(self, Func f, object a, object b, long long pos)


@cython.final
@cython.no_gc
cdef class Thunk:
    cdef Node node
    cdef object payload


@cython.final
@cython.no_gc
cdef class Func:
    cdef readonly Lambda code
    cdef Frame env


@cython.final
cdef class PrimOp:
    cdef readonly str name
    cdef readonly int arity
    cdef readonly object state
    cdef readonly list args
    cdef readonly bint maps
    cdef readonly bint consumes
    cdef object function
    cdef object loader
    cdef object implementation(self)


@cython.final
@cython.no_gc
cdef class ContextString:
    cdef readonly str text
    cdef readonly frozenset context


@cython.final
@cython.no_gc
cdef class Path:
    cdef readonly str path


cdef class Attrs(dict):
    cdef public object positions


@cython.no_gc
cdef class Merged:
    cdef object left
    cdef object right


@cython.final
@cython.no_gc
cdef class MergedLoosely(Merged):
    pass


@cython.final
@cython.no_gc
cdef class MergedByNames(Merged):
    pass


@cython.final
cdef class Counters:
    cdef public long long thunks
    cdef public long long avoided
    cdef public long long environments
    cdef public long long environment_slots
    cdef public long long list_elements
    cdef public long long list_concatenations
    cdef public long long sets
    cdef public long long set_elements
    cdef public long long updates
    cdef public long long update_values_copied
    cdef public long long lookups
    cdef public long long primop_calls
    cdef public long long function_calls
    cdef public object calls_of_primops
    cdef public object calls_of_functions
    cdef public object selections
    cdef public object tracer


cdef object NULL
cdef object BLACKHOLE
cdef bint slow_calls
cdef object profiler
cdef bint show_trace
cdef int _ticks
cdef bint _interrupted
cdef size_t _stack_limit
cdef object _recursion
cdef Counters counters
cpdef str show_type(object v)

cdef Frame new_frame(Frame up, object first)
cdef Frame new_frame2(Frame up, object first, object second)
cdef Frame empty_frame(Frame up, Py_ssize_t slots)
cdef Func new_func(Lambda code, Frame env)
cdef object new_thunk(Node node, object payload)
cdef object force_thunk(Thunk thunk, long long pos)
cpdef object force(object value, long long pos=*)
cpdef object make_string(str text, object context)
cpdef object make_path(str path)
cdef int poll() except -1
cdef int check_stack() except -1
cdef long long position_of(object attrs, str name) except -2
cdef object new_attrs(object positions)
cdef size_t shape_of(list names)
cdef Attrs shaped_set(size_t shape, object positions)
cdef object merged_set(object left, object right, object positions)
cdef int copy_set(object set, object source) except -1
cdef object settled(object set)
cdef object run_body(Lambda code, Frame env, long long pos)
cdef object run_body1(Lambda code, Frame up, object a, long long pos)
cdef object run_body2(Lambda code, Frame up, object a, object b, long long pos)
cdef object run_body_slow(Lambda code, Frame env, long long pos)
cdef object merged_positions(object left, object right)
cdef object new_merged(object kind, object left, object right)
cdef bint is_merged(object positions)
