# SPDX-License-Identifier: Apache-2.0
"""What a host says of its groups, beside what Linux says: IGMPv1-3 and MLDv1-2.

The same programs join and leave with sources of chance, the same queriers ask, on a kernel's host
in a namespace and on one of ours in virtual time; record by record the reports are the same.
"""

import contextlib
import random
import socket as std
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from capas.base.clock import SECOND
from capas.base.frame import Frame
from capas.link.interface import Interface
from capas.link.link import Medium
from capas.link.pcapng import CaptureWriter
from capas.sim.world import World
from capas.sockets import modules
from capas.wire import icmp, igmp
from capas.wire.address import multicast_mac, parse
from capas.wire.icmp import ICMPV6, Message
from capas.wire.igmp import Igmp, Mld, Record
from capas.wire.ipv4 import ROUTER_ALERT_OPTION, Ipv4Header
from capas.wire.ipv6 import Ipv6Header, hop_by_hop

from .lab import Lab, missing

IP, IPV6 = std.IPPROTO_IP, std.IPPROTO_IPV6
INDEX = 2  # of the interface, on both hosts
JOIN, BLOCK, UNBLOCK, LEAVE, JOIN_SOURCE, LEAVE_SOURCE, FILTER = range(42, 49)  # Linux, in.h
OPTIONS = (JOIN, JOIN, BLOCK, BLOCK, UNBLOCK, LEAVE, JOIN_SOURCE, JOIN_SOURCE, LEAVE_SOURCE, FILTER)
REPEATED = 1.35  # s, after which a change has been told twice
ASKED = 0.2  # s to answer in
ROUNDS = 12
ROUTERS = {4: parse("224.0.0.22"), 6: parse("ff02::16")}
ALERT6 = hop_by_hop(ICMPV6, b"\x05\x02\0\0")
QUERIER = {4: parse("10.9.0.9"), 6: parse("fe80::9")}
NAMES = ("", "IS_IN", "IS_EX", "TO_IN", "TO_EX", "ALLOW", "BLOCK")

#: What was said in one report: (kind, group, sources).
Said = tuple[str, str, tuple[str, ...]]


class Side(Protocol):
    """A host, seen from its link."""

    def send(self, frame: bytes) -> None: ...

    def heard(self) -> list[bytes]:
        """What it has sent since the last call."""


class Ours:
    """A host of a world; a tap of its interface."""

    def __init__(self, capture: CaptureWriter | None = None) -> None:
        self.world = World(3)
        host = self.world.host("a")
        self.world.link(host, self.world.host("b"), addresses={"a": ["10.9.0.1/24", "fd09::1/64"]})
        self.other = self.world.find("b")
        self.frames: list[bytes] = []
        self.capture = capture
        host.interface("eth0").taps.append(self)

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        if outgoing:
            self.frames.append(frame.data)
        if self.capture is not None:
            self.capture.packet(0, frame, now, outgoing)

    def send(self, frame: bytes) -> None:
        now = self.world.now
        self.other.interface("eth0").transmit(Frame(frame, now), 14, now)  # type: ignore[union-attr]

    def heard(self) -> list[bytes]:
        frames, self.frames = self.frames, []
        return frames


class Linux:
    """A kernel's host; a packet socket on the other end of its cable."""

    def __init__(self) -> None:
        self.sock = std.socket(std.AF_PACKET, std.SOCK_RAW, std.htons(3))  # ETH_P_ALL
        self.sock.bind(("other", 0))
        self.sock.setblocking(False)

    def send(self, frame: bytes) -> None:
        self.sock.send(frame)

    def heard(self) -> list[bytes]:
        frames = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, name = self.sock.recvfrom(9000)
                if name[2] != std.PACKET_OUTGOING:
                    frames.append(frame)
        return frames


def packed(text: str) -> bytes:
    return std.inet_pton(std.AF_INET6 if ":" in text else std.AF_INET, text)


