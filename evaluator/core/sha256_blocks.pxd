# The compression function of SHA-256 (FIPS 180-4, 6.2.2) with the instructions that processors of x86-64 have for it.
cdef extern from *:
    """
    #include <stdint.h>

    typedef struct {
        uint32_t h[8];
        uint64_t length;          /* bytes so far; the last length % 64 of them wait in `rest` */
        unsigned char rest[64];
    } verglas_sha256;

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <cpuid.h>
    #include <immintrin.h>

    static const uint32_t verglas_sha256_k[64] __attribute__((aligned(16))) = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };

    static int verglas_sha256_works(void) {
        unsigned int a, b, c, d, features;
        if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return 0;
        features = 0;
        if (!__get_cpuid_count(7, 0, &a, &features, &c, &d)) return 0;
        return (features >> 29) & 1;
    }

    __attribute__((target("sha,sse4.1,ssse3")))
    static void verglas_sha256_blocks(verglas_sha256 *state, const unsigned char *data, size_t count) {
        const __m128i bytes = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
        __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state->h), 0xb1);        /* b a d c */
        __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state->h + 4)), 0x1b); /* h g f e */
        __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);
        while (count--) {
            const __m128i abef_before = abef, cdgh_before = cdgh;
            __m128i w[4];
            int i;
            for (i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)data + i), bytes);
    #pragma GCC unroll 16
            for (i = 0; i < 16; i++) {
                __m128i sum;
                if (i >= 4) {
                    sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]),
                                        _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
                    w[i & 3] = _mm_sha256msg2_epu32(sum, w[(i + 3) & 3]);
                }
                sum = _mm_add_epi32(w[i & 3], _mm_load_si128((const __m128i *)verglas_sha256_k + i));
                cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
                abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
            }
            abef = _mm_add_epi32(abef, abef_before);
            cdgh = _mm_add_epi32(cdgh, cdgh_before);
            data += 64;
        }
        low = _mm_shuffle_epi32(abef, 0x1b);  /* a b e f */
        high = _mm_shuffle_epi32(cdgh, 0xb1); /* d c h g */
        _mm_storeu_si128((__m128i *)state->h, _mm_blend_epi16(low, high, 0xf0));
        _mm_storeu_si128((__m128i *)(state->h + 4), _mm_alignr_epi8(high, low, 8));
    }
    #else
    static int verglas_sha256_works(void) { return 0; }
    static void verglas_sha256_blocks(verglas_sha256 *state, const unsigned char *data, size_t count) {}
    #endif

    static void verglas_sha256_begin(verglas_sha256 *state) {
        static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
        memcpy(state->h, first, sizeof first);
        state->length = 0;
    }

    static void verglas_sha256_more(verglas_sha256 *state, const unsigned char *data, size_t size) {
        size_t waiting = state->length % 64, whole;
        state->length += size;
        if (waiting) {
            size_t part = 64 - waiting < size ? 64 - waiting : size;
            memcpy(state->rest + waiting, data, part);
            if (waiting + part < 64) return;
            verglas_sha256_blocks(state, state->rest, 1);
            data += part;
            size -= part;
        }
        whole = size / 64;
        if (whole) verglas_sha256_blocks(state, data, whole);
        memcpy(state->rest, data + whole * 64, size % 64);
    }

    /* As `more`, for an object that gives its bytes; -1 and an exception if it is none. */
    static int verglas_sha256_add(verglas_sha256 *state, PyObject *data) {
        Py_buffer view;
        if (PyBytes_CheckExact(data)) {
            verglas_sha256_more(state, (const unsigned char *)PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
            return 0;
        }
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return -1;
        verglas_sha256_more(state, (const unsigned char *)view.buf, (size_t)view.len);
        PyBuffer_Release(&view);
        return 0;
    }

    static PyObject *verglas_sha256_digest(const verglas_sha256 *state) {
        unsigned char digest[32];
        verglas_sha256 last = *state;
        uint64_t bits = state->length * 8;
        size_t waiting = state->length % 64;
        int i;
        last.rest[waiting++] = 0x80;
        if (waiting > 56) {
            memset(last.rest + waiting, 0, 64 - waiting);
            verglas_sha256_blocks(&last, last.rest, 1);
            waiting = 0;
        }
        memset(last.rest + waiting, 0, 56 - waiting);
        for (i = 0; i < 8; i++) last.rest[56 + i] = (unsigned char)(bits >> (56 - 8 * i));
        verglas_sha256_blocks(&last, last.rest, 1);
        for (i = 0; i < 32; i++) digest[i] = (unsigned char)(last.h[i / 4] >> (24 - 8 * (i % 4)));
        return PyBytes_FromStringAndSize((const char *)digest, 32);
    }
    """
    ctypedef struct verglas_sha256:
        pass
    bint verglas_sha256_works()
    void verglas_sha256_begin(verglas_sha256 *state)
    int verglas_sha256_add(verglas_sha256 *state, object data) except -1
    bytes verglas_sha256_digest(const verglas_sha256 *state)
