"""`toJSON`, `fromJSON`, `toXML` and `fromTOML`.

JSON and TOML are read with the standard library's parsers, then held to what Nix accepts: 64-bit integers, strings that
are UTF-8 without NUL, no dates unless the experimental feature `parse-toml-timestamps` is on. Loaded when one of them
is first called: `json` alone costs 3 ms.
"""

from __future__ import annotations

import datetime
import json
import tomllib

from evaluator.core.calls import force_string_no_context
from evaluator.core.json_text import check_text, from_python, value_to_json
from evaluator.core.values import make_string
from evaluator.core.xml_text import value_to_xml
from evaluator.errors import CALL_SITE, NO_POS, EvalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from evaluator.core.state import EvalState

_INT_MAX = 2**63 - 1
_INT_MIN = -(2**63)


def prim_toJSON(state: EvalState, value: object) -> object:  # noqa: N802
    """`toJSON e`: *e* as JSON text.

    A derivation becomes the string of its output path, a path is copied to the store and becomes its store path.
    """
    context: set[str] = set()
    out: list[str] = []
    value_to_json(state, value, context, out)
    return make_string("".join(out), context)


def prim_toXML(state: EvalState, value: object) -> object:  # noqa: N802
    """`toXML e`: *e* as XML text, for a builder that transforms it."""
    context: set[str] = set()
    return make_string(value_to_xml(state, value, context, strict=True, location=False), context)


def prim_fromJSON(state: EvalState, text: object) -> object:  # noqa: N802
    """`fromJSON s`: the value of the JSON text *s*."""
    source = force_string_no_context(text, "while evaluating the first argument passed to builtins.fromJSON")
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        raise _json_error("invalid UTF-8") from None
    try:
        value = json.loads(source, parse_constant=_reject_constant)
    except json.JSONDecodeError as error:
        raise _json_error(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _json_error("it is nested too deeply") from None
    return from_python(value, "\\u" in source)


def _json_error(reason: str) -> EvalError:
    error = EvalError(f"invalid JSON: {reason}", NO_POS)
    error.add_trace(CALL_SITE, "while decoding a JSON string")
    return error


def _reject_constant(name: str) -> NoReturn:
    raise _json_error(f"'{name}' is not a number of JSON")


def prim_fromTOML(state: EvalState, text: object) -> object:  # noqa: N802
    """`fromTOML s`: the value of the TOML text *s*."""
    source = force_string_no_context(text, "while evaluating the argument passed to builtins.fromTOML")
    dates = "parse-toml-timestamps" in state.settings.experimental_features
    try:
        source.encode("utf-8")
        value = tomllib.loads(source)
    except UnicodeEncodeError:
        raise EvalError("while parsing TOML: invalid UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise EvalError(f"while parsing TOML: {error}") from None
    except RecursionError:
        raise EvalError("while parsing TOML: it is nested too deeply") from None
    return _from_toml(value, dates)


def _from_toml(value: object, dates: bool) -> object:
    if isinstance(value, dict):
        return {check_text(name): _from_toml(item, dates) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_toml(item, dates) for item in value]
    if isinstance(value, str):
        return check_text(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        if not dates:
            raise EvalError("while parsing TOML: Dates and times are not supported")
        return {"_type": "timestamp", "value": _date_text(value)}
    if type(value) is int and not _INT_MIN <= value <= _INT_MAX:
        raise EvalError(f"while parsing TOML: the number {value} does not fit into 64 bits")
    return value


def _date_text(value: datetime.datetime | datetime.date | datetime.time) -> str:
    # Three digits of a second's fraction or six; the parser of the standard library drops more.
    if isinstance(value, (datetime.datetime, datetime.time)) and value.microsecond:
        text = value.isoformat(timespec="microseconds" if value.microsecond % 1000 else "milliseconds")
    else:
        text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text
