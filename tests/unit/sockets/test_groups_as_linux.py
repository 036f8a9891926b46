# SPDX-License-Identifier: Apache-2.0
"""Memberships of multicast groups and their sources go as Linux's, and deliver what theirs do."""

import errno
import socket as std
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from beside_linux import MOMENT, Log, Steps, go_alike

from capas.sim.world import World
from capas.sockets import modules

IP, IPV6 = std.IPPROTO_IP, std.IPPROTO_IPV6
DATAGRAM, STREAM, RAW = std.SOCK_DGRAM, std.SOCK_STREAM, std.SOCK_RAW
PORT = 5007
LOOPBACK = 1  # index of the interface

# Linux, in.h: not all of them are in every Python's socket
IP_UNBLOCK_SOURCE, IP_BLOCK_SOURCE, IP_ADD_SOURCE, IP_DROP_SOURCE, IP_MSFILTER = range(37, 42)
JOIN, BLOCK, UNBLOCK, LEAVE, JOIN_SOURCE, LEAVE_SOURCE, FILTER = range(42, 49)
IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 49, 29
EXCLUDE, INCLUDE = 0, 1


def packed(text: str) -> bytes:
    return std.inet_pton(std.AF_INET6 if ":" in text else std.AF_INET, text)


def storage(text: str) -> bytes:
    if ":" in text:
        return struct.pack("@HHI16sI", std.AF_INET6, 0, 0, packed(text), 0).ljust(128, b"\0")
    return struct.pack("@HH4s", std.AF_INET, 0, packed(text)).ljust(128, b"\0")


def group_req(index: int, group: str, *sources: str) -> bytes:
    return struct.pack("@I4x", index) + b"".join(map(storage, (group, *sources)))


def group_filter(
    index: int, group: str, mode: int, sources: Sequence[str], count: int = -1
) -> bytes:
    head = struct.pack("@II", mode, len(sources) if count < 0 else count)
    return group_req(index, group) + head + b"".join(map(storage, sources))


def mreq(*texts: str) -> bytes:
    return b"".join(map(packed, texts))


def msfilter(
    group: str, interface: str, mode: int, sources: Sequence[str], count: int = -1
) -> bytes:
    head = struct.pack("@II", mode, len(sources) if count < 0 else count)
    return mreq(group, interface) + head + mreq(*sources)


def tried(call: Callable[..., object], *arguments: Any) -> object:
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def listener(family: int, kind: int = DATAGRAM, protocol: int = 0) -> std.socket:
    sock = std.socket(family, kind, protocol)
    sock.setsockopt(std.SOL_SOCKET, std.SO_REUSEADDR, 1)
    if kind == DATAGRAM:
        sock.bind(("::" if family == std.AF_INET6 else "0.0.0.0", PORT))
    sock.setblocking(False)
    return sock


def send(group: str, source: str, index: int, data: bytes = b"x") -> object:
    """One datagram to a group by an interface, and what became of the call."""
    v6 = ":" in group
    with std.socket(std.AF_INET6 if v6 else std.AF_INET, DATAGRAM) as sender:
        sender.bind((source, 0))
        if v6:
            sender.setsockopt(IPV6, std.IPV6_MULTICAST_IF, index)
        else:
            sender.setsockopt(IP, std.IP_MULTICAST_IF, struct.pack("@8xi", index))
        return tried(sender.sendto, data, (group, PORT))


