# Walks the pages that page_scan.py describes. What a page says is compared with the sizes of the page and of the file
# before it is used. Only what makes objects needs the interpreter's lock.
cdef extern from *:
    """
    #include <errno.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #define VERGLAS_SCAN "verglas.scan"
    #define VERGLAS_DAMAGED (-1)       /* beside the numbers of errno */
    #define VERGLAS_DEEPEST 32         /* levels of a tree */
    #define VERGLAS_LARGEST_PAGE 65536 /* bytes */
    #define VERGLAS_PAGE_HEAD 16       /* u64 number of this page, u16, u16 kind, u16 and u16 where its free space is */
    #define VERGLAS_ENTRY_HEAD 8       /* u16, u16 low and high part of a size or a page, u16 more of it or flags, u16 */

    enum { VERGLAS_BRANCH = 1, VERGLAS_LEAF = 2, VERGLAS_OVERFLOW = 4, VERGLAS_KINDS = 0x6f };
    enum { VERGLAS_LARGE = 1 };        /* flag of a row: its value has pages of its own */
    typedef struct verglas_level { uint32_t at, count; } verglas_level;

    typedef struct verglas_scan {
        int fd, error;
        uint32_t page_size;
        uint64_t rows, pages, large_pages; /* that may still come, by the table's record and the size of the file */
        int depth, level;                  /* of the page that is looked at; -1 before the first and after the last */
        verglas_level levels[VERGLAS_DEEPEST];
        unsigned char *page;               /* one for each level, and behind them, of any size, a large value */
        unsigned char *large;
        size_t large_room;
        const unsigned char *key, *value;  /* of the row; a large value is NULL until it is asked for */
        uint32_t key_size, value_size;
        uint64_t value_page;
    } verglas_scan;

    static inline uint16_t verglas_u16(const unsigned char *at) { uint16_t number; memcpy(&number, at, 2); return number; }
    static inline uint32_t verglas_u32(const unsigned char *at) { uint32_t number; memcpy(&number, at, 4); return number; }
    static inline uint64_t verglas_u64(const unsigned char *at) { uint64_t number; memcpy(&number, at, 8); return number; }

    static int verglas_scan_fails(verglas_scan *scan, int error) {
        scan->error = error;
        return -1;
    }

    /* Reads from where a page begins, which has to say that it is that page; 0 or -1. */
    static int verglas_read_page(verglas_scan *scan, uint64_t number, unsigned char *page, size_t size) {
        ssize_t got;
        if (number >= INT64_MAX / VERGLAS_LARGEST_PAGE) return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        got = pread(scan->fd, page, size, (off_t)(number * scan->page_size));
        if (got < 0) return verglas_scan_fails(scan, errno);
        if ((size_t)got != size || verglas_u64(page) != number) return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        return 0;
    }

    /* Goes one level down, to a page; 0 or -1. */
    static int verglas_descend(verglas_scan *scan, uint64_t number) {
        int level = scan->level + 1;
        unsigned char *page = scan->page + (size_t)level * scan->page_size;
        uint32_t lower, upper;
        if (!scan->pages) return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        scan->pages--;
        if (verglas_read_page(scan, number, page, scan->page_size)) return -1;
        lower = verglas_u16(page + 12);
        upper = verglas_u16(page + 14);
        if ((verglas_u16(page + 10) & VERGLAS_KINDS) != (level == scan->depth - 1 ? VERGLAS_LEAF : VERGLAS_BRANCH)
            || lower < VERGLAS_PAGE_HEAD || lower > upper || upper > scan->page_size)
            return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        scan->level = level;
        scan->levels[level].at = 0;
        scan->levels[level].count = (lower - VERGLAS_PAGE_HEAD) / 2;
        return 0;
    }

    /* Takes an entry of a leaf as the row; 0 or -1. */
    static int verglas_take_row(verglas_scan *scan, const unsigned char *entry, uint32_t room) {
        uint16_t flags = verglas_u16(entry + 4);
        uint64_t held;
        scan->key_size = verglas_u16(entry + 6);
        scan->value_size = verglas_u16(entry) | (uint32_t)verglas_u16(entry + 2) << 16;
        held = flags & VERGLAS_LARGE ? 8 : scan->value_size;
        if (flags & ~VERGLAS_LARGE || VERGLAS_ENTRY_HEAD + scan->key_size + held > room || !scan->rows)
            return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        scan->rows--;
        scan->key = entry + VERGLAS_ENTRY_HEAD;
        scan->value = scan->key + scan->key_size;
        if (flags & VERGLAS_LARGE) {
            scan->value_page = verglas_u64(scan->value);
            scan->value = NULL;
        }
        return 0;
    }

    /* Goes to the next row: 1, 0 behind the last, -1 where something is wrong. */
    static int verglas_next_row(verglas_scan *scan) {
        if (scan->error) return -1;
        while (scan->level >= 0) {
            verglas_level *level = &scan->levels[scan->level];
            unsigned char *page = scan->page + (size_t)scan->level * scan->page_size;
            uint32_t offset;
            if (level->at == level->count) {
                scan->level--;
                continue;
            }
            offset = verglas_u16(page + VERGLAS_PAGE_HEAD + 2 * level->at++);
            if (offset < VERGLAS_PAGE_HEAD || offset + VERGLAS_ENTRY_HEAD > scan->page_size)
                return verglas_scan_fails(scan, VERGLAS_DAMAGED);
            page += offset;
            if (scan->level == scan->depth - 1)
                return verglas_take_row(scan, page, scan->page_size - offset) ? -1 : 1;
            if (verglas_descend(scan, verglas_u32(page) | (uint64_t)verglas_u16(page + 4) << 32)) return -1;
        }
        return scan->rows ? verglas_scan_fails(scan, VERGLAS_DAMAGED) : 0;
    }

    /* Has the value of the row at scan->value, large or not: 0 or -1. */
    static int verglas_load_value(verglas_scan *scan) {
        size_t size = VERGLAS_PAGE_HEAD + (size_t)scan->value_size;
        uint64_t pages = (size - 1) / scan->page_size + 1;
        if (scan->value != NULL) return 0;
        if (pages > scan->large_pages) return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        scan->large_pages -= pages;
        if (size > scan->large_room) {
            unsigned char *grown = (unsigned char *)realloc(scan->large, size * 2);
            if (grown == NULL) return verglas_scan_fails(scan, ENOMEM);
            scan->large = grown;
            scan->large_room = size * 2;
        }
        if (verglas_read_page(scan, scan->value_page, scan->large, size)) return -1;
        if ((verglas_u16(scan->large + 10) & VERGLAS_KINDS) != VERGLAS_OVERFLOW || verglas_u32(scan->large + 12) < pages)
            return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        scan->value = scan->large + VERGLAS_PAGE_HEAD;
        return 0;
    }

    static verglas_scan *verglas_scan_of(PyObject *capsule) {
        return (verglas_scan *)PyCapsule_GetPointer(capsule, VERGLAS_SCAN);
    }

    static void verglas_free_scan(PyObject *capsule) {
        verglas_scan *scan = verglas_scan_of(capsule);
        free(scan->page);
        free(scan->large);
        free(scan);
    }

    /* Goes before the first row of the table with this record; 0 or -1. */
    static int verglas_begin(verglas_scan *scan, const unsigned char *record) {
        uint64_t root = verglas_u64(record + 40), in_file;
        struct stat about;
        scan->level = -1;
        scan->depth = verglas_u16(record + 6);
        scan->rows = verglas_u64(record + 32);
        if (!scan->depth) return scan->rows || root != UINT64_MAX ? verglas_scan_fails(scan, VERGLAS_DAMAGED) : 0;
        if (scan->depth > VERGLAS_DEEPEST) return verglas_scan_fails(scan, VERGLAS_DAMAGED);
        if (fstat(scan->fd, &about)) return verglas_scan_fails(scan, errno);
        in_file = (uint64_t)about.st_size / scan->page_size;
        scan->pages = verglas_u64(record + 8) + verglas_u64(record + 16);
        scan->large_pages = verglas_u64(record + 24);
        if (scan->pages > in_file) scan->pages = in_file;
        if (scan->large_pages > in_file) scan->large_pages = in_file;
        scan->page = (unsigned char *)malloc((size_t)scan->depth * scan->page_size);
        if (scan->page == NULL) return verglas_scan_fails(scan, ENOMEM);
        return verglas_descend(scan, root);
    }

    /* A scan that is before its first row, or whose error the first step tells. */
    static PyObject *verglas_new_scan(int fd, unsigned page_size, PyObject *record) {
        verglas_scan *scan = (verglas_scan *)calloc(1, sizeof *scan);
        PyObject *capsule;
        if (scan == NULL) return PyErr_NoMemory();
        capsule = PyCapsule_New(scan, VERGLAS_SCAN, verglas_free_scan);
        if (capsule == NULL) {
            free(scan);
            return NULL;
        }
        scan->fd = fd;
        scan->page_size = page_size;
        verglas_begin(scan, (const unsigned char *)PyBytes_AS_STRING(record));
        return capsule;
    }

    /* What is wrong: an errno, or that the file is damaged. */
    static int verglas_scan_error(PyObject *capsule) {
        return verglas_scan_of(capsule)->error;
    }

    /* The row as (key, value); None where something is wrong with its value. */
    static PyObject *verglas_row(verglas_scan *scan) {
        if (verglas_load_value(scan)) Py_RETURN_NONE;
        return Py_BuildValue("y#y#", (const char *)scan->key, (Py_ssize_t)scan->key_size,
                             (const char *)scan->value, (Py_ssize_t)scan->value_size);
    }

    /* The next row as (key, value); None behind the last, and where something is wrong. */
    static PyObject *verglas_next(PyObject *capsule) {
        verglas_scan *scan = verglas_scan_of(capsule);
        if (verglas_next_row(scan) <= 0) Py_RETURN_NONE;
        return verglas_row(scan);
    }
    """
    ctypedef struct verglas_scan:
        pass
    object verglas_new_scan(int fd, unsigned page_size, bytes record)
    object verglas_next(object scan)
    int verglas_scan_error(object scan)
    int VERGLAS_DAMAGED
