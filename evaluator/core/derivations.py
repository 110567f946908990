"""`derivationStrict`: from a set of attributes to the text of a `.drv` and the store paths that follow from it.

The one purpose of the language, and the most expensive builtin: a package set calls it twenty thousand times, so it
works on text from end to end instead of on the values of `storefs.formats.derivation`, whose reader and writer it must
agree with. Order, escapes, hashes and errors are those of primops.cc and derivations.cc of Nix 2.8; Dolstra's thesis,
sections 5.1 and 5.4, tells why. `derivation` itself is Nix code, `corepkgs/derivation.nix`.
"""

import cython

from evaluator.core.json_text import value_to_json, write_string
from evaluator.core.lists import required
from evaluator.core.sha256 import sha256
from evaluator.core.text_buffer import TextBuffer
from evaluator.core.values import set_position
from evaluator.errors import CALL_SITE, NO_POS, EvalError, NixError
from storefs.formats.hashes import SIZES, Hash, parse_hash
from storefs.formats.store_path import BadStorePath, check_name
from storefs.logs import warn

if cython.compiled:
    from cython.cimports.evaluator.core.ascii import is_ascii
else:
    is_ascii = str.isascii

    from evaluator.core.calls import (
        coerce,
        force_attrs,
        force_bool_c,
        force_list,
        force_string_context,
        force_string_no_context,
    )
    from evaluator.core.values import NULL, Thunk, force_thunk, make_string, position_of

_BASE32 = b"0123456789abcdfghijklmnpqrsvwxyz"
#: For every byte: 0, or the letter that is behind its backslash in an ATerm.
_ESCAPES = bytes({34: 34, 92: 92, 10: 110, 13: 114, 9: 116}.get(byte, 0) for byte in range(256))
_digit = _BASE32
_escape = _ESCAPES
_NAME_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-._?=")
_NOTED = frozenset(["builder", "system", "outputHash", "outputHashAlgo", "outputHashMode", "outputs"])


class DerivationHashes:
    """What stands for each derivation in the hashes of those that use it: store path -> (base-16 hash, deferred).

    Deferred means that the output paths of everything that uses it are known only after it was built.
    """

    def __init__(self, io):
        self.io = io
        self.known = {}
        self.hasher = None

    def of(self, path: str):
        """Return the pair for a derivation that was not made in this evaluation; reads it from the store."""
        if self.hasher is None:
            from storefs.formats.derivation_hash import DerivationHasher

            directory = self.io.directory
            self.hasher = DerivationHasher(directory, lambda each: self.io.derivation(directory.print(each)))
        found = self.hasher.of_path(self.io.directory.parse(path))
        pair = self.known[path] = (found.hex, found.deferred)
        return pair


@cython.cclass
class _Recipe:
    """What the attributes of one derivation have said so far."""

    def __init__(self):
        self.context = set()
        self.env = {}
        self.args = []
        self.builder = ""
        self.system = ""
        self.outputs = ["out"]
        self.output_hash = None
        self.output_hash_algo = ""
        self.mode = ""
        self.content_addressed = False
        self.impure = False

    def note(self, key: str, text: str):
        """Take in an attribute that means something to the builder, besides being in the environment."""
        if key == "builder":
            self.builder = text
        elif key == "system":
            self.system = text
        elif key == "outputHash":
            self.output_hash = text
        elif key == "outputHashAlgo":
            self.output_hash_algo = text
        elif key == "outputHashMode":
            if text not in ("recursive", "flat"):
                raise EvalError(f"invalid value '{text}' for 'outputHashMode' attribute")
            self.mode = text
        else:
            self.note_outputs(text.split())

    def note_outputs(self, names: list):
        seen: set = set()
        for name in names:
            if name in seen:
                raise EvalError(f"duplicate derivation output '{name}'")
            if name == "drv" or name == "drvPath":
                # `drvPath` in the result would be ambiguous.
                raise EvalError(f"invalid derivation output name '{name}'")
            seen.add(name)
        if not names:
            raise EvalError("derivation cannot have an empty set of outputs")
        self.outputs = names


