# SPDX-License-Identifier: Apache-2.0
"""Segment scripts: one host on a raw link, a peer played by the test, time moved by hand.

    script = Script()
    listener = script.listen(80)
    peer = script.peer(to=80)
    peer.send(SYN, seq=100, mss=1460)
    peer.expect(SYN | ACK, ack=101)
    peer.send(ACK)
    peer.expect_nothing()

The peer's sequence numbers are what the test says (its ISS is 100 unless said).  The host's are
counted from the host's ISS, as in packetdrill: its SYN is 0, its first byte 1.  `Peer.send` fills
in what is left out: the next sequence number, the acknowledgement of all that came in order.

Every expectation is about segments the host has sent already; time moves only by `Script.run` and
by ``after=``, which also asserts *when* the segment left.  Units: ns, bytes.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar, final

from capas.base.clock import NEVER
from capas.base.config import HostConfig
from capas.base.frame import CSUM_NONE, Frame
from capas.base.rng import Rng
from capas.host.host import Host
from capas.link.link import ALL_GSO, FrameSink, Link, LinkCaps, Medium
from capas.testing.peer import Peer
from capas.testing.segments import Seen, read
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.listener import TcpListener
from capas.wire import address as addr
from capas.wire.tcp import ACK, SYN

T = TypeVar("T")

_ADDRESSES: Final = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
_PREFIX: Final = {4: 24, 6: 64}
_TURNS: Final = 100_000  # turns without time moving on: the stack spins


@final
class RawLink(Link):
    """Keeps what the host sends."""

    def __init__(self, mtu: int, super_frames: bool) -> None:
        self.caps = LinkCaps(mtu, Medium.IP, super_frames, ALL_GSO if super_frames else ())
        self.sink: FrameSink | None = None
        self.sent: deque[Frame] = deque()

    def transmit(self, frame: Frame) -> bool:
        """Take everything."""
        self.sent.append(frame)
        return True


@final
class Script:
    """One host under test, its link, and virtual time.

    ``family``  4 or 6; ``settings`` are fields of `HostConfig`; ``other``: packets that are not TCP
    ``strays``  segments to ports no `Peer` owns
    """

    def __init__(
        self,
        *,
        family: int = 4,
        seed: int = 1,
        mtu: int = 1500,
        super_frames: bool = False,
        config: HostConfig | None = None,
        now: int = 1_000_000_000,
        **settings: Any,
    ) -> None:
        config = config if config is not None else HostConfig()
        for name, value in settings.items():
            assert hasattr(config, name), f"no setting {name!r}"
            setattr(config, name, value)
        config.dad_transmits = 0
        config.accept_ra = False
        self.family: int = family
        self.now: int = now
        self.host: Host = Host("script", config, Rng(seed))
        self.config: HostConfig = self.host.config
        self.link: RawLink = RawLink(mtu, super_frames)
        local, remote = _ADDRESSES[family]
        self.interface = self.host.attach(
            self.link, name="raw0", addresses=(f"{local}/{_PREFIX[family]}",), now=now
        )
        self.local: bytes = addr.parse(local)
        self.remote: bytes = addr.parse(remote)
        self.peers: dict[tuple[int, int], Peer] = {}
        self.strays: deque[Seen] = deque()
        self.other: deque[bytes] = deque()
        self._settle()
        self.other.clear()

    # -- time -----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let the host do all that is due now, and sort what it sent."""
        host, now = self.host, self.now
        for _ in range(_TURNS):
            host.advance(now)
            host.flush(now)
            host.take_ready()
            if host.next_deadline() > now and not host.tcp.dirty:
                break
        else:
            raise AssertionError("the host never comes to rest")
        while self.link.sent:
            self._sort(self.link.sent.popleft())

    def _sort(self, frame: Frame) -> None:
        seen = read(frame, self.now)
        if seen is None:
            self.other.append(frame.data)
            return
        peer = self.peers.get((seen.dst_port, seen.src_port))
        if peer is None:
            self.strays.append(seen)
        else:
            peer.arrived(seen)

    def run(self, duration: int) -> None:
        """Let ``duration`` ns pass."""
        end = self.now + duration
        while True:
            deadline = self.host.next_deadline()
            if deadline > end:
                break
            self.now = max(self.now, deadline)
            self._settle()
        self.now = end
        self._settle()

    def run_until(self, condition: Callable[[], bool], limit: int) -> bool:
        """Go from deadline to deadline until ``condition()`` or ``limit`` ns have passed."""
        end = self.now + limit
        while not condition():
            deadline = self.host.next_deadline()
            if deadline > end or deadline == NEVER:
                self.now = end
                self._settle()
                return condition()
            self.now = max(self.now, deadline)
            self._settle()
        return True

    # -- the user's side --------------------------------------------------------------------------

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """``function(*arguments, now)`` as a user of the host, then a flush."""
        result = function(*arguments, self.now)
        self._settle()
        return result

    def listen(self, port: int = 80, backlog: int = 16) -> TcpListener:
        """A passive OPEN on the family's wildcard."""
        any_address = addr.ANY4 if self.family == 4 else addr.ANY6
        binding = self.host.tcp.bindings.bind(Binding(any_address, port))
        return self.host.tcp.listen(binding, backlog, self.now)

    def connect(
        self,
        port: int = 80,
        setup: Callable[[TcpConnection], None] | None = None,
        iss: int = 100,
    ) -> tuple[TcpConnection, Peer]:
        """An active OPEN; the peer has seen the SYN, still to be expected."""
        before = len(self.strays)
        c = self.call_connect(port, setup)
        peer = Peer(self, port, c.local_port, iss)
        while len(self.strays) > before:
            peer.arrived(self.strays.popleft())
        return c, peer

    def call_connect(
        self, port: int, setup: Callable[[TcpConnection], None] | None = None
    ) -> TcpConnection:
        """`TcpLayer.connect` to the peer's address."""
        c = self.host.tcp.connect(Binding(b"", 0), self.remote, port, self.now, setup)
        self._settle()
        return c

    def peer(self, to: int = 80, port: int = 40_000, iss: int = 100) -> Peer:
        """A peer at ``port`` that speaks to the host's port ``to``."""
        return Peer(self, port, to, iss)

    def send(self, c: TcpConnection, data: bytes) -> int:
        """SEND."""
        return self.call(c.send, data)

    def receive(self, c: TcpConnection, limit: int = 1 << 20) -> bytes | None:
        """RECEIVE."""
        return self.call(c.receive, limit)

    def shutdown(self, c: TcpConnection) -> None:
        """CLOSE of RFC 9293: half-close."""
        self.call(c.shutdown)

    def close(self, c: TcpConnection) -> None:
        """close(2)."""
        self.call(c.close)

    def abort(self, c: TcpConnection) -> None:
        """ABORT."""
        self.call(c.abort)

    def counter(self, name: str) -> int:
        """A counter of the host."""
        return self.host.counters.get(name)

    def deliver(self, packet: bytes) -> None:
        """An IP packet arrives."""
        self.deliver_all([packet])

    def deliver_all(self, packets: list[bytes]) -> None:
        """Several packets arrive in one batch: the host flushes once, after the last."""
        assert self.link.sink is not None
        for packet in packets:
            self.link.sink.receive(Frame(packet, self.now, CSUM_NONE), self.now)
        self._settle()

    # -- templates ------------------------------------------------------------------------------

    def passive(
        self, listener: TcpListener | None = None, port: int = 40_000, **syn: Any
    ) -> tuple[TcpConnection, Peer]:
        """A connection the peer opened, accepted by the user; ``syn``: options of the peer's SYN.

        ``ts=True`` has the peer use timestamps from then on; ``iss`` and ``wnd`` are its own.
        """
        if listener is None:
            listener = self.listen()
        peer = self.peer(listener.port, port, syn.pop("iss", 100))
        peer.wnd = syn.pop("wnd", 65_535)
        wscale = syn.get("wscale", -1)
        peer.send(SYN, **({"mss": 1460} | syn))
        peer.expect(SYN | ACK, ack=peer.nxt)
        peer.scale = max(wscale, 0)
        peer.send(ACK)
        c = listener.accept(self.now)
        assert c is not None, "nothing to accept"
        return c, peer

    def active(
        self, setup: Callable[[TcpConnection], None] | None = None, port: int = 80, **syn: Any
    ) -> tuple[TcpConnection, Peer]:
        """A connection the host opened; ``syn``: options of the peer's SYN-ACK."""
        c, peer = self.connect(port, setup, syn.pop("iss", 100))
        peer.wnd = syn.pop("wnd", 65_535)
        peer.expect(SYN, seq=0)
        peer.send(SYN | ACK, **({"mss": 1460} | syn))
        peer.scale = max(syn.get("wscale", -1), 0)
        peer.expect(ACK, seq=1, ack=peer.nxt)
        return c, peer
