#include "tally.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *word)
{
    uint64_t value = 14695981039346656037u;
    for (; *word; word++)
        value = (value ^ (unsigned char)*word) * 1099511628211u;
    return value;
}

static struct tally_word *find(const struct tally_table *table, const char *word)
{
    size_t mask = table->capacity - 1;
    size_t index = hash(word) & mask;
    while (table->slots[index].text && strcmp(table->slots[index].text, word) != 0)
        index = (index + 1) & mask;
    return &table->slots[index];
}

static int grow(struct tally_table *table)
{
    struct tally_table larger = {.capacity = table->capacity ? table->capacity * 2 : 64, .used = table->used};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return -1;
    for (size_t index = 0; index < table->capacity; index++)
        if (table->slots[index].text)
            *find(&larger, table->slots[index].text) = table->slots[index];
    free(table->slots);
    *table = larger;
    return 0;
}

int tally_add(struct tally_table *table, const char *word)
{
    if (table->used * 4 >= table->capacity * 3 && grow(table) != 0)
        return -1;
    struct tally_word *slot = find(table, word);
    if (!slot->text) {
        slot->text = strdup(word);
        if (!slot->text)
            return -1;
        table->used++;
    }
    slot->count++;
    return 0;
}

static int compare(const void *left, const void *right)
{
    const struct tally_word *a = left, *b = right;
    if (!a->text || !b->text)
        return !a->text - !b->text;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

size_t tally_sort(struct tally_table *table)
{
    if (table->capacity)
        qsort(table->slots, table->capacity, sizeof *table->slots, compare);
    return table->used;
}

void tally_free(struct tally_table *table)
{
    for (size_t index = 0; index < table->capacity; index++)
        free(table->slots[index].text);
    free(table->slots);
    *table = (struct tally_table){0};
}
