# The system calls of blob_sizes.py, one after the other and without the interpreter's lock.
cdef extern from *:
    """
    #include <dirent.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <unistd.h>

    typedef struct verglas_rows { unsigned char *data; size_t used, room; } verglas_rows;

    /* What a hexadecimal digit says, and 0x80 for everything else; filled when the module is imported. */
    static unsigned char verglas_hexadecimal[256];

    static void verglas_fill_hexadecimal(void) {
        int i;
        memset(verglas_hexadecimal, 0x80, 256);
        for (i = 0; i < 16; i++) verglas_hexadecimal[(unsigned char)"0123456789abcdef"[i]] = (unsigned char)i;
    }

    /* Reads a name's hexadecimal digits behind those that are there already; returns how many there are then, or -1. */
    static int verglas_digits(unsigned char digest[32], int count, const char *name) {
        unsigned char high, low;
        if (count & 1) {
            low = verglas_hexadecimal[(unsigned char)*name++];
            if (low & 0x80) return -1;
            digest[count / 2] = (digest[count / 2] & 0xf0) | low;
            count++;
        }
        for (; *name; name += 2, count += 2) {
            if (count == 64) return -1;
            high = verglas_hexadecimal[(unsigned char)name[0]];
            if (high & 0x80) return -1;
            if (!name[1]) {
                digest[count / 2] = high << 4;
                return count + 1;
            }
            low = verglas_hexadecimal[(unsigned char)name[1]];
            if (low & 0x80) return -1;
            digest[count / 2] = high << 4 | low;
        }
        return count;
    }

    static int verglas_compare_rows(const void *one, const void *other) {
        int order = memcmp(one, other, 8);  /* without a call; seldom equal */
        return order ? order : memcmp(one, other, 40);
    }

    /* Sorts rows and drops those that are there before; returns the bytes that are left. */
    static size_t verglas_sort_rows(unsigned char *data, size_t used) {
        size_t from, to = 0;
        qsort(data, used / 40, 40, verglas_compare_rows);
        for (from = 0; from < used; from += 40) {
            if (to && !memcmp(data + to - 40, data + from, 40)) continue;
            if (to != from) memcpy(data + to, data + from, 40);
            to += 40;
        }
        return to;
    }

    static PyObject *verglas_sorted_rows(PyObject *rows) {
        PyObject *result = PyBytes_FromStringAndSize(PyBytes_AS_STRING(rows), PyBytes_GET_SIZE(rows));
        if (result == NULL) return NULL;
        _PyBytes_Resize(&result, (Py_ssize_t)verglas_sort_rows(
            (unsigned char *)PyBytes_AS_STRING(result), (size_t)PyBytes_GET_SIZE(result)));
        return result;
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
        if (!error && rows.used) rows.used = verglas_sort_rows(rows.data, rows.used);
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
    object verglas_sorted_rows(object rows)
    void verglas_fill_hexadecimal()
