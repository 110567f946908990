"""Files: reading them, looking at directories, finding them, and copying them into the store.

Everything is done through `state.io` (`evaluator/eval_io.py`), which knows what this evaluation may see. Semantics and
texts: primops.cc of Nix 2.8, the newer builtins after the manual of Nix 2.31.
"""

from __future__ import annotations

import os

from evaluator.builtins.realising import canonical, read_file, realise_path, realise_text, references_of
from evaluator.core.calls import (
    call2,
    coerce,
    force_attrs,
    force_bool,
    force_function,
    force_list,
    force_string_context,
    force_string_no_context,
)
from evaluator.core.derivations import hash_or_zero
from evaluator.core.lists import required
from evaluator.core.values import (
    Path,
    attribute_position,
    force,
    make_path,
    make_string,
)
from evaluator.errors import CALL_SITE, NO_POS, EvalError, NixError, RestrictedPathError
from storefs.formats.hashes import SIZES, Hash, hash_bytes, parse_hash
from storefs.formats.store_path import BadStorePath, check_name
from storefs.logs import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState


def prim_readFile(state: EvalState, path: object) -> object:  # noqa: N802
    """`readFile path`: the contents of the file *path* as a string.

    A file in the store brings the references of its store path along as context.
    """
    real = realise_path(state, path)
    content = read_file(state, real)
    if b"\0" in content:
        raise EvalError(f"the contents of the file '{real}' cannot be represented as a Nix string", NO_POS)
    text = content.decode("utf-8", "surrogateescape")
    references = references_of(state, real)
    if references:
        # Context of things that the file does not mention would only cause needless dependencies.
        return make_string(text, frozenset(references))
    return text


def prim_readDir(state: EvalState, path: object) -> dict[str, str]:  # noqa: N802
    """`readDir path`: the names in the directory *path* with their types.

    A type is "regular", "directory", "symlink" or "unknown".
    """
    real = realise_path(state, path)
    try:
        return state.io.list_dir(real)
    except FileNotFoundError:
        raise EvalError(f"path '{real}' does not exist", NO_POS) from None
    except NotADirectoryError:
        raise EvalError(f"'{state.io.resolve(real)}' is not a directory", NO_POS) from None
    except OSError as error:
        raise EvalError(f"opening directory '{real}': {error.strerror}", NO_POS) from None


def prim_readFileType(state: EvalState, path: object) -> str:  # noqa: N802
    """`readFileType path`: the type of what is at *path*: "regular", "directory", "symlink" or "unknown"."""
    real = realise_path(state, path)
    try:
        kind = state.io.file_type(real)
    except OSError as error:
        raise EvalError(f"getting status of '{real}': {error.strerror}", NO_POS) from None
    if kind is None:
        raise EvalError(f"path '{real}' does not exist", NO_POS)
    return kind


def prim_pathExists(state: EvalState, path: object) -> bool:  # noqa: N802
    """`pathExists path`: whether *path* exists at evaluation time. A path that may not be read does not exist."""
    value = force(path)
    text = realise_path(state, value)
    raw = value.path if isinstance(value, Path) else coerce(state, value, set(), False, False)
    try:
        if raw.endswith(("/", "/.")):
            return state.io.file_type(state.io.resolve(text)) == "directory"
        return state.io.exists(text)
    except (OSError, RestrictedPathError):
        return False


_ELEMENT = "while evaluating the `{}` attribute of an element of the list passed to builtins.findFile"


def prim_findFile(state: EvalState, elements: object, name: object) -> Path:  # noqa: N802
    """`findFile search-path name`: look *name* up as `<name>` is, in a list of sets `{ prefix, path }`.

    The element `<name>` stands for `findFile __nixPath "name"`.
    """
    found = []
    for element in force_list(elements, "while evaluating the first argument passed to builtins.findFile"):
        attrs = force_attrs(element, "while evaluating an element of the list passed to builtins.findFile")
        prefix = ""
        if "prefix" in attrs:
            prefix = force_string_no_context(attrs["prefix"], _ELEMENT.format("prefix"))
        context: set[str] = set()
        value = required(attrs, "path", "in an element of the __nixPath")
        path = coerce(state, value, context, False, False, _ELEMENT.format("path"))
        found.append((prefix, realise_text(state, path, context)))
    wanted = force_string_no_context(name, "while evaluating the second argument passed to builtins.findFile")
    return make_path(state.memo["search path"].require(wanted, found))