class Memberships(Steps):
    """Options of chance on three sockets; what is sent to the groups meanwhile reaches whom?"""

    count = 60
    version = 4
    index = LOOPBACK
    groups: Sequence[str] = ("239.1.2.3", "239.1.2.4")
    sources: Sequence[str] = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    calls = (
        "join", "join", "leave", "join_source", "join_source", "leave_source", "block", "unblock",
        "filter", "by_index", "by_index", "all", "send", "send", "send",
    )  # fmt: skip

    def open(self) -> Log:
        family = std.AF_INET6 if self.version == 6 else std.AF_INET
        self.sockets = [listener(family) for _ in range(3)]
        return []

    def one(self) -> tuple[str, str, int]:
        """A group, a source, an interface."""
        chance = self.chance
        index = chance.choice((self.index,) * 8 + (99,))
        return chance.choice(self.groups), chance.choice(self.sources), index

    def step(self, sock: std.socket, call: str) -> Any:
        group, source, index = self.one()
        here = self.sources[0]
        level = IPV6 if self.version == 6 else IP
        some = self.chance.sample(self.sources, self.chance.randrange(3))
        mode = self.chance.choice((INCLUDE, EXCLUDE, EXCLUDE, 2) if not some else (0, 1, 0, 1, 2))
        if call == "send":
            return self.heard(group, source)
        if call == "all":
            value = self.chance.randrange(2)
            option = IP_MULTICAST_ALL if level == IP else IPV6_MULTICAST_ALL
            sock.setsockopt(level, option, value)
            return value, sock.getsockopt(level, option)
        if call == "filter" or (call == "by_index" and self.chance.random() < 0.2):
            if level == IP and call == "filter":
                sock.setsockopt(level, IP_MSFILTER, msfilter(group, here, mode, some))
            else:
                sock.setsockopt(level, FILTER, group_filter(index, group, mode, some))
            return group, mode, some
        if call == "by_index" or level == IPV6:
            options = (JOIN, LEAVE, JOIN_SOURCE, LEAVE_SOURCE, BLOCK, UNBLOCK)
            option = self.chance.choice(options)
            sources = () if option in (JOIN, LEAVE) else (source,)
            sock.setsockopt(level, option, group_req(index, group, *sources))
            return option, group, sources
        option, value = {
            "join": (std.IP_ADD_MEMBERSHIP, mreq(group, here)),
            "leave": (std.IP_DROP_MEMBERSHIP, mreq(group, here)),
            "join_source": (IP_ADD_SOURCE, mreq(group, here, source)),
            "leave_source": (IP_DROP_SOURCE, mreq(group, here, source)),
            "block": (IP_BLOCK_SOURCE, mreq(group, here, source)),
            "unblock": (IP_UNBLOCK_SOURCE, mreq(group, here, source)),
        }[call]
        sock.setsockopt(level, option, value)
        return group, source

    def heard(self, group: str, source: str) -> Any:
        """Who hears what ``source`` says to ``group``."""
        sent = send(group, source, self.index)
        time.sleep(MOMENT)
        return group, source, sent, [tried(sock.recv, 9) for sock in self.sockets]


class LinkMemberships(Memberships):
    """On an Ethernet interface."""

    index = 2
    sources = ("10.9.0.1", "10.9.0.2", "10.9.0.3")


class Memberships6(LinkMemberships):
    """Over IPv6, which Linux does not bring back to members on the loopback."""

    version = 6
    groups = ("ff15::1:3", "ff15::1:4")
    sources = ("fd09::1", "fd09::2", "fd09::3")


class RawMemberships(Memberships):
    calls = (*Memberships.calls, "send", "send")

    def open(self) -> Log:
        self.sockets = [listener(std.AF_INET, RAW, std.IPPROTO_UDP) for _ in range(3)]
        return []

    def heard(self, group: str, source: str) -> Any:
        sent = send(group, source, self.index)
        time.sleep(MOMENT)
        got = [tried(sock.recv, 99) for sock in self.sockets]
        return group, source, sent, [one if isinstance(one, str) else one[28:] for one in got]  # type: ignore[index]


@pytest.mark.rfc("3376", "3.1")
@pytest.mark.rfc("3810", "4.1")
@pytest.mark.parametrize("walk", [Memberships, LinkMemberships, Memberships6, RawMemberships])
@pytest.mark.parametrize("seed", range(6))
def test_memberships_and_whom_a_group_reaches(walk: type[Memberships], seed: int) -> None:
    linked = walk.index != LOOPBACK
    go_alike(lambda number: walk(number).run(), seed, apart=True, linked=linked)


