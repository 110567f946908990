"""Builtins for lists. How builtins are written is described in values.py."""

import cython

from evaluator.errors import EvalError

if not cython.compiled:
    from evaluator.core.calls import (
        call1,
        call2,
        force_attrs,
        force_bool_c,
        force_function,
        force_int,
        force_list,
        force_string_no_context,
        less,
        same,
        type_error,
    )
    from evaluator.core.nodes import delay_call, delayed
    from evaluator.core.values import (
        ContextString,
        Func,
        Node,
        Path,
        PrimOp,
        Thunk,
        counters,
        force_thunk,
        poll,
        show_type,
    )


def prim_map(state, f, items):
    """`map f list`: the list of the results of `f` for every element."""
    source: list = force_list(items)
    out: list = []
    if source:
        node: Node = delayed(f)
        for x in source:
            out.append(delay_call(node, x))
        counters.list_elements += len(out)
    return out


def prim_genList(state, f, n):
    """`genList f n`: the list of `f 0` to `f (n - 1)`."""
    count: cython.longlong = force_int(n)
    i: cython.longlong
    if count < 0:
        raise EvalError("cannot create list of size %d" % count)
    out: list = []
    node: Node = delayed(f)
    for i in range(count):
        out.append(delay_call(node, i))
        if i & 0xFFFF == 0:
            poll()
    counters.list_elements += count
    return out


def prim_filter(state, f, items):
    """`filter f list`: the elements for which `f` returns true."""
    f = force_function(f)
    source: list = force_list(items)
    out: list = []
    for x in source:
        if force_bool_c(call1(f, x, 0), -1):
            out.append(x)
    if len(out) == len(source):
        return source
    counters.list_elements += len(out)
    return out


def prim_foldl_strict(state, f, start, items):
    """`foldl' op nul list`: `op (... (op (op nul x0) x1) ...) xn`, evaluated from the left."""
    f = force_function(f)
    source: list = force_list(items)
    value: object = start
    for x in source:
        value = call2(f, value, x)
    if type(value) is Thunk:
        value = force_thunk(cython.cast(Thunk, value), -1)
    return value


def prim_length(state, items):
    """`length list`: how many elements it has."""
    return len(force_list(items))


@cython.cfunc
def element(source: list, n: cython.longlong) -> object:
    """The forced element `n`, which takes the place of its thunk."""
    if n < 0 or n >= len(source):
        raise EvalError("list index %d is out of bounds" % n)
    x: object = source[n]
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
        source[n] = x
    return x


def prim_elemAt(state, items, n):
    """`elemAt list n`: element `n`, counted from 0."""
    # Nix evaluates the index first.
    index: cython.longlong = force_int(n)
    return element(force_list(items), index)


def prim_head(state, items):
    """`head list`: the first element."""
    return element(force_list(items), 0)


def prim_tail(state, items):
    """`tail list`: all but the first element; takes time in proportion to the length."""
    source: list = force_list(items)
    if not source:
        raise EvalError("'tail' called on an empty list")
    counters.list_elements += len(source) - 1
    return source[1:]