def text(address: bytes) -> str:
    return std.inet_ntop(std.AF_INET6 if len(address) == 16 else std.AF_INET, address)


def storage(name: str) -> bytes:
    if ":" in name:
        return struct.pack("@HHI16sI", std.AF_INET6, 0, 0, packed(name), 0).ljust(128, b"\0")
    return struct.pack("@HH4s", std.AF_INET, 0, packed(name)).ljust(128, b"\0")


def group_req(group: str, *sources: str) -> bytes:
    return struct.pack("@I4x", INDEX) + b"".join(map(storage, (group, *sources)))


def records(frame: bytes) -> tuple[Record, ...]:
    """Those of a report of the newest version, of whose headers all is as it must be."""
    if frame[12:14] == b"\x08\0" and frame[23] == 2:
        length = (frame[14] & 15) * 4
        assert frame[22] == 1
        assert frame[34 : 14 + length] == ROUTER_ALERT_OPTION
        message = Igmp.parse(frame, 14 + length, 14 + int.from_bytes(frame[16:18], "big"))
        assert message is not None
        if message.type == igmp.REPORT3:
            assert frame[30:34] == ROUTERS[4]
            return message.records
    elif frame[12:14] == b"\x86\xdd" and frame[20] == 0 and frame[54] == ICMPV6:
        assert frame[21] == 1
        assert frame[54:62] == ALERT6
        if frame[62] == icmp.MLD2_REPORT:
            assert frame[38:54] == ROUTERS[6]
            found = igmp.parse_report2(frame[66:70], frame[70:])
            assert found is not None
            return found
    return ()


def older(frame: bytes) -> Said | None:
    """A message of an older version, to whom it goes in place of sources."""
    if frame[12:14] == b"\x08\0" and frame[23] == 2 and frame[38] != igmp.REPORT3:
        kinds = {igmp.REPORT1: "v1", igmp.REPORT2: "v2", igmp.LEAVE: "leave"}
        return kinds.get(frame[38], "?"), text(frame[42:46]), (text(frame[30:34]),)
    if frame[12:14] == b"\x86\xdd" and frame[20] == 0 and frame[62] in (131, 132):
        kind = "v1" if frame[62] == icmp.MLD_REPORT else "done"
        return kind, text(frame[70:86]), (text(frame[38:54]),)
    return None


def query(version: int, group: str = "", sources: tuple[str, ...] = (), **more: Any) -> bytes:
    """A frame that asks; ``version`` of IGMP, or of MLD and 10 more."""
    response = more.pop("response", int(ASKED * SECOND))
    if version < 10:
        dst = packed(group or "224.0.0.1")
        asked = Igmp(
            igmp.QUERY, packed(group or "0.0.0.0"), response, version, (),
            tuple(map(packed, sources)), **more,
        ).build()  # fmt: skip
        size = 24 + len(asked)
        head = Ipv4Header(QUERIER[4], dst, 2, size, 1, options=ROUTER_ALERT_OPTION).build()
        packet, kind = head + asked, b"\x08\0"
    else:
        dst = packed(group or "ff02::1")
        said = Mld(
            packed(group or "::"), response, version - 10, tuple(map(packed, sources)), **more
        )
        body = ALERT6 + Message(icmp.MLD_QUERY, 0, *said.build()).build6(QUERIER[6], dst)
        packet, kind = Ipv6Header(QUERIER[6], dst, 0, len(body), 1).build() + body, b"\x86\xdd"
    return multicast_mac(dst) + b"\x02\0\0\0\0\x09" + kind + packet


def said(side: Side, groups: tuple[str, ...]) -> Counter[Said]:
    """What was said of some groups, how often."""
    found: Counter[Said] = Counter()
    for frame in side.heard():
        for kind, group, sources in records(frame):
            if text(group) in groups:
                found[NAMES[kind], text(group), tuple(sorted(map(text, sources)))] += 1
        old = older(frame)
        if old is not None and old[1] in groups:
            found[old] += 1
    return found


