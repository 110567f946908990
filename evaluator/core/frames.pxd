# The slots of environments, which lie behind each other in memory: an environment of any size is one allocation, and
# finding a slot of it is one addition. values.py tells what an environment is. Compiled code only.
cdef extern from *:
    """
    /* How the three classes of environments begin. Of the first there is nothing behind slots[0], of the second nothing
       behind slots[1]; in the third slots[2] is the number of those that follow, which hold slots 2, 3 and so on. */
    typedef struct { PyObject_HEAD PyObject *up; PyObject *slots[]; } verglas_frame;

    /* Where a slot is among `slots`. */
    static inline Py_ssize_t verglas_place(Py_ssize_t slot) { return slot + (slot > 1); }

    static inline PyObject *verglas_held(PyObject *frame, Py_ssize_t place) {
        PyObject *held = ((verglas_frame *)frame)->slots[place];
        if (held == NULL) held = Py_None;
        Py_INCREF(held);
        return held;
    }

    static inline void verglas_hold(PyObject *frame, Py_ssize_t place, PyObject *value) {
        PyObject *before = ((verglas_frame *)frame)->slots[place];
        Py_INCREF(value);
        ((verglas_frame *)frame)->slots[place] = value;
        Py_XDECREF(before);
    }

    /* An environment of more than two slots, all empty: counting references to None would cost as much as the rest. */
    static inline PyObject *verglas_new_frame(PyObject *type, PyObject *up, Py_ssize_t slots) {
        size_t size = (size_t)(slots + 1) * sizeof(PyObject *);
        verglas_frame *frame = (verglas_frame *)PyObject_Malloc(sizeof(verglas_frame) + size);
        if (frame == NULL) return PyErr_NoMemory();
        PyObject_Init((PyObject *)frame, (PyTypeObject *)type);
        Py_INCREF(up);
        frame->up = up;
        memset(frame->slots, 0, size);
        frame->slots[2] = (PyObject *)(slots - 2);
        return (PyObject *)frame;
    }

    static inline void verglas_free_frame(PyObject *self) {
        verglas_frame *frame = (verglas_frame *)self;
        Py_ssize_t slots = 2 + (Py_ssize_t)frame->slots[2], i;
        Py_DECREF(frame->up);
        for (i = 0; i < slots; i++) Py_XDECREF(frame->slots[verglas_place(i)]);
        PyObject_Free(self);
    }

    static inline void verglas_frames_are_one_piece(PyObject *type) {
        ((PyTypeObject *)type)->tp_dealloc = verglas_free_frame;
    }
    """
    Py_ssize_t verglas_place(Py_ssize_t slot)
    object verglas_held(object frame, Py_ssize_t place)
    void verglas_hold(object frame, Py_ssize_t place, object value)
    object verglas_new_frame(object type, object up, Py_ssize_t slots)
    void verglas_frames_are_one_piece(object type)
