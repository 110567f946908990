"""From a declaration to elements: which derivations and outputs the declared packages are.

A package is resolved in the state of its channel that the lock file records, so the answer is the same tomorrow; what
the lock file has already under the same fingerprint is not evaluated again. Nothing is built and nothing is switched
here. Needs an evaluation's session; its functions run on the evaluation's thread (`Session.run`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluator.attr_path import AttrPathNotFoundError, find_along_path
from evaluator.core.calls import call1
from evaluator.core.values import NULL, force
from evaluator.errors import NixError
from evaluator.instantiate import get_derivation
from profiles.available import Available, NoOutputError
from profiles.elements import Element
from profiles.lock import Lock, LockedChannel, LockedPackage
from profiles.package_names import split_name
from profiles.sources import ChannelError, is_state_of, take_channel
from storefs.errors import StoreError
from storefs.formats.store_path import BadStorePath

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from evaluator.session import Session
    from profiles.declaration import Channel, Declaration, Package
    from profiles.printed_data import Plain


class PackageError(StoreError):
    """A declared package, or its channel, can't be resolved. The text begins with file and line."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a declaration means.

    Attributes:
        packages: one for each declared package, in order.
        lock: records it.
    """

    packages: tuple[LockedPackage, ...]
    lock: Lock

    @property
    def elements(self) -> list[Element]:
        """The packages' elements, in order."""
        return [package.element for package in self.packages]


