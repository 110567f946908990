"""`fromTOML`.

TOML is read with the standard library's parser, then held to what Nix accepts: 64-bit integers, strings that are UTF-8
without NUL, no dates unless the experimental feature `parse-toml-timestamps` is on.
"""

from __future__ import annotations

import datetime
import tomllib

from evaluator.core.calls import force_string_no_context
from evaluator.core.json_reader import check_text
from evaluator.errors import EvalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState

_INT_MAX = 2**63 - 1
_INT_MIN = -(2**63)


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
    except ValueError:  # Python reads no integer of thousands of digits
        raise EvalError("while parsing TOML: a number does not fit into 64 bits") from None
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
