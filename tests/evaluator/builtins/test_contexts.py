from __future__ import annotations

import pytest

from evaluator.errors import EvalError
from tests.evaluator.evaluating import value

D = 'let d = derivation { name = "n"; system = "s"; builder = "b"; outputs = [ "out" "dev" ]; }; in '


def test_outputs_and_derivations_are_told_apart() -> None:
    context = value(D + 'builtins.getContext "${d} ${d.dev} ${d.drvPath}"')
    assert isinstance(context, dict)
    (described,) = context.values()
    assert described == {"allOutputs": True, "outputs": ["dev", "out"]}


def test_discarding() -> None:
    assert value(D + 'builtins.hasContext "${d}"') is True
    assert value(D + 'builtins.hasContext (builtins.unsafeDiscardStringContext "${d}")') is False
    plain = value(D + "builtins.getContext (builtins.unsafeDiscardOutputDependency d.drvPath)")
    assert isinstance(plain, dict)
    assert list(plain.values()) == [{"path": True}]


def test_append_undoes_get() -> None:
    text = '"${d} ${d.drvPath}"'
    assert value(
        D
        + f'builtins.getContext (builtins.appendContext "x" (builtins.getContext {text})) == builtins.getContext {text}'
    )


def test_append_checks_its_argument() -> None:
    with pytest.raises(EvalError, match="not a store path"):
        value('builtins.appendContext "x" { "/tmp/y" = { path = true; }; }')
    with pytest.raises(EvalError, match="not a derivation"):
        value(
            'builtins.appendContext "x" { "/nix/store/00000000000000000000000000000000-y" = { allOutputs = true; }; }'
        )


def test_adding_what_was_discarded() -> None:
    assert value(
        D + "builtins.getContext (builtins.addDrvOutputDependencies "
        "(builtins.unsafeDiscardOutputDependency d.drvPath)) == builtins.getContext d.drvPath"
    )
    with pytest.raises(EvalError, match="exactly one element"):
        value('builtins.addDrvOutputDependencies "x"')
    with pytest.raises(EvalError, match="can only act on derivations"):
        value(D + "builtins.addDrvOutputDependencies d.outPath")
