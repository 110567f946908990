# C-level shape: only what is imported from other compiled modules, and the matcher.
from evaluator.core.calls cimport force_string, force_string_no_context
from evaluator.core.values cimport NULL, check_stack, poll

cimport cython

cdef int _BYTE, _SET, _SPAN, _SAVE, _AT_START, _AT_END, _LOOP, _BRANCH, _JUMP, _ACCEPT, _SIZE, _END
cdef int _FREE_TRIALS, _FAILED, _SUCCEEDED
cdef Py_ssize_t _MOST_REMEMBERED


@cython.final
cdef class Matcher:
    cdef object program
    cdef bint whole
    cdef bint overlaps
    cdef int first
    cdef int depth
    cdef Py_ssize_t slots
    cdef Py_ssize_t loops
    cdef Py_ssize_t trials
    cdef Py_ssize_t used
    cdef Py_ssize_t room
    cdef Py_ssize_t n
    cdef bytes code_bytes
    cdef bytes table_bytes
    cdef bytearray memo
    cdef bytearray current
    cdef bytearray saves
    cdef bytearray rounds
    cdef object owner
    cdef const int *code
    cdef const unsigned char *tables
    cdef const unsigned char *s
    cdef Py_ssize_t *at
    cdef Py_ssize_t *best
    cdef Py_ssize_t *round
    cdef Py_ssize_t *trail
    cdef object begin(self, object text, object owner)
    cdef object forget(self)
    cdef bint find(self, Py_ssize_t start) except -1
    cdef int run(self, int pc, Py_ssize_t at) except -1
    cdef int attempt(self, int pc, Py_ssize_t at) except -1
    cdef int another_round(self, int pc, Py_ssize_t at) except -1
    cdef bint is_new(self, int loop, Py_ssize_t at) noexcept
    cdef object remember(self)
    cdef int been(self, int pc, Py_ssize_t at)
    cdef Py_ssize_t new_end(self, int pc, Py_ssize_t at) except -2
    cdef int note(self, int slot) except -1
    cdef void undo(self, Py_ssize_t mark) noexcept
