# BLAKE3 of many small contents with one call and without Python's lock: chunks of all of them side by side, eight in
# the lanes of a vector.  Written from the paper of BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2021), section 2.
cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #define VERGLAS_LANES 8
    #define VERGLAS_BLOCK 64
    #define VERGLAS_CHUNK 1024
    #define VERGLAS_VALUE 32

    enum { VERGLAS_CHUNK_START = 1, VERGLAS_CHUNK_END = 2, VERGLAS_PARENT = 4, VERGLAS_ROOT = 8 };

    typedef uint32_t verglas_lanes __attribute__((vector_size(4 * VERGLAS_LANES)));
    typedef union { uint32_t each[VERGLAS_LANES]; verglas_lanes all; } verglas_words;

    /* What becomes one chaining value: a chunk, or a parent, whose only block is the values of its children. */
    typedef struct {
        const unsigned char *bytes;
        unsigned char *value;
        uint32_t length, counter, always, first, last;  /* flags of every block, of the first and of the last one */
    } verglas_node;

    typedef struct {
        verglas_node nodes[VERGLAS_LANES];
        int count;
    } verglas_batch;

    static const uint32_t verglas_start[8] = {
        0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
    };

    /* The words of a block in the order of each round. */
    static const unsigned char verglas_order[7][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
        {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1}, {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
        {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4}, {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
        {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
    };

    #define VERGLAS_TURN(x, n) ((x) = (x) >> (n) | (x) << (32 - (n)))
    #define VERGLAS_MIX(a, b, c, d, m) do { \\
        a += b + words[order[m]].all; d ^= a; VERGLAS_TURN(d, 16); c += d; b ^= c; VERGLAS_TURN(b, 12); \\
        a += b + words[order[m + 1]].all; d ^= a; VERGLAS_TURN(d, 8); c += d; b ^= c; VERGLAS_TURN(b, 7); \\
    } while (0)
    #define VERGLAS_NEXT(place, low, high) \\
        value[place].all = ((low ^ high) & live->all) | (value[place].all & ~live->all)

    /* One block into the values of all lanes that are live. */
    static inline __attribute__((always_inline)) void verglas_mix_block(
        verglas_words *value, const verglas_words *words, const verglas_words *counter, const verglas_words *length,
        const verglas_words *flags, const verglas_words *live
    ) {
        const unsigned char *order = verglas_order[0];
        const verglas_lanes zero = {0};
        verglas_lanes s0 = value[0].all, s1 = value[1].all, s2 = value[2].all, s3 = value[3].all;
        verglas_lanes s4 = value[4].all, s5 = value[5].all, s6 = value[6].all, s7 = value[7].all;
        verglas_lanes s8 = zero + verglas_start[0], s9 = zero + verglas_start[1];
        verglas_lanes s10 = zero + verglas_start[2], s11 = zero + verglas_start[3];
        verglas_lanes s12 = counter->all, s13 = zero, s14 = length->all, s15 = flags->all;
        for (; order < verglas_order[0] + sizeof verglas_order; order += 16) {
            VERGLAS_MIX(s0, s4, s8, s12, 0);
            VERGLAS_MIX(s1, s5, s9, s13, 2);
            VERGLAS_MIX(s2, s6, s10, s14, 4);
            VERGLAS_MIX(s3, s7, s11, s15, 6);
            VERGLAS_MIX(s0, s5, s10, s15, 8);
            VERGLAS_MIX(s1, s6, s11, s12, 10);
            VERGLAS_MIX(s2, s7, s8, s13, 12);
            VERGLAS_MIX(s3, s4, s9, s14, 14);
        }
        VERGLAS_NEXT(0, s0, s8);
        VERGLAS_NEXT(1, s1, s9);
        VERGLAS_NEXT(2, s2, s10);
        VERGLAS_NEXT(3, s3, s11);
        VERGLAS_NEXT(4, s4, s12);
        VERGLAS_NEXT(5, s5, s13);
        VERGLAS_NEXT(6, s6, s14);
        VERGLAS_NEXT(7, s7, s15);
    }

    /* The values of up to eight nodes. */
    static inline __attribute__((always_inline)) void verglas_compress(const verglas_node *nodes, int count) {
        verglas_words words[16], value[8], counter, length, flags, live;
        unsigned char padded[VERGLAS_BLOCK], *to;
        uint32_t blocks[VERGLAS_LANES], most = 0, block, size, each;
        const unsigned char *at;
        int lane, word;
        memset(words, 0, sizeof words);
        memset(&counter, 0, sizeof counter);
        length = flags = live = counter;
        for (word = 0; word < 8; word++)
            for (lane = 0; lane < VERGLAS_LANES; lane++) value[word].each[lane] = verglas_start[word];
        for (lane = 0; lane < count; lane++) {
            blocks[lane] = nodes[lane].length ? (nodes[lane].length + VERGLAS_BLOCK - 1) / VERGLAS_BLOCK : 1;
            if (blocks[lane] > most) most = blocks[lane];
            counter.each[lane] = nodes[lane].counter;
        }
        for (block = 0; block < most; block++) {
            for (lane = 0; lane < count; lane++) {
                live.each[lane] = block < blocks[lane] ? ~(uint32_t)0 : 0;
                if (block >= blocks[lane]) continue;
                at = nodes[lane].bytes + block * VERGLAS_BLOCK;
                size = VERGLAS_BLOCK;
                flags.each[lane] = nodes[lane].always | (block ? 0 : nodes[lane].first);
                if (block + 1 == blocks[lane]) {
                    flags.each[lane] |= nodes[lane].last;
                    size = nodes[lane].length - block * VERGLAS_BLOCK;
                    if (size < VERGLAS_BLOCK) {
                        memset(padded, 0, sizeof padded);
                        memcpy(padded, at, size);
                        at = padded;
                    }
                }
                length.each[lane] = size;
                for (word = 0; word < 16; word++, at += 4)
                    words[word].each[lane] = at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
            }
            verglas_mix_block(value, words, &counter, &length, &flags, &live);
        }
        for (lane = 0; lane < count; lane++)
            for (word = 0; word < 8; word++) {
                to = nodes[lane].value + 4 * word;
                each = value[word].each[lane];
                to[0] = (unsigned char)each;
                to[1] = (unsigned char)(each >> 8);
                to[2] = (unsigned char)(each >> 16);
                to[3] = (unsigned char)(each >> 24);
            }
    }

    static void verglas_compress_anywhere(const verglas_node *nodes, int count) { verglas_compress(nodes, count); }

    #if defined(__x86_64__)
    __attribute__((target("avx2"))) static void verglas_compress_wide(const verglas_node *nodes, int count) {
        verglas_compress(nodes, count);
    }
    #endif

    static void verglas_flush(verglas_batch *batch) {
        #if defined(__x86_64__)
        if (__builtin_cpu_supports("avx2")) verglas_compress_wide(batch->nodes, batch->count);
        else
        #endif
        verglas_compress_anywhere(batch->nodes, batch->count);
        batch->count = 0;
    }

    static void verglas_add_node(verglas_batch *batch, const unsigned char *bytes, unsigned char *value, uint32_t length,
                                 uint32_t counter, uint32_t always, uint32_t first, uint32_t last) {
        verglas_node *node = &batch->nodes[batch->count++];
        node->bytes = bytes;
        node->value = value;
        node->length = length;
        node->counter = counter;
        node->always = always;
        node->first = first;
        node->last = last;
        if (batch->count == VERGLAS_LANES) verglas_flush(batch);
    }

    static Py_ssize_t verglas_chunks(Py_ssize_t size) { return size ? (size + VERGLAS_CHUNK - 1) / VERGLAS_CHUNK : 1; }

    /* The digests of `count` contents in `text`, each beginning at `starts` and of `sizes` bytes.  `values` and `room`
       have a place for the value of each chunk; in the one that is returned the digest of a content is in the place of
       its first.  `lefts` has room for a number of each content. */
    static unsigned char *verglas_digest_parts(const unsigned char *text, Py_ssize_t count, const Py_ssize_t *starts,
                                     const Py_ssize_t *sizes, Py_ssize_t *lefts, unsigned char *values,
                                     unsigned char *room) {
        verglas_batch full, cut;  /* chunks that are as long as they may be, which no lane waits for, and others */
        Py_ssize_t index, chunk, chunks, size;
        unsigned char *from, *to;
        int again = 1;
        full.count = cut.count = 0;
        for (index = 0, to = values; index < count; index++) {
            lefts[index] = chunks = verglas_chunks(sizes[index]);
            for (chunk = 0; chunk < chunks; chunk++, to += VERGLAS_VALUE) {
                size = sizes[index] - chunk * VERGLAS_CHUNK;
                if (size > VERGLAS_CHUNK) size = VERGLAS_CHUNK;
                verglas_add_node(size == VERGLAS_CHUNK ? &full : &cut, text + starts[index] + chunk * VERGLAS_CHUNK, to,
                                 (uint32_t)size, (uint32_t)chunk, 0, VERGLAS_CHUNK_START,
                                 VERGLAS_CHUNK_END | (chunks == 1 ? VERGLAS_ROOT : 0));
            }
        }
        if (full.count) verglas_flush(&full);
        if (cut.count) verglas_flush(&cut);
        while (again) {  /* one level of all trees: pairs get a parent, one that is left over goes up as it is */
            again = 0;
            for (index = 0, from = values, to = room; index < count; index++) {
                for (chunk = 0; chunk + 1 < lefts[index]; chunk += 2)
                    verglas_add_node(&full, from + chunk * VERGLAS_VALUE, to + chunk / 2 * VERGLAS_VALUE, VERGLAS_BLOCK, 0,
                                     VERGLAS_PARENT, 0, lefts[index] == 2 ? VERGLAS_ROOT : 0);
                if (chunk < lefts[index])
                    memcpy(to + chunk / 2 * VERGLAS_VALUE, from + chunk * VERGLAS_VALUE, VERGLAS_VALUE);
                lefts[index] = (lefts[index] + 1) / 2;
                if (lefts[index] > 1) again = 1;
                chunks = verglas_chunks(sizes[index]);
                from += chunks * VERGLAS_VALUE;
                to += chunks * VERGLAS_VALUE;
            }
            if (full.count) verglas_flush(&full);
            from = values;
            values = room;
            room = from;
        }
        return values;
    }

    /* A list of the digests of those files in `text` that are no larger than `limit`, and None for others. */
    static PyObject *verglas_digest_files(PyObject *text, PyObject *files, Py_ssize_t limit) {
        const Py_ssize_t count = PyList_GET_SIZE(files);
        Py_ssize_t index, size, chunks = 0, wanted = 0, *numbers = PyMem_Malloc((3 * (size_t)count + 1) * sizeof *numbers);
        Py_ssize_t *starts = numbers, *sizes = numbers + count, *lefts = numbers + 2 * count;
        unsigned char *values = NULL, *found;
        PyObject *digests = PyList_New(count), *digest;
        Py_buffer view;
        if (PyObject_GetBuffer(text, &view, PyBUF_SIMPLE) < 0) view.obj = NULL;
        if (numbers && digests && view.obj) {
            for (index = 0; index < count; index++) {
                size = PyLong_AsSsize_t(PyTuple_GET_ITEM(PyList_GET_ITEM(files, index), 2));
                if (size > limit) continue;
                sizes[wanted] = size;
                starts[wanted++] = PyLong_AsSsize_t(PyTuple_GET_ITEM(PyList_GET_ITEM(files, index), 3));
                chunks += verglas_chunks(size);
            }
            values = PyMem_Malloc(2 * VERGLAS_VALUE * (size_t)chunks + 1);
        }
        if (values) {
            Py_BEGIN_ALLOW_THREADS
            found = verglas_digest_parts(view.buf, wanted, starts, sizes, lefts, values, values + VERGLAS_VALUE * chunks);
            Py_END_ALLOW_THREADS
            for (index = 0; index < count; index++) {
                size = PyLong_AsSsize_t(PyTuple_GET_ITEM(PyList_GET_ITEM(files, index), 2));
                if (size > limit) digest = Py_NewRef(Py_None);
                else {
                    digest = PyBytes_FromStringAndSize((const char *)found, VERGLAS_VALUE);
                    found += VERGLAS_VALUE * verglas_chunks(size);
                    if (!digest) Py_CLEAR(digests);
                    if (!digest) break;
                }
                PyList_SET_ITEM(digests, index, digest);
            }
        }
        else {
            Py_CLEAR(digests);
            if (!PyErr_Occurred()) PyErr_NoMemory();
        }
        if (view.obj) PyBuffer_Release(&view);
        PyMem_Free(values);
        PyMem_Free(numbers);
        return digests;
    }
    """
    list verglas_digest_files(object text, list files, Py_ssize_t limit)
