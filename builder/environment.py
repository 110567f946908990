"""The environment of a builder and the files it finds in its build directory, exactly as Nix gives them.

Pure but for the questions about closures that `exportReferencesGraph` needs answered. Used by `derivation_builder`.
Semantics: `initEnv`, `initTmpDir` and `writeStructuredAttrs` of Nix 2.8, and its manual, "Advanced Attributes".
"""

from __future__ import annotations

from builder.rewriting import rewrite_text
from storefs.errors import StoreError
from storefs.formats.derivation_hash import hash_placeholder
from storefs.formats.hashes import hash_bytes
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from storefs.formats.derivation import Derivation
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir, StorePath

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_SHELL_NAME = _LETTERS | frozenset("0123456789")
_FILE_NAME = _SHELL_NAME | frozenset(".-")


class BadAttributeError(StoreError):
    """An attribute that controls the build has a value it can't have."""


class BuildAttributes:
    """The attributes of a derivation that control its build, from the environment or from `__json`.

    Attributes:
        structured: the parsed `__json`, None for an ordinary derivation.
    """

    def __init__(self, derivation: Derivation) -> None:
        self._env = derivation.env
        self._name = derivation.name
        self.structured: dict[str, object] | None = None
        text = derivation.env.get("__json")
        if text is not None:
            from storefs.formats.json_input import parse_json  # noqa: PLC0415  few have structured attributes

            try:
                value = parse_json(text)
            except ValueError as error:
                raise BadAttributeError(f"cannot process __json attribute of '{self._name}': {error}") from None
            if not isinstance(value, dict):
                raise BadAttributeError(f"the __json attribute of '{self._name}' is no object")
            self.structured = value

    def boolean(self, name: str, default: bool = False) -> bool:
        """Return a boolean attribute."""
        if self.structured is not None:
            value = self.structured.get(name, default)
            if not isinstance(value, bool):
                raise BadAttributeError(f"attribute '{name}' of derivation '{self._name}' must be a Boolean")
            return value
        text = self._env.get(name)
        return default if text is None else text == "1"

    def strings(self, name: str) -> list[str] | None:
        """Return a list of strings, None when the attribute is not there."""
        if self.structured is not None:
            return strings_of(self.structured.get(name), name, self._name)
        text = self._env.get(name)
        return None if text is None else text.split()

    def required_features(self) -> list[str]:
        """The system features that a machine must have to build this, sorted."""
        return sorted(set(self.strings("requiredSystemFeatures") or ()))


