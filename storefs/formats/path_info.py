"""What a store knows about one valid path, apart from its bytes.

A plain value, shared by every kind of store; it does no I/O.  Usable from everywhere.
"""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.formats.hashes import Hash
    from storefs.formats.store_path import StoreDir, StorePath


class InvalidPathError(StoreError):
    """A path that something needs is not valid: not registered in the store that was asked."""

    def __init__(self, store_dir: StoreDir, path: StorePath) -> None:
        super().__init__(f"path '{store_dir.print(path)}' is not valid")
        self.path = path


class PathInfo:
    """The record of a valid store path; immutable.

    Attributes:
        path: the path itself.
        nar_hash: SHA-256 of the NAR serialisation.
        nar_size: size of that NAR in bytes; 0 where nobody told (a registration without contents read).
        references: the paths that it mentions, sorted; may include the path itself.
        deriver: the derivation that made it, which need not be valid; None if unknown.
        signatures: ``key-name:base64`` texts, sorted.
        ca: '' or a content address, see `storefs.formats.content_address`.
        registration_time: seconds since 1970.
        ultimate: whether this store built it, so that it is trusted without a signature.
    """

    __slots__ = (
        "ca",
        "deriver",
        "nar_hash",
        "nar_size",
        "path",
        "references",
        "registration_time",
        "signatures",
        "ultimate",
    )

    path: StorePath
    nar_hash: Hash
    nar_size: int
    references: tuple[StorePath, ...]
    deriver: StorePath | None
    signatures: tuple[str, ...]
    ca: str
    registration_time: int
    ultimate: bool

    def __init__(
        self,
        path: StorePath,
        nar_hash: Hash,
        nar_size: int,
        references: Iterable[StorePath] = (),
        deriver: StorePath | None = None,
        signatures: Iterable[str] = (),
        ca: str = "",
        registration_time: int = 0,
        ultimate: bool = False,
    ) -> None:
        put = object.__setattr__
        put(self, "path", path)
        put(self, "nar_hash", nar_hash)
        put(self, "nar_size", nar_size)
        put(self, "references", tuple(sorted(set(references))))
        put(self, "deriver", deriver)
        put(self, "signatures", tuple(sorted(set(signatures))))
        put(self, "ca", ca)
        put(self, "registration_time", registration_time)
        put(self, "ultimate", ultimate)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a PathInfo is immutable")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PathInfo) and all(
            getattr(self, name) == getattr(other, name) for name in PathInfo.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.path, self.nar_hash))

    def __repr__(self) -> str:
        return f"PathInfo({self.path.base_name!r}, {self.nar_hash!r}, {self.nar_size})"

    def replace(self, **changes: object) -> PathInfo:
        """A copy in which the named attributes have other values."""
        values = {name: getattr(self, name) for name in PathInfo.__slots__}
        unknown = changes.keys() - values.keys()
        if unknown:
            raise TypeError(f"PathInfo has no attribute {sorted(unknown)[0]}")
        values.update(changes)
        return PathInfo(**values)

    def fingerprint(self, store_dir: StoreDir) -> bytes:
        """The text that signatures sign: ``1;<path>;<nar hash>;<nar size>;<references>`` (Nix's path-info.cc)."""
        references = ",".join(store_dir.print(reference) for reference in self.references)
        nar_hash = self.nar_hash.to_string("base32", True)
        return f"1;{store_dir.print(self.path)};{nar_hash};{self.nar_size};{references}".encode()