class Everything:
    """The set that contains every name: `upgrade` without arguments."""

    def __contains__(self, name: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


def resolve(
    session: Session,
    declaration: Declaration,
    lock: Lock,
    say: Callable[[str], object],
    upgrade: Collection[str] | Everything = (),
) -> Resolution:
    """Resolve every package.

    Args:
        session: with a store.
        declaration: what is wanted.
        lock: what was resolved before.
        say: told what is being fetched.
        upgrade: labels of packages and names of channels to take anew; pinned packages only if they are named.

    Raises:
        PackageError: a package is not there, or has not the version it is pinned to.
        NixError: an expression is wrong.
        StoreError: a channel can't be fetched.
    """
    return _Resolver(session, declaration, lock, say, upgrade).run()


class _Resolver:
    def __init__(
        self,
        session: Session,
        declaration: Declaration,
        lock: Lock,
        say: Callable[[str], object],
        upgrade: Collection[str] | Everything,
    ) -> None:
        self._session = session
        self._declaration = declaration
        self._lock = lock
        self._say = say
        self._upgrade = upgrade
        self._fresh: dict[str, LockedChannel] = {}
        self._roots: dict[tuple[str, str], object] = {}

    def run(self) -> Resolution:
        declaration = self._declaration
        packages = tuple(self._package(package) for package in declaration.packages)
        found = {name: self._locked(channel) for name, channel in declaration.channels.items()}
        channels = {name: locked for name, locked in found.items() if locked is not None}
        return Resolution(packages, Lock(channels, packages))

    # Channels.

    def _source_for(self, package: Package) -> LockedChannel:
        """The state of its channel that a package is to be resolved in."""
        channel = self._declaration.channels[package.channel]
        before = self._lock.package((package.channel, package.path, package.attr))
        named = not isinstance(self._upgrade, Everything) and package.label in self._upgrade
        if named or (not package.pinned and package.channel in self._upgrade):
            return self._taken(channel)
        source = None if before is None else before.source
        if source is not None and (package.pinned or is_state_of(source, channel)):
            return source
        return self._locked(channel) or self._taken(channel)

    def _locked(self, channel: Channel) -> LockedChannel | None:
        """The channel's state of this run, or else that of the lock file, if it is still declared so."""
        found = self._fresh.get(channel.name) or self._lock.channels.get(channel.name)
        return found if found is not None and is_state_of(found, channel) else None

    def _taken(self, channel: Channel) -> LockedChannel:
        """The channel's state now; taken once."""
        if channel.name not in self._fresh:
            if channel.kind != "path":
                self._say(f"fetching channel '{channel.name}' from {channel.location}")
            try:
                self._fresh[channel.name] = take_channel(self._session.io, channel)
            except ChannelError as error:
                raise PackageError(self._declaration.where(channel), str(error)) from None
        return self._fresh[channel.name]

    def _present(self, channel: Channel, source: LockedChannel) -> str:
        """The store path of a channel's state, fetched again if it was collected meanwhile."""
        if self._session.io.is_valid(source.store_path):
            return source.store_path
        self._say(f"fetching channel '{channel.name}' again, as it is not in the store any more")
        again = take_channel(self._session.io, channel)
        if again.nar_hash != source.nar_hash:
            raise StoreError(
                f"channel '{channel.name}' has changed since it was locked ({source.nar_hash} then, {again.nar_hash} "
                f"now); 'verglas profile upgrade {channel.name}' takes the new state"
            )
        return again.store_path

    # Packages.

    def _package(self, package: Package) -> LockedPackage:
        try:
            return self._path_package(package) if package.path else self._channel_package(package)
        except NixError as error:
            error.introduce(f"{self._declaration.where(package)}: package '{package.label}': ")
            raise

    def _channel_package(self, package: Package) -> LockedPackage:
        source = self._source_for(package)
        fingerprint = self._fingerprint(package, source)
        before = self._lock.package((package.channel, package.path, package.attr))
        if before is not None and before.fingerprint == fingerprint and self._is_at_hand(before.element):
            element = before.element
        else:
            channel = self._declaration.channels[package.channel]
            root = self._root(self._present(channel, source), channel)
            element = self._evaluate(package, root, self._arguments(channel), f"channel '{channel.name}'")
        self._check_version(package, element)
        return LockedPackage(package.channel, "", package.attr, fingerprint, element, source)

    def _path_package(self, package: Package) -> LockedPackage:
        directory = self._session.store_io.directory
        element = None
        if not package.attr and not package.override:
            try:
                path, rest = directory.to_store_path(self._session.io.resolve(package.path))
            except BadStorePath:
                rest = package.path
            if not rest:
                element = Element(path.name, directory.print(path))
                if package.priority is not None:
                    element.meta["priority"] = package.priority
        if element is None:
            if self._session.io.file_type(package.path) is None:
                raise PackageError(self._declaration.where(package), f"'{package.path}' does not exist")
            value = self._session.state.evaluate_file(self._session.io.resolve_expr_path(package.path))
            element = self._evaluate(package, value, self._arguments(None), f"'{package.path}'")
        self._check_version(package, element)
        return LockedPackage("", package.path, package.attr, "", element)

    def _is_at_hand(self, element: Element) -> bool:
        """Whether the element can be installed without evaluating its expression again."""
        io = self._session.io
        if all(io.is_valid(path) for path in element.outputs.values()):
            return True
        return bool(element.drv_path) and io.is_valid(element.drv_path)

    def _root(self, path: str, channel: Channel) -> object:
        key = (channel.name, path)
        if key not in self._roots:
            file = self._session.io.resolve_expr_path(path)
            self._roots[key] = self._session.state.evaluate_file(file)
        return self._roots[key]

    def _arguments(self, channel: Channel | None) -> dict[str, object]:
        arguments = {} if channel is None else {name: to_value(value) for name, value in channel.arguments.items()}
        if self._declaration.system:
            arguments.setdefault("system", self._declaration.system)
        return arguments

    def _evaluate(self, package: Package, root: object, arguments: dict[str, object], place: str) -> Element:
        state = self._session.state
        where = self._declaration.where(package)
        try:
            value, _ = find_along_path(state, package.attr, arguments, root)
        except AttrPathNotFoundError as error:
            hint = f"; did you mean '{error.suggestions[0]}'?" if error.suggestions else ""
            raise PackageError(where, f"{place} has no package '{package.attr}'{hint}") from None
        value = state.auto_call(force(value), arguments)
        if package.override:
            function = state.evaluate_file(self._session.io.resolve_expr_path(package.override))
            value = force(call1(force(function), value, 0))
        info = get_derivation(state, value)
        if info is None:
            raise PackageError(where, f"'{package.label}' of {place} is no package; name one of the packages in it")
        info.attr_path = package.attr
        try:
            element = Available(info).element(package.outputs)
        except NoOutputError as error:
            raise PackageError(where, str(error)) from None
        if package.priority is not None:
            element.meta["priority"] = package.priority
        return element

    def _check_version(self, package: Package, element: Element) -> None:
        version = split_name(element.name)[1]
        if package.version and version != package.version:
            reason = f"'{package.label}' is pinned to version {package.version}, and what there is is {element.name}"
            raise PackageError(self._declaration.where(package), f"{reason}; change the pin or the channel")

    def _fingerprint(self, package: Package, source: LockedChannel) -> str:
        channel = self._declaration.channels[package.channel]
        override = ""
        if package.override:
            try:
                override = hashlib.sha256(self._session.io.read_file(package.override)).hexdigest()
            except OSError as error:
                reason = f"the override '{package.override}' can't be read: {error.strerror}"
                raise PackageError(self._declaration.where(package), reason) from None
        facts = [
            source.nar_hash,
            channel.arguments,
            package.attr,
            None if package.outputs is None else sorted(package.outputs),
            package.priority,
            override,
            self._declaration.system or self._session.settings.current_system,
            self._session.config.store_dir,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def to_value(data: Plain) -> object:
    """Return plain data as a value of the language."""
    if data is None:
        return NULL
    if isinstance(data, list):
        return [to_value(item) for item in data]
    if isinstance(data, dict):
        return {name: to_value(item) for name, item in data.items()}
    return data


def selected_names(elements: Mapping[str, Element] | list[Element]) -> list[str]:
    """Return the elements' names without versions: what a diff marks as asked for."""
    listed = elements if isinstance(elements, list) else list(elements.values())
    return [split_name(element.name)[0] for element in listed]
