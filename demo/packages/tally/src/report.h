/* What the program prints about a sorted table. */
#ifndef REPORT_H
#define REPORT_H

#include "tally.h"

void report_most_frequent(const struct tally_table *table, size_t words, size_t wanted);
void report_longest(const struct tally_table *table, size_t words);

#endif
