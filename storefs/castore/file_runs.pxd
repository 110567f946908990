# A run of files with one call: without Python's lock from the first file to the last, without a copy of the contents.
cdef extern from *:
    """
    #include <fcntl.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #define VERGLAS_RUN_FILES 256

    typedef struct { const char *name; Py_ssize_t length, size, start, links; int executable; } verglas_run_file;

    static char *verglas_put(char *at, PyObject *texts, Py_ssize_t index) {
        PyObject *text = PyTuple_GET_ITEM(texts, index);
        memcpy(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text));
        return at + PyBytes_GET_SIZE(text);
    }

    static Py_ssize_t verglas_length(PyObject *texts, Py_ssize_t index) {
        return PyBytes_GET_SIZE(PyTuple_GET_ITEM(texts, index));
    }

    static char *verglas_put_size(char *at, Py_ssize_t size) {
        int byte;
        for (byte = 0; byte < 8; byte++) *at++ = (char)((unsigned long long)size >> 8 * byte);
        return at;
    }

    /* Write the text of one file, and return where it ends; NULL if it can't be in the run. */
    static char *verglas_read_run_file(int folder, verglas_run_file *file, char *text, char *at, char *stop,
                                       Py_ssize_t limit, PyObject *opens, PyObject *regular, PyObject *executable,
                                       PyObject *closes) {
        struct stat status;
        Py_ssize_t around, left, got;
        int fd;
        if (file->length >= PyTuple_GET_SIZE(opens)) return NULL;
        around = verglas_length(opens, 0) + file->length + verglas_length(executable, 1) + 8 + verglas_length(closes, 1);
        fd = openat(folder, file->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) return NULL;
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > limit
            || status.st_size > stop - at - around) {
            close(fd);
            return NULL;
        }
        file->executable = (status.st_mode & S_IXUSR) != 0;
        file->size = left = status.st_size;
        file->links = (Py_ssize_t)status.st_nlink;
        at = verglas_put(at, opens, file->length);
        memcpy(at, file->name, file->length);
        at = verglas_put(at + file->length, file->executable ? executable : regular, file->length & 7);
        at = verglas_put_size(at, left);
        file->start = at - text;
        while (left > 0 && (got = read(fd, at, (size_t)left)) > 0) {
            at += got;
            left -= got;
        }
        close(fd);
        return left ? NULL : verglas_put(at, closes, file->size & 7);
    }

    /* A buffer of those that are nobody's any more, or one more; a new reference. */
    static PyObject *verglas_free_buffer(PyObject *buffers, Py_ssize_t room) {
        PyObject *buffer;
        Py_ssize_t index;
        for (index = 0; index < PyList_GET_SIZE(buffers); index++) {
            buffer = PyList_GET_ITEM(buffers, index);
            if (Py_REFCNT(buffer) == 1) {  /* the list's: every view of it has one, too */
                Py_INCREF(buffer);
                return buffer;
            }
        }
        if (!(buffer = PyByteArray_FromStringAndSize(NULL, room))) return NULL;
        if (PyList_Append(buffers, buffer) < 0) Py_CLEAR(buffer);
        return buffer;
    }

    static PyObject *verglas_read_run(PyObject *folder, PyObject *names, Py_ssize_t count, PyObject *buffers,
                                      Py_ssize_t room, Py_ssize_t limit, PyObject *opens, PyObject *regular,
                                      PyObject *executable, PyObject *closes) {
        verglas_run_file files[VERGLAS_RUN_FILES];
        PyObject *buffer = verglas_free_buffer(buffers, room), *found, *fields;
        const char *path = PyBytes_AS_STRING(folder);
        char *text, *at, *next;
        Py_ssize_t index, read_files = 0;
        int opened;
        if (!buffer) return NULL;
        if (count > VERGLAS_RUN_FILES) count = VERGLAS_RUN_FILES;
        for (index = 0; index < count; index++) {
            files[index].name = PyBytes_AS_STRING(PyList_GET_ITEM(names, index));
            files[index].length = PyBytes_GET_SIZE(PyList_GET_ITEM(names, index));
        }
        text = at = PyByteArray_AS_STRING(buffer);
        Py_BEGIN_ALLOW_THREADS
        opened = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (opened >= 0) {
            while (read_files < count
                   && (next = verglas_read_run_file(opened, &files[read_files], text, at, text + room, limit, opens,
                                                    regular, executable, closes))) {
                at = next;
                read_files++;
            }
            close(opened);
        }
        Py_END_ALLOW_THREADS
        if (!(found = PyList_New(read_files))) {
            Py_DECREF(buffer);
            return NULL;
        }
        for (index = 0; index < read_files; index++) {
            fields = Py_BuildValue("OOnnn", PyList_GET_ITEM(names, index), files[index].executable ? Py_True : Py_False,
                                   files[index].size, files[index].start, files[index].links);
            if (!fields) {
                Py_DECREF(buffer);
                Py_DECREF(found);
                return NULL;
            }
            PyList_SET_ITEM(found, index, fields);
        }
        return Py_BuildValue("NnN", buffer, at - text, found);
    }
    """
    object verglas_read_run(bytes folder, list names, Py_ssize_t count, list buffers, Py_ssize_t room,
                            Py_ssize_t limit, tuple opens, tuple regular, tuple executable, tuple closes)