def misuse4(_: int) -> Log:
    log: Log = []
    group, other, source = "239.1.2.3", "ff15::1", "10.0.0.1"
    whole = group_req(LOOPBACK, group, source)
    with std.socket(std.AF_INET, DATAGRAM) as sock:
        for number, (option, value) in enumerate((
            (JOIN, group_req(0, group)),
            (JOIN, group_req(LOOPBACK, "10.0.0.1")),
            (JOIN, group_req(LOOPBACK, other)),
            (JOIN, group_req(LOOPBACK, group)[:-1]),
            (BLOCK, whole),
            (LEAVE, group_req(LOOPBACK, "10.0.0.1")),
            (LEAVE, group_req(99, group)),
            (LEAVE, group_req(LOOPBACK, other)),
            (JOIN, group_req(LOOPBACK, group) + b"more"),
            (JOIN, group_req(LOOPBACK, group)),
            (BLOCK, whole),
            (BLOCK, whole),
            (BLOCK, whole[:-1]),
            (BLOCK, whole + b"more"),
            (BLOCK, group_req(LOOPBACK, group, other)),
            (BLOCK, group_req(LOOPBACK, other, source)),
            (BLOCK, group_req(99, group, source)),
            (BLOCK, group_req(LOOPBACK, source, source)),
            (UNBLOCK, group_req(LOOPBACK, group, "10.0.0.2")),
            (LEAVE_SOURCE, whole),
            (JOIN_SOURCE, whole),
            (UNBLOCK, whole),
            (LEAVE_SOURCE, whole),
            (BLOCK, whole),
            (IP_ADD_SOURCE, mreq(group, "127.0.0.1", source) + b"x"),
            (IP_ADD_SOURCE, mreq(group, "127.0.0.1")),
            (IP_ADD_SOURCE, mreq(source, "127.0.0.1", source)),
            (IP_ADD_SOURCE, mreq(group, "192.0.2.1", source)),
            (IP_ADD_SOURCE, mreq(group, "0.0.0.0", source)),
            (IP_MSFILTER, msfilter(group, "127.0.0.1", EXCLUDE, [source], 2)),
            (IP_MSFILTER, msfilter(group, "127.0.0.1", EXCLUDE, [source], 11)),
            (IP_MSFILTER, msfilter(group, "127.0.0.1", EXCLUDE, [source]) + b"more"),
            (IP_MSFILTER, msfilter(group, "127.0.0.1", 2, [source])),
            (IP_MSFILTER, msfilter(source, "127.0.0.1", EXCLUDE, [source])),
            (IP_MSFILTER, msfilter(group, "127.0.0.1", EXCLUDE, [source])[:15]),
            (IP_MSFILTER, msfilter("239.9.9.9", "127.0.0.1", EXCLUDE, [source])),
            (IP_MSFILTER, msfilter("239.9.9.9", "127.0.0.1", INCLUDE, [source])),
            (IP_MSFILTER, msfilter("239.9.9.9", "127.0.0.1", INCLUDE, [])),
            (FILTER, group_filter(LOOPBACK, group, EXCLUDE, [source], 11)),
            (FILTER, group_filter(LOOPBACK, group, EXCLUDE, [source], 2)),
            (FILTER, group_filter(LOOPBACK, group, EXCLUDE, [other])),
            (FILTER, group_filter(LOOPBACK, other, EXCLUDE, [source])),
            (FILTER, group_filter(LOOPBACK, group, 7, [source])),
            (FILTER, group_filter(99, group, EXCLUDE, [source])),
            (FILTER, group_filter(LOOPBACK, group, INCLUDE, [])),
            (FILTER, group_filter(LOOPBACK, group, INCLUDE, [])),
            (std.IP_DROP_MEMBERSHIP, mreq(group, "127.0.0.1")),
            (std.IP_DROP_MEMBERSHIP, mreq(group, "192.0.2.1")),
            (std.IP_DROP_MEMBERSHIP, mreq(group, "0.0.0.0")),
            (std.IP_DROP_MEMBERSHIP, mreq(source, "127.0.0.1")),
        )):  # fmt: skip
            log.append((f"{number}: {option}", tried(sock.setsockopt, IP, option, value)))
        for option in range(35, 49):
            log.append((f"{option} int", tried(sock.setsockopt, IP, option, 1)))
            log.append((f"{option} nothing", tried(sock.setsockopt, IP, option, b"")))
            log.append((f"{option} read", tried(sock.getsockopt, IP, option)))
    return log


