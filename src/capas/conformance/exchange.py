# SPDX-License-Identifier: Apache-2.0
"""The packet side of a run: which connection a packet belongs to, injecting, taking, comparing."""

from typing import Final

from capas.conformance import compare, icmp_names, segments
from capas.conformance.ast import IcmpPacket, IpInfo, Packet, TcpPacket, UdpPacket
from capas.conformance.calls import Calls
from capas.conformance.errors import Failed, NotApplicable
from capas.conformance.flow import (
    CONNECTING,
    LISTENING,
    NEW,
    SYN_ACKED,
    SYN_RECEIVED,
    SYN_SENT,
    SYNACK_ACKED,
    SYNACK_SENT,
    Flow,
    is_syn,
    is_synack,
)
from capas.conformance.network import Network
from capas.conformance.segments import ICMP, ICMP6, SYN, TCP, UDP, Seen, flag_bits
from capas.conformance.settings import RunSettings

FIRST_PORT: Final = 40_001  # of the script's side, one more for each passive connection
TTL: Final = 255


class Exchange:
    """Maps packet events to connections and back."""

    def __init__(self, network: Network, calls: Calls, settings: RunSettings) -> None:
        self.network = network
        self.calls = calls
        self.settings = settings
        self.next_port = FIRST_PORT

    # -- which connection -------------------------------------------------------------------------

    def _passive(self, packet: TcpPacket) -> Flow | None:
        """A packet for a listening socket begins a connection of its own."""
        current = self.calls.current
        if current is not None and current.state == SYN_RECEIVED and is_syn(packet):
            current.remote_isn = packet.seq, packet.seq  # the SYN before this one was ignored
        if current is not None and current.state != LISTENING:
            return None
        flow = self.calls.new_flow()
        flow.state = SYN_RECEIVED
        settings = self.settings
        flow.local = settings.local, settings.bind_port
        flow.remote = settings.remote, self.next_port
        self.next_port += 1
        flow.remote_isn = packet.seq, packet.seq
        return flow

    def _flow(self, packet: Packet) -> Flow:
        flow = self.calls.current
        if isinstance(packet.body, TcpPacket):
            if packet.inbound:
                flow = self._passive(packet.body) or flow
                if flow is not None and flow.state == NEW:
                    settings = self.settings  # nobody listens, or not yet
                    flow.local = settings.local, settings.bind_port
                    flow.remote = settings.remote, self.next_port
                    flow.remote_isn = packet.body.seq, packet.body.seq
            elif flow is not None and flow.state == CONNECTING and is_syn(packet.body):
                flow.state = SYN_SENT
                flow.local_isn = packet.body.seq, flow.local_isn[1]
        if flow is None:
            raise Failed("no socket matches the packet")
        return flow

    # -- inbound ----------------------------------------------------------------------------------

    def inject(self, packet: Packet) -> None:
        """Send the packet to the stack."""
        body = packet.body
        flow = self._flow(packet)
        if isinstance(body, TcpPacket):
            self._inject_tcp(flow, body, packet.ip)
        elif isinstance(body, IcmpPacket):
            self._inject_icmp(flow, body, packet.ip)
        else:
            raise NotApplicable("UDP packets")

    def _inject_tcp(self, flow: Flow, body: TcpPacket, ip: IpInfo) -> None:
        if body.udp is not None:
            raise NotApplicable("TCP inside UDP")
        if flow.state == SYNACK_SENT and "." in body.flags:
            flow.state = SYNACK_ACKED
        elif flow.state == SYN_SENT and is_synack(body):
            flow.state = SYN_ACKED
            flow.remote_isn = body.seq, body.seq
        elif flow.state == SYN_SENT and is_syn(body):
            flow.remote_isn = body.seq, body.seq  # simultaneous open
        data = flow.inbound_payload(body)
        live = flow.to_live(body, self.settings.ts_echo_scaled)
        source, destination = flow.remote, flow.local
        ports = source[1], destination[1]
        if body.ports is not None:
            ports = body.ports[0] or ports[0], body.ports[1] or ports[1]
        if "U" in body.flags:
            for file in self.calls.files.values():
                if hasattr(file, "trusted"):
                    file.trusted = False
        segment = segments.build_tcp(
            source[0],
            destination[0],
            ports[0],
            ports[1],
            live.seq,
            live.ack or 0,
            _bits(live),
            live.window or 0,
            live.urgent,
            segments.build_options(live.options or ()),
            data,
        )
        self._send(source[0], destination[0], TCP, segment, ip)

    def _send(
        self, source: bytes, destination: bytes, protocol: int, body: bytes, ip: IpInfo
    ) -> None:
        tos = ip.tos if ip.tos >= 0 else max(ip.ecn, 0)
        ttl = ip.ttl if ip.ttl >= 0 else TTL
        flow_label = max(ip.flow_label, 0)
        self.network.inject(
            segments.build_ip(source, destination, protocol, body, tos, ttl, flow_label)
        )

    def _inject_icmp(self, flow: Flow, body: IcmpPacket, ip: IpInfo) -> None:
        six = len(self.settings.local) == 16
        found = icmp_names.lookup(6 if six else 4, body.type, body.code)
        if six and body.mtu >= 0:
            found = (2, 0)  # packet too big, whatever the script calls it
        if found is None:
            raise Failed(f"there is no ICMP {body.type} {body.code} for this family")
        if body.udp is not None:
            raise NotApplicable("TCP inside UDP")
        if body.protocol != "tcp":
            raise NotApplicable(f"ICMP about {body.protocol}")
        kind, code = found
        seq = flow.quoted_seq(body.seq)
        quoted = segments.build_tcp(
            flow.local[0], flow.remote[0], flow.local[1], flow.remote[1],
            seq, 0, segments.ACK, 0, 0, b"", b"",
        )  # fmt: skip
        quote = segments.build_ip(
            flow.local[0], flow.remote[0], TCP, quoted + bytes(body.length), ttl=64
        )
        rest = max(body.mtu, 0)
        remote = flow.remote[0]
        message = segments.build_icmp(remote, flow.local[0], kind, code, rest, quote)
        self._send(remote, flow.local[0], ICMP6 if six else ICMP, message, ip)

    # -- outbound ---------------------------------------------------------------------------------

    def expecting(self, packet: Packet) -> Flow:
        """Prepare for an outbound packet: the connection it must come from."""
        flow = self._flow(packet)
        body = packet.body
        if isinstance(body, TcpPacket):
            if body.udp is not None:
                raise NotApplicable("TCP inside UDP")
            if flow.state == SYN_RECEIVED and is_synack(body):
                flow.local_isn = body.seq, flow.local_isn[1]
        return flow

    def _mine(self, flow: Flow) -> list[Seen]:
        """Packets of ``flow`` in order; what belongs to no socket under test is forgotten."""
        sent = self.network.link.sent
        kept: list[Seen] = []
        for seen in sent:
            if seen.protocol != TCP and (seen.src, seen.dst) == (flow.local[0], flow.remote[0]):
                kept.append(seen)
            elif flow.claims(seen):
                flow.local = seen.src, seen.sport
                flow.local_isn = flow.local_isn[0], seen.seq
                kept.append(seen)
            elif flow.sends(seen):
                kept.append(seen)
        sent.clear()
        sent.extend(kept)
        return kept

    def available(self, flow: Flow, packet: Packet) -> bool:
        """Whether enough has been sent to compare with ``packet``."""
        mine = self._mine(flow)
        if not mine:
            return False
        body = packet.body
        if not isinstance(body, TcpPacket) or self.settings.strict_segments:
            return True
        total = 0
        for before, seen in zip([None, *mine[:-1]], mine, strict=True):
            if before is not None and not compare.mergeable(before, seen):
                return True
            total += len(seen.data)
            if total >= body.length:
                return True
        return False

    def partial(self, flow: Flow) -> Seen | None:
        """What has been sent of a segment that is not complete."""
        mine = self._mine(flow)
        return flow.to_script(mine[0]) if mine else None

    def take(self, flow: Flow, packet: Packet) -> Seen:
        """The next packet of ``flow``, joined to the length the script expects."""
        sent = self.network.link.sent
        self._mine(flow)
        seen = sent.popleft()
        body = packet.body
        if not isinstance(body, TcpPacket) or self.settings.strict_segments:
            return seen
        last = seen
        size = len(seen.data)
        while len(seen.data) < body.length and sent and compare.mergeable(last, sent[0]):
            following = sent[0]
            if len(last.data) != size:
                break  # only the last segment of a super-frame may be short
            last = sent.popleft()
            seen = compare.merge(seen, following)
        return seen

    def check(self, flow: Flow, packet: Packet, seen: Seen, line: str) -> None:
        """Compare; learn the numbers the stack chose."""
        body = packet.body
        if isinstance(body, IcmpPacket):
            self._check_icmp(body, seen, line)
            return
        if isinstance(body, UdpPacket):
            raise NotApplicable("UDP packets")
        if seen.protocol == UDP or seen.protocol != TCP:
            raise Failed("another protocol than TCP was sent", line, segments.text(seen))
        if flow.state == SYN_RECEIVED and is_synack(body) and seen.flags & SYN:
            flow.state = SYNACK_SENT
            flow.local_isn = flow.local_isn[0], seen.seq
        mapped = flow.map_timestamp(body, flow.to_script(seen, body.absolute))
        slack = -1
        if self.settings.ts_tick:
            slack = self.settings.tolerance // self.settings.ts_tick
        compare.check_tcp(flow, body, packet.ip, mapped, line, slack)

    def _check_icmp(self, body: IcmpPacket, seen: Seen, line: str) -> None:
        six = len(self.settings.local) == 16
        found = icmp_names.lookup(6 if six else 4, body.type, body.code)
        if found is None:
            raise Failed(f"there is no ICMP {body.type} {body.code} for this family")
        if (seen.icmp_type, seen.icmp_code) != found:
            raise Failed("ICMP type and code", line, segments.text(seen))


def _bits(packet: TcpPacket) -> int:
    bits = flag_bits(packet.flags)
    if packet.ace >= 0:
        bits |= (packet.ace & 1 and segments.ECE) | (packet.ace & 2 and segments.CWR)
        bits |= packet.ace & 4 and segments.AE
    return bits
