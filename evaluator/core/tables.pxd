# The tables of Python's dicts, which sets are: asked and filled without a call for each attribute. Evaluation does both
# millions of times, and CPython's own functions make ready for any key, any hash and any error. Compiled code only.
#
# The layout is that of CPython 3.11 and 3.12 (Objects/dictobject.c, Include/internal/pycore_dict.h); with any other
# version its own functions are called.
cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030D0000 && !defined(PYPY_VERSION) && !defined(Py_DEBUG)
    #define VERGLAS_TABLES 1
    #else
    #define VERGLAS_TABLES 0
    #endif

    static PyObject *verglas_ask(PyObject *set, PyObject *name) {
        PyObject *value = PyDict_GetItemWithError(set, name);
        if (value == NULL) {
            if (PyErr_Occurred()) return NULL;
            value = Py_None;
        }
        Py_INCREF(value);
        return value;
    }

    #if VERGLAS_TABLES

    /* What a table of names begins with; `indices` follow, numbers of entries in the order of hashes, and the entries. */
    typedef struct {
        Py_ssize_t references;
        uint8_t log2_size;
        uint8_t log2_index_bytes;
        uint8_t kind;
        uint32_t version;
        Py_ssize_t usable;
        Py_ssize_t entries;
        char indices[];
    } verglas_table;

    typedef struct { PyObject *name, *value; } verglas_entry;

    #define VERGLAS_ANY_KEYS 0  /* the kind of table whose keys may be anything */
    #define VERGLAS_ONLY_STRINGS 1  /* that of strings with hashes, with values beside them */
    #define VERGLAS_SHARED 2  /* that of strings with hashes, for many sets, each of which has its values elsewhere */
    #define VERGLAS_NOTHING (-1)  /* an index that was never used */

    static inline verglas_table *verglas_table_of(PyObject *set) {
        return (verglas_table *)((PyDictObject *)set)->ma_keys;
    }

    static inline verglas_entry *verglas_entries(verglas_table *table) {
        return (verglas_entry *)(table->indices + ((size_t)1 << table->log2_index_bytes));
    }

    /* The values of a set that shares its names, in the order of their entries; NULL for other sets. */
    static inline PyObject **verglas_values(PyObject *set) {
        return (PyObject **)((PyDictObject *)set)->ma_values;
    }

    /* The number of the entry with this name, -1 if there is none, -2 if it takes CPython's own function to tell. */
    static inline Py_ssize_t verglas_index(verglas_table *table, PyObject *name) {
        Py_hash_t hash = ((PyASCIIObject *)name)->hash;
        size_t mask, step, at;
        if (table->kind == VERGLAS_ANY_KEYS || table->log2_size >= 16 || hash == -1) return -2;
        mask = ((size_t)1 << table->log2_size) - 1;
        step = (size_t)hash;
        at = (size_t)hash & mask;
        for (;;) {
            Py_ssize_t index = table->log2_size < 8 ? ((int8_t *)table->indices)[at] : ((int16_t *)table->indices)[at];
            if (index >= 0) {
                PyObject *found = verglas_entries(table)[index].name;
                if (found == name) return index;
                if (((PyASCIIObject *)found)->hash == hash) return -2;
            } else if (index == VERGLAS_NOTHING) {
                return -1;
            }
            step >>= 5;
            at = (at * 5 + step + 1) & mask;
        }
    }

    /* The attribute `name`, or None; a new reference. Names are mostly one and the same object wherever they are written. */
    static inline PyObject *verglas_attribute(PyObject *set, PyObject *name) {
        verglas_table *table = verglas_table_of(set);
        Py_ssize_t index = verglas_index(table, name);
        PyObject *value, **values;
        if (index < 0) {
            if (index == -2) return verglas_ask(set, name);
            Py_RETURN_NONE;
        }
        values = verglas_values(set);
        value = values != NULL ? values[index] : verglas_entries(table)[index].value;
        if (value == NULL) value = Py_None;
        Py_INCREF(value);
        return value;
    }

    /* Whether sets can begin with the names of this dict: it has `n` of them and never had others. */
    static inline int verglas_is_pattern(PyObject *dict, Py_ssize_t n) {
        return verglas_table_of(dict)->kind == VERGLAS_ONLY_STRINGS && verglas_values(dict) == NULL
            && PyDict_GET_SIZE(dict) == n && verglas_table_of(dict)->entries == n;
    }

    /* Give an empty set the names of another, in the same order; values are to follow, and then `verglas_filled`. */
    static int verglas_begin(PyObject *set, PyObject *named) {
        verglas_table *like = verglas_table_of(named), *table;
        verglas_entry *from = verglas_entries(like), *to;
        size_t head = sizeof(verglas_table) + ((size_t)1 << like->log2_index_bytes);
        Py_ssize_t room = ((Py_ssize_t)2 << like->log2_size) / 3, i;
        table = (verglas_table *)PyObject_Malloc(head + (size_t)room * sizeof(verglas_entry));
        if (table == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(table, like, head);
        table->references = 1;
        table->kind = VERGLAS_ONLY_STRINGS;
        table->version = 0;
        table->usable = room - like->entries;
        to = verglas_entries(table);
        for (i = 0; i < like->entries; i++) {
            Py_INCREF(from[i].name);
            to[i].name = from[i].name;
            to[i].value = NULL;
        }
        /* Nobody looks at what is behind the entries: their pages, of a large table a third, need not be there. */
        /* The table that an empty dict has is one for all. That it counts one reference too many harms nobody. */
        ((PyDictObject *)set)->ma_keys = (PyDictKeysObject *)table;
        return 0;
    }

    static inline void verglas_put(PyObject *set, Py_ssize_t i, PyObject *value) {
        PyObject **values = verglas_values(set);
        Py_INCREF(value);
        if (values != NULL) values[i] = value;
        else verglas_entries(verglas_table_of(set))[i].value = value;
    }

    static inline void verglas_filled(PyObject *set) {
        ((PyDictObject *)set)->ma_used = verglas_table_of(set)->entries;
    }

    #else

    #define verglas_attribute verglas_ask
    static inline int verglas_is_pattern(PyObject *dict, Py_ssize_t n) { return 0; }
    static inline int verglas_begin(PyObject *set, PyObject *named) { return -1; }
    static inline void verglas_put(PyObject *set, Py_ssize_t i, PyObject *value) {}
    static inline void verglas_filled(PyObject *set) {}

    #endif
    """
    object attribute "verglas_attribute"(object set, str name)
    bint is_pattern "verglas_is_pattern"(object dict, Py_ssize_t n)
    int begin "verglas_begin"(object set, object named) except -1
    void put "verglas_put"(object set, Py_ssize_t i, object value)
    void filled "verglas_filled"(object set)
