"""Generations: a profile is a symbolic link to `NAME-N-link`, which is a symbolic link to a store path.

    profile -> profile-7-link -> /nix/store/...-user-environment

The chain is Nix's own, so real nix-env lists, rolls back and deletes ours, and we theirs. What is live changes with one
rename; a process killed at any moment leaves the old generation live or the new one. Changes are made under the lock
that Nix takes (`PROFILE.lock`, flock(2)). Rules: profiles.cc, pathlocks.cc and gc.cc of Nix 2.8.

Order of a switch: the new generation's link, then the profile's. Order of a deletion: the link first, and only then
what belongs to it (`NAME-N-declaration`, see `switch.py`), which nothing finds without the link.

It knows nothing of what a generation contains. Used by `switch.py` and by the commands; starts fast, imports little.
"""

from __future__ import annotations

import errno
import fcntl
import os

from storefs.durable import is_in_use, replace_symlink, sync_directory
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DAY = 24 * 3600  # seconds


class GenerationError(StoreError):
    """A generation that was asked for is not there, or must stay."""


class BadGenerationSpecError(StoreError):
    """Text that names no generations."""


class Generation:
    """One generation of a profile: immutable.

    Attributes:
        number: counts up from 1; numbers are never used twice while the newest generation is there.
        path: the absolute path of its link.
        created: when the link was made, in seconds since 1970.
    """

    __slots__ = ("created", "number", "path")

    def __init__(self, number: int, path: str, created: float) -> None:
        self.number = number
        self.path = path
        self.created = created

    def target(self) -> str:
        """Return what the link points to, a store path as text. Raises OSError."""
        return os.readlink(self.path)

    def __repr__(self) -> str:
        return f"Generation({self.number}, {self.path!r})"


def find_generations(profile: str) -> list[Generation]:
    """Return the generations of a profile, the oldest first; none if its directory does not exist.

    Raises OSError if the directory can't be read.
    """
    folder, name = os.path.split(profile)
    found = []
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    for each in names:
        number = _number_of(name, each)
        if number is not None:
            path = f"{folder}/{each}"
            try:
                found.append(Generation(number, path, os.lstat(path).st_mtime))
            except FileNotFoundError:
                pass  # deleted by somebody else in between
    found.sort(key=lambda generation: generation.number)
    return found


def current_number(profile: str) -> int | None:
    """Return the number of the live generation; None if there is none, or the profile is no link to one."""
    target = current_link(profile)
    return _number_of(os.path.basename(profile), os.path.basename(target)) if target else None


def current_link(profile: str) -> str:
    """Return the text of the profile's link, '' if there is no link: what Nix calls the optimistic lock.

    Whoever computes a new generation notes it first, and compares it under the lock before switching.
    """
    try:
        return os.readlink(profile)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise GenerationError(f"profile '{profile}' is not a symbolic link; move it away to use it") from error
        raise


def find_generation(profile: str, number: int) -> Generation:
    """Return the generation with this number.

    Raises:
        GenerationError: there is none.
    """
    for generation in find_generations(profile):
        if generation.number == number:
            return generation
    raise GenerationError(f"profile version {number} does not exist")


class locked:  # noqa: N801  used like a function: `with locked(profile):`
    """Hold the profile's lock, as Nix does, and clear away what a killed process left. Blocks while another holds it.

    Args:
        profile: its directory is created if it is missing.
        waiting: told the text to show when it has to wait.
    """

    __slots__ = ("_fd", "_path", "_profile", "_waiting")

    def __init__(self, profile: str, waiting: Callable[[str], object] | None = None) -> None:
        self._profile = profile
        self._path = profile + ".lock"
        self._waiting = waiting
        self._fd = -1

    def __enter__(self) -> None:
        os.makedirs(os.path.dirname(self._profile) or ".", exist_ok=True)
        self._fd = _acquire(self._path, f"waiting for lock on profile '{self._profile}'", self._waiting)
        try:
            _clear_leftovers(self._profile)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        # Whoever waits for this very file must see that it is stale: Nix writes a byte after removing the name.
        try:
            os.unlink(self._path)
            os.write(self._fd, b"d")
        except OSError:
            pass
        os.close(self._fd)


def create_generation(profile: str, target: str, register: Callable[[str], object]) -> Generation:
    """Make the link of a new generation and return it; the newest one if that has this target already.

    Args:
        profile: locked by the caller.
        target: the store path, as text.
        register: makes the link whose path it is given a root of the garbage collector, after it exists.

    Raises OSError.
    """
    generations = find_generations(profile)
    if generations and generations[-1].target() == target:
        return generations[-1]
    number = generations[-1].number + 1 if generations else 1
    path = _link_path(profile, number)
    replace_symlink(path, target)
    register(path)
    return Generation(number, path, os.lstat(path).st_mtime)


def switch_link(profile: str, generation: str) -> None:
    """Make the generation whose link is at `generation` the live one: one rename. Raises OSError."""
    if os.path.dirname(generation) == os.path.dirname(profile):
        generation = os.path.basename(generation)
    replace_symlink(profile, generation)


