#include "report.h"
#include "tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what)
{
    fprintf(stderr, "tally: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    struct tally_table table = {0};
    long words = 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("tally " TALLY_VERSION);
        return 0;
    }
    for (int index = 1; index < argc; index++) {
        FILE *stream = fopen(argv[index], "r");
        if (!stream)
            return fail(argv[index]);
        long more = tally_read(&table, stream);
        fclose(stream);
        if (more < 0)
            return fail(argv[index]);
        words += more;
    }
    size_t different = tally_sort(&table);
    printf("%ld words, %zu different\n", words, different);
    report_most_frequent(&table, different, 3);
#ifdef TALLY_LONGEST
    report_longest(&table, different);
#endif
    tally_free(&table);
    return 0;
}
