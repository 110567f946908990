"""Store paths are compared with real Nix in tests/oracle/test_evaluation.py; these are what its answers were."""

from __future__ import annotations

import pytest

from evaluator.core.calls import coerce, force_attrs
from evaluator.errors import EvalError
from evaluator.evaluation import EvalSettings, open_evaluation
from evaluator.services import Services
from evaluator.store_io import StoreIO
from storefs.errors import StoreError
from tests.evaluator.evaluating import value

BASE = 'name = "x"; system = "s"; builder = "/b";'


def test_known_path() -> None:
    assert value('(derivation { name = "x"; system = "x"; builder = "y"; }).outPath') == (
        "/nix/store/zark6p6dzrisxbv4q35sfkcwv0h8cdkr-x"
    )


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ('outputs = [ "out" "out" ];', "duplicate derivation output 'out'"),
        ('outputs = [ "drv" ];', "invalid derivation output name 'drv'"),
        ('outputs = "";', "derivation cannot have an empty set of outputs"),
        ('outputHashMode = "deep";', "invalid value 'deep' for 'outputHashMode' attribute"),
        ('outputs = [ "a" "b" ]; outputHash = ""; outputHashAlgo = "md5";', "multiple outputs are not supported"),
        ("__contentAddressed = true;", "experimental Nix feature 'ca-derivations' is disabled"),
    ],
)
def test_errors(attributes: str, message: str) -> None:
    with pytest.raises(EvalError, match=message):
        value(f"builtins.derivationStrict {{ {BASE} {attributes} }}")


def test_a_derivation_without_outputs_says_so() -> None:
    with pytest.raises(EvalError, match="derivation cannot have an empty set of outputs"):
        value(f"derivation {{ {BASE} outputs = [ ]; }}")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ('system = "s"; builder = "b";', "attribute 'name' missing"),
        ('name = "x"; system = "s";', "required attribute 'builder' missing"),
        ('name = "x"; builder = "b";', "required attribute 'system' missing"),
        ('name = "x.drv"; system = "s"; builder = "b";', "not allowed to end in '.drv'"),
    ],
)
def test_required_attributes(attributes: str, message: str) -> None:
    with pytest.raises(EvalError, match=message):
        value(f"builtins.derivationStrict {{ {attributes} }}")


def test_names_are_those_of_store_paths() -> None:
    with pytest.raises(StoreError, match="illegal character"):
        value('builtins.derivationStrict { name = "a b"; system = "s"; builder = "b"; }')


def test_texts_are_escaped_and_say_what_the_outputs_are_called() -> None:
    io = StoreIO("/nix/store", {}, lambda: None, Services(), read_only=False)
    text = r'"\"|\n|\t|\r|é|\\|${d}"'
    state = open_evaluation(io, EvalSettings())
    drv = force_attrs(
        state.evaluate_text(
            f"let d = derivation {{ {BASE} }}; in "
            f'derivation {{ {BASE} v = {text}; args = [ {text} ]; outputs = [ "out" "man" ]; }}'
        )
    )
    read = io.derivation(coerce(state, drv["drvPath"], set()))
    outputs = {name: coerce(state, force_attrs(drv[name])["outPath"], set()) for name in ("out", "man")}
    assert {name: io.directory.print(output.path) for name, output in read.outputs.items() if output.path} == outputs
    assert {name: read.env[name] for name in outputs} == outputs
    assert read.env["v"].startswith('"|\n|\t|\r|é|\\|/nix/store/')
    assert read.args == [read.env["v"]]
    assert len(read.input_drvs) == 1


def test_errors_about_names_show_the_whole_store_path() -> None:
    with pytest.raises(StoreError, match=r"store path '[a-z0-9]{32}-x{209}-man' has a name longer than 211"):
        value(
            f'(derivation {{ name = "{"x" * 209}"; system = "s"; builder = "b"; outputs = [ "out" "man" ]; }}).outPath'
        )


def test_outputs_are_cyclic_and_in_order() -> None:
    expression = 'let d = derivation { name = "n"; system = "s"; builder = "b"; outputs = [ "man" "out" ]; }; in '
    assert value(expression + "d.outputName") == "man"
    assert value(expression + "map (o: o.outputName) d.all") == ["man", "out"]
    assert value(expression + "d.out.man.out.man.drvPath == d.drvPath")
    assert value(expression + "d.type") == "derivation"


def test_null_attributes_can_be_ignored() -> None:
    assert value(
        f"(derivation {{ {BASE} a = null; __ignoreNulls = true; }}).outPath == (derivation {{ {BASE} }}).outPath"
    )
    assert value(f"(derivation {{ {BASE} a = null; }}).outPath != (derivation {{ {BASE} }}).outPath")
