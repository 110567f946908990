# C-level shape of sha256.py.
cimport cython
from evaluator.core.sha256_blocks cimport verglas_sha256


@cython.final
cdef class Sha256:
    cdef verglas_sha256 state
