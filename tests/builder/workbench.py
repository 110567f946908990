"""Derivations by hand, and a builder to build them: what the tests of this package share.

Real parts only: a LocalStore, real namespaces, a real mount where a build has inputs.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from builder.open import open_builder_now
from builder.progress import Progress
from storefs.api import BuildMode
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.derivation_hash import DerivationHasher, fixed_output_path
from storefs.formats.derived_path import DerivedPath
from storefs.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.cancellation import Cancellation
    from storefs.api import BuildResult
    from storefs.config import Config
    from storefs.formats.store_path import StorePath

SHELL = "/bin/sh"


class Listener(Progress):
    """Remembers what was told."""

    def __init__(self) -> None:
        super().__init__(show_logs=True)
        self.started: list[str] = []
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.words: list[str] = []
        self.waits: list[str] = []

    def start(self, kind, name, text, fields=(), level=3):  # type: ignore[no-untyped-def]
        self.started.append(text)
        return super().start(kind, name, text, fields, level)

    def line(self, activity, text):  # type: ignore[no-untyped-def]
        self.lines.append(text)

    def error(self, text: str) -> None:
        self.errors.append(text)

    def said(self, text: str) -> None:
        self.words.append(text)

    def waiting(self, text: str) -> None:
        self.waits.append(text)


class Workbench:
    """A store of its own and a builder for it. A context manager."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store = LocalStore(config)
        self.told = Listener()
        self.other_stores: list[str] = []  # unmounted at the end too
        self.other_states: list[str] = []

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *exc: object) -> None:
        self.store.close()
        program = "from storefs.cli import main; import sys; sys.argv[0] = 'verglas'; main()"
        for arguments in ([], *(["--store", uri] for uri in self.other_stores)):
            command = [sys.executable, "-c", program, "umount", *arguments]
            subprocess.run(command, env=self.config.environment(), capture_output=True, check=False)
        for state in self.other_states:
            environ = self.config.environment() | {"NIX_STATE_DIR": state}
            subprocess.run([sys.executable, "-c", program, "umount"], env=environ, capture_output=True, check=False)

    def forget_temporary_roots(self) -> None:
        """Let the collector have what was built, as if another process had built it."""
        self.store.close()
        self.store = LocalStore(self.config)

    def derive(
        self,
        name: str,
        script: str,
        *,
        outputs: tuple[str, ...] = ("out",),
        inputs: Mapping[StorePath, tuple[str, ...]] | None = None,
        sources: tuple[StorePath, ...] = (),
        fixed: tuple[str, str] | None = None,
        builder: str = SHELL,
        system: str = "x86_64-linux",
        **env: str,
    ) -> StorePath:
        """Add a derivation whose builder runs a shell script. `fixed` is (algorithm with mode, hash in base 16)."""
        algo, digest = fixed or ("", "")
        derivation = Derivation(
            name,
            {output: DerivationOutput(None, algo, digest) for output in outputs},
            {path: tuple(names) for path, names in (inputs or {}).items()},
            set(sources),
            system,
            builder,
            ["-c", script],
            {"name": name, "system": system, "builder": builder, **env, **dict.fromkeys(outputs, "")},
        )
        directory = self.store.directory
        if fixed:
            paths = {"out": fixed_output_path(derivation, directory)}
        else:
            masked = DerivationHasher(directory, self.store.derivation).modulo(derivation, mask_outputs=True)
            paths = {output: directory.make_output_path(output, masked.hash, name) for output in outputs}
        for output, path in paths.items():
            derivation.outputs[output] = DerivationOutput(path, algo, digest)
            derivation.env[output] = directory.print(path)
        return self.store.add_text(f"{name}.drv", derivation.unparse(directory), derivation.references())

    def out(self, drv_path: StorePath, output: str = "out") -> StorePath:
        """Where an output of a derivation goes."""
        path = self.store.derivation(drv_path).outputs[output].path
        assert path is not None
        return path

    def shown(self, drv_path: StorePath, output: str = "out") -> str:
        """The same, as text, to be used in scripts."""
        return self.store.directory.print(self.out(drv_path, output))

    def build(
        self,
        *targets: StorePath | DerivedPath,
        mode: BuildMode = BuildMode.NORMAL,
        cancellation: Cancellation | None = None,
        **settings: str,
    ) -> list[BuildResult]:
        """Build all outputs of derivations, with settings as in `max_jobs="2"`."""
        config = self.config.with_settings([(name.replace("_", "-"), value) for name, value in settings.items()])
        wanted = [target if isinstance(target, DerivedPath) else DerivedPath(target, ()) for target in targets]
        with open_builder_now(config, self.store, self.told) as builder:
            return builder.build_now(wanted, mode, cancellation)

    def build_one(self, target: StorePath, **settings: str) -> str:
        """Build one derivation, which must succeed, and return the contents of `out`, a file."""
        (result,) = self.build(target, **settings)
        assert result.ok, result.message
        return self.read(target)

    def fail(self, target: StorePath, mode: BuildMode = BuildMode.NORMAL, **settings: str) -> BuildResult:
        """Build one derivation, which must fail."""
        (result,) = self.build(target, mode=mode, **settings)
        assert not result.ok
        return result

    def read(self, drv_path: StorePath, output: str = "out") -> str:
        """The contents of an output that is a file."""
        return self.store.read_path(self.out(drv_path, output)).decode()
