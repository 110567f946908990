# C-level shape of entry_search.py.
cimport cython

cdef Py_ssize_t DIRECTORY_OFFSETS
cdef Py_ssize_t DIRENT_NAME
cdef Py_ssize_t NAME_LENGTH
cdef Py_ssize_t _SLOTS

cdef Py_ssize_t search(const unsigned char *data, Py_ssize_t size, const unsigned char *name, Py_ssize_t length) except -3
cdef Py_ssize_t _number(const unsigned char *data, Py_ssize_t at) noexcept
cdef Py_ssize_t _compare(
    const unsigned char *data, Py_ssize_t at, Py_ssize_t found, const unsigned char *name, Py_ssize_t length
) noexcept


@cython.final
cdef class RecentDirectories:
    cdef unsigned long long inodes[64]
    cdef list records
    cpdef get(self, unsigned long long inode)
