"""Sessions with the daemon as a hostile client might hold them: requests of the right shape with wrong things inside.

A session is built from the grammar of the worker protocol, request by request, field by field. Most fields are what an
honest client sends, so that requests get deep into the daemon; some are the nastiest value of their kind. Some sessions
are then damaged as bytes, whatever they mean. One source of randomness decides everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs.formats.content_address import parse_content_address
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes, write_nar
from storefs.protocol import worker_ops as op
from storefs.protocol.wire import Writer
from tests.nar_trees import events_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from storefs.formats.store_path import StoreDir

_NUMBERS = [0, 1, 2, 3, 7, 255, 2**16, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
_TEXTS = [
    "",
    "x",
    "out",
    "a\0b",
    "é" * 50,
    "\ud800",
    "../../dev/null/x",
    "n" * 300,
    "-",
    ".",
    "%s%n",
    "\x1b[2J",
    "x\ny",
]
_METHODS = ["text:sha256", "fixed:sha256", "fixed:md5", "fixed:r:sha256", "fixed:r:sha1", "fixed:r:sha512"]
_BAD_METHODS = ["", "text", "text:md5", "fixed:", "fixed:r:", "fixed:r:r:sha256", "git:sha1", "fixed:sha3"]
_SETTINGS = ["timeout", "require-sigs", "sandbox", "builders", "substituters", "trusted-users", "store", "cores", ""]
_TREES: list[object] = [
    b"",
    b"flat",
    (b"#!",),
    "target",
    {},
    {b"a": b"x" * 100, b"b": {b"c": "../a"}},
    {b"bin": {b"run": (b"y" * 70,)}},
]


class Session:
    """What a client sends in one session.

    Attributes:
        data: all of it, from the handshake on.
        requests: how many requests it makes.
        in_step: whether every request is complete as the protocol wants it, whatever it says: a server that ends such a
            session early must have said why, and one that does not must have answered the last request.
    """

    def __init__(self, data: bytes, requests: int, in_step: bool) -> None:
        self.data = data
        self.requests = requests
        self.in_step = in_step


def damaged(random: Random, data: bytes) -> bytes:
    """Bytes that are nearly those given: cut, stretched, with other numbers where lengths stand."""
    result = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        at = random.randrange(len(result) + 1)
        match random.randrange(6):
            case 0:
                del result[at:]
            case 1:
                result[at:at] = random.randbytes(random.choice([1, 7, 8, 64]))
            case 2:
                del result[at : at + random.choice([1, 8, 24])]
            case 3:
                at &= ~7  # where a length or a number stands
                result[at : at + 8] = random.choice(_NUMBERS).to_bytes(8, "little")
            case 4 if at < len(result):
                result[at] ^= 1 << random.randrange(8)
            case _:
                result[at : at + 64] = result[at // 2 : at // 2 + 64]
    return bytes(result)


class Sessions:
    """Makes one session after the other.

    Args:
        random: decides everything.
        directory: the store directory of the server.
        known: texts of paths that are valid there.
    """

    def __init__(self, random: Random, directory: StoreDir, known: list[str]) -> None:
        self._random = random
        self._directory = directory
        self._known = known
        self._writer = Writer()
        self._version = op.NEWEST
        self._in_step = True
        # What takes the daemon long is asked for less often.
        self._choices = [
            *_QUESTIONS,
            *_QUESTIONS,
            *_QUESTIONS,
            *_ADDITIONS,
            *_ADDITIONS,
            *_ADDITIONS,
            *_ADDITIONS,
            *_WORK,
        ]

    def session(self) -> Session:
        random, writer = self._random, self._writer
        self._in_step = True
        self._version = random.choice([37, 37, 34, 34, *range(10, 38)])
        count = random.randrange(1, 6)
        bodies = []
        for _ in range(count):
            number = random.choice(self._choices)
            writer.number(number)
            _GRAMMAR[number](self)
            bodies.append(writer.take())
        # Whatever came before: a client that is in step gets the answer to this one.
        bodies.append(writer.number(op.IS_VALID_PATH).string(self._known[0]).take())
        body = b"".join(bodies)
        if random.random() < 0.3:
            body = self._damaged(body)
            self._in_step = False
        return Session(self._hello() + body, count + 1, self._in_step)

    def _hello(self) -> bytes:
        random, writer, version = self._random, Writer(), self._version
        if random.random() < 0.01:
            self._in_step = False
            return random.randbytes(random.randrange(40))
        writer.number(op.CLIENT_MAGIC).number(op.MAJOR | version)
        if version >= 14:
            writer.number(0)
        if version >= 11:
            writer.number(0)
        return writer.take()

    def _damaged(self, data: bytes) -> bytes:
        return damaged(self._random, data)

    # Fields

    def _rarely(self) -> bool:
        return self._random.random() < 0.08

    def _number(self) -> None:
        self._writer.number(self._random.choice(_NUMBERS if self._rarely() else [0, 1]))

    def _text(self) -> None:
        self._data(self._random.choice(_TEXTS).encode("utf-8", "surrogatepass"))

    def _data(self, value: bytes) -> None:
        self._writer.data(value)

    def _name(self) -> str:
        return self._random.choice(_TEXTS) if self._rarely() else f"n{self._random.randrange(30)}"

    def _path_text(self) -> str:
        random, directory = self._random, self._directory.path
        if not self._rarely():
            return random.choice(self._known)
        digits = "0123456789abcdfghijklmnpqrsvwxyz"
        hash_part = "".join(random.choices(digits, k=32))
        return random.choice(
            [
                f"{directory}/{hash_part}-unknown",
                f"{directory}/{hash_part}",
                f"{directory}/{hash_part}-",
                f"{directory}/{hash_part}-{'n' * 300}",
                f"{directory}//{hash_part}-x",
                f"{directory}/../{hash_part}-x",
                f"{directory}/.links",
                f"/elsewhere/{hash_part}-x",
                directory,
                random.choice(_TEXTS),
            ]
        )

    def _path(self) -> None:
        self._data(self._path_text().encode("utf-8", "surrogatepass"))

    def _optional_path(self) -> None:
        if self._random.random() < 0.5:
            self._data(b"")
        else:
            self._path()

    def _list(self, *fields: Callable[[], None], most: int = 3) -> None:
        count = self._random.randrange(most + 1)
        self._writer.number(count)
        for _ in range(count):
            for field in fields:
                field()

    def _paths(self) -> None:
        self._list(self._path)

    def _texts(self) -> None:
        self._list(self._text)

    def _target(self) -> None:
        suffix = self._random.choice(["", "!out", "!*", "!", "!a,b", "!!"])
        self._data((self._path_text() + suffix).encode("utf-8", "surrogatepass"))

    def _nar(self) -> bytes:
        nar = b"".join(write_nar(events_of(self._random.choice(_TREES))))  # type: ignore[arg-type]
        return self._damaged(nar) if self._rarely() else nar

    def _unframed_nar(self) -> None:
        """A NAR whose end only parsing finds."""
        random = self._random
        nar = b"".join(write_nar(events_of(random.choice(_TREES))))  # type: ignore[arg-type]
        if self._rarely():
            self._in_step = False
            nar = self._damaged(nar)
        self._writer.raw(nar)

    def _framed(self, data: bytes) -> None:
        random, writer = self._random, self._writer
        while data:
            size = random.choice([1, 8, 50, 1000])
            piece, data = data[:size], data[size:]
            writer.number(len(piece)).raw(piece)
        if self._rarely():
            self._in_step = False
            writer.number(random.choice([1, 2**32, 2**64 - 1]))
        else:
            writer.number(0)

    def _requested(self, data: bytes) -> None:
        """What a client sends when it is asked piece by piece; this one sends it unasked."""
        self._in_step = False
        random, writer = self._random, self._writer
        while data:
            size = random.choice([8, 50, 1000])
            writer.data(data[:size])
            data = data[size:]
        writer.data(b"")

    # What is said about a path

    def _claims(self, nar: bytes, *, flat: bytes | None) -> tuple[str, str]:
        """A path for these contents and a content address: honest, or nearly."""
        random = self._random
        if flat is not None and random.random() < 0.5:
            address = "text:" + hash_bytes("sha256", flat).to_string("base32", True)
        else:
            address = "fixed:r:" + hash_bytes("sha256", nar).to_string("base32", True)
        path = parse_content_address(address).store_path(self._directory, f"n{random.randrange(30)}")
        text = self._directory.print(path)
        match random.randrange(8):
            case 0:
                address = ""
            case 1:
                text = self._path_text()
            case 2:
                address = random.choice([*_METHODS, *_BAD_METHODS, address[:-1], address + "x"])
            case 3:
                address = "fixed:r:" + hash_bytes("sha256", b"other").to_string("base32", True)
        return text, address

    def _info(self, nar: bytes, *, flat: bytes | None, with_flags: bool = True) -> None:
        writer, random = self._writer, self._random
        path, address = self._claims(nar, flat=flat)
        self._data(path.encode("utf-8", "surrogatepass"))
        self._optional_path()
        nar_hash = hash_bytes("sha256", nar).to_string("base16", False)
        self._data(random.choice(["", "0" * 64, "md5:" + "0" * 32, "x"] if self._rarely() else [nar_hash]).encode())
        if random.random() < 0.7:
            writer.number(0)
        else:
            self._paths()
        self._number()
        writer.number(random.choice(_NUMBERS) if self._rarely() else len(nar))
        if with_flags:
            self._number()
            self._list(lambda: self._data(random.choice([b"k:c2ln", b"", b"k", b"k:\xff", b"\n:x"])))
            self._data(address.encode("utf-8", "surrogatepass"))

    def _contents(self) -> tuple[bytes, bytes | None]:
        """A NAR, and what its flat file contains if it is one."""
        flat = self._random.choice([None, b"", b"flat contents", b"z" * 200])
        return (self._nar(), None) if flat is None else (nar_of_bytes(flat), flat)

    # Requests

    def _set_options(self) -> None:
        for _ in range(12):
            self._number()
        if self._version >= 12:
            self._list(lambda: self._data(self._random.choice(_SETTINGS).encode()), self._text)

    def _valid_paths(self) -> None:
        self._paths()
        if self._version >= 27:
            self._writer.number(0)

    def _substitutable_infos(self) -> None:
        if self._version >= 22:
            self._list(self._path, lambda: self._data(self._random.choice([*_METHODS, ""]).encode()))
        else:
            self._paths()

    def _add_to_store(self) -> None:
        random, writer = self._random, self._writer
        self._data(self._name().encode("utf-8", "surrogatepass"))
        if self._version >= 25:
            method = random.choice(_BAD_METHODS if self._rarely() else _METHODS)
            self._data(method.encode())
            if random.random() < 0.8:
                writer.number(0)
            else:
                self._paths()
            writer.number(1 if self._rarely() else 0)
            self._framed(self._nar() if ":r:" in method else b"some text")
            return
        writer.number(random.randrange(2)).number(2 if self._rarely() else random.randrange(2))
        self._data(random.choice([b"sha256", b"md5", b"sha1", b"sha3" if self._rarely() else b"sha512"]))
        self._unframed_nar()

    def _add_text(self) -> None:
        self._data(self._name().encode("utf-8", "surrogatepass"))
        self._data(self._random.randbytes(self._random.choice([0, 5, 100])))
        self._paths()

    def _add_nar(self) -> None:
        nar, flat = self._contents()
        if self._version < 21:
            # Nothing tells its end but itself.
            nar, flat = nar_of_bytes(b"in the stream"), b"in the stream"
        self._info(nar, flat=flat)
        self._writer.number(1 if self._rarely() else 0).number(self._random.randrange(2))
        if self._version >= 23:
            self._framed(nar)
        elif self._version >= 21:
            self._requested(nar)
        else:
            self._writer.raw(nar)

    def _add_many(self) -> None:
        outer = self._writer
        outer.number(1 if self._rarely() else 0).number(self._random.randrange(2))
        inner = self._writer = Writer()
        count = self._random.randrange(4)
        inner.number(self._random.choice(_NUMBERS) if self._rarely() else count)
        for _ in range(count):
            nar, flat = self._contents()
            self._info(nar, flat=flat)
            inner.raw(nar)
        self._writer = outer
        self._framed(inner.take())

    def _import_paths(self) -> None:
        writer = Writer()
        for _ in range(self._random.randrange(3)):
            writer.number(1).raw(self._nar()).number(0x4558494E).string(self._random.choice(self._known))
            writer.number(0).number(0).number(0)
        self._requested(writer.number(0).take())

    def _add_log(self) -> None:
        text = self._path_text().rpartition("/")[2]
        self._data(text.encode("utf-8", "surrogatepass"))
        self._framed(b"a log\n")

    def _build(self) -> None:
        self._list(self._target, most=2)
        if self._version >= 15:
            self._number()

    def _build_derivation(self) -> None:
        writer = self._writer
        self._path()
        writer.number(1).string("out")
        self._optional_path()
        self._text()
        self._text()
        self._paths()
        self._text()
        self._text()
        self._texts()
        self._list(self._text, self._text)
        self._number()

    def _realisation(self) -> None:
        self._text()
        if self._version < 31:
            self._text()

    def _nothing(self) -> None:
        pass

    def _path_and_number(self) -> None:
        self._path()
        self._number()

    def _signatures(self) -> None:
        self._path()
        self._list(lambda: self._data(self._random.choice([b"k:c2ln", b"", b"\xff", b"a\nb:c"])))

    def _collect(self) -> None:
        writer = self._writer
        writer.number(self._random.choice([0, 1, 3, 9]))
        self._list(lambda: self._data(f"{self._directory.path}/{'0' * 32}-gone".encode()))
        self._number()
        writer.number(self._random.choice(_NUMBERS)).number(0).number(0).number(0)

    def _hash_part(self) -> None:
        known = self._known[0].rpartition("/")[2][:32]
        self._data(self._random.choice([known, known[:31], "e" * 32, "é" * 32, ""]).encode())

    def _indirect_root(self) -> None:
        self._data(self._random.choice(["", "relative", f"{self._directory.path}/link", "/proc/self/x\0y"]).encode())

    def _verify(self) -> None:
        self._number()
        self._number()


_QUESTIONS: dict[int, Callable[[Sessions], None]] = {
    op.IS_VALID_PATH: Sessions._path,
    op.HAS_SUBSTITUTES: Sessions._path,
    op.QUERY_PATH_HASH: Sessions._path,
    op.QUERY_REFERENCES: Sessions._path,
    op.QUERY_REFERRERS: Sessions._path,
    op.QUERY_DERIVER: Sessions._path,
    op.QUERY_DERIVATION_OUTPUTS: Sessions._path,
    op.QUERY_DERIVATION_OUTPUT_NAMES: Sessions._path,
    op.QUERY_DERIVATION_OUTPUT_MAP: Sessions._path,
    op.QUERY_PATH_INFO: Sessions._path,
    op.QUERY_VALID_DERIVERS: Sessions._path,
    op.QUERY_ALL_VALID_PATHS: Sessions._nothing,
    op.QUERY_FAILED_PATHS: Sessions._nothing,
    op.CLEAR_FAILED_PATHS: Sessions._texts,
    op.QUERY_PATH_FROM_HASH_PART: Sessions._hash_part,
    op.QUERY_VALID_PATHS: Sessions._valid_paths,
    op.QUERY_SUBSTITUTABLE_PATH_INFO: Sessions._path,
    op.QUERY_SUBSTITUTABLE_PATH_INFOS: Sessions._substitutable_infos,
    op.QUERY_SUBSTITUTABLE_PATHS: Sessions._paths,
    op.QUERY_REALISATION: Sessions._text,
    op.NAR_FROM_PATH: Sessions._path,
    op.EXPORT_PATH: Sessions._path_and_number,
}
_ADDITIONS: dict[int, Callable[[Sessions], None]] = {
    op.ADD_TO_STORE: Sessions._add_to_store,
    op.ADD_TEXT_TO_STORE: Sessions._add_text,
    op.ADD_TO_STORE_NAR: Sessions._add_nar,
    op.ADD_MULTIPLE_TO_STORE: Sessions._add_many,
    op.IMPORT_PATHS: Sessions._import_paths,
    op.ADD_SIGNATURES: Sessions._signatures,
    op.ADD_TEMP_ROOT: Sessions._path,
    op.ADD_INDIRECT_ROOT: Sessions._indirect_root,
    op.ADD_BUILD_LOG: Sessions._add_log,
    op.REGISTER_DRV_OUTPUT: Sessions._realisation,
    op.SET_OPTIONS: Sessions._set_options,
    op.SYNC_WITH_GC: Sessions._nothing,
}
_WORK: dict[int, Callable[[Sessions], None]] = {
    op.BUILD_PATHS: Sessions._build,
    op.BUILD_PATHS_WITH_RESULTS: Sessions._build,
    op.BUILD_DERIVATION: Sessions._build_derivation,
    op.ENSURE_PATH: Sessions._path,
    op.QUERY_MISSING: Sessions._valid_paths,
    op.COLLECT_GARBAGE: Sessions._collect,
    op.OPTIMISE_STORE: Sessions._nothing,
    op.VERIFY_STORE: Sessions._verify,
    op.FIND_ROOTS: Sessions._nothing,
    op.ADD_PERM_ROOT: Sessions._nothing,
    999: Sessions._text,
}
_GRAMMAR = {**_QUESTIONS, **_ADDITIONS, **_WORK}
