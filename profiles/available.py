"""A package that an expression offers, as nix-env and the profile manager look at one: lazily, plain values out.

It has the same attributes as `elements.Element`, so queries treat installed and available packages alike; each is
evaluated when it is asked for and remembered. Everything here runs on the evaluation's thread (`Session.run`) and may
raise NixError.
"""

from __future__ import annotations

from evaluator.core.values import NULL, ContextString, Path, force
from profiles.elements import Element, meta_bool, meta_int
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from evaluator.instantiate import PackageInfo
    from profiles.printed_data import Plain


class NoOutputError(StoreError):
    """A package lacks an output that is wanted."""


class Available:
    """One package of an expression.

    Attributes:
        attr_path: where it was found.
        failed: set by queries when an assertion failed while it was asked something.
    """

    __slots__ = ("_drv_path", "_info", "_meta", "_name", "_out_path", "_system", "attr_path", "failed")

    def __init__(self, info: PackageInfo) -> None:
        self._info = info
        self.attr_path = info.attr_path
        self.failed = False
        self._name: str | None = None
        self._system: str | None = None
        self._out_path: str | None = None
        self._drv_path: str | None = None
        self._meta: dict[str, Plain] = {}

    @property
    def name(self) -> str:
        """The name with version."""
        if self._name is None:
            self._name = self._info.name()
        return self._name

    def set_name(self, name: str) -> None:
        """Call it something else (`--force-name`)."""
        self._name = name

    @property
    def system(self) -> str:
        """The system that it is for."""
        if self._system is None:
            self._system = self._info.system()
        return self._system

    @property
    def out_path(self) -> str:
        """The default output's path."""
        if self._out_path is None:
            self._out_path = self._info.out_path()
        return self._out_path

    @property
    def drv_path(self) -> str:
        """The derivation's path, '' if there is none."""
        if self._drv_path is None:
            self._drv_path = self._info.drv_path() or ""
        return self._drv_path

    @property
    def output_name(self) -> str:
        """Which output the value stands for, '' if it does not say."""
        return self._info.output_name()

    @property
    def output_names(self) -> list[str]:
        """All outputs, sorted."""
        return sorted(self._info.outputs(with_paths=False))

    @property
    def outputs(self) -> dict[str, str]:
        """All outputs and their paths, sorted by name."""
        return _sorted_paths(self._info.outputs())

    @property
    def meta_names(self) -> list[str]:
        """The names in `meta`, sorted."""
        return self._info.meta_names()

    def meta_value(self, name: str) -> Plain:
        """Return one attribute of `meta`; None if it is not there or no plain data."""
        if name not in self._meta:
            value = self._info.meta(name)
            self._meta[name] = None if value is None else plain(value)
        return self._meta[name]

    def meta_number(self, name: str, default: int) -> int:
        """Return an attribute of `meta` as an integer."""
        return meta_int({name: self.meta_value(name)}, name, default)

    @property
    def keep(self) -> bool:
        """Whether upgrades leave it alone."""
        return meta_bool({"keep": self.meta_value("keep")}, "keep", False)

    def element(self, outputs: tuple[str, ...] | None = None) -> Element:
        """Return it as something that can be installed, with everything evaluated.

        Args:
            outputs: the ones to install; None for those that `meta.outputsToInstall` names, or else all.

        Raises:
            NoOutputError: it lacks one of them.
        """
        if outputs is None:
            paths = _sorted_paths(self._info.outputs(only_to_install=True))
        else:
            every = self.outputs
            for name in outputs:
                if name not in every:
                    raise NoOutputError(f"package '{self.name}' has no output '{name}'; it has {', '.join(every)}")
            paths = {name: every[name] for name in sorted(outputs)}
        meta = {name: value for name in self.meta_names if (value := self.meta_value(name)) is not None}
        return Element(
            self.name,
            self.out_path,
            system=self.system,
            drv_path=self.drv_path,
            outputs=paths,
            meta=meta,
            attr_path=self.attr_path,
        )


def plain(value: object) -> Plain:
    """Return a value of the language as plain data; None for what is none.

    Raises:
        NixError: evaluating something in it fails.
    """
    value = force(value)
    if type(value) is str:
        return value
    if isinstance(value, ContextString):
        return value.text
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    assert value is NULL or isinstance(value, Path) or callable(value), value
    return None


def _sorted_paths(outputs: Mapping[str, str | None]) -> dict[str, str]:
    return {name: path for name in sorted(outputs) if (path := outputs[name]) is not None}
