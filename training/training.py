"""A workload for profile-guided compilation of the evaluator's core: setup.py runs it with the instrumented modules.

It does in a second what evaluating a large package set and a machine's configuration does in minutes, in about the same
proportions: parse long texts and print them, call functions, merge sets, write derivations. Nothing outside of this
folder is needed, no store and no other package than this one. What it computes is of no use to anybody.

    python training/training.py SCRATCH-FOLDER [MODULE=FILE ...]
"""

from __future__ import annotations

import shutil
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from evaluator.core.state import EvalState

HERE = Path(__file__).resolve().parent

BOOTSTRAP = ("bash", "coreutils", "sed", "grep", "gawk", "tar", "gzip", "bzip2", "make", "patch", "xz")
PACKAGES = 240


def package_set() -> str:
    """Return the text of a file that makes packages of `generic.nix`, as long as such files are."""
    lines = [
        "pkgs: with pkgs;",
        "",
        "rec {",
        "  lowerPrio = drv: drv // { meta = (drv.meta or { }) // { priority = 10; }; };",
    ]
    for number, name in enumerate((*BOOTSTRAP, "zlib", "makeWrapper")):
        lines += [
            f"  {name} = callPackage ./generic.nix {{",
            f'    label = "{name}"; version = "{number}.{number + 1}"; gtkSupport = false; zlib = null;',
            "    makeWrapper = null; inputs = [ ];",
            "  };",
            "",
        ]
    for n in range(1, PACKAGES + 1):
        lines += [f"  # Package {n} of {PACKAGES}.", *_package(n), ""]
    return "\n".join([*lines, "}", ""])


def _package(n: int) -> list[str]:
    if n % 9 == 0 and (n - 1) % 14:
        return [
            f"  package{n} = package{n - 1}.override {{",
            "    gtkSupport = false;",
            f'    version = "3.{n}";',
            "  };",
        ]
    if n % 14 == 0:
        return [
            f"  package{n} = lowerPrio (package{n - 2}.overrideAttrs (old: {{",
            f'    name = "package-{n}-${{old.version or "1"}}";',
            '    preConfigure = (old.preConfigure or "") + "\\n" + \'\'',
            "      export CC=${stdenv.shell}",
            "    '';",
            "  }));",
        ]
    inputs = " ".join(f"package{m}" for m in sorted({n // 2, n // 3, n - 1} - {0, n}))
    module = f" ++ lib.optional stdenv.isLinux pythonPackages.module{n % 59 + 1}" if n % 3 == 0 else ""
    return [
        f"  package{n} = callPackage ./generic.nix {{",
        f'    label = "package_{n}{"_lib" if n % 5 == 0 else ""}";',
        f'    version = "{n % 4}.{n}";',
        f"    inputs = [ {inputs} ]{module};",
        f"    tests = {'true' if n % 4 == 0 else 'false'};",
        "    inherit (xorg) libX11;",
        "  };",
    ]


def train(scratch: Path) -> None:
    """Evaluate everything: without the parse cache, filling it, and from it. Print the trees of some files."""
    from evaluator.core.calls import force_deep
    from evaluator.evaluation import EvalSettings, open_evaluation
    from evaluator.parse_cache import ParseCache
    from evaluator.print_value import show_value
    from evaluator.services import Services
    from evaluator.store_io import StoreIO

    def opened() -> EvalState:
        io = StoreIO("/nix/store", {"HOME": "/"}, lambda: None, Services(), read_only=True)
        return open_evaluation(io, EvalSettings())

    def answer(text: str, cache: ParseCache | None) -> str:
        state = opened()
        state.parse_cache = cache
        return show_value(force_deep(state.evaluate_text(text, str(scratch))))

    cache = ParseCache(str(scratch / "cache"))
    for each in (None, cache, cache):
        sys.stdout.write(answer(f"import ./question.nix {{ count = {PACKAGES}; }}", each))
        cache.write()
    sys.stdout.write(answer("import ./programs.nix", None))
    printing = opened()
    printing.whole_trees = True
    for file in sorted(scratch.glob("*.nix")):
        sys.stdout.write(str(printing.parse_file(str(file))))


class Given:
    """Finds the modules that are to be trained, and the others of the core, where the command line says."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        file = self.files.get(name)
        return file and spec_from_file_location(name, file, loader=ExtensionFileLoader(name, file))


def main(scratch: Path, modules: list[str]) -> None:
    """Train with these modules, each said as NAME=FILE; files are made in `scratch`."""
    sys.path.insert(0, str(HERE.parent))
    sys.meta_path.insert(0, Given(dict(word.split("=", 1) for word in modules)))
    from evaluator.eval_thread import EvalThread

    for file in HERE.glob("*.nix"):
        shutil.copy(file, scratch)
    (scratch / "generated.nix").write_text(package_set())
    EvalThread().run(lambda: train(scratch))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
