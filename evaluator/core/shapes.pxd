# Shapes: the names of sets, told once for all sets that have the same ones in the same order. Such a set has nothing of its
# own but its values, half of the memory that a table of names and values takes; it is made and dropped without touching a
# name, and the names of `a // b` are found once for all sets like `a` and `b`.
#
# They are what CPython calls split tables, which it uses for the attributes of Python's objects: its own functions read
# such a dict, and turn it into another one where they add to it. The layout is described in tables.pxd; with other versions
# of CPython there are no shapes. To be cimported by values.py only: what is noted here is noted once.
from evaluator.core.cells cimport verglas_cell2  # both are used below
from evaluator.core.tables cimport attribute

cdef extern from *:
    """
    #if VERGLAS_TABLES

    /* The most names that a shape has. CPython counts them in signed bytes; so few have indices of one byte, too. */
    #define VERGLAS_MOST_NAMES 85
    /* The most shapes: they stay, and a program that runs for weeks may make sets of any names. */
    #define VERGLAS_MOST_SHAPES 50000
    /* What only this many pieces of code share is not worth being counted: nobody frees the names of a shape. */
    #define VERGLAS_FOR_EVER ((Py_ssize_t)1 << 60)
    #define VERGLAS_HEAD (2 * sizeof(uintptr_t))  /* what Python's collector has in front of an object; 0 if it knows it not */

    typedef struct {
        verglas_table *table;
        size_t mark;  /* of the names and their order */
        size_t before;  /* how many bytes lie in front of the values, ... */
        uint8_t order[];  /* ... and which ones: the order of the entries, their number, and how many bytes these are */
    } verglas_shape;

    typedef struct {
        verglas_table *left, *right;
        verglas_shape *shape;  /* of `left // right`; NULL until both have met a second time */
        uint8_t *places;  /* where the values of the right one are in it */
    } verglas_merger;

    #define VERGLAS_MERGERS 4096
    #define VERGLAS_MARKS 4096
    static verglas_shape **verglas_shapes;  /* by their marks, with free places between them */
    static size_t verglas_shapes_room, verglas_shapes_number;
    static verglas_merger verglas_mergers[VERGLAS_MERGERS];
    static size_t verglas_seen[VERGLAS_MARKS];  /* marks of names that were there once */

    static inline size_t verglas_marked(size_t mark, PyObject *name) {
        mark = (mark ^ (size_t)((PyASCIIObject *)name)->hash) * (size_t)0x9E3779B97F4A7C15u;
        return mark ^ (mark >> 29);
    }

    static verglas_shape *verglas_known_shape(PyObject **names, Py_ssize_t n, size_t mark) {
        size_t at = mark;
        if (verglas_shapes_room == 0) return NULL;
        for (;; at++) {
            verglas_shape *shape = verglas_shapes[at & (verglas_shapes_room - 1)];
            if (shape == NULL) return NULL;
            if (shape->mark == mark && shape->table->entries == n) {
                verglas_entry *entries = verglas_entries(shape->table);
                Py_ssize_t i = 0;
                while (i < n && entries[i].name == names[i]) i++;
                if (i == n) return shape;
            }
        }
    }

    static void verglas_note_shape(verglas_shape *shape) {
        size_t at = shape->mark;
        while (verglas_shapes[at & (verglas_shapes_room - 1)] != NULL) at++;
        verglas_shapes[at & (verglas_shapes_room - 1)] = shape;
    }

    /* A new shape; NULL without an error where there can't be one. All names have hashes. */
    static verglas_shape *verglas_make_shape(PyObject **names, Py_ssize_t n, size_t mark) {
        int log2 = 3;
        size_t before = ((size_t)n + 2 + 7) / 8 * 8, size, mask;
        verglas_shape *shape;
        verglas_table *table;
        Py_ssize_t i;
        if (verglas_shapes_number >= VERGLAS_MOST_SHAPES) return NULL;
        if (verglas_shapes_number * 2 >= verglas_shapes_room) {
            size_t old = verglas_shapes_room, room = old ? old * 2 : 1024, k;
            verglas_shape **had = verglas_shapes, **has = (verglas_shape **)PyMem_RawCalloc(room, sizeof(verglas_shape *));
            if (has == NULL) return NULL;
            verglas_shapes = has;
            verglas_shapes_room = room;
            for (k = 0; k < old; k++)
                if (had[k] != NULL) verglas_note_shape(had[k]);
            PyMem_RawFree(had);
        }
        while (((Py_ssize_t)2 << log2) / 3 < n) log2++;
        size = (size_t)1 << log2;
        mask = size - 1;
        shape = (verglas_shape *)PyMem_Malloc(sizeof(verglas_shape) + before);
        table = (verglas_table *)PyObject_Malloc(sizeof(verglas_table) + size + (size_t)n * sizeof(verglas_entry));
        if (shape == NULL || table == NULL) {
            PyMem_Free(shape);
            PyObject_Free(table);
            return NULL;
        }
        table->references = VERGLAS_FOR_EVER;
        table->log2_size = table->log2_index_bytes = (uint8_t)log2;
        table->kind = VERGLAS_SHARED;
        table->version = 0;
        table->usable = 0;  /* who adds a name gets a table of his own */
        table->entries = n;
        memset(table->indices, 0xff, size);
        for (i = 0; i < n; i++) {
            size_t step = (size_t)((PyASCIIObject *)names[i])->hash, at = step & mask;
            while (((int8_t *)table->indices)[at] != VERGLAS_NOTHING) {
                step >>= 5;
                at = (at * 5 + step + 1) & mask;
            }
            ((int8_t *)table->indices)[at] = (int8_t)i;
            Py_INCREF(names[i]);
            verglas_entries(table)[i].name = names[i];
            verglas_entries(table)[i].value = NULL;
        }
        shape->table = table;
        shape->mark = mark;
        shape->before = before;
        memset(shape->order, 0, before);
        shape->order[before - 1] = (uint8_t)before;
        shape->order[before - 2] = (uint8_t)n;
        for (i = 0; i < n; i++) shape->order[before - 3 - (size_t)i] = (uint8_t)i;
        verglas_shapes_number++;
        verglas_note_shape(shape);
        return shape;
    }

    static verglas_shape *verglas_shape_of_names(PyObject **names, Py_ssize_t n) {
        size_t mark = (size_t)n;
        verglas_shape *shape;
        Py_ssize_t i;
        if (n < 1 || n > VERGLAS_MOST_NAMES) return NULL;
        for (i = 0; i < n; i++) mark = verglas_marked(mark, names[i]);
        shape = verglas_known_shape(names, n, mark);
        return shape != NULL ? shape : verglas_make_shape(names, n, mark);
    }

    /* The shape of sets with these names, which differ; 0 where there is none. */
    static size_t verglas_shape_for(PyObject *names) {
        Py_ssize_t n = PyList_GET_SIZE(names), i;
        for (i = 0; i < n; i++) {
            PyObject *name = PyList_GET_ITEM(names, i);
            if (!PyUnicode_CheckExact(name) || PyObject_Hash(name) == -1) return 0;
        }
        return (size_t)verglas_shape_of_names(((PyListObject *)names)->ob_item, n);
    }

    /* The values of a set of this shape, none of which is there yet. */
    static inline PyObject **verglas_new_values(verglas_shape *shape) {
        size_t size = (size_t)shape->table->entries * sizeof(PyObject *);
        char *values = (char *)PyMem_Malloc(shape->before + size);
        if (values == NULL) return NULL;
        memcpy(values, shape->order, shape->before);
        memset(values + shape->before, 0, size);
        return (PyObject **)(values + shape->before);
    }

    /* What `Attrs` looks like. */
    typedef struct {
        PyDictObject dict;
        PyObject *positions;
    } verglas_attrs;

    #define VERGLAS_POSITIONS(set) (((verglas_attrs *)(set))->positions)

    /* A set of this shape; values are to follow, and then `filled`. Python's collector does not know it. */
    static PyObject *verglas_new_set(PyObject *type, size_t of, PyObject *positions) {
        verglas_shape *shape = (verglas_shape *)of;
        PyObject **values = verglas_new_values(shape);
        char *block;
        PyDictObject *dict;
        if (values == NULL) return PyErr_NoMemory();
        block = (char *)PyObject_Malloc(VERGLAS_HEAD + (size_t)((PyTypeObject *)type)->tp_basicsize);
        if (block == NULL) {
            PyMem_Free((char *)values - shape->before);
            return PyErr_NoMemory();
        }
        memset(block, 0, VERGLAS_HEAD);
        dict = (PyDictObject *)(block + VERGLAS_HEAD);
        PyObject_Init((PyObject *)dict, (PyTypeObject *)type);
        dict->ma_used = 0;
        dict->ma_version_tag = 0;
        dict->ma_keys = (PyDictKeysObject *)shape->table;
        dict->ma_values = (PyDictValues *)values;
        Py_INCREF(positions);
        VERGLAS_POSITIONS(dict) = positions;
        return (PyObject *)dict;
    }

    static destructor verglas_free_any_set;

    static void verglas_free_set(PyObject *self) {
        PyObject **values = verglas_values(self);
        PyObject *positions;
        Py_ssize_t n, i;
        if (values == NULL || *(uintptr_t *)((char *)self - VERGLAS_HEAD) != 0) {
            verglas_free_any_set(self);
            return;
        }
        n = verglas_table_of(self)->entries;
        positions = VERGLAS_POSITIONS(self);
        /* What it held may be as long a chain as one of thunks: see cells.pxd. */
        for (i = 0; i < n; i++) verglas_let_go(values[i]);
        Py_XDECREF(positions);
        PyMem_Free((char *)values - ((uint8_t *)values)[-1]);
        PyObject_Free((char *)self - VERGLAS_HEAD);
    }

    /* Whether a set has a shape, and all of its values. */
    static inline int verglas_is_shaped(PyObject *set) {
        return verglas_values(set) != NULL && ((PyDictObject *)set)->ma_used == verglas_table_of(set)->entries;
    }

    /* `left // right` if both have shapes and met before; otherwise None. */
    static PyObject *verglas_merge(PyObject *type, PyObject *left, PyObject *right, PyObject *positions) {
        verglas_table *a, *b;
        verglas_merger *merger;
        PyObject *merged, **from, **to;
        Py_ssize_t i;
        if (!verglas_is_shaped(left) || !verglas_is_shaped(right)) Py_RETURN_NONE;
        a = verglas_table_of(left);
        b = verglas_table_of(right);
        merger = &verglas_mergers[(((size_t)a >> 4) * 31 + ((size_t)b >> 4)) % VERGLAS_MERGERS];
        if (merger->left != a || merger->right != b) {
            PyMem_Free(merger->places);
            merger->left = a;
            merger->right = b;
            merger->shape = NULL;
            merger->places = NULL;
            Py_RETURN_NONE;
        }
        if (merger->shape == NULL) {
            PyObject *names[2 * VERGLAS_MOST_NAMES];
            Py_ssize_t n = a->entries;
            if (merger->places != NULL) Py_RETURN_NONE;  /* tried */
            merger->places = (uint8_t *)PyMem_Malloc((size_t)b->entries);
            if (merger->places == NULL) return PyErr_NoMemory();
            for (i = 0; i < n; i++) names[i] = verglas_entries(a)[i].name;
            for (i = 0; i < b->entries; i++) {
                PyObject *name = verglas_entries(b)[i].name;
                Py_ssize_t index = verglas_index(a, name);
                if (index == -2) Py_RETURN_NONE;  /* the same name is two objects */
                if (index == -1) {
                    index = n;
                    names[n++] = name;
                }
                merger->places[i] = (uint8_t)index;
            }
            merger->shape = verglas_shape_of_names(names, n);
            if (merger->shape == NULL) Py_RETURN_NONE;
        }
        merged = verglas_new_set(type, (size_t)merger->shape, positions);
        if (merged == NULL) return NULL;
        to = verglas_values(merged);
        from = verglas_values(right);
        for (i = 0; i < b->entries; i++) {
            PyObject *value = verglas_seen_through(from[i]);
            Py_INCREF(value);
            to[merger->places[i]] = value;
        }
        from = verglas_values(left);
        for (i = 0; i < a->entries; i++)
            if (to[i] == NULL) {
                PyObject *value = verglas_seen_through(from[i]);
                Py_INCREF(value);
                to[i] = value;
            }
        verglas_filled(merged);
        return merged;
    }

    /* Put the attributes of `from` into an empty set. */
    static int verglas_copy(PyObject *set, PyObject *from) {
        verglas_table *like = verglas_table_of(from), *table;
        PyObject **values = verglas_values(from);
        Py_ssize_t i;
        if (values != NULL ? !verglas_is_shaped(from)
                           : like->kind != VERGLAS_ONLY_STRINGS || PyDict_GET_SIZE(from) != like->entries
                                 || ((Py_ssize_t)1 << like->log2_size) / 3 >= like->entries)
            return PyDict_Update(set, from);  /* it has gaps, or far too much room */
        if (verglas_begin(set, from) < 0) return -1;
        table = verglas_table_of(set);
        for (i = 0; i < like->entries; i++) {
            PyObject *value = verglas_seen_through(values != NULL ? values[i] : verglas_entries(like)[i].value);
            Py_INCREF(value);
            verglas_entries(table)[i].value = value;
        }
        verglas_filled(set);
        return 0;
    }

    /* Give a new set, which is to stay as it is, the shape of others with the same names, if there was one before. */
    static int verglas_settle(PyObject *set) {
        verglas_table *table = verglas_table_of(set);
        PyObject *names[VERGLAS_MOST_NAMES], **values;
        verglas_entry *entries;
        verglas_shape *shape;
        Py_ssize_t n = 0, i;
        size_t mark = (size_t)((PyDictObject *)set)->ma_used;
        if (table->kind != VERGLAS_ONLY_STRINGS || mark < 1 || mark > VERGLAS_MOST_NAMES) return 0;
        entries = verglas_entries(table);
        for (i = 0; i < table->entries; i++)
            if (entries[i].value != NULL) {
                names[n++] = entries[i].name;
                mark = verglas_marked(mark, entries[i].name);
            }
        shape = verglas_known_shape(names, n, mark);
        if (shape == NULL) {
            if (verglas_seen[mark % VERGLAS_MARKS] != mark) {
                verglas_seen[mark % VERGLAS_MARKS] = mark;
                return 0;
            }
            shape = verglas_make_shape(names, n, mark);
            if (shape == NULL) return 0;
        }
        values = verglas_new_values(shape);
        if (values == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        n = 0;
        for (i = 0; i < table->entries; i++)
            if (entries[i].value != NULL) {
                values[n++] = entries[i].value;
                Py_DECREF(entries[i].name);  /* the shape has it, too */
            }
        ((PyDictObject *)set)->ma_keys = (PyDictKeysObject *)shape->table;
        ((PyDictObject *)set)->ma_values = (PyDictValues *)values;
        PyObject_Free(table);
        return 0;
    }

    static void verglas_sets_have_shapes(PyObject *type) {
        verglas_free_any_set = ((PyTypeObject *)type)->tp_dealloc;
        ((PyTypeObject *)type)->tp_dealloc = verglas_free_set;
    }

    #else

    static size_t verglas_shape_for(PyObject *names) { return 0; }
    static PyObject *verglas_new_set(PyObject *type, size_t of, PyObject *positions) { return NULL; }
    static PyObject *verglas_merge(PyObject *type, PyObject *left, PyObject *right, PyObject *positions) { Py_RETURN_NONE; }
    static int verglas_copy(PyObject *set, PyObject *from) { return PyDict_Update(set, from); }
    static int verglas_settle(PyObject *set) { return 0; }
    static void verglas_sets_have_shapes(PyObject *type) {}

    #endif
    """
    size_t verglas_shape_for(object names)
    object verglas_new_set(object type, size_t shape, object positions)
    object verglas_merge(object type, object left, object right, object positions)
    int verglas_copy(object set, object source) except -1
    int verglas_settle(object set) except -1
    void verglas_sets_have_shapes(object type)
