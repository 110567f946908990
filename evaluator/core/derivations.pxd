# C-level shape of derivations.py.
from evaluator.core.calls cimport (
    coerce, force_attrs, force_bool_c, force_list, force_string_context, force_string_no_context,
)
from evaluator.core.text_buffer cimport TextBuffer
from evaluator.core.values cimport NULL, Thunk, force_thunk, make_string, position_of

cdef const unsigned char *_digit
cdef const unsigned char *_escape

cpdef str store_path(str directory, str kind, str hash16, str name)


cdef class _Recipe:
    cdef set context
    cdef dict env
    cdef list args
    cdef str builder
    cdef str system
    cdef list outputs
    cdef object output_hash
    cdef str output_hash_algo
    cdef str mode
    cdef bint content_addressed
    cdef bint impure
    cdef object note(self, str key, str text)
    cdef object note_outputs(self, list names)
