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
        Py_ssize_t length;
        PyObject *content;
        int fd, error, fits;
        do {  /* anew where a signal came in between, after its handler in Python, as PEP 475 has it for each call */
            content = NULL;
            length = error = fits = 0;
            Py_BEGIN_ALLOW_THREADS
            fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
            if (fd < 0) error = errno;
            else if (fstat(fd, &status) < 0) { error = errno; close(fd); }
            else if (!(fits = S_ISREG(status.st_mode) && status.st_size <= limit)) close(fd);
            else if (status.st_size <= VERGLAS_SMALL) error = verglas_read_and_close(fd, buffer, status.st_size, &length);
            Py_END_ALLOW_THREADS
            if (error) continue;
            if (!fits) Py_RETURN_NONE;
            if (status.st_size <= VERGLAS_SMALL) content = PyBytes_FromStringAndSize(buffer, length);
            else if (!(content = PyBytes_FromStringAndSize(NULL, status.st_size))) close(fd);
            else {
                char *target = PyBytes_AS_STRING(content);
                Py_BEGIN_ALLOW_THREADS
                error = verglas_read_and_close(fd, target, status.st_size, &length);
                Py_END_ALLOW_THREADS
                if (error) Py_CLEAR(content);
                else if (length < status.st_size) _PyBytes_Resize(&content, length);
            }
        } while (error == EINTR && PyErr_CheckSignals() == 0);
        if (error && !PyErr_Occurred()) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
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
        int fd = -1, error;
        if (PyObject_GetBuffer(content, &view, PyBUF_SIMPLE) < 0) return -1;
        at = (const char *)view.buf;
        left = view.len;
        do {  /* goes on where a signal came in between, as above */
            error = 0;
            Py_BEGIN_ALLOW_THREADS
            if (fd < 0) fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
            if (fd < 0) error = errno;
            while (left > 0 && !error) {
                done = write(fd, at, (size_t)left);
                if (done >= 0) { at += done; left -= done; }
                else error = errno;
            }
            if (!error) {
                if (close(fd) < 0 && errno != EINTR) error = errno;
                fd = -1;
            }
            Py_END_ALLOW_THREADS
        } while (error == EINTR && PyErr_CheckSignals() == 0);
        if (fd >= 0) close(fd);
        PyBuffer_Release(&view);
        if (!error) return 0;
        if (!PyErr_Occurred()) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
        }
        return -1;
    }
    """
    object verglas_read_whole(bytes path, Py_ssize_t limit)
    int verglas_write_new(bytes path, object content, int mode) except -1
