# Many blobs with one call: without Python's lock from the first to the last, their names looked up in open folders.
cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #define VERGLAS_DIGEST 32
    #define VERGLAS_AT_ONCE 256
    #define VERGLAS_NAME (2 * VERGLAS_DIGEST + 2)

    #define VERGLAS_WRITTEN 0
    #define VERGLAS_FOUND 1
    #define VERGLAS_REPLACES 2
    #define VERGLAS_ELSEWHERE 4

    /* What goes on where a signal came in between: its handler in Python has time until the call is over. */
    #define VERGLAS_AGAIN(result, call) do { result = (call); } while (result < 0 && errno == EINTR)

    /* `from` is where its contents are, or its name in the folder that it is moved from. */
    typedef struct { const char *digest; const char *from; Py_ssize_t size; int result; } verglas_file;

    /* The name of a blob in a folder where its first digits are a folder's, if there are any. */
    static void verglas_blob_name(char *at, const char *digest, int digits) {
        static const char hex[] = "0123456789abcdef";
        int index;
        for (index = 0; index < 2 * VERGLAS_DIGEST; index++) {
            int byte = ((const unsigned char *)digest)[index / 2];
            if (digits && index == digits) *at++ = '/';
            *at++ = hex[index % 2 ? byte & 15 : byte >> 4];
        }
        *at = 0;
    }

    static int verglas_open_folder(const char *path) {
        int fd;
        VERGLAS_AGAIN(fd, open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
        return fd;
    }

    /* The errno of what failed, or 0. */
    static int verglas_write_file(const verglas_file *file, int area, const char *name, int mode) {
        const char *at = file->from;
        Py_ssize_t left = file->size, done;
        int fd, error = 0;
        VERGLAS_AGAIN(fd, openat(area, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (fd < 0) return errno;
        while (left > 0 && !error) {
            VERGLAS_AGAIN(done, write(fd, at, (size_t)left));
            if (done < 0) error = errno;
            else { at += done; left -= done; }
        }
        if (close(fd) < 0 && errno != EINTR && !error) error = errno;
        return error;
    }

    /* As `take_over` in castore/taking_over.py. */
    static int verglas_move_file(verglas_file *file, int folder, int area, const char *name, int mode) {
        struct stat status;
        int result, fd, error = 0;
        VERGLAS_AGAIN(result, renameat(folder, file->from, area, name));
        if (result < 0 && errno == EXDEV) {
            file->result |= VERGLAS_ELSEWHERE;
            return 0;
        }
        if (result < 0) return errno;
        VERGLAS_AGAIN(fd, openat(area, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
        if (fd < 0) return errno;
        if (fstat(fd, &status) < 0) error = errno;
        else if (status.st_nlink != 1) error = EMLINK;
        else if (fchmod(fd, mode) < 0 || (geteuid() == 0 && fchown(fd, 0, 0) < 0)) error = errno;
        close(fd);
        return error;
    }

    static int verglas_put_file(verglas_file *file, int folder, int area, int blobs, int digits, int mode) {
        char name[VERGLAS_NAME], blob[VERGLAS_NAME];
        struct stat status;
        int result;
        verglas_blob_name(name, file->digest, 0);
        verglas_blob_name(blob, file->digest, digits);
        file->result = VERGLAS_WRITTEN;
        if (blobs >= 0) {
            VERGLAS_AGAIN(result, linkat(blobs, blob, area, name, 0));
            if (!result) {
                if (fstatat(area, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return errno;
                if (status.st_size == file->size) {
                    file->result = VERGLAS_FOUND;
                    return 0;
                }
                if (unlinkat(area, name, 0) < 0) return errno;
                file->result = VERGLAS_REPLACES;
            }
            /* Tens of thousands of additions at once: this one's becomes a second copy for a moment. */
            else if (errno != ENOENT && errno != EMLINK) return errno;
        }
        return folder < 0 ? verglas_write_file(file, area, name, mode) : verglas_move_file(file, folder, area, name, mode);
    }

    static void *verglas_raise(int error, PyObject *folder, const char *digest) {
        char name[VERGLAS_NAME];
        PyObject *path;
        verglas_blob_name(name, digest, 0);
        path = PyBytes_FromFormat("%s/%s", PyBytes_AS_STRING(folder), name);
        if (path) {
            errno = error;
            PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
            Py_DECREF(path);
        }
        return NULL;
    }

    /* Files whose contents are in `text`, or, where that is NULL, that are in `folder`. */
    static PyObject *verglas_put_all(const char *text, const char *folder, PyObject *files, PyObject *area,
                                     PyObject *blobs, int digits, int mode) {
        verglas_file each[VERGLAS_AT_ONCE];
        const char *area_path = PyBytes_AS_STRING(area), *blobs_path = PyBytes_AS_STRING(blobs);
        Py_ssize_t count = PyList_GET_SIZE(files), first, index, stop;
        PyObject *done = PyList_New(count);
        int folder_fd = -1, area_fd = -1, blobs_fd, error = 0;
        if (!done) return NULL;
        for (first = 0; first < count && !error; first = stop) {
            stop = first + VERGLAS_AT_ONCE < count ? first + VERGLAS_AT_ONCE : count;
            for (index = first; index < stop; index++) {
                PyObject *file = PyList_GET_ITEM(files, index), *from = PyTuple_GET_ITEM(file, 1);
                each[index - first].digest = PyBytes_AS_STRING(PyTuple_GET_ITEM(file, 0));
                each[index - first].from = text ? text + PyLong_AsSsize_t(from) : PyBytes_AS_STRING(from);
                each[index - first].size = PyLong_AsSsize_t(PyTuple_GET_ITEM(file, 2));
            }
            index = first;
            Py_BEGIN_ALLOW_THREADS
            if ((folder && (folder_fd = verglas_open_folder(folder)) < 0)
                || (area_fd = verglas_open_folder(area_path)) < 0) error = errno;
            else {
                blobs_fd = verglas_open_folder(blobs_path);  /* there is none before the first blob */
                while (index < stop && !(error = verglas_put_file(&each[index - first], folder_fd, area_fd, blobs_fd,
                                                                  digits, mode)))
                    index++;
                if (blobs_fd >= 0) close(blobs_fd);
            }
            if (area_fd >= 0) close(area_fd);
            if (folder_fd >= 0) close(folder_fd);
            area_fd = folder_fd = -1;
            Py_END_ALLOW_THREADS
            if (error) verglas_raise(error, area, each[index - first].digest);
            for (index = first; index < stop && !error; index++)
                PyList_SET_ITEM(done, index, PyLong_FromLong(each[index - first].result));  /* small, never NULL */
        }
        if (error) Py_CLEAR(done);
        return done;
    }

    static PyObject *verglas_write_all(PyObject *text, PyObject *files, PyObject *area, PyObject *blobs, int digits,
                                       int mode) {
        Py_buffer view;
        PyObject *done;
        if (PyObject_GetBuffer(text, &view, PyBUF_SIMPLE) < 0) return NULL;
        done = verglas_put_all((const char *)view.buf, NULL, files, area, blobs, digits, mode);
        PyBuffer_Release(&view);
        return done;
    }

    static PyObject *verglas_move_all(PyObject *folder, PyObject *files, PyObject *area, PyObject *blobs, int digits,
                                      int mode) {
        return verglas_put_all(NULL, PyBytes_AS_STRING(folder), files, area, blobs, digits, mode);
    }

    /* Call `one` with each name, from `start` on, until it fails: the place of that, and errno. */
    static Py_ssize_t verglas_with_each(PyObject *digests, Py_ssize_t start, PyObject *area, PyObject *blobs, int digits,
                                        int (*one)(int area, int blobs, const char *digest, int digits)) {
        const char *each[VERGLAS_AT_ONCE];
        const char *area_path = area ? PyBytes_AS_STRING(area) : NULL, *blobs_path = blobs ? PyBytes_AS_STRING(blobs) : NULL;
        Py_ssize_t count = PyList_GET_SIZE(digests), index = start, first, stop;
        int area_fd = -1, blobs_fd = -1, error = 0;
        while (index < count && !error) {
            first = index;
            stop = first + VERGLAS_AT_ONCE < count ? first + VERGLAS_AT_ONCE : count;
            for (; index < stop; index++) each[index - first] = PyBytes_AS_STRING(PyList_GET_ITEM(digests, index));
            index = first;
            Py_BEGIN_ALLOW_THREADS
            if ((area_path && (area_fd = verglas_open_folder(area_path)) < 0)
                || (blobs_path && (blobs_fd = verglas_open_folder(blobs_path)) < 0)) error = errno;
            while (index < stop && !error) {
                if (one(area_fd, blobs_fd, each[index - first], digits) < 0) error = errno;
                else index++;
            }
            if (area_fd >= 0) close(area_fd);
            if (blobs_fd >= 0) close(blobs_fd);
            area_fd = blobs_fd = -1;
            Py_END_ALLOW_THREADS
        }
        errno = error;
        return index;
    }

    static int verglas_link_one(int area, int blobs, const char *digest, int digits) {
        char name[VERGLAS_NAME], blob[VERGLAS_NAME];
        int result;
        verglas_blob_name(name, digest, 0);
        verglas_blob_name(blob, digest, digits);
        VERGLAS_AGAIN(result, linkat(area, name, blobs, blob, 0));
        return result < 0 && errno == EEXIST ? 0 : result;
    }

    static int verglas_unlink_one(int area, int blobs, const char *digest, int digits) {
        char name[VERGLAS_NAME];
        int result;
        verglas_blob_name(name, digest, 0);
        VERGLAS_AGAIN(result, unlinkat(area, name, 0));
        return result;
    }

    static int verglas_find_one(int area, int blobs, const char *digest, int digits) {
        char blob[VERGLAS_NAME];
        struct stat status;
        verglas_blob_name(blob, digest, digits);
        return fstatat(blobs, blob, &status, AT_SYMLINK_NOFOLLOW);
    }

    static Py_ssize_t verglas_link_all(PyObject *digests, Py_ssize_t start, PyObject *area, PyObject *blobs, int digits) {
        return verglas_with_each(digests, start, area, blobs, digits, verglas_link_one);
    }

    static Py_ssize_t verglas_first_missing(PyObject *digests, Py_ssize_t start, PyObject *blobs, int digits) {
        return verglas_with_each(digests, start, NULL, blobs, digits, verglas_find_one);
    }

    static int verglas_unlink_all(PyObject *digests, PyObject *area) {
        Py_ssize_t stop = verglas_with_each(digests, 0, area, NULL, 0, verglas_unlink_one);
        if (stop == PyList_GET_SIZE(digests)) return 0;
        verglas_raise(errno, area, PyBytes_AS_STRING(PyList_GET_ITEM(digests, stop)));
        return -1;
    }
    """
    object verglas_write_all(object text, list files, bytes area, bytes blobs, int digits, int mode)
    object verglas_move_all(bytes folder, list files, bytes area, bytes blobs, int digits, int mode)
    Py_ssize_t verglas_link_all(list digests, Py_ssize_t start, bytes area, bytes blobs, int digits)
    Py_ssize_t verglas_first_missing(list digests, Py_ssize_t start, bytes blobs, int digits)
    int verglas_unlink_all(list digests, bytes area) except -1
