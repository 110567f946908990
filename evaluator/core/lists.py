"""Builtins for lists. How builtins are written is described in values.py."""

import cython

from evaluator.errors import EvalError, NixError, NixTypeError, Shown
from evaluator.names import show_name

if cython.compiled:
    from cython.cimports.evaluator.core.ascii import is_ascii
    from cython.cimports.evaluator.core.tables import attribute
else:
    attribute = dict.get
    is_ascii = str.isascii

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
        not_comparable,
        same,
        type_error,
    )
    from evaluator.core.nodes import Mapping, delay_call, delayed, mapped, mapping_is_wanted, mapping_of, new_mapping
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
    )


def prim_map(state, f, items):
    """`map f list`: the list of the results of `f` for every element."""
    wanted: cython.bint = mapping_is_wanted()
    source: list = force_list(items, "while evaluating the second argument passed to builtins.map")
    n: cython.Py_ssize_t = len(source)
    i: cython.Py_ssize_t
    out: list = [None] * n
    if n:
        if type(f) is not Thunk:  # one that is may be needed by nothing
            force_function(f, "while evaluating the first argument passed to builtins.map")
        counters.list_elements += n
        if wanted:
            return new_mapping(f, source)
        node: Node = delayed(f)
        for i in range(n):
            out[i] = delay_call(node, source[i])
    return out


def prim_genList(state, f, n):
    """`genList f n`: the list of `f 0` to `f (n - 1)`."""
    count: cython.longlong = force_int(n, "while evaluating the second argument passed to builtins.genList")
    i: cython.longlong
    if count < 0:
        raise EvalError("cannot create list of size %d" % count)
    if type(f) is not Thunk:
        force_function(f, "while evaluating the first argument passed to builtins.genList")
    try:
        out: list = [None] * count
    except (MemoryError, OverflowError):
        raise EvalError("cannot create list of size %d: out of memory" % count) from None
    node: Node = delayed(f)
    for i in range(count):
        out[i] = delay_call(node, i)
        if i & 0xFFFF == 0:
            poll()
    counters.list_elements += count
    return out


def prim_filter(state, f, items):
    """`filter f list`: the elements for which `f` returns true."""
    source: list = force_list(items, "while evaluating the second argument passed to builtins.filter")
    f = force_function(f, "while evaluating the first argument passed to builtins.filter")
    out: list = []
    doing: str = "while evaluating the return value of the filtering function passed to builtins.filter"
    for x in source:
        if force_bool_c(call1(f, x, 0), doing, -1):
            out.append(x)
    if len(out) == len(source):
        return source
    counters.list_elements += len(out)
    return out


def prim_foldl_strict(state, f, start, items):
    """`foldl' op nul list`: `op (... (op (op nul x0) x1) ...) xn`, evaluated from the left."""
    f = force_function(f, "while evaluating the first argument passed to builtins.foldlStrict")
    source: list = force_list(items, "while evaluating the third argument passed to builtins.foldlStrict")
    value: object = start
    for x in source:
        value = call2(f, value, x)
    if type(value) is Thunk:
        value = force_thunk(cython.cast(Thunk, value), -1)
    return value


def prim_length(state, items):
    """`length list`: how many elements it has."""
    return len(force_list(items, "while evaluating the first argument passed to builtins.length"))


@cython.cfunc
def element(source: list, n: cython.longlong) -> object:
    """The forced element `n`, which takes the place of its thunk."""
    x: object = source[n]
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
        source[n] = x
    return x


def prim_elemAt(state, items, n):
    """`elemAt list n`: element `n`, counted from 0."""
    # Nix evaluates the index first.
    index: cython.longlong = force_int(n, "while evaluating the second argument passed to 'builtins.elemAt'")
    source: list = force_list(items, "while evaluating the first argument passed to 'builtins.elemAt'")
    if index < 0 or index >= len(source):
        raise EvalError("'builtins.elemAt' called with index %d on a list of size %d" % (index, len(source)))
    return element(source, index)


