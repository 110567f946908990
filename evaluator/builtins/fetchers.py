"""Getting things from elsewhere: `fetchurl`, `fetchTarball`, `fetchGit`, `fetchMercurial`, `fetchTree`, `fetchClosure`.

Here are arguments, checks and results; the transfer itself is an effect (`state.io.download`,
`state.io.fetch_repository`).
Semantics: primops/fetchTree.cc of Nix 2.8.
"""

from __future__ import annotations

import os
import time

from evaluator.builtins.flake_refs import parse_reference
from evaluator.core.calls import coerce, force_attrs, force_bool, force_int, force_string_no_context
from evaluator.core.derivations import hash_or_zero
from evaluator.core.values import Path, attribute_position, force, make_string
from evaluator.errors import NO_POS, EvalError
from evaluator.eval_io import ClosureRequest, RepositoryRequest
from evaluator.nix_path import resolve_uri
from storefs.errors import StoreError
from storefs.formats.hashes import Hash, parse_hash
from storefs.formats.store_path import BadStorePath, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState
    from evaluator.eval_io import RepositoryTree


class HashMismatchError(StoreError):
    """What was downloaded is not what the expression asked for."""

    exit_code = 102

    def __init__(self, url: str, wanted: Hash, got: Hash) -> None:
        super().__init__(
            f"hash mismatch in file downloaded from '{url}':\n"
            f"         specified: {wanted.to_string('sri', True)}\n"
            f"         got:       {got.to_string('sri', True)}"
        )
        self.wanted = wanted
        self.got = got


class NarHashMismatchError(StoreError):
    """A tree is not the one that the expression asked for by its `narHash`."""

    exit_code = 102

    def __init__(self, url: str, path: str, wanted: Hash, got: Hash) -> None:
        super().__init__(
            f"NAR hash mismatch in input '{url}' ({path}), "
            f"expected '{wanted.to_string('sri', True)}', got '{got.to_string('sri', True)}'"
        )
        self.wanted = wanted
        self.got = got


def prim_fetchurl(state: EvalState, arguments: object) -> object:
    """`fetchurl url` or `fetchurl { url, sha256 ? ..., name ? ... }`: download a file and return its store path."""
    return _fetch(state, arguments, "fetchurl", False, "")


def prim_fetchTarball(state: EvalState, arguments: object) -> object:  # noqa: N802
    """`fetchTarball url` or `fetchTarball { url, sha256 ? ..., name ? "source" }`: download and unpack an archive."""
    return _fetch(state, arguments, "fetchTarball", True, "source")


def _fetch(state: EvalState, arguments: object, who: str, unpack: bool, default_name: str) -> object:
    value = force(arguments)
    url, name = "", default_name
    expected: Hash | None = None
    if isinstance(value, dict):
        for key in sorted(value):
            pos = attribute_position(value, key)
            if key == "url":
                url = force_string_no_context(value[key], "while evaluating the url we should fetch", pos)
            elif key == "sha256":
                doing = "while evaluating the sha256 of the content we should fetch"
                expected = hash_or_zero(force_string_no_context(value[key], doing, pos), "sha256")
            elif key == "name":
                name = force_string_no_context(
                    value[key], "while evaluating the name of the content we should fetch", pos
                )
            else:
                raise EvalError(f"unsupported argument '{key}' to '{who}'", pos)
        if not url:
            raise EvalError("'url' argument required")
    else:
        url = force_string_no_context(value, "while evaluating the url we should fetch")
    if unpack:
        url = resolve_uri(url)
    named, name = bool(name), name or os.path.basename(url)
    _check_name(url, name, who, named, isinstance(value, dict))
    if state.settings.pure_eval and expected is None:
        raise EvalError(f"in pure evaluation mode, '{who}' requires a 'sha256' argument", NO_POS)
    directory = state.io.directory
    if expected is not None:
        path = directory.print(directory.make_fixed_output_path(unpack, expected, name))
        if state.io.is_valid(path):
            state.io.ensure(path)
            return make_string(path, (path,))
    path = state.io.download(url, name, unpack=unpack, expected=expected)
    return make_string(path, (path,))