def prim_derivationStrict(state, attributes):
    """`derivationStrict attrs`: write the derivation that *attrs* describes; returns `drvPath` and the output paths.

    Use `derivation`, which calls this when it must.
    """
    attrs: object = force_attrs(attributes, "while evaluating the argument passed to builtins.derivationStrict")
    try:
        given: object = required(attrs, "name", "in the attrset passed as argument to builtins.derivationStrict")
    except NixError as error:
        error.pos = set_position(attrs) or CALL_SITE  # the call is that in the definition of `derivation`
        raise
    pos: cython.longlong = position_of(attrs, "name")
    try:
        name: str = force_string_no_context(
            given, "while evaluating the `name` attribute passed to builtins.derivationStrict"
        )
    except NixError as error:
        error.add_trace(pos, "while evaluating the derivation attribute 'name'")
        raise
    recipe: _Recipe = _Recipe()
    json: list = []
    key: str = ""
    structured: cython.bint = False
    ignore_nulls: cython.bint
    try:
        if not name or len(name) > 211 or not _NAME_CHARACTERS.issuperset(name):
            raise _bad_name(name)
        structured = _flag(attrs, "__structuredAttrs")
        ignore_nulls = _flag(attrs, "__ignoreNulls")
        for key in sorted(attrs):
            value: object = attrs[key]
            if key == "__ignoreNulls":
                continue
            if ignore_nulls:
                if type(value) is Thunk:
                    value = force_thunk(cython.cast(Thunk, value), -1)
                if value is NULL:
                    continue
            if key == "args":
                doing: str = "while evaluating an element of the argument list"
                for item in force_list(value):
                    recipe.args.append(coerce(state, item, recipe.context, True, True, doing))
            elif key == "__contentAddressed":
                if force_bool_c(value, "", -1):
                    recipe.content_addressed = True
                    _require_feature(state, "ca-derivations")
            elif key == "__impure":
                if force_bool_c(value, "", -1):
                    recipe.impure = True
                    _require_feature(state, "impure-derivations")
            elif structured:
                if key != "__structuredAttrs":
                    _structured_attribute(state, recipe, key, value, json)
            else:
                text: str = coerce(state, value, recipe.context, True, True)
                recipe.env[key] = text
                if key in _NOTED:
                    recipe.note(key, text)
    except NixError as error:
        where: cython.longlong = position_of(attrs, key) if key else pos
        if error.pos == CALL_SITE:
            error.pos = NO_POS
            error.call_pos = where
        if key:
            error.add_trace(where, f"while evaluating attribute '{key}' of derivation '{name}'")
        _add_derivation_trace(state, error, name, pos)
        raise
    if structured:
        recipe.env["__json"] = "{" + ",".join(json) + "}"
    try:
        return _finish(state, name, recipe)
    except NixError as error:
        if error.pos == CALL_SITE:
            error.pos = NO_POS
            error.call_pos = pos
        _add_derivation_trace(state, error, name, pos)
        raise


@cython.cfunc
@cython.exceptval(-1, check=False)
def _flag(attrs: object, key: str) -> cython.int:
    """Whether the attributes say how they are to be treated in general."""
    if key not in attrs:
        return 0
    return force_bool_c(attrs[key], f"while evaluating the `{key}` attribute passed to builtins.derivationStrict", -1)


def _bad_name(name):
    """Return the error for what can't be the name of a store path."""
    try:
        check_name(name, name)
        reason = "is not allowed"
    except BadStorePath as error:
        reason = str(error).removeprefix(f"store path '{name}' ")
    return EvalError(f"invalid derivation name: name '{name}' {reason}. Please pass a different 'name'.", NO_POS)


@cython.cfunc
def _add_derivation_trace(state: object, error: object, name: str, pos: cython.longlong):
    """Say which derivation it is, and where: its name is all that tells one call of `mkDerivation` from another."""
    place: object = state.positions.resolve(pos)
    located: str = f"\n  whose name attribute is located at {place.where()}" if place is not None else ""
    error.add_trace(NO_POS, f"while evaluating derivation '{name}'{located}")