class Group:
    """One group, the programs that listen to it, and what they and a querier do by chance."""

    def __init__(self, chance: random.Random, version: int, number: int) -> None:
        self.chance = chance
        self.version = version
        self.level = IP if version == 4 else IPV6
        self.name = f"239.5.0.{number}" if version == 4 else f"ff15::5:{number:x}"
        sources = "10.9.1.{}" if version == 4 else "fd09::{}"
        self.sources = tuple(sources.format(n) for n in range(1, 5))
        family = std.AF_INET if version == 4 else std.AF_INET6
        self.sockets = [std.socket(family, std.SOCK_DGRAM) for _ in range(2)]
        self.asked: tuple[str, ...] = ()

    def act(self) -> None:
        sock, option = self.chance.choice(self.sockets), self.chance.choice(OPTIONS)
        some = self.chance.sample(self.sources, self.chance.randrange(4))
        mode, one = self.chance.randrange(2), self.chance.choice(self.sources)
        value = group_req(self.name, *(() if option in (JOIN, LEAVE) else (one,)))
        if option == FILTER:
            head = group_req(self.name) + struct.pack("@II", mode, len(some))
            value = head + b"".join(map(storage, some))
        with contextlib.suppress(OSError):
            sock.setsockopt(self.level, option, value)

    def ask(self, side: Side) -> None:
        kind = self.chance.choice(("nothing", "group", "sources", "sources"))
        some = self.chance.sample(self.sources, self.chance.randrange(1, 4))
        if kind == "nothing":
            return
        if kind == "sources":
            self.asked = tuple(sorted(some))
        newest = 3 if self.version == 4 else 12
        side.send(query(newest, self.name, self.asked))


def walk(side: Side, version: int, seed: int, rounds: int) -> list[Counter[Said]]:
    """Rounds of calls, and of questions; what was said in each."""
    chance = random.Random(seed)
    groups = [Group(chance, version, number) for number in range(1, 19)]
    names = tuple(group.name for group in groups)
    log = []
    time.sleep(4)  # duplicate detection, and what is said after it
    side.heard()
    for number in range(rounds):
        for group in groups:
            group.asked = ()
        if number % 5 == 4:
            side.send(query(3 if version == 4 else 12))
        elif number % 5 in (1, 3):
            for group in groups:
                group.ask(side)
        else:
            for group in groups:
                for _ in range(chance.randrange(3)):
                    group.act()
        time.sleep(REPEATED)
        found = said(side, names)
        log.append(found if isinstance(side, Ours) else as_the_rfc(found, groups))
    for which in range(2):
        for group in groups:
            group.sockets[which].close()
        time.sleep(REPEATED)
        log.append(said(side, names))
    return log


def as_the_rfc(found: Counter[Said], groups: list[Group]) -> Counter[Said]:
    """What Linux says otherwise than RFC 3376 §5.2.

    Asked for sources, a group that excludes some tells all of them, not which of those asked for it
    wants; one that includes none, as who is no member, tells of that.
    """
    asked = {group.name: group.asked for group in groups if group.asked}
    mended: Counter[Said] = Counter()
    for (kind, group, sources), count in found.items():
        if kind == "IS_EX" and group in asked:
            wanted = tuple(one for one in asked[group] if one not in sources)
            kind, sources = "IS_IN", wanted
        if kind != "IS_IN" or sources:
            mended[kind, group, sources] += count
    return mended


@pytest.fixture
def cable(lab: Lab) -> Iterator[Lab]:
    script = "\n".join((
        f"ip link add eth0 index {INDEX} type veth peer name other index 3",
        "ip address add 10.9.0.1/24 dev eth0",
        "ip address add fd09::1/64 dev eth0",
        "sysctl -q -w net.ipv6.conf.other.disable_ipv6=1",
        "ip link set other up",
        "ip link set eth0 up",
    ))  # fmt: skip
    lab.run("sh", "-ec", script)
    yield lab


