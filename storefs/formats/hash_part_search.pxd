# The search itself: without Python's lock, so that another thread goes on meanwhile.
cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #define VERGLAS_PART 32

    static unsigned char verglas_base32[256];

    static uint64_t verglas_slot(const unsigned char *part) {
        uint64_t word;
        memcpy(&word, part, 8);
        return (word * 0x9E3779B97F4A7C15u) >> 32;
    }

    /* Fill `table`, numbers of 4 bytes, a power of two of them that is more than the parts: 0, or 1 + the place of a part. */
    static int verglas_index_parts(PyObject *table, PyObject *parts) {
        uint32_t *slots = (uint32_t *)PyByteArray_AS_STRING(table);
        uint64_t mask = (uint64_t)PyByteArray_GET_SIZE(table) / 4 - 1, at;
        const unsigned char *part = (const unsigned char *)PyBytes_AS_STRING(parts);
        uint32_t number, count = (uint32_t)(PyBytes_GET_SIZE(parts) / VERGLAS_PART);
        const char *each;
        for (each = "0123456789abcdfghijklmnpqrsvwxyz"; *each; each++) verglas_base32[(unsigned char)*each] = 1;
        for (number = 1; number <= count; number++, part += VERGLAS_PART) {
            for (at = verglas_slot(part) & mask; slots[at]; at = (at + 1) & mask);
            slots[at] = number;
        }
        return 0;
    }

    /* Set the bytes of `seen` whose parts are in `data`; return whether one was not set before. */
    static int verglas_search_parts(PyObject *data, PyObject *table, PyObject *parts, PyObject *seen) {
        const uint32_t *slots = (const uint32_t *)PyByteArray_AS_STRING(table);
        const uint64_t mask = (uint64_t)PyByteArray_GET_SIZE(table) / 4 - 1;
        const unsigned char *wanted = (const unsigned char *)PyBytes_AS_STRING(parts);
        unsigned char *found = (unsigned char *)PyByteArray_AS_STRING(seen);
        const unsigned char *start, *end;
        Py_ssize_t known = 0;  /* how many characters from `start` on are of the alphabet, for certain */
        Py_ssize_t place;
        uint64_t at;
        int more = 0;
        Py_buffer view;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return -1;
        Py_BEGIN_ALLOW_THREADS
        start = (const unsigned char *)view.buf;
        end = start + view.len;
        while (end - start >= VERGLAS_PART) {
            for (place = VERGLAS_PART - 1; place >= known && verglas_base32[start[place]]; place--);
            if (place >= known) {  /* no part contains this byte: the next look is behind it */
                known = VERGLAS_PART - 1 - place;
                start += place + 1;
                continue;
            }
            for (at = verglas_slot(start) & mask; slots[at]; at = (at + 1) & mask) {
                if (!memcmp(wanted + (size_t)(slots[at] - 1) * VERGLAS_PART, start, VERGLAS_PART)) {
                    more |= !found[slots[at] - 1];
                    found[slots[at] - 1] = 1;
                }
            }
            known = VERGLAS_PART - 1;
            start++;
        }
        Py_END_ALLOW_THREADS
        PyBuffer_Release(&view);
        return more;
    }
    """
    int verglas_index_parts(object table, object parts) except -1
    int verglas_search_parts(object data, object table, object parts, object seen) except -1