@cython.cfunc
def _structured_attribute(state: object, recipe: _Recipe, key: str, value: object, json: list):
    json.append(write_string(key) + ":" + value_to_json(state, value, recipe.context))
    if key == "builder":
        recipe.builder = force_string_context(value, recipe.context)
    elif key == "outputs":
        recipe.note_outputs([force_string_no_context(item) for item in force_list(value)])
    elif key in _NOTED:
        recipe.note(key, force_string_no_context(value))


@cython.cfunc
def _require_feature(state: object, feature: str):
    if feature not in state.settings.experimental_features:
        way_out = f"use '--extra-experimental-features {feature}' to override"
        raise EvalError(f"experimental Nix feature '{feature}' is disabled; {way_out}", NO_POS)


@cython.cfunc
def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@cython.cfunc
@cython.exceptval(-1)
def _put_verbatim(out: TextBuffer, text: str) -> cython.int:
    """Append a string in quotes, with no escapes: Nix writes what it takes for plain so."""
    out.put_byte(34)
    out.put(text)
    return out.put_byte(34)


@cython.cfunc
@cython.exceptval(-1)
def _put_list(out: TextBuffer, items: list, verbatim: cython.bint) -> cython.int:
    """Append a list of strings."""
    first: cython.bint = True
    out.put_byte(91)
    for item in items:
        if not first:
            out.put_byte(44)
        first = False
        if verbatim:
            _put_verbatim(out, item)
        else:
            out.put_quoted(item, _escape)
    return out.put_byte(93)


@cython.cfunc
def _in_order(names: object) -> list:
    """The names sorted by their bytes, which for anything but ASCII is not the order of Python's strings."""
    ordered: list = sorted(names)
    for name in ordered:
        if not is_ascii(name):
            return sorted(ordered, key=lambda each: each.encode("utf-8", "surrogateescape"))
    return ordered


def store_path(directory: str, kind: str, hash16: str, name: str) -> str:
    """`makeStorePath`: the path of an object of `kind` whose inner SHA-256 is `hash16`."""
    text: str = f"{kind}:sha256:{hash16}:{directory}:{name}"
    digest: bytes = sha256(text.encode("utf-8", "surrogateescape")).digest()
    folded: bytearray = bytearray(digest[:20])
    n: cython.int
    for n in range(12):
        folded[n] = folded[n] ^ digest[20 + n]
    out: bytearray = bytearray(32)
    bit: cython.int
    byte: cython.int
    shift: cython.int
    value: cython.int
    for n in range(32):
        bit = (31 - n) * 5
        byte = bit >> 3
        shift = bit & 7
        value = folded[byte] >> shift
        if shift > 3 and byte < 19:
            value |= folded[byte + 1] << (8 - shift)
        out[n] = _digit[value & 31]
    base_name: str = out.decode("ascii") + "-" + name
    if not name or len(name) > 211 or not _NAME_CHARACTERS.issuperset(name):
        check_name(name, base_name)
    return directory + "/" + base_name


@cython.cfunc
@cython.exceptval(-1)
def _put_inputs(out: TextBuffer, ordered: list, wanted: dict) -> cython.int:
    """Append the part of the text that names derivations and the outputs wanted of each."""
    first: cython.bint = True
    for key in ordered:
        if not first:
            out.put_byte(44)
        first = False
        out.put('("')
        out.put(key)
        out.put('",')
        _put_list(out, _in_order(wanted[key]), True)
        out.put_byte(41)
    return 0


@cython.cfunc
def _collect(state: object, context: set, drvs: dict, srcs: set):
    """Everything in the context of the attributes becomes an input of the derivation."""
    for element in context:
        if element[0] == "!":
            end: cython.Py_ssize_t = element.find("!", 1)
            path: str = element[end + 1 :]
            output: str = element[1:end]
            found: object = drvs.get(path)
            if found is None:
                drvs[path] = {output}
            else:
                found.add(output)
        elif element[0] == "=":
            # The builder gets the derivation itself, so it may look at anything that it needs.
            for each in state.io.closure(element[1:]):
                srcs.add(each)
                if each.endswith(".drv"):
                    drvs.setdefault(each, set()).update(state.io.output_names(each))
        else:
            srcs.add(element)


