# C-level shape of kernel_device.py.
cimport cython
from storefs.metadata.entry_search cimport RecentDirectories

cdef Py_ssize_t REQUEST_SIZE
cdef Py_ssize_t REPLY_SIZE
cdef Py_ssize_t ENTRY_SIZE
cdef Py_ssize_t LONGEST_NAME
cdef unsigned int OPCODES
cdef unsigned int LOOKUP
cdef Py_ssize_t _JOINED
cdef bytes NO_SUCH_ENTRY

# Out of every request's header: fuse_in_header of linux/fuse.h.
cdef packed struct Header:
    unsigned int length
    unsigned int opcode
    unsigned long long unique
    unsigned long long node

cdef packed struct ReplyHeader:  # fuse_out_header
    unsigned int length
    int code
    unsigned long long unique


@cython.final
cdef class Device:
    cdef readonly int fd
    cdef readonly bytearray request
    cdef object pin
    cdef char *data
    cdef Py_ssize_t room
    cdef Py_ssize_t take(self) except -1
    cdef int send_small(self, unsigned long long unique, tuple parts) except -1
    cdef int send_bytes(self, unsigned long long unique, const unsigned char *data, Py_ssize_t length) except -1
    cdef int write_reply(self, unsigned long long unique, unsigned char *out, Py_ssize_t length) except -1
    cdef bint look_up(
        self, RecentDirectories recent, unsigned long long unique, unsigned long long node, Py_ssize_t taken
    ) except -1
