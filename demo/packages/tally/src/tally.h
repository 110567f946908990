/* libtally: counts words. */
#ifndef TALLY_H
#define TALLY_H

#include <stddef.h>
#include <stdio.h>

struct tally_word {
    char *text; /* lower case, ends with NUL */
    size_t count;
};

struct tally_table {
    struct tally_word *slots; /* open addressing; an empty slot has no text */
    size_t capacity;          /* a power of two, or 0 */
    size_t used;
};

/* Notes one occurrence of a word. Returns 0, or -1 when memory is exhausted. */
int tally_add(struct tally_table *table, const char *word);

/* Notes every word of a stream. Returns how many there were, or -1 when reading fails or memory is exhausted. */
long tally_read(struct tally_table *table, FILE *stream);

/* Moves all words to the front, the most frequent first, equally frequent ones in alphabetical order. The table can
   only be read or freed afterwards. Returns how many words there are. */
size_t tally_sort(struct tally_table *table);

void tally_free(struct tally_table *table);

#endif