@cython.cfunc
def _finish(state: object, name: str, recipe: _Recipe) -> dict:
    directory: str = state.io.directory.path
    hashes: object = state.memo.get("derivation hashes")
    if hashes is None:
        hashes = state.memo["derivation hashes"] = DerivationHashes(state.io)
    known: dict = hashes.known
    drvs: dict = {}
    srcs: set = set()
    _collect(state, recipe.context, drvs, srcs)
    if not recipe.builder:
        raise EvalError("required attribute 'builder' missing")
    if not recipe.system:
        raise EvalError("required attribute 'system' missing")
    if name.endswith(".drv"):
        raise EvalError("derivation names are not allowed to end in '.drv'")

    # (path, algorithm, hash) of each output
    outputs: dict = {}
    names: list = _in_order(recipe.outputs)
    deferred: cython.bint = False
    fixed: cython.bint = recipe.output_hash is not None
    placeholders: cython.bint = not fixed and (recipe.content_addressed or recipe.impure)
    by_hash: dict = {}
    if fixed:
        outputs["out"] = _fixed_output(directory, name, recipe)
    else:
        for path, wanted in drvs.items():
            pair: tuple = known.get(path)
            if pair is None:
                pair = hashes.of(path)
            deferred = deferred or pair[1]
            if pair[0] in by_hash:
                by_hash[pair[0]] = by_hash[pair[0]] | wanted
            else:
                by_hash[pair[0]] = wanted
        for output in names:
            outputs[output] = ("", "", "")
        if placeholders:
            deferred = True
            _floating_outputs(recipe, names, outputs)

    env: dict = recipe.env
    for output in names:
        env[output] = outputs[output][0]
    ordered_srcs: list = sorted(srcs)
    # The text is hashed with the outputs' paths left out, and written with them: `gaps` tells where they go.
    late: cython.bint = not fixed and not deferred
    gaps: list = []
    rest: bytes = _behind_inputs(recipe, ordered_srcs, names if late else [], gaps)
    hashed_inputs: TextBuffer = TextBuffer()
    _put_inputs(hashed_inputs, sorted(by_hash), by_hash)
    if late:
        hash16: str = _sha256_of(_outputs(names, outputs), hashed_inputs, rest)
        for output in names:
            path_name: str = name if output == "out" else name + "-" + output
            outputs[output] = (store_path(directory, "output:" + output, hash16, path_name), "", "")
        rest = _filled(rest, gaps, outputs)
    if placeholders:
        for output in names:
            # What the environment says and what the outputs say differ: the path is not known.
            outputs[output] = ("", outputs[output][1], outputs[output][2])

    head: bytes = _outputs(names, outputs)
    ordered_drvs: list = sorted(drvs)
    inputs: TextBuffer = TextBuffer()
    _put_inputs(inputs, ordered_drvs, drvs)
    content: bytes = b"".join((head, inputs.content(), rest))
    digest: bytes = sha256(content).digest()
    references: list = sorted(srcs.union(drvs)) if drvs else ordered_srcs
    kind: str = "text:" + ":".join(references) if references else "text"
    drv_path: str = store_path(directory, kind, digest.hex(), name + ".drv")
    state.io.add_derivation(drv_path, content, digest, references, names)
    if drv_path not in known:
        if fixed:
            path, algo, hash16 = outputs["out"]
            known[drv_path] = (_sha256(f"fixed:out:{algo}:{hash16}:{path}"), False)
        elif recipe.impure:
            known[drv_path] = (_sha256("impure"), True)
        else:
            known[drv_path] = (_sha256_of(head, hashed_inputs, rest), deferred)

    result: dict = {"drvPath": make_string(drv_path, frozenset(("=" + drv_path,)))}
    for output in names:
        text: str = outputs[output][0] or _downstream_placeholder(drv_path, name, output)
        result[output] = make_string(text, frozenset((f"!{output}!{drv_path}",)))
    return result


@cython.cfunc
def _outputs(names: list, outputs: dict) -> bytes:
    """The text up to the inputs."""
    out: TextBuffer = TextBuffer()
    first: cython.bint = True
    out.put("Derive([")
    for name in names:
        path, algo, hash16 = outputs[name]
        out.put("(" if first else ",(")
        first = False
        _put_verbatim(out, name)
        for text in (path, algo, hash16):
            out.put_byte(44)
            _put_verbatim(out, text)
        out.put_byte(41)
    out.put("],[")
    return out.content()


