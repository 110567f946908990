# A whole file with one call: Python's lock is let go once for it, not for each of open, fstat, read or write, and close.
cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #define VERGLAS_SMALL 16384  /* bytes that are read without knowing how many there are */

    /* Read until the size or the end, close, and return the errno of what failed. */
    static int verglas_read_and_close(int fd, char *buffer, Py_ssize_t size, Py_ssize_t *length) {
        Py_ssize_t got = 1;
        int error = 0;
        *length = 0;
        while (*length < size && got > 0) {
            got = read(fd, buffer + *length, (size_t)(size - *length));
            if (got > 0) *length += got;
            else if (got < 0 && errno == EINTR) got = 1;
            else if (got < 0) error = errno;
        }
        close(fd);
        return error;
    }

    /* The (mode, links, size, contents) of a regular file, None if it is larger than `limit` or anything else. */
    static PyObject *verglas_read_whole(PyObject *path, Py_ssize_t limit) {
        const char *name = PyBytes_AS_STRING(path);
        char buffer[VERGLAS_SMALL];
        struct stat status;
        Py_ssize_t length = 0;
        PyObject *content = NULL;
        int fd, error = 0, fits = 0;
        Py_BEGIN_ALLOW_THREADS
        fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) error = errno;
        else if (fstat(fd, &status) < 0) { error = errno; close(fd); }
        else if (!(fits = S_ISREG(status.st_mode) && status.st_size <= limit)) close(fd);
        else if (status.st_size <= VERGLAS_SMALL) error = verglas_read_and_close(fd, buffer, status.st_size, &length);
        Py_END_ALLOW_THREADS
        if (error) {
            errno = error;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (!fits) Py_RETURN_NONE;
        if (status.st_size <= VERGLAS_SMALL) content = PyBytes_FromStringAndSize(buffer, length);
        else if (!(content = PyBytes_FromStringAndSize(NULL, status.st_size))) close(fd);
        else {
            char *target = PyBytes_AS_STRING(content);
            Py_BEGIN_ALLOW_THREADS
            error = verglas_read_and_close(fd, target, status.st_size, &length);
            Py_END_ALLOW_THREADS
            if (error) {
                Py_DECREF(content);
                errno = error;
                return PyErr_SetFromErrno(PyExc_OSError);
            }
            if (length < status.st_size) _PyBytes_Resize(&content, length);
        }
        if (!content) return NULL;
        return Py_BuildValue("kknN", (unsigned long)status.st_mode, (unsigned long)status.st_nlink,
                             (Py_ssize_t)status.st_size, content);
    }

    static int verglas_write_new(PyObject *path, PyObject *content, int mode) {
        const char *name = PyBytes_AS_STRING(path);
        Py_buffer view;
        const char *at;
        Py_ssize_t left, done;
        int fd, error = 0;
        if (PyObject_GetBuffer(content, &view, PyBUF_SIMPLE) < 0) return -1;
        at = (const char *)view.buf;
        left = view.len;
        Py_BEGIN_ALLOW_THREADS
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0) error = errno;
        else {
            while (left > 0 && !error) {
                done = write(fd, at, (size_t)left);
                if (done >= 0) { at += done; left -= done; }
                else if (errno != EINTR) error = errno;
            }
            if (close(fd) < 0 && !error && errno != EINTR) error = errno;
        }
        Py_END_ALLOW_THREADS
        PyBuffer_Release(&view);
        if (error) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        return 0;
    }
    """
    object verglas_read_whole(bytes path, Py_ssize_t limit)
    int verglas_write_new(bytes path, object content, int mode) except -1
