#include "tally.h"

#include <ctype.h>

enum { LONGEST_WORD = 63 }; /* longer ones are cut */

long tally_read(struct tally_table *table, FILE *stream)
{
    char word[LONGEST_WORD + 1];
    size_t length = 0;
    long words = 0;
    for (;;) {
        int byte = getc(stream);
        if (byte != EOF && (isalnum(byte) || byte == '\'')) {
            if (length < LONGEST_WORD)
                word[length++] = (char)tolower(byte);
            continue;
        }
        if (length) {
            word[length] = '\0';
            if (tally_add(table, word) != 0)
                return -1;
            words++;
            length = 0;
        }
        if (byte == EOF)
            return ferror(stream) ? -1 : words;
    }
}
