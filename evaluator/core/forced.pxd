# Values in the place of thunks: what is forced once more is found without one, and the thunk goes when nobody else has it.
# Compiled code only.
from evaluator.core.tables cimport attribute  # the layout is described there

cdef extern from *:
    """
    /* Put `value` in the place of the thunk that the attribute `name` of a set is. */
    static void verglas_replace(PyObject *set, PyObject *name, PyObject *value) {
    #if VERGLAS_TABLES
        verglas_table *table = verglas_table_of(set);
        Py_ssize_t index = verglas_index(table, name);
        PyObject **values = verglas_values(set), **place, *thunk;
        if (index < 0) return;
        place = values != NULL ? &values[index] : &verglas_entries(table)[index].value;
        thunk = *place;
        if (thunk == NULL) return;
        Py_INCREF(value);
        *place = value;
        Py_DECREF(thunk);
    #endif
    }
    """
    void replace "verglas_replace"(object set, object name, object value)