def prim_hashFile(state: EvalState, algo: object, path: object) -> str:  # noqa: N802
    """`hashFile type path`: the base-16 hash of the file *path*; *type* is "md5", "sha1", "sha256" or "sha512"."""
    kind = _hash_kind(algo, "while evaluating the first argument passed to builtins.hashFile")
    return hash_bytes(kind, read_file(state, realise_path(state, path))).digest.hex()


def prim_toFile(state: EvalState, name: object, content: object) -> object:  # noqa: N802
    """`toFile name s`: put the string *s* into the store as a file with the suffix *name*, and return its path.

    The string may refer to other store paths but not to the results of derivations.
    """
    file_name = force_string_no_context(name, "while evaluating the first argument passed to builtins.toFile")
    context: set[str] = set()
    text = force_string_context(content, context, "while evaluating the second argument passed to builtins.toFile")
    for element in sorted(context):
        if element[0] != "/":
            raise EvalError(
                f"in 'toFile': the file named '{file_name}' must not contain a reference to a derivation "
                f"but contains ({element})"
            )
    _check_name(file_name)
    path = state.io.add_text(file_name, text.encode("utf-8", "surrogateescape"), sorted(context))
    return make_string(path, (path,))


def _check_name(name: str) -> None:
    try:
        check_name(name, name)
    except BadStorePath as error:
        raise EvalError(str(error)) from None


def prim_storePath(state: EvalState, path: object) -> object:  # noqa: N802
    """`storePath path`: *path*, which is in the store already, as a string that depends on it."""
    if state.settings.pure_eval:
        raise EvalError("'builtins.storePath' is not allowed in pure evaluation mode")
    context: set[str] = set()
    doing = "while evaluating the first argument passed to 'builtins.storePath'"
    text = canonical(state.coerce_to_path(path, context, doing))
    store = state.io.directory
    if store.maybe_parse(text) is None:
        text = state.io.resolve(text)
    if not store.is_in_store(text):
        raise EvalError(f"path '{text}' is not in the Nix store")
    store_path = store.print(store.to_store_path(text)[0])
    if not state.io.read_only:
        state.io.ensure(store_path)
    context.add(store_path)
    return make_string(text, context)


def prim_toPath(state: EvalState, path: object) -> object:  # noqa: N802
    """`toPath s`: *s* as a canonical absolute path, still a string. Obsolete: write `/. + s`."""
    context: set[str] = set()
    text = state.coerce_to_path(path, context, "while evaluating the first argument passed to builtins.toPath")
    return make_string(canonical(text), context)


def prim_filterSource(state: EvalState, keep: object, path: object) -> object:  # noqa: N802
    """`filterSource f path`: copy *path* to the store without what *f* rejects.

    *f* is called with the path and the type of every file and directory in it.
    """
    context: set[str] = set()
    doing = "while evaluating the second argument (the path to filter) passed to 'builtins.filterSource'"
    source = state.coerce_to_path(path, context, doing)
    function = force_function(keep, "while evaluating the first argument passed to builtins.filterSource")
    return _add(state, os.path.basename(source), source, function, True, None, context)


_ARGUMENT = "while evaluating the `{}` attribute passed to builtins.path"


