"""The rules of CONTRIBUTING.md that neither ruff nor import-linter can state. Each test lists its offenders."""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.architecture.sources import ROOT, compiled_modules, is_compiled, sources, third_party

if TYPE_CHECKING:
    from tests.architecture.sources import Source

MAX_LINES = 400
VAGUE_NAMES = {"util", "utils", "utilities", "common", "helper", "helpers", "misc", "tools", "stuff", "base"}

# Where more than one module may import a third-party package, and why.
SHARED_PACKAGES = {
    "trio": "the event loop of everything that waits",
    "cython": "what is compiled is written in its pure-Python mode",
}
# The transport and the program that mounts it share one library.
PAIRED_IMPORTERS = {"pyfuse3": {"storefs.fuse.operations", "storefs.fuse.mount"}}


def _uses(source: Source, module: str, names: set[str]) -> list[int]:
    """Return the lines on which a file says `module.name` for one of `names`."""
    return [
        node.lineno
        for node in source.nodes
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    ]


def test_a_file_is_one_idea() -> None:
    lengths = {source.name: source.text.count("\n") for source in sources() if "evaluator.core." not in source.name}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}, "split by idea"


def test_names_say_what_is_inside() -> None:
    assert [source.name for source in sources() if VAGUE_NAMES & set(source.path.stem.split("_"))] == []


def test_a_module_says_what_it_is() -> None:
    assert [source.name for source in sources() if not ast.get_docstring(source.tree)] == []


def test_a_package_is_a_docstring() -> None:
    packages = [source for source in sources() if source.path.name == "__init__.py"]
    assert packages
    assert [package.name for package in packages if len(package.tree.body) != 1] == []


def test_only_config_reads_the_environment() -> None:
    readers = {
        source.name: lines
        for source in sources()
        if (lines := _uses(source, "os", {"environ", "environb", "getenv", "getenvb"}))
    }
    # The sandbox's child replaces its own environment by the derivation's.
    assert readers.keys() == {"storefs.config", "builder.sandbox.enter"}, "settings are passed as a Config"


def test_only_the_entry_point_ends_the_process() -> None:
    """A forked child has no caller to return to and says so: `os._exit(1)  # child`."""
    unexplained = []
    for source in sources():
        if source.name != "storefs.cli":
            lines = source.text.splitlines()
            ends = _uses(source, "sys", {"exit"}) + _uses(source, "os", {"_exit", "abort"})
            unexplained += [f"{source.name}:{line}" for line in ends if "# child" not in lines[line - 1]]
    assert unexplained == [], "raise a StoreError"


def test_every_third_party_package_has_one_door() -> None:
    importers: dict[str, set[str]] = defaultdict(set)
    for source in sources():
        for package in third_party(source) - SHARED_PACKAGES.keys():
            importers[package].add(source.name)
    crowds = {
        package: sorted(names)
        for package, names in importers.items()
        if len(names) > 1 and not names <= PAIRED_IMPORTERS.get(package, set())
    }
    assert crowds == {}


def test_bugs_are_not_swallowed() -> None:
    """`except Exception: pass` hides bugs."""
    silent = [
        f"{source.name}:{handler.lineno}"
        for source in sources()
        for handler in source.nodes
        if isinstance(handler, ast.ExceptHandler)
        and (handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id == "Exception"))
        and all(isinstance(node, ast.Pass) for node in handler.body)
    ]
    assert silent == []


def test_imports_are_not_hidden_from_the_contracts() -> None:
    """`__import__("a.b")` is an import that import-linter cannot see; in a function, a plain one is as late."""
    hidden = [
        f"{source.name}:{call.lineno}"
        for source in sources()
        for call in source.nodes
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", getattr(call.func, "attr", "")) in {"import_module", "__import__"}
        and isinstance(call.args[0], ast.Constant)
    ]
    assert hidden == []


def test_only_one_file_makes_things_durable() -> None:
    asking = {source.name for source in sources() if _uses(source, "os", {"fsync", "fdatasync", "sync"})}
    assert asking == {"storefs.durable"}, "contents, sync and rename in the right order: storefs.durable"


def test_what_is_compiled_counts_from_the_front() -> None:
    """It is compiled without `wraparound`: `items[-1]` would read what lies before the list in memory."""
    from_the_end = [
        f"{source.name}:{node.lineno}"
        for source in sources()
        if is_compiled(source)
        for node in source.nodes
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.UnaryOp)
        and isinstance(node.slice.op, ast.USub)
    ]
    assert from_the_end == []


def test_the_modules_to_compile_are_there_and_only_they_are_written_for_it() -> None:
    assert [module for module in compiled_modules() if not (ROOT / module).is_file()] == []
    assert [source.name for source in sources() if "cython" in third_party(source) and not is_compiled(source)] == []
