"""The result of an evaluation as text, in the forms that commands offer: `--json`, `--xml`, `--raw`, or as Nix."""

from __future__ import annotations

from evaluator.core.calls import coerce, force_deep
from evaluator.errors import NO_POS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState


def render(
    state: EvalState, value: object, form: str, *, strict: bool, location: bool, json_ends_line: bool = True
) -> str:
    """Return a value as text, with a line end unless the form is "raw".

    Args:
        state: the evaluation.
        value: the value, evaluated as far as `strict` does not demand more.
        form: "nix", "json", "xml" or "raw".
        strict: evaluate everything in it; JSON always does.
        location: XML says where things were defined.
        json_ends_line: Nix 2.8 writes JSON without an end of line.

    Raises:
        NixError: evaluating it failed, or it has no such form.
    """
    if form == "json":
        from evaluator.core.json_text import value_to_json  # noqa: PLC0415  each form only when it is wanted

        json: str = value_to_json(state, value, set())
        return json + ("\n" if json_ends_line else "")
    if form == "xml":
        from evaluator.core.xml_text import value_to_xml  # noqa: PLC0415

        document: str = value_to_xml(state, value, set(), strict=strict, location=location)
        return document
    if form == "raw":
        text: str = coerce(state, value, set(), False, False, pos=NO_POS)
        return text
    from evaluator.print_value import show_value  # noqa: PLC0415

    if strict:
        force_deep(value)
    return show_value(value, lazy=not strict) + "\n"
