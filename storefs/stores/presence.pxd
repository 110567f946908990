# C-level shape of presence.py: numbers straight out of the records, which trees.py describes.
cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* A key or a value of the database: a view into its map. */
    static const unsigned char *verglas_record(PyObject *record, Py_ssize_t *size) {
        if (PyMemoryView_Check(record)) {
            Py_buffer *buffer = PyMemoryView_GET_BUFFER(record);
            *size = buffer->len;
            return (const unsigned char *)buffer->buf;
        }
        *size = PyBytes_GET_SIZE(record);
        return (const unsigned char *)PyBytes_AS_STRING(record);
    }

    static unsigned long long verglas_inode(PyObject *key) {
        Py_ssize_t size, i;
        const unsigned char *data = verglas_record(key, &size);
        unsigned long long inode = 0;
        for (i = 0; i < size; i++) inode = inode << 8 | data[i];
        return inode;
    }

    static int verglas_kind(PyObject *node) {
        Py_ssize_t size;
        const unsigned char *data = verglas_record(node, &size);
        if (size < 89) return 0;
        return data[0] == 'I' ? 2 : data[0] == 'L' ? 3 : data[0] == 'B' && size == 89 + 32 ? 4 : 0;
    }

    /* Note what a node is; 0 where it is none, or its number was never given out. */
    static int verglas_note(PyObject *key, PyObject *node, PyObject *kinds, Py_ssize_t longest_link) {
        Py_ssize_t size;
        unsigned long long inode = verglas_inode(key);
        int kind = 2;
        if (inode >= (unsigned long long)PyByteArray_GET_SIZE(kinds)) return 0;
        verglas_record(node, &size);
        if (size <= longest_link) kind = verglas_kind(node);
        PyByteArray_AS_STRING(kinds)[inode] = (char)(kind == 4 ? 2 : kind);
        return kind;
    }

    static PyObject *verglas_blob_row(PyObject *node) {
        Py_ssize_t size;
        const unsigned char *data = verglas_record(node, &size);
        PyObject *row = PyBytes_FromStringAndSize(NULL, 40);
        if (row != NULL) {
            memcpy(PyBytes_AS_STRING(row), data + 89, 32);
            memcpy(PyBytes_AS_STRING(row) + 32, data + 9, 8);
        }
        return row;
    }

    static int verglas_agree(PyObject *record, PyObject *kinds) {
        Py_ssize_t size;
        const unsigned char *data = verglas_record(record, &size);
        const unsigned char *known = (const unsigned char *)PyByteArray_AS_STRING(kinds);
        uint64_t limit = (uint64_t)PyByteArray_GET_SIZE(kinds), room = (uint64_t)size, start, at, child, expected = 0;
        uint32_t count, i, offset, mode, length;
        if (room < 96) return 0;
        memcpy(&count, data, 4);
        start = 96 + ((4 * (uint64_t)count + 7) & ~7ULL);
        if (start > room) return 0;
        for (i = 0; i < count; i++) {
            memcpy(&offset, data + 96 + 4 * (uint64_t)i, 4);
            at = start + offset;
            if (offset != expected || at + 152 > room) return 0;
            memcpy(&child, data + at, 8);
            memcpy(&mode, data + at + 100, 4);
            memcpy(&length, data + at + 144, 4);
            if (length > 255 || at + 152 + length > room || child >= limit) return 0;
            if (known[child] != (mode == 0100444 || mode == 0100555 ? 2 : mode == 0040555 ? 1 : mode == 0120777 ? 3 : 255))
                return 0;
            expected = ((uint64_t)offset + 152 + length + 7) & ~7ULL;
        }
        return start + expected == room;
    }
    """
    unsigned long long verglas_inode(object key)
    int verglas_kind(object node)
    int verglas_note(object key, object node, object kinds, Py_ssize_t longest_link)
    object verglas_blob_row(object node)
    bint verglas_agree(object record, object kinds)


cdef unsigned long long _inode(object key)
cdef int _note(object key, object node, bytearray kinds)
cdef bytes _blob_row(object node)
cdef bint _agree(object record, bytearray kinds)
