"""Value classes: they behave like dataclasses where anybody would look, and import nothing heavy."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import storefs
from storefs.records import Enum, field, record


@record(frozen=True, slots=True)
class Point:
    """A frozen one."""

    x: int
    y: int = 2

    @property
    def total(self) -> int:
        return self.x + self.y


@dataclass(frozen=True, slots=True)
class Reference:
    x: int
    y: int = 2


@record(slots=True)
class Basket:
    """A changeable one."""

    name: str
    things: list[str] = field(default_factory=list)


@record(eq=False, slots=True)
class Node:
    """One that is only equal to itself."""

    name: str


def test_values_come_by_position_name_or_default() -> None:
    assert (Point(1).x, Point(1).y, Point(1, 3).y, Point(y=4, x=1).total) == (1, 2, 3, 5)
    assert Basket("a").things == []
    assert Basket("a").things is not Basket("a").things


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_wrong_values_are_refused_as_dataclasses_refuse_them(values: tuple[int, ...], named: dict[str, int]) -> None:
    for kind in (Point, Reference):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_equality_hash_and_text_are_those_of_a_dataclass() -> None:
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(2)
    assert Point(1) != Reference(1)
    assert len({Point(1), Point(1), Point(3)}) == 2
    assert repr(Point(1)) == repr(Reference(1)).replace("Reference", "Point")
    with pytest.raises(TypeError):
        hash(Basket("a"))
    assert Node("a") != Node("a")
    assert len({Node("a"), Node("a")}) == 2


def test_a_frozen_one_can_not_be_changed_and_no_attribute_added() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    basket = Basket("a")
    basket.name = "b"
    with pytest.raises(AttributeError):
        basket.other = 1  # type: ignore[attr-defined]


def test_values_survive_pickling() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 5))) == Point(1, 5)


def test_patterns_match_by_position() -> None:
    match Point(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)


class Colour(Enum):
    RED = 1
    BLUE = "b"


def test_the_constants_of_an_enumeration_are_its_objects() -> None:
    assert (Colour.RED.name, Colour.RED.value, repr(Colour.BLUE)) == ("RED", 1, "<Colour.BLUE: 'b'>")
    assert [*Colour] == [Colour(1), Colour["BLUE"]]
    assert isinstance(Colour.RED, Colour)
    assert len({Colour.RED, Colour(1), Colour.BLUE}) == 2
    assert pickle.loads(pickle.dumps(Colour.BLUE)) is copy.deepcopy(Colour.BLUE) is Colour.BLUE
    with pytest.raises(ValueError, match="2 is not a valid Colour"):
        Colour(2)


def test_it_imports_nothing_heavy() -> None:
    root = Path(storefs.__file__).parents[1]
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(root)!r})
        import storefs.records
        print({{"dataclasses", "enum", "inspect", "typing", "re"}} & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
