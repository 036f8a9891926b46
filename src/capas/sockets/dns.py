# SPDX-License-Identifier: Apache-2.0
"""A stub resolver without I/O (RFC 1034 §5.3.1, RFC 1035, RFC 3596): questions out, answers in.

`lookup` and `reverse` are generators: each yields an `Ask` and is sent the bytes that came back, or
None when nobody answered in time.  Whoever drives them does the waiting: blocking sockets
(`capas.sockets.resolver`) or an event loop (`capas.aio.names`).  Received bytes are untrusted:
`parse` answers None for what is malformed, forged (other id or question) or not an answer.
"""

from collections.abc import Generator, Sequence
from struct import Struct
from typing import Final, NamedTuple, final

from capas.base.rng import Rng
from capas.wire import address as addr

PORT: Final = 53
A: Final = 1
CNAME: Final = 5
PTR: Final = 12
AAAA: Final = 28
_IN: Final = 1
_HEADER: Final = Struct("!6H")
_RR: Final = Struct("!HHIH")
_FLAGS: Final = 0x0100  # RD
_NXDOMAIN: Final = 3
_TIMEOUT: Final = 5.0  # seconds for the first try, doubled each round (resolv.conf's default)
_ROUNDS: Final = 2
_CHAIN: Final = 16  # CNAMEs followed
_POINTERS: Final = 64  # compression pointers in one name


class Ask(NamedTuple):
    """One question on the wire: to ``server`` over TCP or UDP, at most ``timeout`` seconds."""

    server: bytes
    message: bytes
    timeout: float
    tcp: bool


@final
class Answer:
    """A response: ``rcode``, ``truncated`` and the records of the answer section."""

    __slots__ = ("rcode", "records", "truncated")

    def __init__(
        self, rcode: int, truncated: bool, records: list[tuple[str, int, bytes | str]]
    ) -> None:
        self.rcode: int = rcode
        self.truncated: bool = truncated
        self.records: list[tuple[str, int, bytes | str]] = records

    def values(self, name: str, kind: int) -> list[bytes | str]:
        """The data of type ``kind`` for ``name``, along its CNAMEs."""
        for _ in range(_CHAIN):
            found = [data for owner, type_, data in self.records if (owner, type_) == (name, kind)]
            if found:
                return found
            alias = [data for owner, type_, data in self.records if (owner, type_) == (name, CNAME)]
            if not alias or not isinstance(alias[0], str):
                return []
            name = alias[0]
        return []


def question(name: str, kind: int, id: int) -> bytes | None:
    """The query for a name; None if the name cannot be one (RFC 1035 §3.1)."""
    labels = name.rstrip(".").split(".")
    wire = b""
    for label in labels:
        try:
            raw = label.encode("ascii") if label.isascii() else label.encode("idna")
        except UnicodeError:
            return None
        if not 0 < len(raw) < 64:
            return None
        wire += bytes((len(raw),)) + raw
    if len(wire) > 254:
        return None
    return _HEADER.pack(id, _FLAGS, 1, 0, 0, 0) + wire + b"\0" + kind.to_bytes(2, "big") + b"\0\1"


def _name(data: bytes, at: int) -> tuple[str, int] | None:
    """(name in lower case, offset after it); None if malformed (RFC 1035 §4.1.4)."""
    labels: list[str] = []
    after = -1
    for _ in range(_POINTERS + 128):
        if at >= len(data):
            return None
        size = data[at]
        if size == 0:
            return ".".join(labels), after if after >= 0 else at + 1
        if size >= 0xC0:
            if at + 1 >= len(data):
                return None
            if after < 0:
                after = at + 2
            target = (size & 0x3F) << 8 | data[at + 1]
            if target >= at:  # only backwards: no loops
                return None
            at = target
        elif size >= 0x40 or at + 1 + size > len(data):
            return None
        else:
            labels.append(data[at + 1 : at + 1 + size].decode("latin-1").lower())
            at += 1 + size
    return None


def parse(data: bytes, query: bytes) -> Answer | None:
    """The answer to ``query``, or None."""
    if len(data) < 12:
        return None
    id, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if id != int.from_bytes(query[:2], "big") or not flags & 0x8000 or questions != 1:
        return None
    asked, echoed = _name(query, 12), _name(data, 12)
    if asked is None or echoed is None or asked[0] != echoed[0]:
        return None
    at = echoed[1]
    if data[at : at + 4] != query[asked[1] : asked[1] + 4]:
        return None
    at += 4
    records: list[tuple[str, int, bytes | str]] = []
    for _ in range(answers):
        owner = _name(data, at)
        if owner is None or owner[1] + 10 > len(data):
            break
        name, at = owner
        kind, class_, _, size = _RR.unpack_from(data, at)
        at += 10
        if at + size > len(data):
            break
        record = _record(data, kind, at, size) if class_ == _IN else None
        if record is not None:
            records.append((name, kind, record))
        at += size
    return Answer(flags & 15, bool(flags & 0x0200), records)


def _record(data: bytes, kind: int, at: int, size: int) -> bytes | str | None:
    if (kind == A and size == 4) or (kind == AAAA and size == 16):
        return data[at : at + size]
    if kind in (CNAME, PTR):
        target = _name(data, at)
        return None if target is None else target[0]
    return None


Asking = Generator[Ask, bytes | None, list[bytes | str] | None]


def _query(name: str, kind: int, servers: Sequence[bytes], rng: Rng) -> Asking:
    """The data of one type; [] if there is none; None if no server answered."""
    timeout = _TIMEOUT
    for _ in range(_ROUNDS):
        for server in servers:
            message = question(name, kind, rng.u16())
            if message is None:
                return []
            data = yield Ask(server, message, timeout, False)
            answer = None if data is None else parse(data, message)
            if answer is not None and answer.truncated:
                data = yield Ask(server, message, timeout, True)
                answer = None if data is None else parse(data, message)
            if answer is not None and answer.rcode in (0, _NXDOMAIN):
                return answer.values(name.rstrip(".").lower(), kind)
        timeout *= 2
    return None


Looking = Generator[Ask, bytes | None, list[bytes] | None]


def lookup(name: str, kinds: Sequence[int], servers: Sequence[bytes], rng: Rng) -> Looking:
    """All addresses of ``name``; None if no server answered (EAI_AGAIN)."""
    found: list[bytes] = []
    answered = False
    for kind in kinds:
        values = yield from _query(name, kind, servers, rng)
        if values is not None:
            answered = True
            found += [value for value in values if isinstance(value, bytes)]
        elif not answered:
            return None
    return found


def reverse(
    address: bytes, servers: Sequence[bytes], rng: Rng
) -> Generator[Ask, bytes | None, str | None]:
    """The name of an address, None if it has none (RFC 1035 §3.5, RFC 3596 §2.5)."""
    if len(address) == 4:
        name = ".".join(reversed(addr.text(address).split("."))) + ".in-addr.arpa"
    else:
        name = ".".join(reversed(address.hex())) + ".ip6.arpa"
    values = yield from _query(name, PTR, servers, rng)
    return values[0] if values and isinstance(values[0], str) else None