def prim_head(state, items):
    """`head list`: the first element."""
    source: list = force_list(items, "while evaluating the first argument passed to 'builtins.head'")
    if not source:
        raise EvalError("'builtins.head' called on an empty list")
    return element(source, 0)


def prim_tail(state, items):
    """`tail list`: all but the first element; takes time in proportion to the length."""
    source: list = force_list(items, "while evaluating the first argument passed to 'builtins.tail'")
    if not source:
        raise EvalError("'builtins.tail' called on an empty list")
    counters.list_elements += len(source) - 1
    return source[1:]


def prim_isList(state, x):
    """`isList e`: whether it is a list."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is list


def prim_elem(state, x, items):
    """`elem x list`: whether an element equals `x`; elements behind it are not evaluated."""
    source: list = force_list(items, "while evaluating the second argument passed to builtins.elem")
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
    doing: str = "while evaluating the first argument passed to builtins.concatLists"
    mapping: Mapping = mapping_of(lists)
    source: list = force_list(lists, doing) if mapping is None else mapping.source
    out: list = []
    part: list
    only: list = None
    counters.list_concatenations += 1
    for x in source:
        if mapping is not None:
            x = mapped(mapping, x)
        part = force_list(x, "while evaluating a value of the list passed to builtins.concatLists")
        if part:
            only = part
            out.extend(part)
    if only is not None and len(only) == len(out):
        return only
    counters.list_elements += len(out)
    return out


def prim_concatMap(state, f, items):
    """`concatMap f list`: the elements of the lists that `f` returns."""
    f = force_function(f, "while evaluating the first argument passed to builtins.concatMap")
    out: list = []
    for x in force_list(items, "while evaluating the second argument passed to builtins.concatMap"):
        x = call1(f, x)
        if type(x) is not list:
            doing: str = "while evaluating the return value of the function passed to builtins.concatMap"
            e: object = type_error(x, "a list", -1)
            e.add_trace(cython.cast(Func, f).code.pos if type(f) is Func else 0, doing)
            raise e
        out.extend(cython.cast(list, x))
    counters.list_elements += len(out)
    return out


def prim_all(state, f, items):
    """`all pred list`: whether `pred` holds for all elements."""
    f = force_function(f, "while evaluating the first argument passed to builtins.all")
    doing: str = "while evaluating the return value of the function passed to builtins.all"
    for x in force_list(items, "while evaluating the second argument passed to builtins.all"):
        if not force_bool_c(call1(f, x), doing, -1):
            return False
    return True


def prim_any(state, f, items):
    """`any pred list`: whether `pred` holds for an element."""
    f = force_function(f, "while evaluating the first argument passed to builtins.any")
    doing: str = "while evaluating the return value of the function passed to builtins.any"
    for x in force_list(items, "while evaluating the second argument passed to builtins.any"):
        if force_bool_c(call1(f, x), doing, -1):
            return True
    return False


def prim_partition(state, f, items):
    """`partition pred list`: the set of `right`, the elements for which `pred` holds, and `wrong`, the others."""
    f = force_function(f, "while evaluating the first argument passed to builtins.partition")
    right: list = []
    wrong: list = []
    doing: str = "while evaluating the return value of the partition function passed to builtins.partition"
    for x in force_list(items, "while evaluating the second argument passed to builtins.partition"):
        if type(x) is Thunk:
            x = force_thunk(cython.cast(Thunk, x), -1)
        if force_bool_c(call1(f, x), doing, -1):
            right.append(x)
        else:
            wrong.append(x)
    counters.list_elements += len(right) + len(wrong)
    return {"right": right, "wrong": wrong}


def prim_groupBy(state, f, items):
    """`groupBy f list`: a set of lists, of the elements for which `f` returns the attribute's name."""
    f = force_function(f, "while evaluating the first argument passed to builtins.groupBy")
    out: dict = {}
    doing: str = "while evaluating the return value of the grouping function passed to builtins.groupBy"
    for x in force_list(items, "while evaluating the second argument passed to builtins.groupBy"):
        name: str = force_string_no_context(call1(f, x), doing)
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
        doing: str = "while evaluating the return value of the sorting function passed to builtins.sort"
        return bool(force_bool_c(call2(a.f, a.value, b.value), doing, -1))