def strings_of(value: object, name: str, drv_name: str) -> list[str] | None:
    """Return a JSON list of strings; None for None. Raises BadAttributeError for anything else."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadAttributeError(f"attribute '{name}' of derivation '{drv_name}' must be a list of strings")
    return value


@record(frozen=True, slots=True)
class BuildEnvironment:
    """What a builder gets.

    Attributes:
        variables: the whole environment.
        files: name -> contents, in the build directory.
        arguments: for the builder, without argv[0].
    """

    variables: dict[str, str]
    files: dict[str, bytes]
    arguments: list[str]


def build_environment(
    derivation: Derivation,
    attributes: BuildAttributes,
    *,
    directory: StoreDir,
    build_dir: str,
    cores: int,
    output_paths: Mapping[str, StorePath],
    rewrites: Mapping[str, str],
    impure: Callable[[str], str],
    networked: bool,
    export_references: Callable[[Iterable[StorePath]], list[PathInfo]],
) -> BuildEnvironment:
    """Compose the environment of a build.

    Args:
        derivation: what is built.
        attributes: its attributes.
        directory: the logical store.
        build_dir: the build directory as the builder sees it.
        cores: what NIX_BUILD_CORES says.
        output_paths: where each output is to be put during the build.
        rewrites: hash parts of outputs that must not be touched -> stand-ins.
        impure: reads a variable of the user's environment, for `impureEnvVars`.
        networked: whether this is a fixed-output derivation, which may use the network.
        export_references: returns the closure of some paths, all of which must be inputs.

    Raises:
        BadAttributeError: an attribute has a value it can't have.
    """
    placeholders = {hash_placeholder(name): directory.print(path) for name, path in output_paths.items()}
    changes = {**placeholders, **rewrites}

    def rewritten(text: str) -> str:
        return rewrite_text(text, changes)

    variables = {
        "PATH": "/path-not-set",
        "HOME": "/homeless-shelter",
        "NIX_STORE": directory.path,
        "NIX_BUILD_CORES": str(cores),
    }
    files: dict[str, bytes] = {}
    if attributes.structured is None:
        as_files = set(derivation.env.get("passAsFile", "").split())
        for name, value in derivation.env.items():
            if name in as_files:
                file_name = ".attr-" + hash_bytes("sha256", _encoded(name)).to_string("base32", False)
                files[file_name] = _encoded(rewritten(value))
                variables[name + "Path"] = f"{build_dir}/{file_name}"
            else:
                variables[name] = value
        files.update(_reference_graphs(derivation, directory, export_references))
    variables["NIX_BUILD_TOP"] = build_dir
    for name in ("TMPDIR", "TEMPDIR", "TMP", "TEMP"):
        variables[name] = build_dir
    variables["PWD"] = build_dir
    if networked:
        variables["NIX_OUTPUT_CHECKED"] = "1"
        for name in attributes.strings("impureEnvVars") or ():
            variables[name] = impure(name)
    variables["NIX_LOG_FD"] = "2"
    variables["TERM"] = "xterm-256color"
    if attributes.structured is not None:
        files.update(_structured_files(derivation, attributes.structured, directory, rewritten, export_references))
        variables["NIX_ATTRS_SH_FILE"] = f"{build_dir}/.attrs.sh"
        variables["NIX_ATTRS_JSON_FILE"] = f"{build_dir}/.attrs.json"
    variables = {name: rewritten(value) for name, value in variables.items()}
    return BuildEnvironment(variables, files, [rewritten(argument) for argument in derivation.args])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _reference_graphs(
    derivation: Derivation,
    directory: StoreDir,
    export_references: Callable[[Iterable[StorePath]], list[PathInfo]],
) -> dict[str, bytes]:
    """Write the closures that `exportReferencesGraph` asks for, in the format of `nix-store --register-validity`."""
    text = derivation.env.get("exportReferencesGraph", "")
    words = text.split()
    if len(words) % 2:
        raise BadAttributeError(f"odd number of tokens in 'exportReferencesGraph': '{text}'")
    files = {}
    for name, path_text in zip(words[::2], words[1::2], strict=True):
        if name[0] not in _LETTERS or not _FILE_NAME.issuperset(name):
            raise BadAttributeError(f"invalid file name '{name}' in 'exportReferencesGraph'")
        if not directory.is_in_store(path_text):
            raise BadAttributeError(f"'exportReferencesGraph' contains a non-store path '{path_text}'")
        infos = export_references([directory.to_store_path(path_text)[0]])
        lines = []
        for info in infos:
            lines += [directory.print(info.path), "", str(len(info.references))]
            lines += [directory.print(reference) for reference in info.references]
        files[name] = "".join(line + "\n" for line in lines).encode()
    return files


def _structured_files(
    derivation: Derivation,
    structured: dict[str, object],
    directory: StoreDir,
    rewritten: Callable[[str], str],
    export_references: Callable[[Iterable[StorePath]], list[PathInfo]],
) -> dict[str, bytes]:
    """Return `.attrs.json` and `.attrs.sh`."""
    import json  # noqa: PLC0415

    attrs: dict[str, object] = dict(structured)
    attrs["outputs"] = {name: rewritten(hash_placeholder(name)) for name in derivation.outputs}
    graphs = attrs.get("exportReferencesGraph")
    if isinstance(graphs, dict):
        for name, paths in graphs.items():
            wanted = [paths] if isinstance(paths, str) else strings_of(paths, "exportReferencesGraph", derivation.name)
            infos = export_references([directory.parse(path) for path in wanted or ()])
            attrs[name] = [_path_info_json(info, infos, directory) for info in infos]
    text = json.dumps(attrs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {
        ".attrs.sh": _encoded(rewritten(shell_attributes(attrs))),
        ".attrs.json": _encoded(rewritten(text)),
    }


def _path_info_json(info: PathInfo, closure: list[PathInfo], directory: StoreDir) -> dict[str, object]:
    sizes = {each.path: each for each in closure}
    seen = {info.path}
    queue = [info.path]
    while queue:
        for reference in sizes[queue.pop()].references:
            if reference not in seen and reference in sizes:
                seen.add(reference)
                queue.append(reference)
    entry: dict[str, object] = {
        "path": directory.print(info.path),
        "narHash": info.nar_hash.to_string("base32", True),
        "narSize": info.nar_size,
        "references": [directory.print(reference) for reference in info.references],
        "closureSize": sum(sizes[path].nar_size for path in seen),
    }
    if info.ca:
        entry["ca"] = info.ca
    return entry


def shell_attributes(attrs: Mapping[str, object]) -> str:
    """Write the attributes that bash can represent as `declare` lines, sorted by name."""
    lines = []
    for name in sorted(attrs):
        value = attrs[name]
        if name[:1] not in _LETTERS or not _SHELL_NAME.issuperset(name):
            continue
        simple = _shell_value(value)
        if simple is not None:
            lines.append(f"declare {name}={simple}\n")
        elif isinstance(value, list):
            parts = [_shell_value(item) for item in value]
            if None not in parts:
                lines.append(f"declare -a {name}=({''.join(f'{part} ' for part in parts)})\n")
        elif isinstance(value, dict):
            pairs = [(key, _shell_value(value[key])) for key in sorted(value)]
            if all(part is not None for _, part in pairs):
                inner = "".join(f"[{_quoted(key)}]={part} " for key, part in pairs)
                lines.append(f"declare -A {name}=({inner})\n")
    return "".join(lines)


def _shell_value(value: object) -> str | None:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return "''" if value is None else None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
