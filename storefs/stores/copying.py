"""Taking paths in from somewhere else: what is believed, and the one pass over the bytes that checks them.

Bytes are decompressed, hashed and stored while they come; a path becomes valid only when its hash and size are those
that were promised by somebody who is trusted. Used by `substitution.py` and by copy commands. Blocking.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.content_address import RECURSIVE, parse_content_address
from storefs.formats.nar import parse_nar, write_nar
from storefs.stores.content_hash import ContentHash, ContentMismatchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.api import Intake, Tree
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.signatures import PublicKeys
    from storefs.formats.store_path import StoreDir, StorePath


class BadSubstituteError(StoreError):
    """What was fetched is not what was promised; nothing became valid."""

    exit_code = 102


class UnsignedPathError(StoreError):
    """Nobody who is trusted vouches for a path."""


class Trust:
    """Whose word is good enough.

    Args:
        directory: the logical store.
        keys: trusted keys, in the text form of `trusted-public-keys`.
        require_signatures: False believes everybody.
    """

    def __init__(self, directory: StoreDir, keys: Iterable[str], require_signatures: bool) -> None:
        self._directory = directory
        self._texts = tuple(keys)
        self._keys: PublicKeys | None = None
        self._require = require_signatures

    def check(self, info: PathInfo, uri: str, *, source_is_trusted: bool = False) -> None:
        """Accept an info whose NAR hash may be relied on.

        Raises:
            UnsignedPathError: nobody vouches for it.
            BadKeyError: a trusted key is none.
        """
        if source_is_trusted or not self._require:
            return
        if self._trusted_keys().verified_by(info, self._directory):
            return
        from storefs.formats.signatures import is_content_addressed  # noqa: PLC0415  see below

        if is_content_addressed(info, self._directory):
            return  # the path vouches for its content, with which `take_nar` compares it
        raise UnsignedPathError(
            f"the substituter '{uri}' does not have a valid signature for path '{self._directory.print(info.path)}'; "
            "if its key is trustworthy, add it to 'trusted-public-keys'"
        )

    def check_realisation(self, realisation: Realisation, uri: str, *, source_is_trusted: bool = False) -> None:
        """Accept what somebody says an output is.

        Raises:
            UnsignedPathError: nobody vouches for it.
            BadKeyError: a trusted key is none.
        """
        if source_is_trusted or not self._require or realisation.verified_by(self._trusted_keys()):
            return
        raise UnsignedPathError(
            f"the substituter '{uri}' does not have a valid signature for the realisation of '{realisation.id}'; "
            "if its key is trustworthy, add it to 'trusted-public-keys'"
        )

    def _trusted_keys(self) -> PublicKeys:
        # 20 ms that nobody pays who only asks.
        from storefs.formats.signatures import PublicKeys  # noqa: PLC0415

        if self._keys is None:
            self._keys = PublicKeys(self._texts)
        return self._keys


def take_nar(intake: Intake, info: PathInfo, pieces: Iterator[bytes], uri: str, directory: StoreDir) -> Tree:
    """Take a NAR in and check it against the info that came with it. Nothing is registered.

    Raises:
        BadSubstituteError: another hash or size, or not a NAR; it names the path and where it came from.
        ContentMismatchError: it is not the content that the path is named by.
        StoreError: the transfer failed.
    """
    limited = _limited(pieces, info, uri, directory)
    address = parse_content_address(info.ca) if info.ca else None
    if address is None or (address.method == RECURSIVE and address.hash == info.nar_hash):
        tree = intake.add_nar(limited)
    else:
        content = ContentHash(address, info)
        tree = intake.add_nar(_watched(limited, content))
        if (found := content.finish(tree.nar_hash)) != address.hash:
            raise ContentMismatchError(directory.print(info.path), address.hash, found)
    if tree.nar_hash != info.nar_hash or tree.nar_size != info.nar_size:
        expected, got = (each.to_string("base32", True) for each in (info.nar_hash, tree.nar_hash))
        raise BadSubstituteError(
            f"hash mismatch importing path '{directory.print(info.path)}' from '{uri}';\n"
            f"  specified: {expected} ({info.nar_size} bytes)\n"
            f"  got:       {got} ({tree.nar_size} bytes)"
        )
    return tree


def _watched(pieces: Iterator[bytes], content: ContentHash) -> Iterator[bytes]:
    """Pass a NAR on, and let `content` see it."""
    for piece in write_nar(content.watch(parse_nar(ByteReader(pieces)))):
        if content.nar_sink is not None:
            content.nar_sink(piece)
        yield piece


def _limited(pieces: Iterator[bytes], info: PathInfo, uri: str, directory: StoreDir) -> Iterator[bytes]:
    """Pass pieces on, and stop a stream that is longer than promised before it fills the disk."""
    left = info.nar_size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise BadSubstituteError(
                f"path '{directory.print(info.path)}' from '{uri}' is larger than the {info.nar_size} bytes promised"
            )
        yield piece


def topological(infos: Iterable[PathInfo]) -> list[PathInfo]:
    """Sort infos so that what a path refers to comes before it; references outside the set do not matter.

    Raises:
        BadSubstituteError: they refer to each other in a circle, which valid paths never do.
    """
    by_path = {info.path: info for info in infos}
    state: dict[StorePath, bool] = {}  # False while a path is being visited
    order: list[PathInfo] = []
    for root in sorted(by_path):
        if root in state:
            continue
        state[root] = False
        stack = [(by_path[root], iter(by_path[root].references))]
        while stack:
            info, references = stack[-1]
            for reference in references:
                if reference == info.path or reference not in by_path:
                    continue
                seen = state.get(reference)
                if seen is None:
                    state[reference] = False
                    stack.append((by_path[reference], iter(by_path[reference].references)))
                    break
                if not seen:
                    raise BadSubstituteError(f"cycle detected in the references of '{reference.base_name}'")
            else:
                state[info.path] = True
                order.append(info)
                stack.pop()
    return order