def choose_generation(profile: str, number: int | None) -> tuple[int, Generation]:
    """Return the live number (0 if none) and the generation to switch to.

    Args:
        profile: whose.
        number: the wanted one; None for the newest that is older than the live one.

    Raises:
        GenerationError: there is none.
    """
    current = current_number(profile)
    if number is not None:
        return current or 0, find_generation(profile, number)
    older = [each for each in find_generations(profile) if current is not None and each.number < current]
    if current is None:
        raise GenerationError(f"profile '{profile}' has no live generation")
    if not older:
        raise GenerationError(f"no profile version older than the current ({current}) exists")
    return current or 0, older[-1]


def parse_numbers(words: Iterable[str]) -> set[int]:
    """Read generation numbers and ranges such as `2..9`.

    Raises:
        BadGenerationSpecError: a word is neither.
    """
    numbers: set[int] = set()
    for word in words:
        first, dots, last = word.partition("..")
        try:
            numbers.update(range(int(first), int(last) + 1) if dots else (int(first),))
        except ValueError:
            raise BadGenerationSpecError(f"invalid generation number '{word}'") from None
    return numbers


def to_delete(generations: list[Generation], current: int | None, spec: list[str], now: float) -> list[Generation]:
    """Return the generations that a specification means, in the order in which Nix deletes them.

    Args:
        generations: all of them, the oldest first.
        current: the live one, which is never returned.
        spec: numbers and ranges (`2..9`); or one word: `old`, `30d` (older than 30 days), `+5` (all but the newest
            five, counted from the live one).
        now: seconds since 1970.

    Raises:
        BadGenerationSpecError: it is none of these.
        GenerationError: the live one was named by its number.
    """
    word = spec[0] if len(spec) == 1 else ""
    if word == "old":
        return [each for each in generations if each.number != current]
    if "d" in word:
        return _older_than(generations, current, now - parse_days(word) * _DAY)
    if "+" in word:
        return _but_newest(generations, current, word)
    numbers = parse_numbers(spec)
    if current in numbers:
        raise GenerationError(f"cannot delete current generation {current}; switch to another one first")
    return [each for each in generations if each.number in numbers]


def parse_days(word: str) -> int:
    """Read `30d`; raises BadGenerationSpecError."""
    digits = word[:-1]
    if word[-1:] != "d":
        raise BadGenerationSpecError(f"invalid number of days specifier '{word}', expected something like '14d'")
    if not (digits.isascii() and digits.isdigit()) or int(digits) < 1:
        raise BadGenerationSpecError(f"invalid number of days specifier '{word}'")
    return int(digits)


def delete_generation(generation: Generation) -> None:
    """Remove a generation's link and what belongs to it; the caller holds the lock. Raises OSError."""
    os.unlink(generation.path)
    sync_directory(os.path.dirname(generation.path))
    remove_folder(declaration_dir(generation.path))


def declaration_dir(generation: str) -> str:
    """Return the directory beside the generation's link that keeps what it was made from."""
    return generation.removesuffix("-link") + "-declaration"


def _link_path(profile: str, number: int) -> str:
    return f"{profile}-{number}-link"


def _number_of(profile_name: str, name: str) -> int | None:
    if not (name.startswith(profile_name + "-") and name.endswith("-link")):
        return None
    digits = name[len(profile_name) + 1 : -len("-link")]
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _older_than(generations: list[Generation], current: int | None, moment: float) -> list[Generation]:
    """All that were no longer live at `moment`: the newest one made before it was."""
    before = [each for each in reversed(generations) if each.created < moment]
    return [each for each in before[1:] if each.number != current]


def _but_newest(generations: list[Generation], current: int | None, word: str) -> list[Generation]:
    digits = word[1:]
    if not digits:
        raise BadGenerationSpecError(f"invalid number of generations '{word}'")
    if not (digits.isascii() and digits.isdigit()) or int(digits) == 0:
        raise BadGenerationSpecError(f"invalid number of generations to keep '{word}'")
    older = [each for each in reversed(generations) if current is not None and each.number < current]
    return older[int(digits) - 1 :]


def _acquire(path: str, text: str, waiting: Callable[[str], object] | None) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting(text)
                fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_size == 0:
                return fd
            if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(fd)):
                raise GenerationError(f"'{path}' is in the way: it should be an empty lock file; move it away")
        except BaseException:
            os.close(fd)
            raise
        # Whoever held it has removed this file's name: the next one may be locking a new file.
        os.close(fd)


def _clear_leftovers(profile: str) -> None:
    """Remove temporary links of processes that were killed between making and renaming them, and orphaned records."""
    folder, name = os.path.split(profile)
    names = set(os.listdir(folder))
    for each in names:
        if each.startswith(".tmp-") and each.split("-", 3)[-1].startswith(name) and not is_in_use(each):
            _remove(f"{folder}/{each}")
        elif each.startswith(name + "-") and each.endswith("-declaration"):
            number = _number_of(name, each.removesuffix("-declaration") + "-link")
            if number is not None and f"{name}-{number}-link" not in names:
                _remove(f"{folder}/{each}")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except IsADirectoryError:
        remove_folder(path)
    except FileNotFoundError:
        pass


def remove_folder(path: str) -> None:
    """Remove a folder of files, if it is there: `shutil` would cost 20 ms of a start-up that takes 20."""
    try:
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        pass
