#include "report.h"

#include <string.h>

void report_most_frequent(const struct tally_table *table, size_t words, size_t wanted)
{
    for (size_t index = 0; index < words && index < wanted; index++)
        printf("%6zu %s\n", table->slots[index].count, table->slots[index].text);
}

void report_longest(const struct tally_table *table, size_t words)
{
    const char *longest = "";
    for (size_t index = 0; index < words; index++)
        if (strlen(table->slots[index].text) > strlen(longest))
            longest = table->slots[index].text;
    printf("longest: %s\n", longest);
}
