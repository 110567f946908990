"""Checks data against `profile.schema.json`, the file that editors are given too.

A small interpreter of the part of JSON Schema that the file uses (type, properties, additionalProperties, items, oneOf
by type, $ref, description). Pure. It reports the first fault and where it is, as a path of keys and indices;
`manifest.py`, its only caller, turns that into a line and a column.
"""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Place = tuple[str | int, ...]
    Schema = Mapping[str, object]

SCHEMA_FILE = Path(__file__).with_name("profile.schema.json")

_TYPES: dict[str, tuple[type, str]] = {
    "object": (dict, "a mapping"),
    "array": (list, "a list"),
    "string": (str, "text"),
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "null": (type(None), "nothing"),
}


class SchemaViolation(Exception):
    """Data is not as the schema says. Not for users: the caller knows the file.

    Attributes:
        place: where.
        at_key: whether the key at that place is wrong, and not its value.
        reason: what is wrong, without a place.
    """

    def __init__(self, place: Place, reason: str, at_key: bool = False) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason
        self.at_key = at_key


@cache
def load_schema() -> Schema:
    """Return the schema that is shipped with the program."""
    schema: Schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return schema


def check(data: object) -> None:
    """Raise SchemaViolation unless `data` is a profile."""
    _check(data, load_schema(), ())


def _check(data: object, schema: Schema, place: Place) -> None:
    schema = _resolved(schema)
    alternatives = schema.get("oneOf")
    if isinstance(alternatives, list):
        for alternative in alternatives:
            if _has_type(data, alternative):
                _check(data, alternative, place)
                return
        kinds = " or ".join(_TYPES[each["type"]][1] for each in alternatives)
        raise SchemaViolation(place, _wrong_type(data, kinds))
    if not _has_type(data, schema):
        raise SchemaViolation(place, _wrong_type(data, _TYPES[_types_of(schema)[0]][1]))
    if isinstance(data, dict):
        _check_mapping(data, schema, place)
    elif isinstance(data, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, item in enumerate(data):
                _check(item, items, (*place, index))


def _check_mapping(data: dict[object, object], schema: Schema, place: Place) -> None:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    assert isinstance(properties, dict)
    for key, value in data.items():
        if not isinstance(key, str):
            raise SchemaViolation((*place, key) if isinstance(key, int) else place, "a key must be text", at_key=True)
        where = (*place, key)
        if key in properties:
            _check(value, properties[key], where)
        elif isinstance(others, dict):
            _check(value, others, where)
        elif others is False:
            raise SchemaViolation(where, f"unknown key '{key}'{_nearest(key, properties)}", at_key=True)


def _resolved(schema: Schema) -> Schema:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    definitions = load_schema()["$defs"]
    assert isinstance(definitions, dict)
    found: Schema = definitions[reference.rpartition("/")[2]]
    return found


def _has_type(data: object, schema: Schema) -> bool:
    # Python's True is an int, the schema's is not.
    kinds = [_TYPES[wanted][0] for wanted in _types_of(schema)]
    return bool in kinds if isinstance(data, bool) else isinstance(data, tuple(kinds))


def _types_of(schema: Schema) -> list[str]:
    wanted = schema.get("type", [])
    return [wanted] if isinstance(wanted, str) else [str(each) for each in wanted] if isinstance(wanted, list) else []


def _wrong_type(data: object, wanted: str) -> str:
    if data is None:
        return f"expected {wanted}, but there is nothing"
    names = [name for kind, name in _TYPES.values() if isinstance(data, kind)]
    is_number = isinstance(data, (int, float)) and not isinstance(data, bool)
    got = "true or false" if isinstance(data, bool) else names[0] if names else "a number"
    hint = "; put it in quotes" if "text" in wanted and (is_number or isinstance(data, bool)) else ""
    return f"expected {wanted}, not {got}{hint}"


def _nearest(key: str, properties: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key, list(properties), 1, 0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; the keys here are {', '.join(sorted(properties))}"