def ours(walk: Any, *arguments: Any, capture: CaptureWriter | None = None) -> Any:
    with modules.installed():
        side = Ours(capture)
        host = side.world.find("a")
        return side.world.thread(host, walk, side, *arguments).result()


@pytest.mark.rfc("3376", "5.1")
@pytest.mark.rfc("3376", "5.2")
@pytest.mark.rfc("3810", "6.1")
@pytest.mark.rfc("3810", "6.2")
@pytest.mark.parametrize("version", [4, 6])
def test_reports_are_those_of_the_kernel(cable: Lab, version: int) -> None:
    mine = ours(walk, version, 1, ROUNDS)
    kernel = cable.inside(lambda: walk(Linux(), version, 1, ROUNDS))
    for number, (one, other) in enumerate(zip(mine, kernel, strict=True)):
        assert one == other, f"round {number}: ours {one - other}, linux {other - one}"
    assert sum(map(Counter.total, mine)) > 5 * ROUNDS


class Program:
    """One socket, and what it does to groups."""

    def __init__(self, version: int) -> None:
        self.level = IP if version == 4 else IPV6
        family = std.AF_INET if version == 4 else std.AF_INET6
        self.sock = std.socket(family, std.SOCK_DGRAM)

    def do(self, option: int, group: str, *sources: str) -> None:
        self.sock.setsockopt(self.level, option, group_req(group, *sources))

    def include(self, group: str, sources: tuple[str, ...]) -> None:
        self.do(JOIN, group)
        head = group_req(group) + struct.pack("@II", 1, len(sources))
        self.sock.setsockopt(self.level, FILTER, head + b"".join(map(storage, sources)))


def generations(side: Side, version: int) -> list[tuple[str, Counter[Said]]]:
    """Queriers of older versions come and go."""
    v4 = version == 4
    newest, before, oldest = (3, 2, 1) if v4 else (12, 11, 11)
    one, two, three = ("239.6.0.1", "239.6.0.2", "239.6.0.3") if v4 else (
        "ff15::6:1", "ff15::6:2", "ff15::6:3"
    )  # fmt: skip
    source = "10.9.1.1" if v4 else "fd09::99"
    program = Program(version)
    log = []

    def step(what: str, seconds: float) -> None:
        time.sleep(seconds)
        log.append((what, said(side, (one, two, three))))

    time.sleep(4)
    side.heard()
    side.send(query(newest, interval=SECOND, robustness=3))
    step("the querier's robustness", 0.5)
    program.do(JOIN, three)
    step("joined", 2.5)
    # of MLD, Linux takes 0 for no news, not for the default as RFC 3810 §5.1.8 has it
    side.send(query(newest, interval=SECOND, robustness=0 if v4 else 2))
    step("asked", 0.5)
    side.send(query(before))
    step("asked as of old", 0.5)
    step("who asks so is gone", 3)
    program.do(JOIN, one)
    step("joined again", REPEATED)
    side.send(query(newest, interval=40 * SECOND, robustness=2))
    step("asked", 0.5)
    side.send(query(before))
    step("a querier of old for long", 0.5)
    program.do(JOIN_SOURCE, two, source)
    step("a source", 10.5)
    program.do(JOIN_SOURCE, two, source.replace("9", "8"))
    step("another", 1)
    side.send(query(newest, two, (source,)))
    step("asked for a source as of late", 0.5)
    side.send(query(before, two))
    step("asked for one", 0.5)
    side.send(query(before, response=2 * SECOND))
    report = Igmp(igmp.REPORT2, packed(two)).build() if v4 else b""
    if v4:
        head = Ipv4Header(
            QUERIER[4], packed(two), 2, 24 + len(report), 1, options=ROUTER_ALERT_OPTION
        )
        frame = multicast_mac(packed(two)) + b"\x02\0\0\0\0\x09\x08\0" + head.build() + report
    else:
        dst = packed(two)
        message = Message(icmp.MLD_REPORT, 0, *Mld(dst).build()).build6(QUERIER[6], dst)
        rest = ALERT6 + message
        packet = Ipv6Header(QUERIER[6], dst, 0, len(rest), 1).build() + rest
        frame = multicast_mac(dst) + b"\x02\0\0\0\0\x09\x86\xdd" + packet
    side.send(frame)
    step("another member reports", 2.5)
    program.do(LEAVE, two)
    step("left, with no leave", 1)
    program.do(LEAVE, one)
    step("left", 1)
    side.send(query(oldest))
    step("the oldest", 10.5)
    program.sock.close()
    step("closed", 1)
    return log