def prim_sort(state, f, items):
    """`sort comparator list`: sorted, keeping the order of equal elements."""
    source: list = force_list(items, "while evaluating the second argument passed to builtins.sort")
    f = force_function(f, "while evaluating the first argument passed to builtins.sort")
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
        if type(x) is not kind or (kind is str and not is_ascii(x)):
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
    s: dict = force_attrs(attrs, "while evaluating the first argument passed to builtins.genericClosure")
    inside: str = "in the attrset passed as argument to builtins.genericClosure"
    start: list = force_list(
        required(s, "startSet", inside),
        "while evaluating the 'startSet' attribute passed as argument to builtins.genericClosure",
    )
    operator: object = force_function(
        required(s, "operator", inside),
        "while evaluating the 'operator' attribute passed as argument to builtins.genericClosure",
    )
    returned: str = "while evaluating the return value of the `operator` passed to builtins.genericClosure"
    done: Done = Done()
    out: list = []
    work: list = list(start)
    i: cython.Py_ssize_t = 0
    while i < len(work):
        x: object = work[i]
        work[i] = None
        i += 1
        if not done.add(element_key(x), x):
            continue
        if type(x) is Thunk:
            x = cython.cast(Thunk, x).payload
        out.append(x)
        try:
            found: list = force_list(call1(operator, x, 0), returned)
            for y in found:
                if type(y) is Thunk:
                    y = force_thunk(cython.cast(Thunk, y), -1)
                work.append(y)
        except NixError as e:
            e.add_trace(0, ("while calling operator on genericClosure element ", Shown(x)))
            raise e
    counters.list_elements += len(out)
    return out


@cython.cfunc
def element_key(x: object) -> object:
    """The forced key of an element of a closure."""
    try:
        s: dict = force_attrs(x)
        key: object = s.get("key")
        if key is None:
            raise NixTypeError("attribute 'key' missing")
        return force_thunk(cython.cast(Thunk, key), -1) if type(key) is Thunk else key
    except NixError as e:
        e.add_trace(0, ("in genericClosure element ", Shown(x)))
        raise e


class Done:
    """The keys that genericClosure has seen, and whose they are. Keys must be comparable with each other."""

    def __init__(self):
        self.kind = None
        self.simple = set()
        self.ordered = []
        self.first = None

    def add(self, key, element):
        """Remember the `key` of `element`; return whether it is new."""
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
            return self.add_ordered(key, element)
        if self.first is None:
            self.first = (key, element)
            self.kind = kind
        elif self.kind is not kind:
            raise incomparable_elements(not_comparable(key, self.first[0]), element, self.first[1])
        if plain in self.simple:
            return False
        self.simple.add(plain)
        return True

    def add_ordered(self, key, element):
        """The same for lists, by binary search."""
        if self.first is None:
            self.first = (key, element)
            self.kind = type(key)
            self.ordered.append((key, element))
            return True
        if self.kind is not type(key) or self.simple:
            raise incomparable_elements(not_comparable(key, self.first[0]), element, self.first[1])
        low = 0
        high = len(self.ordered)
        while low < high:
            middle = (low + high) // 2
            other = self.ordered[middle]
            try:
                if less(other[0], key):
                    low = middle + 1
                else:
                    high = middle
            except NixError as e:
                incomparable_elements(e, element, other[1])
                raise e
        if low < len(self.ordered) and not less(key, self.ordered[low][0]):
            return False
        self.ordered.insert(low, (key, element))
        return True


def incomparable_elements(e, element, other):
    """Return the error for two elements whose keys have no order."""
    e.add_trace(0, ("with element ", Shown(other)))
    e.add_trace(0, ("while comparing element ", Shown(element)))
    return e


def required(attrs, name, doing):
    """Return attribute `name` that a builtin wants in its argument; TypeError if it is missing."""
    value: object = attribute(attrs, name)
    if value is None:
        e: object = NixTypeError("attribute '%s' missing" % show_name(name))
        e.add_trace(0, doing)
        raise e
    return value
