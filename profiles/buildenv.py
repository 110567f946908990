"""What a user environment contains: one tree of symbolic links to the files of all installed packages.

`plan_links` decides, without writing anything, what `builtin:buildenv` of Nix 2.8 decides: who wins by priority,
which directories are merged and which are linked whole, what is left out, which packages are pulled in by
`propagated-user-env-packages`. `nar_events` turns the plan into the archive of the finished tree, so that a user
environment gets into the store without a temporary directory and without a mounted store. `environment_derivation` is
the derivation that real nix-env would build, so paths are the same.

Files are looked at through a `TreeReader`, which may be this machine or a store. Rules: buildenv.cc, buildenv.nix and
user-env.cc of Nix 2.8.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.derivation_hash import DerivationHasher
from storefs.formats.nar import Directory, EndDirectory, Symlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import NoReturn, Protocol

    from profiles.elements import Element
    from storefs.formats.nar import Event
    from storefs.formats.store_path import StoreDir, StorePath

    class TreeReader(Protocol):
        """Looking at files. Raises OSError as the kernel would. `evaluator.eval_io.EvalIO` is one."""

        def list_dir(self, path: str) -> Mapping[str, str]:
            """Return the names in a directory with their types: regular, directory, symlink, unknown."""

        def file_type(self, path: str) -> str | None:
            """Return the type of what is at `path`, without following a link there; None if nothing is."""

        def resolve(self, path: str) -> str:
            """Return `path` with every symbolic link in it followed."""

        def read_file(self, path: str) -> bytes:
            """Return the content of a regular file."""


_SUPPORT = "nix-support"
_PROPAGATED = "propagated-user-env-packages"
_FIRST_PROPAGATED_PRIORITY = 1000

# Useless in a profile, or in every package of some language, where they would only collide.
_LEFT_OUT = frozenset(("propagated-build-inputs", _SUPPORT, "perllocal.pod", "log", "manifest.nix", "manifest.json"))


class ConflictError(StoreError):
    """Two packages have the same file and nothing says which one is wanted.

    Attributes:
        name: the file, relative to the profile.
        existing: the file as the one package has it, an absolute path.
        added: the file as the other package has it.
        priority: of both.
    """

    exit_code = 100  # for nix-env the build of the user environment has failed

    def __init__(self, name: str, existing: str, added: str, priority: int) -> None:
        super().__init__(
            f"packages '{added}' and '{existing}' have the same priority {priority}; "
            "use 'nix-env --set-flag priority NUMBER INSTALLED_PKGNAME' "
            "to change the priority of one of the conflicting packages"
            " (0 being the highest priority), or remove one of them with 'nix-env --uninstall'"
        )
        self.name = name
        self.existing = existing
        self.added = added
        self.priority = priority


class CollisionError(StoreError):
    """A name is a directory in one package and a file in another."""

    exit_code = 100


class Package:
    """One output to link: its path, whether it is linked at all, and its priority (lower wins)."""

    __slots__ = ("active", "path", "priority")

    def __init__(self, path: str, active: bool, priority: int) -> None:
        self.path = path
        self.active = active
        self.priority = priority


class Link:
    """A link in the planned tree: where it points to, and the priority of the package that put it there."""

    __slots__ = ("priority", "target")

    def __init__(self, target: str, priority: int) -> None:
        self.target = target
        self.priority = priority


Tree = dict[str, "Link | Tree"]


def plan_links(packages: Iterable[Package], reader: TreeReader, warn: Callable[[str], object]) -> Tree:
    """Decide what a user environment links to.

    Args:
        packages: in any order.
        reader: looks at their files; may block on the disk.
        warn: told one line for each thing that is left out although somebody may miss it.

    Raises:
        ConflictError: two packages of equal priority have the same file.
        CollisionError: a directory meets a file.
        OSError: a package can't be read.
    """
    plan = _Plan(reader, warn)
    for package in sorted(packages, key=lambda each: (each.priority, each.path)):
        if package.active:
            plan.add(package.path, package.priority)
    priority = _FIRST_PROPAGATED_PRIORITY
    while plan.postponed:
        propagated, plan.postponed = sorted(plan.postponed), set()
        for path in propagated:
            plan.add(path, priority)
            priority += 1
    return plan.tree


class _Plan:
    """The tree so far. Not shared."""

    def __init__(self, reader: TreeReader, warn: Callable[[str], object]) -> None:
        self.tree: Tree = {}
        self.postponed: set[str] = set()
        self._done: set[str] = set()
        self._reader = reader
        self._warn = warn

    def add(self, package: str, priority: int) -> None:
        if package in self._done:
            return
        self._done.add(package)
        entries = self._entries(package)
        self._merge(package, entries, self.tree, "", priority)
        if _SUPPORT not in entries:
            return
        try:
            text = self._reader.read_file(f"{package}/{_SUPPORT}/{_PROPAGATED}")
        except (FileNotFoundError, NotADirectoryError):
            return
        self.postponed.update(set(text.decode("utf-8", "surrogateescape").split()) - self._done)

    def _entries(self, source: str) -> Mapping[str, str]:
        try:
            return self._reader.list_dir(source)
        except NotADirectoryError:
            self._warn(f"not including '{source}' in the user environment because it's not a directory")
            return {}

    def _merge(self, source: str, entries: Mapping[str, str], tree: Tree, place: str, priority: int) -> None:
        """Add the entries of the directory `source` to `tree`, which is at `place` below the profile ('' or 'bin/')."""
        in_info = source.endswith("/info")
        for name in sorted(entries):
            if name[0] == "." or name in _LEFT_OUT or (in_info and name == "dir"):
                continue
            path = f"{source}/{name}"
            kind: str | None = entries[name]
            if kind == "symlink":
                kind = self._kind_behind(path)
                if kind is None:
                    self._warn(f"skipping dangling symlink '{path}'")
                    continue
            existing = tree.get(name)
            if existing is None:
                tree[name] = Link(path, priority)
            elif kind == "directory":
                self._merge_directory(path, tree, name, existing, place, priority)
            elif not isinstance(existing, Link):
                raise CollisionError(f"collision between non-directory '{path}' and directory '{place}{name}'")
            elif existing.priority == priority:
                raise ConflictError(place + name, existing.target, path, priority)
            elif existing.priority > priority:
                tree[name] = Link(path, priority)

    def _merge_directory(
        self, path: str, tree: Tree, name: str, existing: Link | Tree, place: str, priority: int
    ) -> None:
        inner = f"{place}{name}/"
        if isinstance(existing, Link):
            # What was linked whole becomes a directory of its own, with what the link led to in it.
            target = self._reader.resolve(existing.target)
            if self._reader.file_type(target) != "directory":
                raise CollisionError(f"collision between '{path}' and non-directory '{target}'")
            merged: Tree = {}
            tree[name] = merged
            self._merge(target, self._entries(target), merged, inner, existing.priority)
            existing = merged
        self._merge(path, self._entries(path), existing, inner, priority)

    def _kind_behind(self, path: str) -> str | None:
        try:
            return self._reader.file_type(self._reader.resolve(path))
        except OSError:
            return None


def packages_of(elements: Iterable[Element]) -> list[Package]:
    """Return the outputs that `builtin:buildenv` is given for these elements."""
    return parse_packages(_derivations_text(elements))


def parse_packages(text: str) -> list[Package]:
    """Read the environment variable `derivations`: for each element active, priority, number of outputs, outputs.

    Raises:
        StoreError: it is something else.
    """
    words = text.split()
    words.reverse()
    packages = []
    try:
        while words:
            active, priority, count = words.pop(), int(words.pop()), int(words.pop())
            packages += [Package(words.pop(), active != "false", priority) for _ in range(count)]
    except (IndexError, ValueError):
        _bad_derivations()
    return packages


def environment_derivation(elements: list[Element], manifest: StorePath, store_dir: StoreDir) -> Derivation:
    """Return the derivation of the user environment, with its output path, as real nix-env instantiates it.

    Args:
        elements: what is in it.
        manifest: the store path of the text of `print_manifest`.
        store_dir: the logical store.
    """
    env = {
        "allowSubstitutes": "",
        "builder": "builtin:buildenv",
        "derivations": _derivations_text(elements),
        "manifest": store_dir.print(manifest),
        "name": "user-environment",
        "out": "",
        "preferLocalBuild": "1",
        "system": "builtin",
    }
    outputs = {"out": DerivationOutput(None)}
    derivation = Derivation("user-environment", outputs, {}, {manifest}, "builtin", env["builder"], [], env)
    digest = DerivationHasher(store_dir, _no_inputs).modulo(derivation, mask_outputs=True).hash
    path = store_dir.make_output_path("out", digest, "user-environment")
    derivation.outputs = {"out": DerivationOutput(path)}
    env["out"] = store_dir.print(path)
    return derivation


def nar_events(tree: Tree, manifest: str) -> Iterator[Event]:
    """Yield the finished user environment as the events of its archive.

    Args:
        tree: the plan; its top level must not have `manifest.nix`, and never has.
        manifest: what the link `manifest.nix` points to.
    """
    return _directory_events(b"", {**tree, "manifest.nix": Link(manifest, 0)})


def count_links(tree: Tree) -> int:
    """Return how many symbolic links a plan has."""
    return sum(1 if isinstance(entry, Link) else count_links(entry) for entry in tree.values())


def _directory_events(name: bytes, tree: Tree) -> Iterator[Event]:
    yield Directory(name)
    encoded = sorted([(each.encode("utf-8", "surrogateescape"), entry) for each, entry in tree.items()], key=_first)
    for each, entry in encoded:
        if isinstance(entry, Link):
            yield Symlink(each, entry.target.encode("utf-8", "surrogateescape"))
        else:
            yield from _directory_events(each, entry)
    yield EndDirectory()


def _first(pair: tuple[bytes, object]) -> bytes:
    return pair[0]


def _derivations_text(elements: Iterable[Element]) -> str:
    words = []
    for element in elements:
        names = sorted(element.outputs)
        words += [_word(element.meta.get("active", "true")), _word(element.meta.get("priority", 5)), str(len(names))]
        words += [element.outputs[name] for name in names]
    return " ".join(words)


def _word(value: object) -> str:
    """Return what the language's string conversion makes of a value of `meta`."""
    if value is True:
        return "1"
    if value is False:
        # An empty word would be lost between two spaces and shift the others: here we differ from Nix, which crashes.
        return "false"
    return str(value)


def _no_inputs(path: StorePath) -> NoReturn:
    raise AssertionError(f"a user environment has no input derivations, not '{path}'")


def _bad_derivations() -> NoReturn:
    raise StoreError("the derivation of a user environment has a malformed list of packages")
