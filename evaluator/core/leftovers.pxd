# Memory that the C library keeps: large sets and lists that come and go leave holes between what stays, and the pages of
# these were a quarter of the memory of an evaluation of all of nixpkgs at its end. Compiled code only.
cdef extern from *:
    """
    #if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    #include <malloc.h>
    #define VERGLAS_STEP ((size_t)32 << 20)  /* less is not worth the system calls, nor the pages that are filled again */

    /* Give the kernel the pages of all holes when the heap, with them, has grown by a step; to be called now and then. */
    static void verglas_give_back(void) {
        static size_t next = 2 * VERGLAS_STEP;
        static unsigned calls;
        size_t now;
        if (++calls % 64 != 0) return;  /* looking takes some microseconds */
        now = mallinfo2().arena;
        if (now < next) return;
        malloc_trim(0);
        next = now + VERGLAS_STEP;
    }
    #else
    static void verglas_give_back(void) {}
    #endif
    """
    void verglas_give_back() nogil
