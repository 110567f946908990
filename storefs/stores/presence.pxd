# What presence.py does with every row, on the pages themselves; trees.py describes the records.
from storefs.metadata.page_scan cimport verglas_scan  # the layout is there
from storefs.stores.blob_sizes cimport verglas_rows

cdef extern from *:
    """
    #define VERGLAS_ROWS_AT_ONCE 8192  /* until a signal is looked for */

    static uint64_t verglas_number(const unsigned char *data, size_t size) {
        uint64_t number = 0;
        size_t i;
        for (i = 0; i < size; i++) number = number << 8 | data[i];
        return number;
    }

    /* What the row of a node is, as presence.py numbers it; -1 where its value can't be read. */
    static int verglas_kind(verglas_scan *scan, uint32_t longest_link, int read) {
        uint32_t size = scan->value_size;
        int first;
        if (size < 89) return 0;
        if (size > longest_link) return 2;
        if (scan->value == NULL && !read && size != 89 + 32) return 5;
        if (verglas_load_value(scan)) return -1;
        first = scan->value[0];
        return first == 'I' ? 2 : first == 'L' ? 3 : first == 'B' && size == 89 + 32 ? 4 : 0;
    }

    /* Notes what the row of a node is, and the blob that it names; 0, an errno or, where the scan tells more, -1. */
    static int verglas_note_node(
        verglas_scan *scan, unsigned char *kinds, uint64_t limit, uint32_t longest_link, int sizes, verglas_rows *found
    ) {
        uint64_t inode = verglas_number(scan->key, scan->key_size);
        unsigned char row[40] = {0};
        int kind = 0;
        if (inode < limit) {
            kind = verglas_kind(scan, longest_link, 0);
            if (kind < 0) return -1;
            kinds[inode] = (unsigned char)(kind == 4 ? 2 : kind);
        }
        if (!kind) return verglas_add(&found[2], &inode, 8);
        if (kind != 4) return 0;
        memcpy(row, scan->value + 89, 32);
        if (sizes) memcpy(row + 32, scan->value + 9, 8);
        return verglas_add(&found[0], row, 40) || verglas_add(&found[1], &inode, 8) ? ENOMEM : 0;
    }

    /* The same for what was not read then. */
    static int verglas_note_unread(verglas_scan *scan, unsigned char *kinds, uint64_t limit, uint32_t longest_link) {
        uint64_t inode = verglas_number(scan->key, scan->key_size);
        int kind;
        if (inode >= limit || kinds[inode] != 5) return 0;
        kind = verglas_kind(scan, longest_link, 1);
        if (kind < 0) return -1;
        kinds[inode] = (unsigned char)(kind == 4 ? 2 : kind);
        return 0;
    }

    static int verglas_note_directory(verglas_scan *scan, unsigned char *kinds, uint64_t limit, verglas_rows *found) {
        uint64_t inode = verglas_number(scan->key, scan->key_size);
        if (inode >= limit) return verglas_add(&found[2], &inode, 8);
        kinds[inode] = 1;
        return 0;
    }

    static PyObject *verglas_bytes(verglas_rows *rows) {
        return PyBytes_FromStringAndSize((char *)rows->data, (Py_ssize_t)rows->used);
    }

    /* Notes in `kinds` what the rows of a scan are: `what` is that they are directories, nodes, or nodes of which some
       were not read. Returns the blobs that they name, the inodes of those nodes, and the inodes that were never given
       out or are nothing. */
    static PyObject *verglas_note(PyObject *capsule, PyObject *kinds, int what, Py_ssize_t longest_link, int sizes) {
        verglas_scan *scan = verglas_scan_of(capsule);
        unsigned char *known = (unsigned char *)PyByteArray_AS_STRING(kinds);
        uint64_t limit = (uint64_t)PyByteArray_GET_SIZE(kinds);
        verglas_rows found[3] = {{NULL, 0, 0}};
        PyObject *result = NULL;
        int error = 0, more = 1;
        while (more == 1 && !error && !PyErr_CheckSignals()) {
            Py_BEGIN_ALLOW_THREADS
            int left;
            for (left = VERGLAS_ROWS_AT_ONCE; left && !error && (more = verglas_next_row(scan)) == 1; left--)
                error = what == 1   ? verglas_note_directory(scan, known, limit, found)
                        : what == 5 ? verglas_note_unread(scan, known, limit, (uint32_t)longest_link)
                                    : verglas_note_node(scan, known, limit, (uint32_t)longest_link, sizes, found);
            Py_END_ALLOW_THREADS
        }
        if (error > 0) PyErr_NoMemory();
        if (!PyErr_Occurred())
            result = Py_BuildValue("NNN", verglas_bytes(&found[0]), verglas_bytes(&found[1]), verglas_bytes(&found[2]));
        for (more = 0; more < 3; more++) free(found[more].data);
        return result;
    }

    /* Whether a directory record is whole and what it names is what it says. */
    static int verglas_agree(const unsigned char *data, size_t size, const unsigned char *known, uint64_t limit) {
        uint64_t start, at, child, expected = 0;
        uint32_t count, i, offset, mode, length;
        int kind;
        if (size < 96) return 0;
        count = verglas_u32(data);
        start = 96 + ((4 * (uint64_t)count + 7) & ~7ULL);
        if (start > size) return 0;
        for (i = 0; i < count; i++) {
            offset = verglas_u32(data + 96 + 4 * (uint64_t)i);
            at = start + offset;
            if (offset != expected || at + 152 > size) return 0;
            child = verglas_u64(data + at);
            mode = verglas_u32(data + at + 100);
            length = verglas_u32(data + at + 144);
            if (length > 255 || at + 152 + length > size || child >= limit) return 0;
            kind = mode == 0100444 || mode == 0100555 ? 2 : mode == 0040555 ? 1 : mode == 0120777 ? 3 : 255;
            if (known[child] != kind && (known[child] != 5 || kind != 2)) return 0;
            expected = ((uint64_t)offset + 152 + length + 7) & ~7ULL;
        }
        return start + expected == size;
    }

    static int verglas_compare_keys(const void *one, const void *other) { return memcmp(one, other, 32); }

    /* The next row with a directory record or the key of a listing that are not as they should be, as (key, value); None
       behind the last. Keys of listings that are, `whole` gets, or else it has them. */
    static PyObject *verglas_next_odd(PyObject *capsule, PyObject *kinds, PyObject *whole, int listings) {
        verglas_scan *scan = verglas_scan_of(capsule);
        const unsigned char *known = (const unsigned char *)PyByteArray_AS_STRING(kinds);
        uint64_t limit = (uint64_t)PyByteArray_GET_SIZE(kinds);
        size_t before = (size_t)PyByteArray_GET_SIZE(whole);
        const char *keys = PyByteArray_AS_STRING(whole);
        verglas_rows found = {NULL, 0, 0};
        int error = 0, odd = 0, more = 1;
        while (more == 1 && !error && !odd && !PyErr_CheckSignals()) {
            Py_BEGIN_ALLOW_THREADS
            int left;
            for (left = VERGLAS_ROWS_AT_ONCE; left && !error && !odd && (more = verglas_next_row(scan)) == 1; left--) {
                if (verglas_load_value(scan)) error = -1;
                else if (!listings && scan->value_size == 32)
                    odd = !bsearch(scan->value, keys, before / 32, 32, verglas_compare_keys);
                else odd = !verglas_agree(scan->value, scan->value_size, known, limit);
                if (listings && !error && !odd && scan->key_size == 32) error = verglas_add(&found, scan->key, 32);
            }
            Py_END_ALLOW_THREADS
        }
        if (error > 0) PyErr_NoMemory();
        if (!PyErr_Occurred() && found.used && !PyByteArray_Resize(whole, (Py_ssize_t)(before + found.used)))
            memcpy(PyByteArray_AS_STRING(whole) + before, found.data, found.used);
        free(found.data);
        if (PyErr_Occurred()) return NULL;
        if (odd) return verglas_row(scan);
        Py_RETURN_NONE;
    }

    static uint64_t verglas_slot(const unsigned char *row) { return verglas_u64(row) * 0x9E3779B97F4A7C15ULL; }

    /* Whether rows of 40 bytes are the same, in whatever order and however often; 0 also where there is no memory. */
    static int verglas_are_same(const unsigned char *some, size_t some_size, const unsigned char *others, size_t others_size) {
        size_t slots = 64, distinct = 0, met = 0, i, slot;
        int shift = 58;
        uint32_t *table;  /* where a row of `others` begins, in rows, plus 1; the highest bit: is among `some` */
        if (others_size / 40 >= 1u << 30) return 0;
        for (; slots < others_size / 40 * 2; slots *= 2) shift--;
        table = (uint32_t *)calloc(slots, sizeof *table);
        if (table == NULL) return 0;
        for (i = 0; i < others_size; i += 40) {
            for (slot = verglas_slot(others + i) >> shift; table[slot]; slot = (slot + 1) & (slots - 1))
                if (!memcmp(others + (size_t)(table[slot] - 1) * 40, others + i, 40)) break;
            if (!table[slot]) {
                table[slot] = (uint32_t)(i / 40) + 1;
                distinct++;
            }
        }
        for (i = 0; i < some_size; i += 40) {
            const uint32_t mark = 1u << 31;
            for (slot = verglas_slot(some + i) >> shift; table[slot]; slot = (slot + 1) & (slots - 1))
                if (!memcmp(others + (size_t)((table[slot] & ~mark) - 1) * 40, some + i, 40)) break;
            if (!table[slot]) break;
            met += !(table[slot] & mark);
            table[slot] |= mark;
        }
        free(table);
        return i >= some_size && met == distinct;
    }

    static int verglas_same_rows(PyObject *some, PyObject *others) {
        int same;
        Py_BEGIN_ALLOW_THREADS
        same = verglas_are_same((const unsigned char *)PyBytes_AS_STRING(some), (size_t)PyBytes_GET_SIZE(some),
                                (const unsigned char *)PyBytes_AS_STRING(others), (size_t)PyBytes_GET_SIZE(others));
        Py_END_ALLOW_THREADS
        return same;
    }
    """
    object verglas_note(object scan, bytearray kinds, int what, Py_ssize_t longest_link, bint sizes)
    object verglas_next_odd(object scan, bytearray kinds, bytearray whole, bint listings)
    bint verglas_same_rows(bytes some, bytes others)
