"""Answers about valid paths, put together from the database's rows as they lie there.

A client that walks a closure asks one question for each of its paths and waits for each answer: the time of one answer
is the time of the whole. Making values of the rows and bytes of the values would take three times as long. What is
sent is the same, byte for byte, as `storefs.protocol.worker_values.write_path_info` sends. Used by one client's
process, in one thread.
"""

from __future__ import annotations

from struct import unpack
from typing import TYPE_CHECKING

from storefs.formats import nixbase32
from storefs.formats.store_path import HASH_PART_LENGTH, MAX_NAME_LENGTH, NAME_CHARACTERS
from storefs.metadata.path_infos import path_of_id
from storefs.metadata.records import path_key, split_path_record
from storefs.metadata.schema import KEY
from storefs.protocol.wire import string_on_wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from storefs.metadata.environment import Transaction
    from storefs.stores.local import LocalStore

_LEGAL = "".join(sorted(NAME_CHARACTERS)).encode()
_EMPTY = bytes(8)  # an empty string, an empty list and the number 0 look alike
_KEPT_NAMES = 100_000  # about 20 MB


class StoredAnswers:
    """What the database of `store` says to those who ask over the wire.

    Questions begin with `key`, which asks no database; the keys that it returns are those of the table of paths.
    """

    __slots__ = ("_directory", "_env", "_names", "_prefix")

    def __init__(self, store: LocalStore) -> None:
        self._directory = store.directory
        self._env = store.environment
        self._prefix = f"{store.directory.path}/".encode()
        # References on the wire by path id. They never become wrong: an id is given to one path only, and never again.
        self._names: dict[int, bytes] = {}

    def key(self, text: bytes) -> bytes:
        """Return the key of the path that a client calls `text`.

        Raises:
            BadStorePath: it is no path in this store's directory.
        """
        return self._split(text)[0]

    def _split(self, text: bytes) -> tuple[bytes, bytes]:
        """Return a path's key and its usual spelling."""
        prefix = self._prefix
        at = len(prefix)
        dash = at + HASH_PART_LENGTH
        name = text[dash + 1 :]
        # What clients send is checked without making a value of it; everything else is parsed for its error, or for
        # the path that it means after all ('/nix/store//...').
        if (
            text.startswith(prefix)
            and text[dash : dash + 1] == b"-"
            and 0 < len(name) <= MAX_NAME_LENGTH
            and not name.translate(None, _LEGAL)
        ):
            try:
                return nixbase32.decode_ascii(text[at:dash]) + name, text
            except nixbase32.BadBase32:
                pass
        path = self._directory.parse(text.decode("utf-8", "surrogateescape"))
        return path_key(path), self._directory.print(path).encode("ascii")

    def is_valid(self, key: bytes) -> bool:
        """Return whether there is a path with this key."""
        with self._env.snapshot() as txn:
            return txn.get(key, db=self._env.paths) is not None

    def paths(self, texts: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the keys of the paths that a client calls `texts`, each with the path's usual spelling.

        Raises:
            BadStorePath: one of them is no path in this store's directory.
        """
        return dict(map(self._split, texts))

    def valid(self, paths: Mapping[bytes, bytes]) -> list[bytes]:
        """Return the spellings of those of `paths` (see there) that are valid, sorted."""
        with self._env.snapshot() as txn:
            get, table = txn.get, self._env.paths
            return sorted([text for key, text in paths.items() if get(key, db=table) is not None])

    def path_info(self, key: bytes, version: int) -> bytes | None:
        """Return what is registered about a path, as protocol `version` sends it; None if it is not valid.

        Raises:
            CorruptRecordError: the database is damaged.
        """
        env = self._env
        with env.snapshot() as txn:
            row = txn.get(key, db=env.paths)
            if row is None:
                return None
            path_id, _, nar_size, time, nar_hash, ultimate, deriver, ca, signatures = split_path_record(row)
            ids = txn.get(KEY.pack(path_id), db=env.references) or b""
            known = self._names
            references = [known.get(each) or self._name(txn, each) for each in unpack(f"<{len(ids) >> 3}Q", ids)]
        references.sort(key=_behind_length)
        parts = [
            string_on_wire(self._prefix + deriver) if deriver else _EMPTY,
            string_on_wire(nar_hash.hex().encode()),
            len(references).to_bytes(8, "little"),
            *references,
            time.to_bytes(8, "little"),
            nar_size.to_bytes(8, "little"),
        ]
        if version >= 16:
            parts.append(ultimate.to_bytes(8, "little"))
            if signatures:
                texts = signatures.split(b"\n")
                parts.append(len(texts).to_bytes(8, "little"))
                parts += [string_on_wire(text) for text in texts]
            else:
                parts.append(_EMPTY)
            parts.append(string_on_wire(ca))
        return b"".join(parts)

    def _name(self, txn: Transaction, path_id: int) -> bytes:
        if len(self._names) >= _KEPT_NAMES:
            self._names.clear()
        name = string_on_wire(self._prefix + path_of_id(self._env, txn, path_id).base_name.encode("ascii"))
        self._names[path_id] = name
        return name


def _behind_length(text: bytes) -> bytes:
    return text[8:]