def misuse6(_: int) -> Log:
    log: Log = []
    group, other, source = "ff15::1", "239.1.2.3", "2001:db8::1"
    whole = group_req(LOOPBACK, group, source)
    index = struct.pack("@I", LOOPBACK)
    with std.socket(std.AF_INET6, DATAGRAM) as sock:
        for number, (level, option, value) in enumerate((
            (IPV6, JOIN, group_req(0, group)),
            (IPV6, JOIN, group_req(LOOPBACK, source)),
            (IPV6, JOIN, group_req(99, source)),
            (IPV6, JOIN, group_req(LOOPBACK, other)),
            (IPV6, JOIN, group_req(LOOPBACK, group)[:-1]),
            (IPV6, BLOCK, whole),
            (IPV6, LEAVE, group_req(LOOPBACK, source)),
            (IPV6, LEAVE, group_req(99, group)),
            (IPV6, LEAVE, group_req(LOOPBACK, other)),
            (IPV6, JOIN, group_req(LOOPBACK, group) + b"more"),
            (IPV6, JOIN, group_req(LOOPBACK, group)),
            (IPV6, JOIN, group_req(0, group)),
            (IPV6, std.IPV6_JOIN_GROUP, packed(group) + bytes(4)),
            (IPV6, std.IPV6_JOIN_GROUP, packed(group) + b"\x63\0\0\0"),
            (IPV6, BLOCK, whole),
            (IPV6, BLOCK, whole),
            (IPV6, BLOCK, whole[:-1]),
            (IPV6, UNBLOCK, whole + b"more"),
            (IPV6, BLOCK, group_req(0, group, source)),
            (IPV6, BLOCK, group_req(LOOPBACK, group, other)),
            (IPV6, BLOCK, group_req(LOOPBACK, other, source)),
            (IPV6, JOIN_SOURCE, whole),
            (IPV6, JOIN_SOURCE, whole),
            (IPV6, BLOCK, whole),
            (IPV6, FILTER, group_filter(LOOPBACK, group, INCLUDE, [source], 65)),
            (IPV6, FILTER, group_filter(LOOPBACK, group, INCLUDE, [source], 2)),
            (IPV6, FILTER, group_filter(LOOPBACK, group, INCLUDE, [other])),
            (IPV6, FILTER, group_filter(LOOPBACK, other, INCLUDE, [source])),
            (IPV6, FILTER, group_filter(LOOPBACK, other, INCLUDE, [])),
            (IPV6, FILTER, group_filter(LOOPBACK, group, 7, [source])),
            (IPV6, FILTER, group_filter(99, group, INCLUDE, [source])),
            (IPV6, std.IPV6_LEAVE_GROUP, packed(group) + bytes(4)),
            (IPV6, std.IPV6_LEAVE_GROUP, packed(group) + index),
            (IPV6, FILTER, group_filter(LOOPBACK, group, INCLUDE, [])),
            (IPV6, FILTER, group_filter(LOOPBACK, group, EXCLUDE, [])),
            (IPV6, IPV6_MULTICAST_ALL, b""),
            (IPV6, IPV6_MULTICAST_ALL, b"\1"),
            (IPV6, IPV6_MULTICAST_ALL, b"\2\0\0\0"),
            (IP, std.IP_ADD_MEMBERSHIP, mreq(other, "127.0.0.1")),
            (IP, IP_ADD_SOURCE, mreq(other, "127.0.0.1", "10.0.0.1")),
            (IP, JOIN, group_req(LOOPBACK, other)),
        )):  # fmt: skip
            step = f"{number}: {level} {option}"
            log.append((step, tried(sock.setsockopt, level, option, value)))
        for option in (20, 21, 29, *range(42, 49)):
            log.append((f"{option} int", tried(sock.setsockopt, IPV6, option, 1)))
            log.append((f"{option} nothing", tried(sock.setsockopt, IPV6, option, b"")))
            log.append((f"{option} read", tried(sock.getsockopt, IPV6, option)))
    return log


@pytest.mark.parametrize("walk", [misuse4, misuse6])
def test_what_is_refused(walk: Callable[[int], Log]) -> None:
    go_alike(walk, 0, apart=True)


def full(_: int) -> Log:
    log: Log = []
    with std.socket(std.AF_INET, DATAGRAM) as sock:
        for number in range(22):
            value = mreq(f"239.0.1.{number}", "127.0.0.1")
            log.append(("group", tried(sock.setsockopt, IP, std.IP_ADD_MEMBERSHIP, value)))
    with std.socket(std.AF_INET, DATAGRAM) as sock:
        for number in (*range(11), 3):
            value = mreq("239.0.1.1", "127.0.0.1", f"10.0.0.{number}")
            log.append(("source", tried(sock.setsockopt, IP, IP_ADD_SOURCE, value)))
    with std.socket(std.AF_INET6, DATAGRAM) as sock:
        for number in (*range(1, 66), 3):
            value = group_req(LOOPBACK, "ff15::1", f"2001:db8::{number:x}")
            log.append(("source 6", tried(sock.setsockopt, IPV6, JOIN_SOURCE, value)))
    return log


def test_a_program_joins_and_names_only_so_many() -> None:
    go_alike(full, 0, apart=True)


def test_a_stream_takes_part_in_no_group() -> None:
    """Linux lets it, though nothing of a group ever reaches it; only the oldest calls refuse."""
    with modules.installed():
        world = World(1)

        def program() -> list[object]:
            value = group_req(LOOPBACK, "239.1.2.3", "10.0.0.1")
            with std.socket() as sock:
                return [tried(sock.setsockopt, IP, option, value) for option in range(35, 49)]

        assert world.thread(world.host("a"), program).result() == ["EPROTO"] * 14


def interfaces(_: int) -> Log:
    """IP_MULTICAST_ALL off: over IPv4 a member of the interface it came by hears it."""
    log: Log = []
    with listener(std.AF_INET) as member, listener(std.AF_INET) as other:
        other.setsockopt(IP, IP_MULTICAST_ALL, 0)
        member.setsockopt(IP, JOIN, group_req(LOOPBACK, "239.1.2.3"))
        for step in ("no member", "member"):
            send("239.1.2.3", "127.0.0.1", LOOPBACK)
            time.sleep(MOMENT)
            log.append((step, (tried(member.recv, 9), tried(other.recv, 9))))
            tried(other.setsockopt, IP, JOIN, group_req(LOOPBACK, "239.1.2.3"))
    return log


def test_who_is_no_member_hears_all_or_nothing() -> None:
    go_alike(interfaces, 0, apart=True)