@cython.cfunc
def _behind_inputs(recipe: _Recipe, srcs: list, late: list, gaps: list) -> bytes:
    """The text behind the inputs; `gaps` gets places and names of the outputs in `late`, whose paths are not in it."""
    out: TextBuffer = TextBuffer()
    first: cython.bint = True
    env: dict = recipe.env
    out.put("],")
    _put_list(out, srcs, True)
    out.put_byte(44)
    _put_verbatim(out, recipe.system)
    out.put_byte(44)
    out.put_quoted(recipe.builder, _escape)
    out.put_byte(44)
    _put_list(out, recipe.args, False)
    out.put(",[")
    for key in _in_order(env):
        out.put("(" if first else ",(")
        first = False
        out.put_quoted(key, _escape)
        out.put_byte(44)
        if key in late:
            out.put_byte(34)
            gaps.append((out.used, key))
            out.put_byte(34)
        else:
            out.put_quoted(env[key], _escape)
        out.put_byte(41)
    out.put("])")
    return out.content()


@cython.cfunc
def _filled(text: bytes, gaps: list, outputs: dict) -> bytes:
    """The text with the outputs' paths in its gaps."""
    pieces: list = []
    done: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t
    for at, name in gaps:
        pieces.append(text[done:at])
        pieces.append(cython.cast(str, outputs[name][0]).encode("utf-8", "surrogateescape"))
        done = at
    pieces.append(text[done:])
    return b"".join(pieces)


@cython.cfunc
def _sha256_of(head: bytes, inputs: TextBuffer, rest: bytes) -> str:
    """The hash of a derivation's text."""
    return sha256(b"".join((head, inputs.content(), rest))).digest().hex()


def hash_or_zero(text: str, algo):
    """Read the hash that an expression gives for a file.

    '' stands for zeros, so that the error that follows shows the right one; `algo` is None if the text must name it.
    """
    if text:
        return parse_hash(text, algo)
    if algo is None:
        raise EvalError("empty hash requires explicit hash type", NO_POS)
    zero = Hash(algo, bytes(SIZES[algo]))
    warn(f"found empty hash, assuming '{zero.to_string('sri', True)}'")
    return zero


@cython.cfunc
def _fixed_output(directory: str, name: str, recipe: _Recipe) -> tuple:
    """Path, algorithm and hash of the output of a derivation that says what its result is."""
    if recipe.outputs != ["out"]:
        raise EvalError("multiple outputs are not supported in fixed-output derivations")
    algo: object = recipe.output_hash_algo
    digest: object = hash_or_zero(recipe.output_hash, algo if algo in SIZES else None)
    hash16: str = digest.digest.hex()
    method: str = "r:" if recipe.mode == "recursive" else ""
    path: str
    if method and digest.algo == "sha256":
        path = store_path(directory, "source", hash16, name)
    else:
        path = store_path(directory, "output:out", _sha256(f"fixed:out:{method}{digest.algo}:{hash16}:"), name)
    return path, method + digest.algo, hash16


@cython.cfunc
def _floating_outputs(recipe: _Recipe, names: list, outputs: dict):
    """Outputs whose paths follow from their contents; until then the environment has placeholders for them."""
    if recipe.content_addressed and recipe.impure:
        raise EvalError("derivation cannot be both content-addressed and impure")
    algo: str = recipe.output_hash_algo if recipe.output_hash_algo in SIZES else "sha256"
    method: str = "" if recipe.mode == "flat" else "r:"
    for output in names:
        outputs[output] = (hash_placeholder(output), method + algo, "impure" if recipe.impure else "")


def hash_placeholder(output: str) -> str:
    """Return what stands for a derivation's own output path until that path is known."""
    from storefs.formats.derivation_hash import hash_placeholder as placeholder

    return placeholder(output)


def _downstream_placeholder(drv_path, name, output):
    from storefs.formats.derivation_hash import downstream_placeholder
    from storefs.formats.store_path import StorePath

    return downstream_placeholder(StorePath(drv_path.rpartition("/")[2]), output)
