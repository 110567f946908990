"""The table of builtins: their names, how many arguments they take, and the module that has each.

A builtin `x` is the function `prim_x` of its module, which is imported when the builtin is first called: most programs
use a dozen of them, and a regular expression engine or a TOML parser costs milliseconds. Names, and which of them are
in scope without `builtins.`, are those of Nix 2.8 and of 2.31.
"""

from __future__ import annotations

from evaluator.core.nodes import lazy
from evaluator.core.values import NULL, PrimOp
from evaluator.host_files import COREPKGS
from evaluator.source import DERIVATION_NIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluator.core.state import EvalState

LANGUAGE_VERSION = 6

_CORE = "evaluator.core."
_FOLDER = "evaluator.builtins."

#: module -> the builtins in it, as `name/arity`.
_TABLE = {
    _CORE + "attrsets": (
        "attrNames/1 attrValues/1 catAttrs/2 functionArgs/1 getAttr/2 hasAttr/2 intersectAttrs/2 isAttrs/1 "
        "listToAttrs/1 mapAttrs/2 removeAttrs/2 unsafeGetAttrPos/2 zipAttrsWith/2"
    ),
    _CORE + "control": (
        "abort/1 addErrorContext/2 break/1 deepSeq/2 isBool/1 isFloat/1 isFunction/1 isInt/1 isNull/1 isPath/1 "
        "isString/1 seq/2 throw/1 tryEval/1 typeOf/1"
    ),
    _CORE + "derivations": "derivationStrict/1",
    _CORE + "json_reader": "fromJSON/1",
    _CORE + "json_text": "toJSON/1",
    _CORE + "lists": (
        "all/2 any/2 concatLists/1 concatMap/2 elem/2 elemAt/2 filter/2 foldl'/3 genList/2 genericClosure/1 "
        "groupBy/2 head/1 isList/1 length/1 map/2 partition/2 sort/2 tail/1"
    ),
    _CORE + "numbers": ("add/2 bitAnd/2 bitOr/2 bitXor/2 ceil/1 div/2 floor/1 lessThan/2 mul/2 sub/2"),
    _CORE + "regexes": "match/2 split/2",
    _CORE + "strings": (
        "baseNameOf/1 concatStringsSep/2 dirOf/1 replaceStrings/3 stringLength/1 substring/3 toString/1"
    ),
    _CORE + "xml_text": "toXML/1",
    _FOLDER + "contexts": (
        "addDrvOutputDependencies/1 appendContext/2 getContext/1 hasContext/1 unsafeDiscardOutputDependency/1 "
        "unsafeDiscardStringContext/1"
    ),
    _FOLDER + "control": "exec/1 getEnv/1 trace/2 traceVerbose/2 warn/2",
    _FOLDER + "derivations": "outputOf/2 placeholder/1",
    _FOLDER + "fetchers": "fetchGit/1 fetchMercurial/1 fetchTarball/1 fetchTree/1 fetchurl/1",
    _FOLDER + "files": (
        "convertHash/1 filterSource/2 findFile/2 hashFile/2 hashString/2 path/1 pathExists/1 readDir/1 readFile/1 "
        "readFileType/1 storePath/1 toFile/2 toPath/1"
    ),
    _FOLDER + "flake_refs": "flakeRefToString/1 parseFlakeRef/1",
    _FOLDER + "imports": "import/1 scopedImport/2",
    _FOLDER + "toml": "fromTOML/1",
    _FOLDER + "versions": "compareVersions/2 parseDrvName/1 splitVersion/1",
}

#: In scope everywhere under their own name; all others are only there as `__name`.
_GLOBAL = frozenset((
    "abort", "baseNameOf", "break", "derivation", "derivationStrict", "dirOf", "false", "fetchGit", "fetchMercurial",
    "fetchTarball", "fetchTree", "fromTOML", "import", "isNull", "map", "null", "placeholder", "removeAttrs",
    "scopedImport", "throw", "toString", "true",
))  # fmt: skip


def _loader(module: str, name: str) -> Callable[[], object]:
    # Not importlib, which takes a hundredth of a small command's start.
    return lambda: getattr(__import__(module, fromlist=(name,)), "prim_" + name.replace("'", "_strict"))


def install(state: EvalState) -> None:
    """Fill `state.builtins` and `state.globals`."""
    builtins = state.builtins
    for module, entries in _TABLE.items():
        for entry in entries.split():
            name, _, arity = entry.partition("/")
            builtins[name] = PrimOp(name, int(arity), state, None, _loader(module, name))
    settings = state.settings
    if "fetch-closure" in settings.experimental_features:
        loader = _loader(_FOLDER + "fetchers", "fetchClosure")
        builtins["fetchClosure"] = PrimOp("fetchClosure", 1, state, None, loader)
    builtins["true"] = True
    builtins["false"] = False
    builtins["null"] = NULL
    builtins["nixVersion"] = settings.nix_version
    builtins["langVersion"] = LANGUAGE_VERSION
    builtins["storeDir"] = state.io.directory.path
    builtins["nixPath"] = [{"path": path, "prefix": prefix} for prefix, path in state.memo["search path"].elements]
    if not settings.pure_eval:
        builtins["currentSystem"] = settings.current_system
        # Looked at when it is wanted: what says the time can't be remembered, and most evaluations do not.
        builtins["currentTime"] = lazy(state.io.current_time)
    for name, value in builtins.items():
        state.globals[name if name in _GLOBAL else "__" + name] = value
    state.globals["builtins"] = builtins
    builtins["builtins"] = builtins
    text = state.io.read_source(COREPKGS + "derivation.nix")
    builtins["derivation"] = state.evaluate(state.parse(text, "/", DERIVATION_NIX, "file"))
    state.globals["derivation"] = builtins["derivation"]