def _check_name(url: str, name: str, who: str, named: bool, attrs: bool) -> None:
    """Refuse at once what can't be the name of a store path; the way out depends on where the name is from."""
    try:
        check_name(name, name)
    except BadStorePath as error:
        reason = str(error).removeprefix("store path ")
        if named:
            way_out = f"Please change the value for the 'name' attribute passed to '{who}',"
        elif attrs:
            way_out = f"Please add a valid 'name' attribute to the argument for '{who}',"
        else:
            way_out = f"Please pass an attribute set with 'url' and 'name' attributes to '{who}', "
        raise EvalError(
            f"invalid store path name when fetching URL '{url}': name {reason}. {way_out} "
            "so that it can create a valid store path."
        ) from None


_GIT_ARGUMENTS = frozenset(["url", "ref", "rev", "submodules", "allRefs", "shallow", "name", "narHash", "type"])


def prim_fetchGit(state: EvalState, arguments: object) -> dict[str, object]:  # noqa: N802
    """`fetchGit url` or `fetchGit { url, ref ? ..., rev ? ..., submodules ? false, ... }`: a tree from git.

    The result has `outPath`, `rev`, `shortRev`, `revCount`, `lastModified`, `lastModifiedDate`, `narHash` and
    `submodules`. Without *ref* and *rev*, a local repository gives its working tree.
    """
    value = force(arguments)
    attrs = value if isinstance(value, dict) and "outPath" not in value else {"url": value}
    for key in attrs:
        if key not in _GIT_ARGUMENTS:
            raise EvalError(f"unsupported Git input attribute '{key}'", NO_POS)
    return _fetch_git(state, attrs, "fetchGit", True)


def _fetch_git(state: EvalState, attrs: dict[str, object], who: str, fallback: bool) -> dict[str, object]:
    if "url" not in attrs:
        raise EvalError("attribute 'url' missing")
    request = RepositoryRequest(_url(state, attrs["url"]))
    if "ref" in attrs:
        request.ref = _reference(force_string_no_context(attrs["ref"]), "Git")
    if "rev" in attrs:
        request.rev = _revision(force_string_no_context(attrs["rev"]))
    if "name" in attrs:
        request.name = force_string_no_context(attrs["name"])
    request.submodules = "submodules" in attrs and force_bool(attrs["submodules"])
    request.all_refs = "allRefs" in attrs and force_bool(attrs["allRefs"])
    request.shallow = "shallow" in attrs and force_bool(attrs["shallow"])
    if state.settings.pure_eval and request.rev is None:
        raise EvalError(f"in pure evaluation mode, '{who}' requires a locked input", NO_POS)
    tree = state.io.fetch_repository(request)
    if "narHash" in attrs:
        wanted = parse_hash(force_string_no_context(attrs["narHash"]), None)
        if wanted != tree.nar_hash:
            raise NarHashMismatchError(request.url, tree.path, wanted, tree.nar_hash)
    return {**_tree(tree, fallback), "submodules": request.submodules}


def _tree(tree: RepositoryTree, fallback: bool) -> dict[str, object]:
    result: dict[str, object] = {
        "outPath": make_string(tree.path, (tree.path,)),
        "narHash": tree.nar_hash.to_string("sri", True),
    }
    if tree.last_modified is not None:
        result["lastModified"] = tree.last_modified
        result["lastModifiedDate"] = _date(tree.last_modified)
    # A working tree with changes is no revision: fetchGit has always said zeros then.
    rev = tree.rev or ("0" * 40 if fallback else None)
    if rev is not None:
        result["rev"] = rev
        result["shortRev"] = rev[:7]
    if tree.rev_count is not None or fallback:
        result["revCount"] = tree.rev_count or 0
    return result


def _date(seconds: int) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds))


def _url(state: EvalState, value: object) -> str:
    forced = force(value)
    if isinstance(forced, Path):
        return forced.path
    return coerce(state, forced, set(), False, False)


