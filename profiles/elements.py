"""Elements: the packages of a profile, and `manifest.nix`, the text in which a profile lists them.

The format is the one nix-env writes and reads: a list of sets that look like derivations. It is printed here byte for
byte as nix-env does, because the text is hashed into the path of the user environment. It is read by
`profiles/printed_data.py`, without an evaluator. Pure text and values, no I/O. Rules: user-env.cc, get-drvs.cc and
`Value::print` of Nix 2.8.
"""

from __future__ import annotations

from profiles.printed_data import NotPlainError, read_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from profiles.printed_data import Plain

DEFAULT_PRIORITY = 5


class Element:
    """One package of a profile.

    Attributes:
        name: `name-version`.
        system: as in `x86_64-linux`; '' when nothing said.
        out_path: the default output, an absolute store path.
        drv_path: the derivation, '' when unknown.
        outputs: those that are installed: name -> absolute store path.
        meta: the package's `meta`, plain values only.
        attr_path: where it was found, '' when it was not by an attribute path. Not part of the manifest.
        failed: always False; `available.Available`, which has the same attributes, may fail.
    """

    __slots__ = ("attr_path", "drv_path", "meta", "name", "out_path", "outputs", "system")

    failed = False
    output_name = ""

    def __init__(
        self,
        name: str,
        out_path: str,
        *,
        system: str = "",
        drv_path: str = "",
        outputs: Mapping[str, str] | None = None,
        meta: Mapping[str, Plain] | None = None,
        attr_path: str = "",
    ) -> None:
        self.name = name
        self.system = system
        self.out_path = out_path
        self.drv_path = drv_path
        self.outputs: dict[str, str] = {"out": out_path} if outputs is None else dict(outputs)
        self.meta: dict[str, Plain] = dict(meta or {})
        self.attr_path = attr_path

    def __repr__(self) -> str:
        return f"Element({self.name!r}, {self.out_path!r})"

    @property
    def priority(self) -> int:
        """The number that decides conflicts, lower wins; `DEFAULT_PRIORITY` where none is set."""
        return meta_int(self.meta, "priority", DEFAULT_PRIORITY)

    @property
    def keep(self) -> bool:
        """Whether upgrades and replacements leave it alone (`nix-env --set-flag keep true`)."""
        return meta_bool(self.meta, "keep", False)

    @property
    def output_names(self) -> list[str]:
        """The outputs' names, sorted."""
        return sorted(self.outputs)

    @property
    def meta_names(self) -> list[str]:
        """The names in `meta`, sorted."""
        return sorted(self.meta)

    def meta_value(self, name: str) -> Plain:
        """Return one attribute of `meta`, None if it is not there."""
        return self.meta.get(name)

    def meta_number(self, name: str, default: int) -> int:
        """Return an attribute of `meta` as an integer."""
        return meta_int(self.meta, name, default)

    def set_name(self, name: str) -> None:
        """Call it something else (`nix-env --force-name`)."""
        self.name = name

    def element(self, outputs: tuple[str, ...] | None = None) -> Element:
        """Return itself; an installed package is what it is."""
        assert outputs is None
        return self

    def copy(self) -> Element:
        """Return a copy whose meta can be changed."""
        return Element(
            self.name,
            self.out_path,
            system=self.system,
            drv_path=self.drv_path,
            outputs=self.outputs,
            meta=self.meta,
            attr_path=self.attr_path,
        )

    def as_value(self, keep_derivation: bool) -> dict[str, Plain]:
        """Return the set that stands for it in a manifest.

        Args:
            keep_derivation: also write the derivation's path (the setting `keep-env-derivations`).
        """
        value: dict[str, Plain] = {"type": "derivation", "name": self.name, "outPath": self.out_path}
        if self.system:
            value["system"] = self.system
        if keep_derivation and self.drv_path:
            value["drvPath"] = self.drv_path
        names = sorted(self.outputs)
        value["outputs"] = list(names)
        for name in names:
            value[name] = {"outPath": self.outputs[name]}
        value["meta"] = self.meta
        return value


def meta_int(meta: Mapping[str, Plain], name: str, default: int) -> int:
    """Return an attribute of `meta` that is an integer, or a string that reads as one (as `--set-flag` writes)."""
    value = meta.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return default
    return default


def meta_bool(meta: Mapping[str, Plain], name: str, default: bool) -> bool:
    """Return an attribute of `meta` that is true or false, or the string "true" or "false"."""
    value = meta.get(name)
    if isinstance(value, bool):
        return value
    if value == "true":
        return True
    if value == "false":
        return False
    return default


def print_manifest(elements: Iterable[Element], keep_derivations: bool = False) -> str:
    """Return the text of `manifest.nix`."""
    return print_value([element.as_value(keep_derivations) for element in elements])


def print_value(value: Plain) -> str:
    """Return a plain value as Nix prints it, on one line."""
    if isinstance(value, str):
        return '"' + _escape(value) + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"  # as an ostream does: six significant digits
    if isinstance(value, list):
        return "[ " + "".join([print_value(each) + " " for each in value]) + "]"
    return "{ " + "".join([f"{name} = {print_value(value[name])}; " for name in _in_order(value)]) + "}"


def _escape(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return text.replace("\t", "\\t").replace("${", "\\${")


def _in_order(value: Mapping[str, Plain]) -> list[str]:
    return sorted(value, key=lambda name: name.encode("utf-8", "surrogateescape"))


def parse_manifest(text: str) -> list[Element]:
    """Read the text of a `manifest.nix` that nix-env, or this module, has written.

    Raises:
        NotPlainError: there is something else than plain data in it, or an element lacks what it must have.
    """
    value = read_data(text)
    if not isinstance(value, list):
        raise NotPlainError(0)
    return [element_of(each, str(index)) for index, each in enumerate(value)]


def element_of(value: Plain, attr_path: str = "") -> Element:
    """Return the element that a set of a manifest describes, found at `attr_path`: its index in the list.

    Raises:
        NotPlainError: it describes none.
    """
    if not isinstance(value, dict) or value.get("type") != "derivation":
        raise NotPlainError(0)
    name, out_path = value.get("name"), value.get("outPath")
    system, drv_path, meta = value.get("system", "unknown"), value.get("drvPath", ""), value.get("meta", {})
    if not (isinstance(name, str) and isinstance(out_path, str) and isinstance(system, str)):
        raise NotPlainError(0)
    if not (isinstance(drv_path, str) and isinstance(meta, dict)):
        raise NotPlainError(0)
    outputs: dict[str, str] = {}
    names = value.get("outputs")
    if names is None:
        outputs["out"] = out_path
    elif isinstance(names, list):
        for output in names:
            where = value.get(output) if isinstance(output, str) else None
            if isinstance(where, dict) and isinstance(output, str) and isinstance(path := where.get("outPath"), str):
                outputs[output] = path
    return Element(name, out_path, system=system, drv_path=drv_path, outputs=outputs, meta=meta, attr_path=attr_path)
