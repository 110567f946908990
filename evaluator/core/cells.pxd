# Memory of thunks, closures and small environments: cells of two or three references, of which evaluation makes and
# drops millions. There is one list of free cells of each size, an object that goes leaves its cell there, and nothing
# but its references is looked at. Compiled code only; values.py tells which types live in cells.
cdef extern from *:
    """
    typedef struct verglas_cell { PyObject_HEAD PyObject *a, *b, *c; } verglas_cell;

    static verglas_cell *verglas_free2, *verglas_free3;
    static PyObject *verglas_thunk, *verglas_running;  /* the class of thunks, and what one holds while it is forced */
    /* How many cells are being freed, one inside the other. Every long chain of values goes through thunks and closures,
       and would be taken apart by recursion: from some depth on, what they held waits here. */
    static int verglas_nested;
    static PyObject **verglas_waiting;
    static size_t verglas_waiting_size, verglas_waiting_room;

    static void verglas_let_go(PyObject *held) {
        if (held == NULL) return;
        if (Py_REFCNT(held) > 1) {
            Py_DECREF(held);
            return;
        }
        if (verglas_nested > 500) {
            if (verglas_waiting_size == verglas_waiting_room) {
                size_t room = verglas_waiting_room ? verglas_waiting_room * 2 : 256;
                PyObject **grown = (PyObject **)PyMem_RawRealloc(verglas_waiting, room * sizeof(PyObject *));
                if (grown == NULL) {  /* better a deep recursion than a leak */
                    Py_DECREF(held);
                    return;
                }
                verglas_waiting = grown;
                verglas_waiting_room = room;
            }
            verglas_waiting[verglas_waiting_size++] = held;
            return;
        }
        verglas_nested++;
        Py_DECREF(held);
        if (verglas_nested == 1)
            while (verglas_waiting_size) Py_DECREF(verglas_waiting[--verglas_waiting_size]);
        verglas_nested--;
    }

    static void verglas_free_chained(PyObject *self) {
        verglas_cell *cell = (verglas_cell *)self;
        PyObject *a = cell->a, *b = cell->b;
        cell->a = (PyObject *)verglas_free2;
        verglas_free2 = cell;
        Py_XDECREF(a);
        verglas_let_go(b);
    }

    static void verglas_free_two(PyObject *self) {
        verglas_cell *cell = (verglas_cell *)self;
        PyObject *a = cell->a, *b = cell->b;
        cell->a = (PyObject *)verglas_free2;
        verglas_free2 = cell;
        Py_XDECREF(a);
        Py_XDECREF(b);
    }

    static void verglas_free_pair(PyObject *self) {
        verglas_cell *cell = (verglas_cell *)self;
        PyObject *a = cell->a, *b = cell->b;
        cell->a = (PyObject *)verglas_free2;
        verglas_free2 = cell;
        verglas_let_go(a);
        verglas_let_go(b);
    }

    static void verglas_free_three(PyObject *self) {
        verglas_cell *cell = (verglas_cell *)self;
        PyObject *a = cell->a, *b = cell->b, *c = cell->c;
        cell->a = (PyObject *)verglas_free3;
        verglas_free3 = cell;
        Py_XDECREF(a);
        Py_XDECREF(b);
        Py_XDECREF(c);
    }

    static inline verglas_cell *verglas_new(PyTypeObject *type, verglas_cell **list, size_t references) {
        verglas_cell *cell = *list;
        if (cell != NULL) {
            *list = (verglas_cell *)cell->a;
        } else {
            cell = (verglas_cell *)PyObject_Malloc(sizeof(PyObject) + references * sizeof(PyObject *));
            if (cell == NULL) return (verglas_cell *)PyErr_NoMemory();
        }
    #if PY_VERSION_HEX >= 0x030C0000 || defined(Py_REF_DEBUG) || defined(Py_TRACE_REFS)
        /* Since 3.12, Py_SET_REFCNT looks at the count before, which is nothing yet. */
        return (verglas_cell *)PyObject_Init((PyObject *)cell, type);
    #else
        Py_SET_TYPE((PyObject *)cell, type);  /* a static type: nobody counts references to it */
        Py_SET_REFCNT((PyObject *)cell, 1);
        return cell;
    #endif
    }

    static inline PyObject *verglas_cell2(PyObject *type, PyObject *a, PyObject *b) {
        verglas_cell *cell = verglas_new((PyTypeObject *)type, &verglas_free2, 2);
        if (cell == NULL) return NULL;
        Py_INCREF(a);
        Py_INCREF(b);
        cell->a = a;
        cell->b = b;
        return (PyObject *)cell;
    }

    static inline PyObject *verglas_cell3(PyObject *type, PyObject *a, PyObject *b, PyObject *c) {
        verglas_cell *cell = verglas_new((PyTypeObject *)type, &verglas_free3, 3);
        if (cell == NULL) return NULL;
        Py_INCREF(a);
        Py_INCREF(b);
        Py_INCREF(c);
        cell->a = a;
        cell->b = b;
        cell->c = c;
        return (PyObject *)cell;
    }

    /* The value of a thunk that was forced already; anything else as it is. */
    static inline PyObject *verglas_seen_through(PyObject *x) {
        verglas_cell *cell = (verglas_cell *)x;
        return (PyObject *)Py_TYPE(x) == verglas_thunk && cell->a == Py_None && cell->b != verglas_running ? cell->b : x;
    }

    static void verglas_live_in_cells(
        PyObject *thunk, PyObject *running, PyObject *func, PyObject *frame, PyObject *frame2
    ) {
        verglas_thunk = thunk;
        verglas_running = running;
        ((PyTypeObject *)thunk)->tp_dealloc = verglas_free_chained;
        ((PyTypeObject *)func)->tp_dealloc = verglas_free_chained;
        ((PyTypeObject *)frame)->tp_dealloc = verglas_free_two;
        ((PyTypeObject *)frame2)->tp_dealloc = verglas_free_three;
    }

    /* The same for a class of pairs, either of which may begin a long chain. */
    static void verglas_pairs_live_in_cells(PyObject *pair) { ((PyTypeObject *)pair)->tp_dealloc = verglas_free_pair; }
    """
    object verglas_cell2(object type, object a, object b)
    object verglas_cell3(object type, object a, object b, object c)
    void verglas_pairs_live_in_cells(object pair)
    void verglas_live_in_cells(object thunk, object running, object func, object frame, object frame2)
