# SPDX-License-Identifier: Apache-2.0
"""Hosts with an internet layer only, on links that exist for tests: real `Link`s, no mocks."""

from collections import deque
from dataclasses import dataclass, field

from capas.base.clock import NEVER, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import CSUM_NONE, Frame
from capas.base.rng import Rng
from capas.internet.stack import InternetStack, build
from capas.internet.types import IcmpError
from capas.link.interface import Interface
from capas.link.link import ALL_GSO, Link, LinkCaps, Loopback, Medium
from capas.wire.address import parse, parse_interface


class Segment:
    """A shared cable: what one port sends, all others receive, in order, when it is run.

    ``shortcuts``  ports' shortcuts are asked first, as a wire does
    ``taken``      frames that a shortcut took
    """

    def __init__(self) -> None:
        self.shortcuts = True
        self.taken = 0
        self.ports: list[Port] = []
        self.queue: deque[tuple[Port, Frame]] = deque()
        self.log: list[Frame] = []
        self.lose = lambda frame: False

    def run(self, now: int) -> bool:
        """Deliver what is queued; True if there was something."""
        moved = False
        while self.queue:
            sender, frame = self.queue.popleft()
            moved = True
            self.log.append(frame)
            if self.lose(frame):
                continue
            for port in self.ports:
                if port is sender or port.sink is None:
                    continue
                if self.shortcuts and port.shortcut is not None and port.shortcut.take(frame, now):
                    self.taken += 1
                else:
                    port.sink.receive(frame, now)
        return moved


class Port(Link):
    """One end of a `Segment`."""

    def __init__(
        self, segment: Segment, mtu: int = 1500, offload: bool = False, ip: bool = False
    ) -> None:
        self.caps = LinkCaps(
            mtu, Medium.IP if ip else Medium.ETHERNET, offload, ALL_GSO if offload else ()
        )
        self.sink = None
        self.segment = segment
        segment.ports.append(self)

    def transmit(self, frame: Frame) -> bool:
        self.segment.queue.append((self, frame))
        return True


@dataclass
class Received:
    """A packet a `Recorder` got."""

    interface: Interface
    frame: Frame
    l3: int
    l4: int
    end: int

    @property
    def payload(self) -> bytes:
        return self.frame.data[self.l4 : self.end]


@dataclass
class Recorder:
    """A transport that writes down what it is told."""

    packets: list[Received] = field(default_factory=list)
    errors: list[IcmpError] = field(default_factory=list)
    verdict: bool | None = None

    def receive(self, interface, frame, l3, l4, end, now) -> None:
        self.packets.append(Received(interface, frame, l3, l4, end))

    def icmp_error(self, error, now):
        self.errors.append(error)
        return self.verdict


class Node:
    """A host: the internet stack, ARP, a loopback, a recorder as protocol 253 (RFC 3692)."""

    def __init__(self, name: str, net: "Net", **settings) -> None:
        self.name = name
        self.net = net
        self.config = HostConfig()
        for key, value in settings.items():
            setattr(self.config, key, value)
        self.counters = Counters()
        self.scheduler = Scheduler()
        self.rng = Rng(name.encode())
        self.stack: InternetStack = build(self.config, self.counters, self.scheduler, self.rng)
        self.interfaces: list[Interface] = []
        self.recorder = Recorder()
        self.stack.net.register(253, self.recorder)
        self.lo = self._interface("lo", Loopback(), bytes(6))
        self.stack.attach(self.lo, 0)
        for text in ("127.0.0.1/8", "::1/128"):
            address, length = parse_interface(text)
            self.stack.add_address(self.lo, address, length, 0)

    def _interface(self, name: str, link: Link, mac: bytes) -> Interface:
        interface = Interface(
            name,
            len(self.interfaces) + 1,
            mac,
            link,
            self.config,
            self.counters,
            self.scheduler,
            self.rng.stream(name),
        )
        self.interfaces.append(interface)
        return interface

    def plug(self, segment: Segment, *addresses: str, mtu=1500, offload=False, ip=False):
        """Attach to a segment with addresses such as "10.0.0.1/24"."""
        number = self.net.mac()
        mac = b"\x02\0\0\0" + number.to_bytes(2, "big")
        interface = self._interface(
            f"eth{len(self.interfaces) - 1}", Port(segment, mtu, offload, ip), mac
        )
        self.stack.attach(interface, self.net.now)
        for text in addresses:
            address, length = parse_interface(text)
            self.stack.add_address(interface, address, length, self.net.now)
        return interface

    def route(self, prefix: str, via: str | None, interface: Interface) -> None:
        from capas.internet.route import Route
        from capas.wire.address import Prefix

        self.stack.net.routes.add(
            Route(Prefix.parse(prefix), interface, parse(via) if via else None)
        )

    def send(self, dst: str, payload: bytes = b"x", *, protocol=253, src=None, **extra) -> bool:
        net = self.stack.net
        to = parse(dst)
        route = net.route(to)
        assert route is not None, f"no route to {dst}"
        source = parse(src) if src else net.source(to, route)
        assert source is not None, f"no source for {dst}"
        return net.send(route, source, to, protocol, (payload,), None, self.net.now, **extra)


class Net:
    """Nodes and segments under one clock."""

    def __init__(self) -> None:
        self.now = 0
        self.nodes: list[Node] = []
        self.segments: list[Segment] = []
        self._macs = 0

    def mac(self) -> int:
        self._macs += 1
        return self._macs

    def node(self, name: str, **settings) -> Node:
        settings.setdefault("dad_transmits", 0)
        node = Node(name, self, **settings)
        self.nodes.append(node)
        return node

    def segment(self) -> Segment:
        segment = Segment()
        self.segments.append(segment)
        return segment

    def settle(self) -> None:
        """Deliver until nothing moves, at the present time."""
        for _ in range(10_000):
            moved = False
            for segment in self.segments:
                moved |= segment.run(self.now)
            for node in self.nodes:
                queue = node.lo.link.queue
                while queue:
                    moved = True
                    node.lo.receive(queue.popleft(), self.now)
                moved |= node.scheduler.run_due(self.now) > 0
            if not moved:
                return
        raise AssertionError("the network does not come to rest")

    def run(self, duration: int) -> None:
        """Let time pass."""
        stop = self.now + duration
        self.settle()
        while True:
            due = min((n.scheduler.next_deadline() for n in self.nodes), default=NEVER)
            if due > stop:
                break
            self.now = max(self.now, due)
            self.settle()
        self.now = stop


def ip_frame(data: bytes) -> Frame:
    """A frame that nobody has checked, without a link header."""
    return Frame(data, 0, CSUM_NONE)
