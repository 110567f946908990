# C-level shape of parser.py.
from evaluator.core.lexer cimport (
    T_AND, T_ASSERT, CHAR_BASE, T_CONCAT, T_DOLLAR_CURLY, T_ELLIPSIS, T_ELSE, T_EOF, T_EQ, T_FLOAT, T_GEQ, T_HPATH, T_ID, T_IF, T_IMPL, T_IN,
    T_IND_OPEN, T_IND_STR, T_INHERIT, T_INT, T_LEQ, T_LET, Lexer, T_NEQ, T_OR, T_OR_KW, T_PATH, T_PATH_END, T_QUOTE, T_REC, T_SPATH, T_STR, T_STRING_END,
    T_THEN, T_UPDATE, T_URI, T_WITH,
)
from evaluator.core.values cimport check_stack

cdef int INT_N, FLOAT_N, STRING, VAR, PATH_N, HPATH_N, CUR_POS, INTERPOLATION, PATH_PARTS, SELECT, HAS
cdef int LIST, ATTRS, LET_N, WITH_N, ASSERT_N, IF_N, LAMBDA, CALL, OPERATOR, NOT, NEGATE, SKIMMED
cdef const unsigned char *_precedence
cdef int _ABOVE_NOT, _HAS_PRECEDENCE, _ABOVE_ALL, LONG, _FIRST_BINDINGS
cdef object _NOTHING, _CUR_POS_NAME

cdef class Parser:
    cdef Lexer lx
    cdef dict free
    cdef int with_depth
    cdef readonly bint redefines_operators
    cdef readonly bint complete
    cdef bint skims
    cdef bint skimming
    cdef object function(self)
    cdef object skim(self)
    cdef object operators(self, int least)
    cdef object application(self)
    cdef object selection(self)
    cdef object simple(self)
    cdef object variable(self, str name, Py_ssize_t pos)
    cdef object let_at(self, Py_ssize_t pos)
    cdef object in_scope(self, list attrs, dict outer, bint with_body)
    cdef bint at_formals(self) except -1
    cdef bint at_operand(self)
    cdef object append_to(self, list attrs, int index, object item)
    cdef object add_attr(self, list attrs, tuple path, object value, Py_ssize_t pos)
    cdef object string(self)
    cdef object indented_string(self)
    cdef object path(self)
    cdef object formals(self, Py_ssize_t pos, object argument)
    cdef object lambda_body(self, Py_ssize_t pos, object argument, object formals, bint ellipsis, dict outer)
    cdef list bindings(self, Py_ssize_t pos, bint recursive, int end)
    cdef object attr_path(self)
    cdef object attr_name(self)
    cdef object inherit(self, list attrs, list outer_names, bint recursive)
    cdef object expect(self, int kind)
    cdef object unexpected(self, str expecting)
