"""JSON that somebody else wrote: binary caches, daemons, derivations, files that people edit.

Sans-I/O. For every layer above; what we wrote for ourselves is read with `json` itself.
"""

from __future__ import annotations

import json
import re

# Python's reader calls itself for each level and relies on the recursion limit, which evaluations lift for the whole
# process: without a limit of its own the stack would end before it.
_DEEPEST = 900
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{\]}]', re.DOTALL)


def parse_json(data: bytes | str) -> object:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none, is not UTF-8, or has more than 900 levels.
    """
    text = data if isinstance(data, str) else data.decode("utf-8")
    if text.count("[") + text.count("{") > _DEEPEST and _depth(text) > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
    value: object = json.loads(text)
    return value


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first != '"':
            depth -= 1
    return deepest