def prim_isList(state, x):
    """`isList e`: whether it is a list."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is list


def prim_elem(state, x, items):
    """`elem x list`: whether an element equals `x`; elements behind it are not evaluated."""
    source: list = force_list(items)
    if not source:
        return False
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), 0)
    for y in source:
        if type(y) is Thunk:
            y = force_thunk(cython.cast(Thunk, y), 0)
        if same(x, y):
            return True
    return False


def prim_concatLists(state, lists):
    """`concatLists lists`: one list of the elements of all."""
    source: list = force_list(lists)
    out: list = []
    part: list
    only: list = None
    counters.list_concatenations += 1
    for x in source:
        part = force_list(x)
        if part:
            only = part
            out.extend(part)
    if only is not None and len(only) == len(out):
        return only
    counters.list_elements += len(out)
    return out


def prim_concatMap(state, f, items):
    """`concatMap f list`: the elements of the lists that `f` returns."""
    f = force_function(f)
    out: list = []
    for x in force_list(items):
        x = call1(f, x)
        if type(x) is not list:
            e: object = type_error(x, "a list", cython.cast(Func, f).code.pos if type(f) is Func else -1)
            e.add_trace(-1, "while invoking 'concatMap'")
            raise e
        out.extend(cython.cast(list, x))
    counters.list_elements += len(out)
    return out


def prim_all(state, f, items):
    """`all pred list`: whether `pred` holds for all elements."""
    f = force_function(f)
    for x in force_list(items):
        if not force_bool_c(call1(f, x), -1):
            return False
    return True


def prim_any(state, f, items):
    """`any pred list`: whether `pred` holds for an element."""
    f = force_function(f)
    for x in force_list(items):
        if force_bool_c(call1(f, x), -1):
            return True
    return False


def prim_partition(state, f, items):
    """`partition pred list`: the set of `right`, the elements for which `pred` holds, and `wrong`, the others."""
    f = force_function(f)
    right: list = []
    wrong: list = []
    for x in force_list(items):
        if type(x) is Thunk:
            x = force_thunk(cython.cast(Thunk, x), -1)
        if force_bool_c(call1(f, x), -1):
            right.append(x)
        else:
            wrong.append(x)
    counters.list_elements += len(right) + len(wrong)
    return {"right": right, "wrong": wrong}


def prim_groupBy(state, f, items):
    """`groupBy f list`: a set of lists, of the elements for which `f` returns the attribute's name."""
    f = force_function(f)
    out: dict = {}
    for x in force_list(items):
        name: str = force_string_no_context(call1(f, x))
        group: list = out.get(name)
        if group is None:
            out[name] = [x]
        else:
            group.append(x)
    return out


@cython.final
@cython.cclass
class SortKey:
    """An element while it is sorted: smaller than another if the comparison function says so."""

    def __lt__(self, other):
        a: SortKey = self
        b: SortKey = other
        if a.f is None:
            return bool(less(a.value, b.value))
        return bool(force_bool_c(call2(a.f, a.value, b.value), -1))


def prim_sort(state, f, items):
    """`sort comparator list`: sorted, keeping the order of equal elements."""
    f = force_function(f)
    source: list = force_list(items)
    values: list = []
    keys: list = []
    key: SortKey
    for x in source:
        if type(x) is Thunk:
            x = force_thunk(cython.cast(Thunk, x), -1)
        values.append(x)
    counters.list_elements += len(values)
    if type(f) is PrimOp and cython.cast(PrimOp, f).name == "lessThan" and not cython.cast(PrimOp, f).args:
        if all_plain(values):
            values.sort()
            return values
        f = None
    for x in values:
        key = SortKey.__new__(SortKey)
        key.value = x
        key.f = f
        keys.append(key)
    keys = stable_sorted(keys)
    return [cython.cast(SortKey, k).value for k in keys]


@cython.cfunc
def all_plain(values: list) -> cython.bint:
    """Whether Python sorts these values as Nix does: all integers, or all strings of ASCII."""
    kind: object = type(values[0]) if values else int
    if kind is not int and kind is not str:
        return False
    for x in values:
        if type(x) is not kind or (kind is str and not cython.cast(str, x).isascii()):
            return False
    return True


@cython.cfunc
def stable_sorted(keys: list) -> list:
    """Merge sort with the very comparisons of libstdc++'s std::stable_sort.

    A comparison function that is no strict order (`a <= b` is a popular one) makes the result depend on the algorithm,
    and with it the hash of what is built from the list.
    """
    n: cython.Py_ssize_t = len(keys)
    half: cython.Py_ssize_t
    if n <= 15:
        insertion_sort(keys, 0, n)
        return keys
    half = (n + 1) // 2
    return merged(merge_sorted(keys[:half]), merge_sorted(keys[half:]))


@cython.cfunc
def merge_sorted(keys: list) -> list:
    """Sort chunks of seven by insertion, then merge pairs of runs of growing length."""
    n: cython.Py_ssize_t = len(keys)
    step: cython.Py_ssize_t = 7
    i: cython.Py_ssize_t = 0
    while i < n:
        insertion_sort(keys, i, min(i + step, n))
        i += step
    while step < n:
        out: list = []
        i = 0
        while i < n:
            out.extend(merged(keys[i : i + step], keys[i + step : i + 2 * step]))
            i += 2 * step
        keys = out
        step *= 2
    return keys


