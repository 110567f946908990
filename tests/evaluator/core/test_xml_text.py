from __future__ import annotations

from tests.evaluator.evaluating import value


def test_xml() -> None:
    document = value('builtins.toXML { a = [ 1 "<&>\\"" null ]; f = { x, y ? 1, ... }@z: x; p = /p; }')
    assert document == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        "<expr>\n"
        "  <attrs>\n"
        '    <attr name="a">\n'
        "      <list>\n"
        '        <int value="1" />\n'
        '        <string value="&lt;&amp;&gt;&quot;" />\n'
        "        <null />\n"
        "      </list>\n"
        "    </attr>\n"
        '    <attr name="f">\n'
        "      <function>\n"
        '        <attrspat ellipsis="1" name="z">\n'
        '          <attr name="x" />\n'
        '          <attr name="y" />\n'
        "        </attrspat>\n"
        "      </function>\n"
        "    </attr>\n"
        '    <attr name="p">\n'
        '      <path value="/p" />\n'
        "    </attr>\n"
        "  </attrs>\n"
        "</expr>\n"
    )


def test_a_derivation_is_written_once_in_xml() -> None:
    document = value('let d = derivation { name = "n"; system = "s"; builder = "b"; }; in builtins.toXML [ d d ]')
    assert str(document).count("<repeated />") >= 1
    assert str(document).count('<attr name="builder">') == 2  # of the derivation, and of its drvAttrs


def test_text_that_is_no_utf_8_stays_what_it_is(tmp_path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe9")
    document = value(f"builtins.toXML (builtins.readFile {tmp_path}/latin)")
    assert '<string value="\udce9" />' in str(document)