def _is_revision(text: str) -> bool:
    return len(text) == 40 and set(text) <= set("0123456789abcdef")


def _reference(text: str, system: str) -> str:
    """A branch or tag; what git-check-ref-format(1) forbids is refused before a program sees it."""
    if (
        text in {"", "@"}
        or any(letter <= " " or letter in "\x7f*:?[\\^~" for letter in text)
        or text[-1] == "."
        or ".." in text
        or "@{" in text
        or any(not part or part[0] == "." or part.endswith(".lock") for part in text.split("/"))
    ):
        raise EvalError(f"invalid {system} branch/tag name '{text}'", NO_POS)
    return text


def _revision(text: str) -> str:
    if not _is_revision(text):
        raise EvalError(f"hash '{text}' is not a git revision: 40 hexadecimal digits are wanted", NO_POS)
    return text


def prim_fetchTree(state: EvalState, arguments: object) -> dict[str, object]:  # noqa: N802
    """`fetchTree { type, ... }` or `fetchTree url`: a tree of type "git", "tarball", "file", "path" or "github"."""
    value = force(arguments)
    attrs = dict(value) if isinstance(value, dict) else parse_reference(force_string_no_context(value))
    if "type" not in attrs:
        raise EvalError("argument 'type' is missing in call to 'fetchTree'")
    for name in sorted(attrs):
        number = force(attrs[name])
        if isinstance(number, int) and number < 0:
            raise EvalError(f"negative value given for 'fetchTree' argument '{name}': {number}")
    kind = force_string_no_context(attrs["type"])
    if "name" in attrs:
        # It would be part of the store path, which is to follow from the content alone.
        raise EvalError("attribute 'name' isn't supported in call to 'fetchTree'", attribute_position(attrs, "name"))
    if kind == "git":
        return _fetch_git(state, attrs, "fetchTree", False)
    if kind == "path":
        return _fetch_path(state, attrs)
    if kind in ("tarball", "file"):
        return _fetch_archive(state, attrs, _url(state, attrs.get("url", "")), kind == "tarball")
    if kind == "github":
        owner, repo = (force_string_no_context(attrs[key]) for key in ("owner", "repo"))
        ref = force_string_no_context(attrs.get("rev", attrs.get("ref", "HEAD")))
        return _fetch_archive(state, attrs, f"https://github.com/{owner}/{repo}/archive/{ref}.tar.gz", True)
    raise EvalError(f"input type '{kind}' is not supported; 'git', 'tarball', 'file', 'path' and 'github' are", NO_POS)


def _expected(attrs: dict[str, object]) -> Hash | None:
    return parse_hash(force_string_no_context(attrs["narHash"]), None) if "narHash" in attrs else None


def _fetch_archive(state: EvalState, attrs: dict[str, object], url: str, unpack: bool) -> dict[str, object]:
    expected = _expected(attrs)
    if state.settings.pure_eval and expected is None:
        raise EvalError("in pure evaluation mode, 'fetchTree' requires a locked input", NO_POS)
    directory = state.io.directory
    known = None if expected is None else directory.print(directory.make_fixed_output_path(True, expected, "source"))
    if known is not None and state.io.is_valid(known):
        path = known
        state.io.ensure(path)
    else:
        path = state.io.download(url, "source", unpack=unpack, expected=None)
    return _locked(path, state.io.nar_hash(path), expected, url)


def _locked(path: str, got: Hash, expected: Hash | None, url: str) -> dict[str, object]:
    """What every tree has: its path and its hash, which must be the expected one."""
    if expected is not None and got != expected:
        raise NarHashMismatchError(url, path, expected, got)
    return {"outPath": make_string(path, (path,)), "narHash": got.to_string("sri", True)}


