"""`.narinfo` files: what a binary cache says about one store path. Text in, values out, and back; no I/O.

Format: Nix's nar-info.cc; lines `Key: value`, unknown keys are ignored. Used by binary caches, by the server and by
`metadata/narinfo_cache.py`.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.hashes import parse_hash
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.hashes import Hash
    from storefs.formats.store_path import StoreDir

MAX_SIZE = 4 << 20  # bytes; a path with 10,000 references stays below 1 MiB


class BadNarInfoError(StoreError):
    """A NAR info file that can't be believed."""


class NarInfo:
    """A path info and where its NAR is.

    Attributes:
        info: what would be registered.
        url: of the NAR, relative to the cache or absolute.
        compression: its name, see `compression.py`; never empty.
        file_hash: of the compressed file; None if not stated.
        file_size: of the compressed file in bytes; 0 if not stated.
    """

    __slots__ = ("compression", "file_hash", "file_size", "info", "url")

    def __init__(self, info: PathInfo, url: str, compression: str, file_hash: Hash | None, file_size: int) -> None:
        self.info = info
        self.url = url
        self.compression = compression
        self.file_hash = file_hash
        self.file_size = file_size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NarInfo) and all(
            getattr(self, field) == getattr(other, field) for field in NarInfo.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.info, self.url))

    def __repr__(self) -> str:
        return f"NarInfo({self.info!r}, {self.url!r}, {self.compression!r}, {self.file_hash!r}, {self.file_size})"

    def to_text(self, store_dir: StoreDir) -> str:
        """The file's text, its lines in Nix's order."""
        info = self.info
        lines = [
            f"StorePath: {store_dir.print(info.path)}",
            f"URL: {self.url}",
            f"Compression: {self.compression}",
        ]
        if self.file_hash is not None:
            lines.append(f"FileHash: {self.file_hash.to_string('base32', True)}")
        if self.file_size:
            lines.append(f"FileSize: {self.file_size}")
        lines += [
            f"NarHash: {info.nar_hash.to_string('base32', True)}",
            f"NarSize: {info.nar_size}",
            f"References: {' '.join(reference.base_name for reference in info.references)}",
        ]
        if info.deriver is not None:
            lines.append(f"Deriver: {info.deriver.base_name}")
        lines += [f"Sig: {signature}" for signature in info.signatures]
        if info.ca:
            lines.append(f"CA: {info.ca}")
        return "\n".join(lines) + "\n"


def parse_narinfo(data: bytes, store_dir: StoreDir, whence: str, expected: StorePath | None = None) -> NarInfo:
    """Read a `.narinfo` file.

    Args:
        data: the file.
        store_dir: the logical store that its path must lie in.
        whence: the file's name or URL, for messages.
        expected: the path that was asked for; with a hash part alone nothing is compared.

    Raises:
        BadNarInfoError: a mandatory line is missing, doubled or malformed, or it describes another path.
    """
    fields: dict[str, str] = {}
    signatures = []
    try:
        for line in data.decode("utf-8").splitlines():
            key, colon, value = line.partition(":")
            value = value.strip(" ")
            if not colon:
                raise BadNarInfoError(f"NAR info file '{whence}' is corrupt: a line has no colon")
            if key == "Sig":
                signatures.append(value)
            elif key in fields:
                raise BadNarInfoError(f"NAR info file '{whence}' is corrupt: it has two lines '{key}'")
            else:
                fields[key] = value
        path = store_dir.parse(_mandatory(fields, "StorePath", whence))
        nar_hash = parse_hash(_mandatory(fields, "NarHash", whence), None)
        nar_size = _number(_mandatory(fields, "NarSize", whence), whence)
        deriver_text = fields.get("Deriver", "")
        info = PathInfo(
            path,
            nar_hash,
            nar_size,
            [StorePath(reference) for reference in fields.get("References", "").split()],
            StorePath(deriver_text) if deriver_text not in ("", "unknown-deriver") else None,
            signatures,
            fields.get("CA", ""),
        )
        file_hash = parse_hash(fields["FileHash"], None) if fields.get("FileHash") else None
    except UnicodeDecodeError:
        raise BadNarInfoError(f"NAR info file '{whence}' is corrupt: it is not text") from None
    except BadNarInfoError:
        raise
    except StoreError as error:
        raise BadNarInfoError(f"NAR info file '{whence}' is corrupt: {error}") from None
    if nar_hash.algo != "sha256" or nar_size == 0:
        raise BadNarInfoError(f"NAR info file '{whence}' is corrupt: its hash or size can't be right")
    if expected is not None and path != expected:
        raise BadNarInfoError(f"NAR info file '{whence}' describes another path, '{store_dir.print(path)}'")
    return NarInfo(
        info,
        _mandatory(fields, "URL", whence),
        fields.get("Compression") or "bzip2",
        file_hash,
        _number(fields.get("FileSize") or "0", whence),
    )


def _mandatory(fields: dict[str, str], key: str, whence: str) -> str:
    value = fields.get(key, "")
    if not value:
        raise BadNarInfoError(f"NAR info file '{whence}' is corrupt: it has no line '{key}'")
    return value


def _number(text: str, whence: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadNarInfoError(f"NAR info file '{whence}' is corrupt: '{text[:40]}' is not a size")
    return int(text)
