# SPDX-License-Identifier: Apache-2.0
"""What a script says, as plain data.  Times in ns; sequence numbers as written in the script."""

from dataclasses import dataclass, field
from typing import Final

RELATIVE: Final = "+"  # to the moment the previous event was over
ABSOLUTE: Final = "="
ANY: Final = "*"  # whenever an outbound packet comes


@dataclass(frozen=True, slots=True)
class Time:
    """When an event happens; ``end`` is that of a range, -1 without one."""

    kind: str
    start: int = 0
    end: int = -1


# -- expressions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Anything:
    """``...``: whatever the runner thinks right."""


@dataclass(frozen=True, slots=True)
class Integer:
    """A number."""

    value: int


@dataclass(frozen=True, slots=True)
class Word:
    """A symbol such as SOL_SOCKET."""

    name: str


@dataclass(frozen=True, slots=True)
class String:
    """A quoted string; ``more``: followed by ``...``."""

    value: str
    more: bool = False


@dataclass(frozen=True, slots=True)
class Or:
    """``a | b``."""

    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Call:
    """``htons(80)``, ``inet_addr("1.2.3.4")``."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Array:
    """``[a, b]``."""

    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Struct:
    """``{name=value, ...}``; unnamed members have names "0", "1"..."""

    members: dict[str, "Expression"]


Expression = Anything | Integer | Word | String | Or | Call | Array | Struct


# -- packets --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IpInfo:
    """Conditions on the IP header; -1: none.  ``ecn`` 0..3, or 4 for "either ECT"."""

    ecn: int = -1
    tos: int = -1
    ttl: int = -1
    flow_label: int = -1


@dataclass(frozen=True, slots=True)
class TcpOption:
    """``kind`` is the word of the script (mss, sack, TS...); ``values`` its numbers or bytes."""

    kind: str
    values: tuple[int, ...] = ()
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class TcpPacket:
    """A TCP segment.  None: not given, so not checked; ``options`` None: ``<...>``."""

    flags: str
    seq: int
    length: int
    ack: int | None = None
    window: int | None = None
    urgent: int = 0
    options: tuple[TcpOption, ...] | None = ()
    ports: tuple[int, int] | None = None
    udp: tuple[int, int] | None = None  # encapsulated in UDP with these ports
    absolute: bool = False  # ``!``: seq is not relative to the initial sequence number
    any_seq: bool = False  # ``...(0)``
    ace: int = -1  # accurate ECN counter, -1: ECE and CWR by their letters


@dataclass(frozen=True, slots=True)
class UdpPacket:
    """A UDP datagram of ``length`` bytes."""

    length: int
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class IcmpPacket:
    """An ICMP message that quotes the segment ``seq`` (or UDP of ``length`` bytes)."""

    type: str
    code: str = ""
    mtu: int = -1
    identifier: int = 0
    protocol: str = "tcp"  # quoted: tcp, udp, raw; "" nothing
    seq: int = 0
    length: int = 0
    udp: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet line."""

    inbound: bool
    ip: IpInfo
    body: TcpPacket | UdpPacket | IcmpPacket


# -- other actions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SystemCall:
    """``name(arguments) = result errno (note)``; ``end`` ns of a blocking call, -1 otherwise."""

    name: str
    arguments: tuple[Expression, ...]
    result: Expression
    errno: str = ""
    note: str = ""
    end: int = -1


@dataclass(frozen=True, slots=True)
class Command:
    """A shell command line, never executed as such: see `commands`."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Python to run on the values of ``tcp_info``."""

    text: str


Action = Packet | SystemCall | Command | Code


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the script: when, what, and where it stands."""

    time: Time
    action: Action
    line: int
    column: int
    text: str


@dataclass(slots=True)
class Script:
    """A whole script."""

    path: str
    options: list[tuple[str, str]] = field(default_factory=list)
    init: Command | None = None
    events: list[Event] = field(default_factory=list)
    cleanup: Command | None = None

    def option(self, name: str, default: str = "") -> str:
        """The last value given for ``--name``."""
        for key, value in reversed(self.options):
            if key == name:
                return value
        return default