def _fetch_path(state: EvalState, attrs: dict[str, object]) -> dict[str, object]:
    if "path" not in attrs:
        raise EvalError("attribute 'path' missing")
    source = state.coerce_to_path(attrs["path"], set())
    expected = _expected(attrs)
    if state.settings.pure_eval and expected is None:
        raise EvalError("in pure evaluation mode, 'fetchTree' requires a locked input", NO_POS)
    path = state.io.add_path("source", source)
    result = _locked(path, state.io.nar_hash(path), expected, f"path:{source}")
    seconds = force_int(attrs["lastModified"]) if "lastModified" in attrs else state.io.last_modified(source)
    return {**result, "lastModified": seconds, "lastModifiedDate": _date(seconds)}


_MERCURIAL_ARGUMENTS = frozenset(["url", "rev", "name"])


def prim_fetchMercurial(state: EvalState, arguments: object) -> dict[str, object]:  # noqa: N802
    """`fetchMercurial url` or `fetchMercurial { url, rev ? ..., name ? "source" }`: a tree from Mercurial.

    *rev* is a commit, a branch or a tag. The result has `outPath`, `branch`, `rev`, `shortRev` and `revCount`. Without
    *rev*, a local repository gives its working tree.
    """
    value = force(arguments)
    attrs = value if isinstance(value, dict) and "outPath" not in value else {"url": value}
    for key in attrs:
        if key not in _MERCURIAL_ARGUMENTS:
            raise EvalError(f"unsupported argument '{key}' to 'fetchMercurial'", attribute_position(attrs, key))
    if "url" not in attrs:
        raise EvalError("'url' argument required", NO_POS)
    request = RepositoryRequest(_url(state, attrs["url"]), kind="hg")
    if "rev" in attrs:
        rev = force_string_no_context(attrs["rev"])
        if _is_revision(rev):
            request.rev = rev
        else:
            request.ref = _reference(rev, "Mercurial")
    if "name" in attrs:
        request.name = force_string_no_context(attrs["name"])
    if state.settings.pure_eval and request.rev is None:
        raise EvalError("in pure evaluation mode, 'fetchMercurial' requires a Mercurial revision", NO_POS)
    tree = state.io.fetch_repository(request)
    rev = tree.rev or "0" * 40
    result: dict[str, object] = {
        "outPath": make_string(tree.path, (tree.path,)),
        "branch": tree.branch,
        "rev": rev,
        "shortRev": rev[:12],
    }
    if tree.rev_count is not None:
        result["revCount"] = tree.rev_count
    return result


def prim_fetchClosure(state: EvalState, arguments: object) -> object:  # noqa: N802
    """`fetchClosure { fromStore, fromPath, toPath ? ... }`: a path of a binary cache, with all that it refers to.

    With *toPath* it is rewritten to that path, which follows from its contents; `""` asks for an error that names it.
    There is this builtin only with the experimental feature `fetch-closure`.
    """
    attrs = force_attrs(arguments)
    found: dict[str, str | None] = {}
    for key in sorted(attrs):
        pos = attribute_position(attrs, key)
        if key == "fromStore":
            found[key] = force_string_no_context(attrs[key], "", pos)
        elif key == "toPath" and force(attrs[key]) == "":
            found[key] = None
        elif key in {"fromPath", "toPath"}:
            found[key] = _store_path(state, attrs[key], pos)
        else:
            raise EvalError(f"attribute '{key}' isn't supported in call to 'fetchClosure'", NO_POS)
    for key in ("fromPath", "fromStore"):
        if key not in found:
            raise EvalError(f"attribute '{key}' is missing in call to 'fetchClosure'", NO_POS)
    store, wanted = found["fromStore"], found["fromPath"]
    assert store is not None
    assert wanted is not None
    request = ClosureRequest(store, wanted, "toPath" in found, found.get("toPath"), state.settings.pure_eval)
    path = state.io.fetch_closure(request)
    return make_string(path, (path,))


def _store_path(state: EvalState, value: object, pos: int) -> str:
    path = coerce(state, value, set(), False, False, "while evaluating a store path", pos)
    if state.io.directory.maybe_parse(path) is None:
        raise EvalError(f"path '{path}' is not in the Nix store", pos)
    return path
