"""Builtins for sets. How builtins are written is described in values.py."""

import cython

from evaluator.core.lists import required
from evaluator.core.nodes import AttrsNode
from evaluator.core.values import KnownPositions, OnePosition
from evaluator.errors import NixTypeError

if cython.compiled:
    from cython.cimports.evaluator.core.tables import attribute
else:
    attribute = dict.get

    from evaluator.core.calls import (
        force_attrs,
        force_function,
        force_list,
        force_string_no_context,
    )
    from evaluator.core.nodes import Mapping, delay_call2, delayed2, mapped, mapping_of
    from evaluator.core.values import (
        NULL,
        Attrs,
        Func,
        MergedByNames,
        Node,
        PrimOp,
        Thunk,
        copy_set,
        counters,
        force_thunk,
        is_merged,
        new_merged,
        position_of,
        settled,
    )


def prim_attrNames(state, attrs):
    """`attrNames set`: the names of its attributes, sorted."""
    d: dict = force_attrs(attrs, "while evaluating the argument passed to builtins.attrNames")
    counters.list_elements += len(d)
    return sorted(d)


def prim_attrValues(state, attrs):
    """`attrValues set`: the values of its attributes, in the order of their names."""
    d: dict = force_attrs(attrs, "while evaluating the argument passed to builtins.attrValues")
    counters.list_elements += len(d)
    return [d[name] for name in sorted(d)]


def prim_getAttr(state, name, attrs):
    """`getAttr name set`: the attribute called `name`."""
    key: str = force_string_no_context(name, "while evaluating the first argument passed to builtins.getAttr")
    d: dict = force_attrs(attrs, "while evaluating the second argument passed to builtins.getAttr")
    v: object = required(d, key, "in the attribute set under consideration")
    if counters.selections is not None:
        from evaluator.core.nodes import count_selection

        count_selection(d, key)
    if type(v) is Thunk:
        v = force_thunk(cython.cast(Thunk, v), -1)
    return v


def prim_hasAttr(state, name, attrs):
    """`hasAttr name set`: whether the set has an attribute called `name`."""
    key: str = force_string_no_context(name, "while evaluating the first argument passed to builtins.hasAttr")
    d: dict = force_attrs(attrs, "while evaluating the second argument passed to builtins.hasAttr")
    return attribute(d, key) is not None


def prim_unsafeGetAttrPos(state, name, attrs):
    """`unsafeGetAttrPos name set`: where the attribute was defined, or null."""
    from evaluator.core.nodes import position_value

    key: str = force_string_no_context(name, "while evaluating the first argument passed to builtins.unsafeGetAttrPos")
    d: dict = force_attrs(attrs, "while evaluating the second argument passed to builtins.unsafeGetAttrPos")
    if key not in d:
        return NULL
    return position_value(state, position_of(d, key))