@cython.cfunc
def insertion_sort(keys: list, first: cython.Py_ssize_t, last: cython.Py_ssize_t) -> object:
    """Sort a part of the list in place."""
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    for i in range(first + 1, last):
        key: object = keys[i]
        if key < keys[first]:
            j = i
            while j > first:
                keys[j] = keys[j - 1]
                j -= 1
            keys[first] = key
        else:
            j = i
            while key < keys[j - 1]:
                keys[j] = keys[j - 1]
                j -= 1
            keys[j] = key
    return None


@cython.cfunc
def merged(a: list, b: list) -> list:
    """Merge two sorted lists; of equal elements those of `a` come first."""
    out: list = []
    i: cython.Py_ssize_t = 0
    j: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t = len(a)
    m: cython.Py_ssize_t = len(b)
    while i < n and j < m:
        if b[j] < a[i]:
            out.append(b[j])
            j += 1
        else:
            out.append(a[i])
            i += 1
    out.extend(a[i:])
    out.extend(b[j:])
    return out


def prim_genericClosure(state, attrs):
    """`genericClosure { startSet, operator }`: everything reachable, one element for each `key`."""
    s: dict = force_attrs(attrs)
    start: list = force_list(required(s, "startSet", "genericClosure"))
    operator: object = required(s, "operator", "genericClosure")
    if type(operator) is Thunk:
        operator = force_thunk(cython.cast(Thunk, operator), -1)
    done: Done = Done()
    out: list = []
    work: list = list(start)
    i: cython.Py_ssize_t = 0
    while i < len(work):
        x: object = force_attrs(work[i])
        work[i] = None
        i += 1
        key: object = cython.cast(dict, x).get("key")
        if key is None:
            raise EvalError("attribute 'key' required")
        if type(key) is Thunk:
            key = force_thunk(cython.cast(Thunk, key), -1)
        if not done.add(key):
            continue
        out.append(x)
        for y in force_list(call1(operator, x, 0)):
            if type(y) is Thunk:
                y = force_thunk(cython.cast(Thunk, y), -1)
            work.append(y)
    counters.list_elements += len(out)
    return out


class Done:
    """The keys that genericClosure has seen. Keys must be comparable with each other."""

    def __init__(self):
        self.kind = None
        self.simple = set()
        self.ordered = []
        self.first = None

    def add(self, key):
        """Remember `key`; return whether it is new."""
        if type(key) is str or type(key) is ContextString:
            kind = str
            plain = key if type(key) is str else key.text
        elif type(key) is int or type(key) is float:
            kind = int
            plain = key
        elif type(key) is Path:
            kind = Path
            plain = key.path
        else:
            return self.add_ordered(key)
        if self.first is None:
            self.first = key
            self.kind = kind
        elif self.kind is not kind:
            raise EvalError("cannot compare " + show_type(key) + " with " + show_type(self.first), 0)
        if plain in self.simple:
            return False
        self.simple.add(plain)
        return True

    def add_ordered(self, key):
        """The same for lists, by binary search."""
        if self.first is None:
            self.first = key
            self.kind = type(key)
            self.ordered.append(key)
            return True
        if self.kind is not type(key) or self.simple:
            raise EvalError("cannot compare " + show_type(key) + " with " + show_type(self.first), 0)
        low = 0
        high = len(self.ordered)
        while low < high:
            middle = (low + high) // 2
            if less(self.ordered[middle], key):
                low = middle + 1
            else:
                high = middle
        if low < len(self.ordered) and not less(key, self.ordered[low]):
            return False
        self.ordered.insert(low, key)
        return True


def required(attrs, name, function):
    """Return attribute `name` that builtin `function` wants in its argument; TypeError if it is missing."""
    value: object = cython.cast(dict, attrs).get(name)
    if value is None:
        from evaluator.core.attrsets import missing_for

        raise missing_for(attrs, name, function)
    return value
