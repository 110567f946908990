"""Small value classes that look like dataclasses and enumerations and import in no time.

`dataclasses` itself imports `inspect`, `ast`, `dis` and `re`, and compiles source text for each class: 8 ms, and then
half a millisecond a class, of a start-up that may take 20; `enum` brings `functools` and `collections`, 5 ms. To the
type checker `record`, `field` and `Enum` are the real ones. Usable from everywhere; knows nothing.
"""

from __future__ import annotations

__all__ = ["Enum", "field", "record"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import field
    from enum import Enum
else:

    class _Factory:
        __slots__ = ("make",)

        def __init__(self, make):
            self.make = make

    def field(*, default_factory):
        """Return a default that is made anew for each object."""
        return _Factory(default_factory)

    def record(*, frozen=False, eq=True, slots=True):
        """Return a class decorator that makes `__init__`, `__repr__` and comparison from the annotations of a class.

        Args:
            frozen: assigning to an attribute raises AttributeError; objects can be hashed.
            eq: compare by value.
            slots: always true; here because the type checker wants it said.
        """
        assert slots

        def decorate(cls):
            names = tuple(cls.__annotations__)
            defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
            body = {
                key: value for key, value in cls.__dict__.items() if key not in {"__dict__", "__weakref__", *defaults}
            }
            body["__slots__"] = names
            body["__match_args__"] = names
            required = len(names) - len(defaults)

            def __init__(self, *values, **named):  # noqa: N807
                put = object.__setattr__
                if len(values) == len(names) and not named:
                    for name, value in zip(names, values):  # noqa: B905  lengths are equal
                        put(self, name, value)
                    return
                if len(values) > len(names):
                    raise TypeError(f"{cls.__name__} takes {len(names)} values, not {len(values)}")
                for name, value in zip(names, values):  # noqa: B905  the rest comes by name or default
                    put(self, name, value)
                for name in names[len(values) :]:
                    if name in named:
                        put(self, name, named.pop(name))
                    elif name in defaults:
                        default = defaults[name]
                        put(self, name, default.make() if type(default) is _Factory else default)
                    else:
                        raise TypeError(f"{cls.__name__} needs '{name}' ({required} values are required)")
                if named:
                    raise TypeError(f"{cls.__name__} has no attribute '{next(iter(named))}'")

            def __repr__(self):  # noqa: N807
                return f"{cls.__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

            def __eq__(self, other):  # noqa: N807
                if type(other) is not made:
                    return NotImplemented
                return all(getattr(self, name) == getattr(other, name) for name in names)

            def __hash__(self):  # noqa: N807
                return hash(tuple(getattr(self, name) for name in names))

            def __setattr__(self, name, value):  # noqa: N807
                raise AttributeError(f"a {cls.__name__} can't be changed")

            def __getstate__(self):  # noqa: N807
                return tuple(getattr(self, name) for name in names)

            def __setstate__(self, state):  # noqa: N807
                for name, value in zip(names, state, strict=True):
                    object.__setattr__(self, name, value)

            body.setdefault("__init__", __init__)
            body.setdefault("__repr__", __repr__)
            body["__getstate__"], body["__setstate__"] = __getstate__, __setstate__
            if eq:
                body.setdefault("__eq__", __eq__)
                body["__hash__"] = __hash__ if frozen else None
            if frozen:
                body["__setattr__"] = __setattr__
            made = type(cls)(cls.__name__, cls.__bases__, body)
            made.__qualname__ = cls.__qualname__
            return made

        return decorate

    class _Members(type):
        """Makes the constants of a class its only objects."""

        def __init__(cls, name, bases, body):
            super().__init__(name, bases, body)
            cls._members = {}
            for key, value in body.items():
                if key[0] != "_" and bases:
                    member = object.__new__(cls)
                    member.name, member.value = key, value
                    cls._members[key] = member
                    setattr(cls, key, member)

        def __call__(cls, value):
            for member in cls._members.values():
                if member.value == value:
                    return member
            raise ValueError(f"{value!r} is not a valid {cls.__name__}")

        def __getitem__(cls, name):
            return cls._members[name]

        def __iter__(cls):
            return iter(cls._members.values())

    class Enum(metaclass=_Members):
        """A class whose constants are objects with `name` and `value`; called with a value, it returns the one with it.

        Every name of a subclass that does not begin with an underscore is one of them: there are no methods.
        """

        def __repr__(self):
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __reduce__(self):
            return type(self), (self.value,)