def prim_path(state: EvalState, arguments: object) -> object:
    """`path { path, name ? ..., filter ? ..., recursive ? true, sha256 ? ... }`: copy a path to the store.

    *name* is that of the store path, *filter* chooses as in `filterSource`, a *recursive* of false hashes a single file
    flatly, and *sha256* is the hash that must result.
    """
    attrs = force_attrs(arguments, "while evaluating the argument passed to 'builtins.path'")
    source = name = ""
    function: object = None
    recursive = True
    expected: Hash | None = None
    context: set[str] = set()
    for key in sorted(attrs):
        value = attrs[key]
        pos = attribute_position(attrs, key)
        if key == "path":
            doing = "while evaluating the 'path' attribute passed to 'builtins.path'"
            source = state.coerce_to_path(value, context, doing, pos)
        elif key == "name":
            name = force_string_no_context(value, _ARGUMENT.format(key), pos)
        elif key == "filter":
            doing = "while evaluating the `filter` parameter passed to builtins.path"
            function = force_function(value, doing, pos)
        elif key == "recursive":
            recursive = force_bool(value, _ARGUMENT.format(key), pos)
        elif key == "sha256":
            expected = hash_or_zero(force_string_no_context(value, _ARGUMENT.format(key), pos), "sha256")
        else:
            raise EvalError(f"unsupported argument '{key}' to 'builtins.path'", pos)
    if not source:
        raise EvalError("missing required 'path' attribute in the first argument to 'builtins.path'")
    return _add(state, name or os.path.basename(source), source, function, recursive, expected, context)


def _add(
    state: EvalState,
    name: str,
    source: str,
    function: object,
    recursive: bool,
    expected: Hash | None,
    context: set[str],
) -> object:
    def keep(path: str, kind: str) -> bool:
        return force_bool(call2(function, path, kind), "while evaluating the return value of the path filter function")

    _check_name(name)
    try:
        path = realise_text(state, source, context)
        store_path = state.io.add_path(
            name,
            path,
            recursive=recursive,
            keep=None if function is None else keep,
            expected=expected,
        )
    except OSError as error:
        failure = EvalError(f"getting status of '{error.filename or source}': {error.strerror}", NO_POS)
        failure.add_trace(CALL_SITE, f"while adding path '{source}'")
        raise failure from None
    except NixError as error:
        error.add_trace(CALL_SITE, f"while adding path '{source}'")
        raise
    return make_string(store_path, (store_path,))


def prim_hashString(state: EvalState, algo: object, text: object) -> str:  # noqa: N802
    """`hashString type s`: the base-16 hash of *s*; *type* is "md5", "sha1", "sha256" or "sha512"."""
    kind = _hash_kind(algo, "while evaluating the first argument passed to builtins.hashString")
    doing = "while evaluating the second argument passed to builtins.hashString"
    content = force_string_context(text, set(), doing)
    return hash_bytes(kind, content.encode("utf-8", "surrogateescape")).digest.hex()


def _hash_kind(algo: object, doing: str) -> str:
    kind = force_string_no_context(algo, doing)
    if kind not in SIZES:
        raise EvalError(f"unknown hash algorithm '{kind}', expect 'md5', 'sha1', 'sha256', or 'sha512'")
    return kind


_FORMATS = {"base16": "base16", "nix32": "base32", "base32": "base32", "base64": "base64", "sri": "sri"}


def prim_convertHash(state: EvalState, arguments: object) -> str:  # noqa: N802
    """`convertHash { hash, hashAlgo ? ..., toHashFormat }`: write a hash in another format.

    *toHashFormat* is "base16", "nix32", "base64" or "sri"; *hashAlgo* is needed where *hash* does not say it.
    """
    attrs = force_attrs(arguments, "while evaluating the first argument passed to builtins.convertHash")
    given = required(attrs, "hash", "while locating the attribute 'hash'")
    text = force_string_no_context(given, "while evaluating the attribute 'hash'")
    algo = _hash_kind(attrs["hashAlgo"], "while evaluating the attribute 'hashAlgo'") if "hashAlgo" in attrs else None
    wanted = required(attrs, "toHashFormat", "while locating the attribute 'toHashFormat'")
    form = force_string_no_context(wanted, "while evaluating the attribute 'toHashFormat'")
    if form not in _FORMATS:
        raise EvalError(f"unknown hash format '{form}', expect 'base16', 'nix32', 'base64', or 'sri'", NO_POS)
    if form == "base32":
        warn('"base32" is a deprecated alias for hash format "nix32".')
    return parse_hash(text, algo).to_string(_FORMATS[form], _FORMATS[form] == "sri")
