# Whether a str is all ASCII, which CPython notes in every one: a look, where `text.isascii()` is a call. Compiled code only.
cdef extern from "Python.h":
    bint is_ascii "PyUnicode_IS_ASCII"(object text)
