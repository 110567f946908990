# Records as they are written: each with one object made, its fields put where the kernel looks for them.
cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* struct fuse_attr, fuse_entry_out and fuse_dirent of fuse.h. */
    typedef struct {
        uint64_t inode, size, blocks, atime, mtime, ctime;
        uint32_t atimensec, mtimensec, ctimensec, mode, links, uid, gid, rdev, block_size, flags;
    } verglas_attr;

    typedef struct {
        uint64_t inode, generation, entry_valid, attr_valid;
        uint32_t entry_valid_nsec, attr_valid_nsec;
        verglas_attr attr;
        uint64_t dirent_inode, offset;
        uint32_t length, type;
    } verglas_direntplus;

    static void verglas_set_attr(verglas_attr *attr, uint64_t inode, uint64_t size, uint32_t mode) {
        memset(attr, 0, sizeof *attr);
        attr->inode = inode;
        attr->size = size;
        attr->blocks = (size + 511) >> 9;
        attr->atime = attr->mtime = attr->ctime = 1;
        attr->mode = mode;
        attr->links = 1;
        attr->block_size = 4096;
    }

    static PyObject *verglas_encode_node(int kind, unsigned long long inode, unsigned long long size, unsigned int mode,
                                         PyObject *payload) {
        Py_buffer view;
        verglas_attr attr;
        PyObject *record;
        if (PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE) < 0) return NULL;
        record = PyBytes_FromStringAndSize(NULL, 1 + (Py_ssize_t)sizeof attr + view.len);
        if (record) {
            char *at = PyBytes_AS_STRING(record);
            *at++ = (char)kind;
            verglas_set_attr(&attr, inode, size, mode);
            memcpy(at, &attr, sizeof attr);
            memcpy(at + sizeof attr, view.buf, view.len);
        }
        PyBuffer_Release(&view);
        return record;
    }

    static Py_ssize_t verglas_padded(Py_ssize_t length) {
        return (length + 7) & ~(Py_ssize_t)7;
    }

    static PyObject *verglas_encode_directory(unsigned long long inode, PyObject *entries, unsigned int mode,
                                              unsigned long long forever) {
        Py_ssize_t count = PyList_GET_SIZE(entries), index, offset = 0;
        Py_ssize_t start = 8 + (Py_ssize_t)sizeof(verglas_attr) + verglas_padded(4 * count);
        uint32_t place;
        verglas_attr attr;
        verglas_direntplus entry;
        PyObject *record;
        char *base;
        for (index = 0; index < count; index++) {
            PyObject *fields = PyList_GET_ITEM(entries, index);
            if (!PyTuple_Check(fields) || PyTuple_GET_SIZE(fields) != 4 || !PyBytes_Check(PyTuple_GET_ITEM(fields, 0))) {
                PyErr_SetString(PyExc_TypeError, "an entry is its name, its inode, its size and its mode");
                return NULL;
            }
            offset += (Py_ssize_t)sizeof entry + verglas_padded(PyBytes_GET_SIZE(PyTuple_GET_ITEM(fields, 0)));
        }
        if (!(record = PyBytes_FromStringAndSize(NULL, start + offset))) return NULL;
        base = PyBytes_AS_STRING(record);
        memset(base, 0, start);
        place = (uint32_t)count;
        memcpy(base, &place, sizeof place);
        verglas_set_attr(&attr, inode, 0, mode);
        memcpy(base + 8, &attr, sizeof attr);
        memset(&entry, 0, sizeof entry);
        entry.entry_valid = entry.attr_valid = forever;
        for (index = 0, offset = 0; index < count; index++) {
            PyObject *fields = PyList_GET_ITEM(entries, index), *name = PyTuple_GET_ITEM(fields, 0);
            Py_ssize_t length = PyBytes_GET_SIZE(name), padded = verglas_padded(length);
            char *at = base + start + offset;
            place = (uint32_t)offset;
            memcpy(base + 8 + sizeof attr + 4 * index, &place, sizeof place);
            offset += (Py_ssize_t)sizeof entry + padded;
            entry.inode = entry.dirent_inode = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(fields, 1));
            verglas_set_attr(&entry.attr, entry.inode, PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(fields, 2)),
                             (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(fields, 3)));
            if (PyErr_Occurred()) {
                Py_DECREF(record);
                return NULL;
            }
            entry.offset = (uint64_t)offset;
            entry.length = (uint32_t)length;
            entry.type = entry.attr.mode >> 12;
            memcpy(at, &entry, sizeof entry);
            at += sizeof entry;
            memcpy(at, PyBytes_AS_STRING(name), length);
            memset(at + length, 0, padded - length);
        }
        return record;
    }
    """
    bytes verglas_encode_node(
        int kind, unsigned long long inode, unsigned long long size, unsigned int mode, object payload
    )
    bytes verglas_encode_directory(unsigned long long inode, list entries, unsigned int mode, unsigned long long forever)
