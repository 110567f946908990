"""The fields of activities and of their results, in what a server tells while it works. Sans-I/O, over `wire`."""

from __future__ import annotations

from storefs.protocol.wire import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.protocol.wire import Reader, Writer


def read_fields(reader: Reader) -> list[int | str]:
    """Take the fields of an activity or of a result."""
    fields: list[int | str] = []
    for _ in range(reader.number()):
        kind = reader.number()
        if kind == 0:
            fields.append(reader.number())
        elif kind == 1:
            fields.append(reader.string())
        else:
            raise ProtocolError(f"log field of unknown type {kind}")
    return fields


def write_fields(writer: Writer, fields: Iterable[int | str]) -> None:
    """Add the fields of an activity or of a result."""
    fields = list(fields)
    writer.number(len(fields))
    for field in fields:
        if isinstance(field, int):
            writer.number(0).number(field)
        else:
            writer.number(1).string(field)
