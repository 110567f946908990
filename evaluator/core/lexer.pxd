# C-level shape of lexer.py.
cdef int T_EOF, T_ID, T_INT, T_FLOAT, T_PATH, T_HPATH, T_SPATH, T_URI, T_QUOTE, T_IND_OPEN, T_STR, T_IND_STR, T_DOLLAR_CURLY, T_STRING_END
cdef int T_PATH_END, T_IF, T_THEN, T_ELSE, T_ASSERT, T_WITH, T_LET, T_IN, T_REC, T_INHERIT, T_OR_KW, T_ELLIPSIS, T_EQ, T_NEQ, T_LEQ, T_GEQ, T_AND, T_OR
cdef int T_IMPL, T_UPDATE, T_CONCAT, CHAR_BASE
cdef const unsigned char *_class
cdef unsigned char *_kinds
cdef list _names
cdef dict _KEYWORDS
cdef int _ID_START, _ID_PART, _PATH_CHAR, _URI_CHAR, _DIGIT, _SCHEME, _ALPHA


cdef class Lexer:
    cdef bytes text
    cdef const unsigned char *s
    cdef Py_ssize_t length
    cdef Py_ssize_t at
    cdef Py_ssize_t plain_until
    cdef bint skimming
    cdef public int kind
    cdef public object value
    cdef public Py_ssize_t start
    cdef public Py_ssize_t last
    cdef int no_nul(self, Py_ssize_t begin, Py_ssize_t end) except -1
    cdef int next(self) except -1
    cdef int string_part(self) except -1
    cdef int indented_part(self) except -1
    cdef int path_part(self) except -1
    cdef Py_ssize_t skip_blanks(self) except -1
    cdef int word(self, Py_ssize_t p) except -1
    cdef int number(self, Py_ssize_t p) except -1
    cdef int symbol(self, Py_ssize_t p, int c) except -1
    cdef Py_ssize_t path_end(self, Py_ssize_t p)
    cdef int path_token(self, Py_ssize_t p, Py_ssize_t end, int kind) except -1
    cdef str part(self, Py_ssize_t begin, Py_ssize_t end)
    cdef str decode(self, Py_ssize_t begin, Py_ssize_t end)
    cdef str unescape(self, Py_ssize_t begin, Py_ssize_t end)