@pytest.mark.rfc("3376", "4.1.6")
@pytest.mark.rfc("3376", "7.2.1")
@pytest.mark.rfc("3376", "7.2.2")
@pytest.mark.rfc("3810", "8.2.1")
@pytest.mark.parametrize("version", [4, 6])
def test_older_queriers_are_answered_as_the_kernel_does(cable: Lab, version: int) -> None:
    mine = ours(generations, version)
    kernel = cable.inside(lambda: generations(Linux(), version))
    for one, other in zip(mine, kernel, strict=True):
        assert one == other


def crowd(side: Side, version: int) -> list[list[tuple[str, int]]]:
    """More than fits: the records of each report, by kind and number of sources."""
    v4 = version == 4
    time.sleep(4)
    programs = [Program(version) for _ in range(3)]
    each, sources = (18, 10) if v4 else (2, 60)
    for number, program in enumerate(programs):
        for n in range(each):
            group = f"239.7.{number}.{n}" if v4 else f"ff15::7:{number}{n}"
            names = (f"10.9.1.{i}" if v4 else f"fd09::{i:x}" for i in range(1, sources + 1))
            program.include(group, tuple(names))
    time.sleep(3)
    side.heard()
    side.send(query(3 if v4 else 12))
    time.sleep(0.5)
    reports = []
    for frame in side.heard():
        assert len(frame) <= 1514
        found = [(NAMES[kind], len(them)) for kind, _, them in records(frame) if them]
        if found:
            reports.append(found)
    for program in programs:
        program.sock.close()
    return reports


@pytest.mark.rfc("3376", "4.2.16")
@pytest.mark.rfc("3810", "5.2.15")
@pytest.mark.parametrize("version", [4, 6])
def test_reports_are_split_as_the_kernel_s(cable: Lab, version: int) -> None:
    mine = ours(crowd, version)
    assert len(mine) > 1
    assert mine == cable.inside(lambda: crowd(Linux(), version))


def test_tshark_reads_what_we_say(lab: Lab, tmp_path: Path) -> None:
    why = missing("tshark")
    if why:
        pytest.skip(f"interop: {why}")
    for name, program in (("walk", walk), ("generations", generations), ("crowd", crowd)):
        for version in (4, 6):
            file = tmp_path / f"{name}{version}.pcapng"
            with file.open("wb") as out:
                writer = CaptureWriter(out.write)
                writer.add_interface("eth0", Medium.ETHERNET)
                more = (7, 10) if name == "walk" else ()
                ours(program, version, *more, capture=writer)
            which = "igmp" if version == 4 else "icmpv6.type >= 130 && icmpv6.type <= 143"
            read = lab.run("tshark", "-r", str(file), "-Y", which).stdout
            assert read.count("\n") > 5, read
            flaws = "_ws.malformed || _ws.expert.severity >= 0x600000"
            flaws += " || igmp.checksum.status == Bad || icmpv6.checksum.status == Bad"
            checks = ("-o", "ip.check_checksum:TRUE")
            assert lab.run("tshark", "-r", str(file), *checks, "-Y", flaws).stdout == ""
