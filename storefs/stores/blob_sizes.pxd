# The system calls of blob_sizes.py, one after the other and without the interpreter's lock.
cdef extern from *:
    """
    #include <dirent.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <sched.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #define VERGLAS_LISTING "verglas.listing"
    #define VERGLAS_STOPPED ((size_t)-1 / 2)
    #define VERGLAS_FILES_AT_ONCE 1024  /* until somebody may have stopped it */

    typedef struct verglas_rows { unsigned char *data; size_t used, room; } verglas_rows;

    /* A listing under way. `next` is the first folder that nobody has taken, or VERGLAS_STOPPED, and every thread's to
       change; all else is changed with the interpreter's lock only. */
    typedef struct verglas_listing {
        PyObject *path;
        DIR *directory;
        char (*folders)[65];
        size_t count, next;
        int sizes, processor;
        verglas_rows rows;
    } verglas_listing;

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

    /* Adds bytes; 0 or an errno. */
    static int verglas_add(verglas_rows *rows, const void *data, size_t size) {
        if (rows->used + size > rows->room) {
            size_t room = (rows->used + size) * 2 + 65536;
            unsigned char *grown = (unsigned char *)realloc(rows->data, room);
            if (grown == NULL) return ENOMEM;
            rows->data = grown;
            rows->room = room;
        }
        memcpy(rows->data + rows->used, data, size);
        rows->used += size;
        return 0;
    }

    static void verglas_free_listing(PyObject *capsule) {
        verglas_listing *listing = (verglas_listing *)PyCapsule_GetPointer(capsule, VERGLAS_LISTING);
        Py_DECREF(listing->path);
        if (listing->directory != NULL) closedir(listing->directory);
        free(listing->folders);
        free(listing->rows.data);
        free(listing);
    }

    /* Opens the directory and notes its folders; 0 or an errno. */
    static int verglas_find_folders(verglas_listing *listing, const char *directory) {
        verglas_rows names = {NULL, 0, 0};
        struct dirent *entry;
        unsigned char digest[32];
        int error = 0;
        listing->directory = opendir(directory);
        if (listing->directory == NULL) return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
        while (!error && (errno = 0, entry = readdir(listing->directory)) != NULL) {
            char name[65] = {0};
            if (verglas_digits(digest, 0, entry->d_name) < 0) continue;
            memcpy(name, entry->d_name, strlen(entry->d_name));
            error = verglas_add(&names, name, sizeof name);
        }
        listing->folders = (char (*)[65])names.data;
        listing->count = names.used / sizeof listing->folders[0];
        return error ? error : errno;
    }

    static PyObject *verglas_listing_failed(verglas_listing *listing, int error) {
        listing->next = VERGLAS_STOPPED;
        errno = error;
        if (error > 0) return PyErr_SetFromErrnoWithFilename(PyExc_OSError, PyBytes_AS_STRING(listing->path));
        if (PyErr_Occurred()) return NULL;
        Py_RETURN_NONE;
    }

    static PyObject *verglas_open_listing(PyObject *path, int sizes) {
        verglas_listing *listing = (verglas_listing *)calloc(1, sizeof *listing);
        PyObject *result;
        int error;
        if (listing == NULL) return PyErr_NoMemory();
        result = PyCapsule_New(listing, VERGLAS_LISTING, verglas_free_listing);
        if (result == NULL) {
            free(listing);
            return NULL;
        }
        Py_INCREF(path);
        listing->path = path;
        listing->sizes = sizes;
        listing->processor = sched_getcpu();
        error = verglas_find_folders(listing, PyBytes_AS_STRING(path));
        if (!error) return result;
        verglas_listing_failed(listing, error);
        Py_DECREF(result);
        return NULL;
    }

    /* What is to be done now and then, in any thread: -1 where a signal's handler raised, or the listing was stopped. */
    static int verglas_look_up(verglas_listing *listing, PyThreadState **state) {
        int stopped;
        PyEval_RestoreThread(*state);
        stopped = PyErr_CheckSignals() || listing->next >= VERGLAS_STOPPED;
        *state = PyEval_SaveThread();
        return stopped ? -1 : 0;
    }

    /* The row of one file behind those that are there: 0, also where it is no blob or none any more, or an errno. */
    static int verglas_list_file(
        verglas_rows *rows, int folder, unsigned char row[40], int digits, const char *name, int sizes
    ) {
        unsigned long long size = 0;
        struct stat about;
        int i;
        if (verglas_digits(row, digits, name) != 64) return 0;
        if (sizes) {
            if (fstatat(folder, name, &about, AT_SYMLINK_NOFOLLOW)) return errno == ENOENT ? 0 : errno;
            size = S_ISREG(about.st_mode) ? (unsigned long long)about.st_size : ~0ULL;
        }
        for (i = 0; i < 8; i++) row[32 + i] = (unsigned char)(size >> 8 * i);
        return verglas_add(rows, row, 40);
    }

    /* The rows of one folder: 0, an errno, or -1 as above. */
    static int verglas_list_folder(
        verglas_listing *listing, const char *name, verglas_rows *rows, PyThreadState **state
    ) {
        int fd = openat(dirfd(listing->directory), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *folder;
        struct dirent *entry;
        unsigned char row[40];
        unsigned seen = 0;
        int error = 0, digits = verglas_digits(row, 0, name);
        if (fd < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : errno;
        folder = fdopendir(fd);
        if (folder == NULL) {
            error = errno;
            close(fd);
            return error;
        }
        while (!error) {
            if (++seen % VERGLAS_FILES_AT_ONCE == 0 && (error = verglas_look_up(listing, state)) != 0) break;
            errno = 0;
            entry = readdir(folder);
            if (entry == NULL) {
                error = errno;
                break;
            }
            error = verglas_list_file(rows, fd, row, digits, entry->d_name, listing->sizes);
        }
        closedir(folder);
        return error;
    }

    /* Takes this thread from the processor of the one that began the listing. Threads of a process are made there, and
       share it, until the kernel balances them, for longer than most listings take. */
    static PyObject *verglas_step_aside(PyObject *capsule) {
        verglas_listing *listing = (verglas_listing *)PyCapsule_GetPointer(capsule, VERGLAS_LISTING);
        cpu_set_t processors;
        if (listing == NULL) return NULL;
        if (listing->processor >= 0 && listing->processor < CPU_SETSIZE
            && !sched_getaffinity(0, sizeof processors, &processors)) {
            CPU_CLR(listing->processor, &processors);
            if (CPU_COUNT(&processors)) sched_setaffinity(0, sizeof processors, &processors);
        }
        Py_RETURN_NONE;
    }

    /* Lists the folders that nobody has taken, until none is left; in any thread. */
    static PyObject *verglas_help(PyObject *capsule) {
        verglas_listing *listing = (verglas_listing *)PyCapsule_GetPointer(capsule, VERGLAS_LISTING);
        verglas_rows rows = {NULL, 0, 0};
        PyThreadState *state;
        int error = 0;
        size_t index;
        if (listing == NULL) return NULL;
        state = PyEval_SaveThread();
        while (!error && (index = __atomic_fetch_add(&listing->next, 1, __ATOMIC_RELAXED)) < listing->count)
            error = verglas_list_folder(listing, listing->folders[index], &rows, &state);
        PyEval_RestoreThread(state);
        if (!error) {
            if (listing->rows.data == NULL) {
                listing->rows = rows;
                rows.data = NULL;
            } else {
                error = verglas_add(&listing->rows, rows.data, rows.used);
            }
        }
        free(rows.data);
        if (error) return verglas_listing_failed(listing, error);
        Py_RETURN_NONE;
    }

    /* Leaves the folders that nobody has taken; in any thread. */
    static PyObject *verglas_stop(PyObject *capsule) {
        verglas_listing *listing = (verglas_listing *)PyCapsule_GetPointer(capsule, VERGLAS_LISTING);
        if (listing == NULL) return NULL;
        return verglas_listing_failed(listing, -1);
    }

    static PyObject *verglas_listed(PyObject *capsule) {
        verglas_listing *listing = (verglas_listing *)PyCapsule_GetPointer(capsule, VERGLAS_LISTING);
        if (listing == NULL) return NULL;
        return PyBytes_FromStringAndSize((char *)listing->rows.data, (Py_ssize_t)listing->rows.used);
    }
    """
    ctypedef struct verglas_rows:
        pass
    object verglas_open_listing(object directory, bint sizes)
    object verglas_step_aside(object listing)
    object verglas_help(object listing)
    object verglas_stop(object listing)
    object verglas_listed(object listing)
    void verglas_fill_hexadecimal()
