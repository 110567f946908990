"""`match` and `split`: the regular expressions of the language.

The engine and its dialect are in `posix_regex.py`; here are the builtins, and the cache of compiled patterns that lives
as long as the process.
"""

from __future__ import annotations

from evaluator.builtins.posix_regex import Regex
from evaluator.builtins.regex_syntax import RegexSyntaxError, RegexTooComplexError
from evaluator.core.calls import force_string, force_string_no_context
from evaluator.core.values import NULL
from evaluator.errors import EvalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

    from evaluator.core.state import EvalState


def _compiled(state: EvalState, pattern: object, doing: str) -> Regex:
    """Return the compiled form of a pattern, which is a value; each is compiled once."""
    regexes: dict[object, Regex] = state.memo.setdefault("regexes", {})
    known = regexes.get(pattern) if type(pattern) is str else None
    if known is not None:
        return known
    text = force_string_no_context(pattern, doing)
    regex = regexes.get(text)
    if regex is None:
        try:
            regex = Regex(text.encode("utf-8", "surrogateescape"))
        except RegexSyntaxError:
            raise EvalError(f"invalid regular expression '{text}'") from None
        except RegexTooComplexError:
            raise EvalError(f"memory limit exceeded by regular expression '{text}'") from None
        regexes[text] = regex
    return regex


def _groups(text: str | bytes, spans: list[tuple[int, int]]) -> list[object]:
    if isinstance(text, str):
        return [NULL if start < 0 else text[start:end] for start, end in spans[1:]]
    return [NULL if start < 0 else text[start:end].decode("utf-8", "surrogateescape") for start, end in spans[1:]]


def prim_match(state: EvalState, pattern: object, text: object) -> object:
    """`match regex s`: the groups if the extended POSIX regular expression *regex* matches all of *s*, else null.

    A group that took no part in the match is null.
    """
    regex = _compiled(state, pattern, "while evaluating the first argument passed to builtins.match")
    subject = force_string(text, "while evaluating the second argument passed to builtins.match")
    if regex.ascii is not None and subject.isascii() and len(subject) <= regex.longest_subject:
        found = regex.ascii.fullmatch(subject)
        return NULL if found is None else list(found.groups(NULL))
    encoded = subject.encode("utf-8", "surrogateescape")
    spans = regex.fullmatch(encoded)
    if spans is None:
        return NULL
    return _groups(subject if len(encoded) == len(subject) else encoded, spans)


def prim_split(state: EvalState, pattern: object, text: object) -> list[object]:
    """`split regex s`: what is between the matches of *regex* in *s*, and in between each match's list of groups."""
    regex = _compiled(state, pattern, "while evaluating the first argument passed to builtins.split")
    subject = force_string(text, "while evaluating the second argument passed to builtins.split")
    plain = regex.ascii if subject.isascii() and len(subject) <= regex.longest_subject else None
    if plain is not None and not regex.finds_longest:
        return _split_ascii(plain, subject)
    encoded = subject.encode("utf-8", "surrogateescape")
    ascii_only = len(encoded) == len(subject)
    source: str | bytes = subject if ascii_only else encoded
    result: list[object] = []
    done = at = 0
    while at <= len(encoded):
        spans = regex.search(encoded, at)
        if spans is None:
            break
        start, end = spans[0]
        result.append(_piece(source, done, start))
        result.append(_groups(source, spans))
        done = end
        # After an empty match the next one must start further on.
        at = end + 1 if start == end else end
    if not result:
        return [subject]
    result.append(_piece(source, done, len(encoded)))
    return result


def _split_ascii(pattern: re.Pattern[str], subject: str) -> list[object]:
    result: list[object] = []
    done = 0
    for found in pattern.finditer(subject):
        start, end = found.span()
        result.append(subject[done:start])
        result.append(list(found.groups(NULL)))
        done = end
    result.append(subject[done:])
    return result


def _piece(source: str | bytes, start: int, end: int) -> str:
    piece = source[start:end]
    return piece if isinstance(piece, str) else piece.decode("utf-8", "surrogateescape")
