# The system calls of blob_sizes.py, one after the other and without the interpreter's lock.
cdef extern from *:
    """
    #include <dirent.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <unistd.h>

    typedef struct verglas_rows { unsigned char *data; size_t used, room; } verglas_rows;

    /* Reads a name's hexadecimal digits behind those that are there already; returns how many there are then, or -1. */
    static int verglas_digits(unsigned char digest[32], int count, const char *name) {
        for (; *name; name++, count++) {
            int digit = *name >= '0' && *name <= '9' ? *name - '0' : *name >= 'a' && *name <= 'f' ? *name - 'a' + 10 : -1;
            if (digit < 0 || count == 64) return -1;
            digest[count / 2] = count & 1 ? (digest[count / 2] & 0xf0) | digit : digit << 4;
        }
        return count;
    }

    /* The rows of one folder; 0 or an errno. Closes fd. */
    static int verglas_list_folder(int fd, unsigned char digest[32], int digits, int sizes, verglas_rows *rows) {
        DIR *folder = fdopendir(fd);
        struct dirent *entry;
        struct stat about;
        int error = 0;
        if (folder == NULL) {
            error = errno;
            close(fd);
            return error;
        }
        while (errno = 0, (entry = readdir(folder)) != NULL) {
            unsigned long long size = 0;
            int i;
            if (verglas_digits(digest, digits, entry->d_name) != 64) continue;
            if (sizes) {
                if (fstatat(fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW)) {
                    if (errno == ENOENT) continue;  /* removed meanwhile */
                    break;
                }
                size = S_ISREG(about.st_mode) ? (unsigned long long)about.st_size : ~0ULL;
            }
            if (rows->used + 40 > rows->room) {
                size_t room = rows->room * 2 + 65536;
                unsigned char *grown = (unsigned char *)realloc(rows->data, room);
                if (grown == NULL) {
                    errno = ENOMEM;
                    break;
                }
                rows->data = grown;
                rows->room = room;
            }
            memcpy(rows->data + rows->used, digest, 32);
            for (i = 0; i < 8; i++) rows->data[rows->used + 32 + i] = (unsigned char)(size >> 8 * i);
            rows->used += 40;
        }
        error = errno;
        closedir(folder);
        return error;
    }

    static int verglas_list_folders(const char *directory, int sizes, verglas_rows *rows) {
        DIR *top = opendir(directory);
        struct dirent *entry;
        unsigned char digest[32];
        int error;
        if (top == NULL) return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
        while (errno = 0, (entry = readdir(top)) != NULL) {
            int digits = verglas_digits(digest, 0, entry->d_name);
            int fd;
            if (digits < 0) continue;
            fd = openat(dirfd(top), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (fd < 0) {
                if (errno == ENOENT || errno == ENOTDIR) continue;
                break;
            }
            errno = verglas_list_folder(fd, digest, digits, sizes, rows);
            if (errno) break;
        }
        error = errno;
        closedir(top);
        return error;
    }

    static PyObject *verglas_list_blobs(PyObject *directory, int sizes) {
        verglas_rows rows = {NULL, 0, 0};
        const char *name = PyBytes_AsString(directory);
        PyObject *result = NULL;
        int error;
        if (name == NULL) return NULL;
        Py_BEGIN_ALLOW_THREADS
        error = verglas_list_folders(name, sizes, &rows);
        Py_END_ALLOW_THREADS
        if (error) {
            errno = error;
            PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
        } else {
            result = PyBytes_FromStringAndSize((char *)rows.data, (Py_ssize_t)rows.used);
        }
        free(rows.data);
        return result;
    }
    """
    object verglas_list_blobs(object directory, bint sizes)
