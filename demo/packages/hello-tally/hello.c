#include <tally.h>

int main(void)
{
    struct tally_table table = {0};
    FILE *stream = fopen(POEM, "r");
    if (!stream || tally_read(&table, stream) < 0 || tally_sort(&table) == 0) {
        perror(POEM);
        return 1;
    }
    printf("Hello from '%s', which was said %zu times.\n", table.slots[0].text, table.slots[0].count);
    fclose(stream);
    tally_free(&table);
    return 0;
}