def prim_isAttrs(state, x):
    """`isAttrs e`: whether it is a set."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return isinstance(x, dict)


_NONE = ()


@cython.cfunc
def same_positions(d: dict) -> dict:
    """An empty set for attributes that are taken from `d` with their positions."""
    counters.sets += 1
    if type(d) is Attrs and cython.cast(Attrs, d).positions is not None:
        out: Attrs = Attrs.__new__(Attrs)
        out.positions = cython.cast(Attrs, d).positions
        if not is_merged(out.positions):
            # Not all names that the positions know are in the new set.
            out.positions = new_merged(MergedByNames, out.positions, (None, _NONE))
        return out
    return {}


def prim_removeAttrs(state, attrs, names):
    """`removeAttrs set list`: without the attributes named in the list."""
    d: dict = force_attrs(attrs, "while evaluating the first argument passed to builtins.removeAttrs")
    removed: set = set()
    doing: str = "while evaluating the values of the second argument passed to builtins.removeAttrs"
    for x in force_list(names, "while evaluating the second argument passed to builtins.removeAttrs"):
        removed.add(force_string_no_context(x, doing))
    out: dict = same_positions(d)
    copy_set(out, d)
    for name in removed:
        out.pop(name, None)
    counters.set_elements += len(out)
    return settled(out)


def prim_listToAttrs(state, items):
    """`listToAttrs list`: the set made of a list of `{ name, value }`; of equal names the first counts."""
    out: Attrs = Attrs.__new__(Attrs)
    provider: object = None
    several: dict = None
    d: dict
    where: object
    out.positions = None
    counters.sets += 1
    mapping: Mapping = mapping_of(items)
    pairs: list
    if mapping is None:
        pairs = force_list(items, "while evaluating the argument passed to builtins.listToAttrs")
    else:
        pairs = mapping.source
    for x in pairs:
        if mapping is not None:
            x = mapped(mapping, x)
        d = force_attrs(x, "while evaluating an element of the list passed to builtins.listToAttrs")
        name: object = required(d, "name", "in a {name=...; value=...;} pair")
        if type(name) is not str:
            name = force_string_no_context(
                name,
                "while evaluating the `name` attribute of an element of the list passed to builtins.listToAttrs",
                position_of(d, "name"),
            )
        if name in cython.cast(dict, out):
            continue
        value: object = required(d, "value", "in a {name=...; value=...;} pair")
        # Usually one expression makes all the pairs, and one position says it all.
        where = cython.cast(Attrs, d).positions if type(d) is Attrs else None
        if not cython.cast(dict, out):
            provider = where
        elif several is None and where is not provider:
            several = {}
            position: object = provider_position(provider)
            for known in cython.cast(dict, out):
                several[known] = position
        if several is not None:
            several[name] = position_of(d, "value")
        cython.cast(dict, out)[name] = value
    counters.set_elements += len(cython.cast(dict, out))
    if several is not None:
        out.positions = KnownPositions(several)
    elif provider is not None:
        out.positions = pair_positions(provider, tuple(out) if len(out) <= _FEW_NAMES else None)
    return settled(out)


#: Of so many attributes `listToAttrs` notes the names.
_FEW_NAMES = 4


@cython.cfunc
def pair_positions(provider: object, names: object) -> object:
    """The positions of a set of pairs that `provider` has the positions of."""
    if type(provider) is AttrsNode:
        return provider.pair_positions(names)
    where: object = provider_position(provider)
    return OnePosition(where, names if where else None)


@cython.cfunc
def provider_position(provider: object) -> object:
    """Where a pair that `provider` has the positions of has its value."""
    if provider is None:
        return 0
    holder: Attrs = Attrs.__new__(Attrs)
    holder.positions = provider
    return position_of(holder, "value")


def prim_intersectAttrs(state, a, b):
    """`intersectAttrs e1 e2`: the attributes of `e2` whose names are in `e1`."""
    x: dict = force_attrs(a, "while evaluating the first argument passed to builtins.intersectAttrs")
    y: dict = force_attrs(b, "while evaluating the second argument passed to builtins.intersectAttrs")
    out: dict = same_positions(y)
    if len(x) < len(y):
        for k in x:
            v: object = attribute(y, k)
            if v is not None:
                out[k] = v
    else:
        for k in y:
            if k in x:
                out[k] = y[k]
    counters.set_elements += len(out)
    return settled(out)


def prim_catAttrs(state, name, items):
    """`catAttrs name list`: the attributes called `name` of those sets that have it."""
    key: str = force_string_no_context(name, "while evaluating the first argument passed to builtins.catAttrs")
    out: list = []
    doing: str = "while evaluating an element in the list passed as second argument to builtins.catAttrs"
    for x in force_list(items, "while evaluating the second argument passed to builtins.catAttrs"):
        v: object = attribute(force_attrs(x, doing), key)
        if v is not None:
            out.append(v)
    counters.list_elements += len(out)
    return out


def prim_functionArgs(state, f):
    """`functionArgs f`: a set of the function's named arguments, telling whether each has a default."""
    if type(f) is Thunk:
        f = force_thunk(cython.cast(Thunk, f), -1)
    if type(f) is PrimOp:
        return {}
    if type(f) is not Func:
        raise NixTypeError("'functionArgs' requires a function")
    formals: object = cython.cast(Func, f).code.formals()
    if formals is None:
        return {}
    out: Attrs = Attrs.__new__(Attrs)
    where: dict = {}
    for name, has_default, pos in formals:
        out[name] = has_default
        where[name] = pos
    out.positions = KnownPositions(where)
    counters.sets += 1
    counters.set_elements += len(where)
    return out


def prim_mapAttrs(state, f, attrs):
    """`mapAttrs f set`: the set of `f name value` for every attribute."""
    node: Node = delayed2(f)
    d: dict = force_attrs(attrs, "while evaluating the second argument passed to builtins.mapAttrs")
    out: dict = dict.copy(d)  # with its names
    for k, v in d.items():
        out[k] = delay_call2(node, k, v)
    counters.sets += 1
    counters.set_elements += len(out)
    return out


def prim_zipAttrsWith(state, f, items):
    """`zipAttrsWith f list`: the set of `f name values` with the values that the sets of the list have for the name."""
    f = force_function(f, "while evaluating the first argument passed to builtins.zipAttrsWith")
    groups: dict = {}
    out: dict = {}
    node: Node
    doing: str = "while evaluating a value of the list passed as second argument to builtins.zipAttrsWith"
    for x in force_list(items, "while evaluating the second argument passed to builtins.zipAttrsWith"):
        d: dict = force_attrs(x, doing)
        for k, v in d.items():
            group: list = groups.get(k)
            if group is None:
                groups[k] = [v]
            else:
                group.append(v)
    node = delayed2(f)
    for k, v in groups.items():
        out[k] = delay_call2(node, k, v)
    counters.sets += 1
    counters.set_elements += len(out)
    return out
