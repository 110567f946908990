"""How answers of `nix-env --query` are printed: columns, XML, JSON, byte for byte as Nix 2.8 does."""

from __future__ import annotations

from profiles.nix_env.query import assertion_error, compare_with, is_shown
from profiles.package_names import PackageName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from profiles.nix_env.query import AnyPackage, Facts, Wanted
    from profiles.printed_data import Plain

_XML_ESCAPES = {ord('"'): "&quot;", ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;", ord("\n"): "&#xA;"}


def as_table(table: list[list[str]]) -> str:
    """Return rows as text, columns two spaces apart."""
    if not table:
        return ""
    widths = [max([_width(row[column]) for row in table]) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [cell.replace("\n", " ") for cell in row]
        padded = [cell + " " * (width - _width(cell) + 2) for cell, width in zip(cells, widths, strict=True)]
        lines.append("".join([*padded[:-1], *cells[-1:]]) + "\n")
    return "".join(lines)


def _width(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def as_xml(facts: Facts, wanted: Wanted) -> str:
    """Return the answer as XML."""
    lines = ["<?xml version='1.0' encoding='utf-8'?>", "<items>"]
    for package in facts.packages:
        try:
            if is_shown(package, facts, wanted):
                lines += _xml_item(package, facts, wanted)
        except assertion_error():
            continue
    return "\n".join([*lines, "</items>"]) + "\n"


def _xml_item(package: AnyPackage, facts: Facts, wanted: Wanted) -> list[str]:
    attributes: dict[str, str] = {}
    if wanted.status:
        path = package.out_path
        for name, paths in (
            ("installed", facts.installed),
            ("valid", facts.valid),
            ("substitutable", facts.substitutable),
        ):
            attributes[name] = "1" if path in paths else "0"
    full = PackageName(package.name)
    attributes |= {"attrPath": package.attr_path, "name": full.full, "pname": full.name, "version": full.version}
    if wanted.compare_versions:
        sign, version = compare_with(package, facts.others)
        if sign != "-":
            attributes |= {"versionDiff": sign, "maxComparedVersion": version}
    if package.system:
        attributes["system"] = package.system
    if wanted.drv_path and package.drv_path:
        attributes["drvPath"] = package.drv_path
    attributes["outputName"] = package.output_name
    description = package.meta_value("description") if wanted.description else None
    if isinstance(description, str) and description:
        attributes["description"] = description
    lines = [f"  <item{_xml_attributes(attributes)}>"]
    outputs: Mapping[str, str] = package.outputs if wanted.out_path else dict.fromkeys(package.output_names, "")
    for name in sorted(outputs):
        path = outputs[name]
        lines.append(f"    <output{_xml_attributes({'name': name} | ({'path': path} if path else {}))} />")
    if wanted.meta:
        for name in package.meta_names:
            lines += _xml_meta(name, package.meta_value(name))
    return [*lines, "  </item>"]


def _xml_meta(name: str, value: Plain) -> list[str]:
    if value is None:
        return []
    if isinstance(value, (list, dict)):
        items = [(None, each) for each in value] if isinstance(value, list) else sorted(value.items())
        inner = []
        for key, each in items:
            if isinstance(each, str):
                attributes = {"value": each} if key is None else {"type": key, "value": each}
                inner.append(f"      <string{_xml_attributes(attributes)} />")
        return [f"    <meta{_xml_attributes({'name': name, 'type': 'strings'})}>", *inner, "    </meta>"]
    kind = "bool" if isinstance(value, bool) else {str: "string", int: "int", float: "float"}[type(value)]
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return [f"    <meta{_xml_attributes({'name': name, 'type': kind, 'value': text})} />"]


def _xml_attributes(attributes: Mapping[str, str]) -> str:
    return "".join([f' {name}="{attributes[name].translate(_XML_ESCAPES)}"' for name in sorted(attributes)])


def as_json(facts: Facts, wanted: Wanted) -> str:
    """Return the answer as JSON: attribute paths to what is known about the packages."""
    from json.encoder import encode_basestring  # noqa: PLC0415  only --json

    answer = {}
    for package in facts.packages:
        try:
            if not package.failed:
                answer[package.attr_path] = _json_value(package, wanted)
        except assertion_error():
            continue
    if not answer:
        return "{}\n"
    return _json_text(answer, "\n", encode_basestring) + "\n"


def _json_text(value: object, newline: str, quote: Callable[[str], str]) -> str:
    """A plain value as `json.dumps(value, indent=2, ensure_ascii=False)` has it; that one takes twice as long."""
    if type(value) is str:
        return quote(value)
    inner = newline + "  "
    if isinstance(value, dict):
        items = [
            f"{quote(name)}: {quote(each) if type(each) is str else _json_text(each, inner, quote)}"
            for name, each in value.items()
        ]
        return "{" + inner + f",{inner}".join(items) + newline + "}" if items else "{}"
    if isinstance(value, list):
        items = [_json_text(each, inner, quote) for each in value]
        return "[" + inner + f",{inner}".join(items) + newline + "]" if items else "[]"
    return "null" if value is None else repr(value).lower() if isinstance(value, bool) else repr(value)


def _json_value(package: AnyPackage, wanted: Wanted) -> dict[str, Plain]:
    full = PackageName(package.name)
    outputs: dict[str, Plain] = {}
    if wanted.out_path:
        outputs.update(sorted(package.outputs.items()))
    else:
        outputs.update(dict.fromkeys(sorted(package.output_names)))
    value: dict[str, Plain] = {
        "name": full.full,
        "pname": full.name,
        "version": full.version,
        "system": package.system,
        "outputName": package.output_name,
        "outputs": outputs,
    }
    if wanted.meta:
        value["meta"] = {name: _sorted(package.meta_value(name)) for name in package.meta_names}
    return value


def _sorted(value: Plain) -> Plain:
    if type(value) is str:
        return value
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(each) for each in value]
    return value
