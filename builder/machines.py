"""Other machines that can build: how they are written down, which of them fits a derivation, which is chosen.

A line of `builders` or of a machines file has up to eight columns, `-` for a default: store URI, systems, SSH key,
number of builds at once, speed factor, features, mandatory features, public host key. Semantics: machines.cc and
build-remote.cc of Nix 2.8; unlike there a speed factor may be a fraction.
"""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence


class BadMachineError(UsageError):
    """A line that describes a machine can't be understood."""


@record(frozen=True, slots=True)
class Machine:
    """One machine.

    Attributes:
        uri: of its store, as in `ssh-ng://host`.
        systems: what it can build for.
        key: file with a private key, '' for ssh's own choice.
        jobs: how many builds at once.
        speed: a factor; a machine of twice the speed is given twice the load.
        features: system features that it has.
        mandatory: of these, the ones without which it takes nothing.
        host_key: its public key in base 64, as ssh-keyscan tells it without the host's name; '' for what ssh knows.
    """

    uri: str
    systems: tuple[str, ...]
    key: str
    jobs: int
    speed: float
    features: frozenset[str]
    mandatory: frozenset[str]
    host_key: str = ""

    def fits(self, system: str, required: Collection[str]) -> bool:
        """Whether it can, and wants to, build a derivation for `system` with these required features."""
        return (
            (system == "builtin" or system in self.systems)
            and self.features.union(self.mandatory).issuperset(required)
            and self.mandatory.issubset(required)
        )


def parse_machines(text: str, default_system: str, read: Callable[[str], str]) -> list[Machine]:
    """Read the setting `builders`.

    Args:
        text: lines, separated by newlines or semicolons; `@FILE` stands for the lines of a file.
        default_system: of machines that name none.
        read: returns the contents of a file, '' for one that is not there.

    Raises:
        BadMachineError: a line can't be understood.
    """
    return [_parse_line(line, default_system) for line in _lines(text, read)]


def read_machines(path: str) -> str:
    """Return the contents of a file of machines, '' if there is none. Raises OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _lines(text: str, read: Callable[[str], str]) -> Iterator[str]:
    for part in text.replace(";", "\n").splitlines():
        line = part.partition("#")[0].strip()
        if line.startswith("@"):
            yield from _lines(read(line[1:].strip()), read)
        elif line:
            yield line


def _parse_line(line: str, default_system: str) -> Machine:
    words = line.split()
    columns = ["" if word == "-" else word for word in words] + [""] * (8 - len(words))
    uri, systems, key, jobs, speed, features, mandatory, host_key = columns[:8]
    if not uri:
        raise BadMachineError(f"bad machine specification: store URL was not found at the first column of '{line}'")
    if "://" not in uri and not uri.startswith(("/", ".")) and uri not in {"auto", "daemon", "local"}:
        uri = f"ssh://{uri}"
    try:
        count, factor = int(jobs or 1), float(speed or 1)
    except ValueError:
        raise BadMachineError(f"bad machine specification: '{line}' has no number where one belongs") from None
    if count < 0 or factor <= 0:
        raise BadMachineError(f"bad machine specification: the speed factor of '{line}' must be greater than zero")
    return Machine(
        uri,
        tuple(systems.split(",")) if systems else (default_system,),
        key,
        count,
        factor,
        frozenset(filter(None, features.split(","))),
        frozenset(filter(None, mandatory.split(","))),
        host_key,
    )


def best_of(candidates: Iterable[tuple[Machine, int]]) -> Machine | None:
    """Choose among machines that fit and have room, given with their load, in builds; None where there is none.

    The least load for its speed wins, then the faster one, then the one with less to do, then the earlier one.
    """
    chosen = None
    rank: Sequence[float] = ()
    for machine, load in candidates:
        candidate = (load / machine.speed, -machine.speed, load)
        if chosen is None or candidate < tuple(rank):
            chosen, rank = machine, candidate
    return chosen
