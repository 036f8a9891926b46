# SPDX-License-Identifier: Apache-2.0
"""A captured packet taken apart, as fields of Wireshark's names and as a line in tcpdump's manner.

The bytes are untrusted: what cannot be read is shown as far as it can.
"""

import socket
from typing import Any, Final, final

from capas.base.seq import diff
from capas.cli.dump_file import Captured
from capas.wire import dhcp4, ipv6, tcp
from capas.wire.address import mac_text, text
from capas.wire.dhcp4 import Dhcp
from capas.wire.ethernet import TYPE_ARP, TYPE_IPV4, TYPE_IPV6, TYPE_VLAN, Arp

_FLAGS: Final = (
    (tcp.SYN, "S"), (tcp.FIN, "F"), (tcp.RST, "R"), (tcp.PSH, "P"), (tcp.URG, "U"),
    (tcp.ECE, "E"), (tcp.CWR, "W"), (tcp.ACK, "."),
)  # fmt: skip
_ICMP4: Final = {0: "echo reply", 8: "echo request", 5: "redirect", 11: "time exceeded in-transit"}
_UNREACHABLE4: Final = {0: "net", 1: "host", 2: "protocol", 3: "port"}
_ICMP6: Final = {
    1: "unreachable", 2: "packet too big", 3: "time exceeded in-transit", 128: "echo request",
    129: "echo reply", 130: "multicast listener query", 131: "multicast listener report",
    132: "multicast listener done", 133: "router solicitation", 134: "router advertisement",
    135: "neighbor solicitation", 136: "neighbor advertisement", 137: "redirect",
    143: "multicast listener report v2",
}  # fmt: skip
_ETHERNET: Final = 1
_FLOWS: Final = 65_536  # connections whose first sequence numbers are remembered


@final
class Packet:
    """What a filter and a line need of one packet; absent numbers are -1, addresses b""."""

    def __init__(self, captured: Captured) -> None:
        self.captured: Captured = captured
        self.ethertype: int = -1
        self.vlan: int = -1
        self.macs: tuple[bytes, ...] = ()  # destination, source
        self.src: bytes = b""
        self.dst: bytes = b""
        self.protocol: int = -1
        self.ttl: int = -1
        self.fragment: int = 0  # offset in bytes, of IPv4
        self.ports: tuple[int, ...] = ()  # source, destination
        self.arp: Arp | None = None
        self.start: int = 0  # of the transport header
        self.end: int = 0
        self._take_apart(captured.data)

    def _take_apart(self, data: bytes) -> None:
        at = 0
        if self.captured.linktype == _ETHERNET:
            if len(data) < 14:
                return
            self.macs = data[:6], data[6:12]
            at, self.ethertype = 14, data[12] << 8 | data[13]
            if self.ethertype == TYPE_VLAN and len(data) >= 18:
                self.vlan = (data[14] & 15) << 8 | data[15]
                at, self.ethertype = 18, data[16] << 8 | data[17]
        elif data:
            self.ethertype = {4: TYPE_IPV4, 6: TYPE_IPV6}.get(data[0] >> 4, -1)
        if self.ethertype == TYPE_IPV4 and len(data) >= at + 20:
            self._ipv4(data, at)
        elif self.ethertype == TYPE_IPV6 and len(data) >= at + 40:
            self._ipv6(data, at)
        elif self.ethertype == TYPE_ARP:
            self.arp = Arp.parse(data, at)
            if self.arp is not None:
                self.src, self.dst = self.arp.sender, self.arp.target

    def _ipv4(self, data: bytes, at: int) -> None:
        self.src, self.dst = data[at + 12 : at + 16], data[at + 16 : at + 20]
        self.ttl, self.protocol = data[at + 8], data[at + 9]
        self.fragment = ((data[at + 6] & 0x1F) << 8 | data[at + 7]) * 8
        self.start = at + (data[at] & 15) * 4
        self._transport(data, at + (data[at + 2] << 8 | data[at + 3]))

    def _ipv6(self, data: bytes, at: int) -> None:
        _, length, following, self.ttl, self.src, self.dst = ipv6.HEADER.unpack_from(data, at)
        end = at + 40 + length if length else len(data)
        walked = ipv6.chain(data, following, at + 40, min(end, len(data)))
        self.protocol, self.start = walked[1:3] if walked is not None else (following, at + 40)
        self._transport(data, end)

    def _transport(self, data: bytes, end: int) -> None:
        super_frame = self.captured.length > 1600 and end < len(data)  # its length field is short
        self.end = len(data) if super_frame else min(end, len(data))
        if self.protocol in (6, 17) and not self.fragment and self.end - self.start >= 4:
            at = self.start
            self.ports = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]

    @property
    def payload(self) -> bytes:
        """From the transport header on."""
        return self.captured.data[self.start : self.end]


@final
class Lines:
    """Writes packets as tcpdump does; sequence numbers count from the first one seen of a flow."""

    def __init__(self, *, absolute: bool = False, link: bool = False) -> None:
        self._absolute = absolute
        self._link = link
        self._first: dict[tuple[bytes, bytes, tuple[int, ...]], int] = {}

    def line(self, packet: Packet) -> str:
        """The packet without its time."""
        captured = packet.captured
        head = ""
        if self._link and packet.macs:
            dst, src = (mac_text(mac) for mac in packet.macs)
            head = f"{src} > {dst}, ethertype 0x{packet.ethertype:04x}, length {captured.length}: "
        if packet.vlan >= 0:
            head += f"vlan {packet.vlan}, "
        if packet.arp is not None:
            return head + _arp(packet.arp)
        if not packet.src:
            return head + f"ethertype 0x{max(packet.ethertype, 0):04x}, length {captured.length}"
        name = "IP" if len(packet.src) == 4 else "IP6"
        ends = [text(packet.src), text(packet.dst)]
        if packet.ports:
            ends = [f"{end}.{port}" for end, port in zip(ends, packet.ports, strict=True)]
        return f"{head}{name} {ends[0]} > {ends[1]}: {self._inner(packet)}"

    def _inner(self, packet: Packet) -> str:
        payload = packet.payload
        if packet.fragment:
            return (
                f"ip-proto-{packet.protocol}, fragment at {packet.fragment}, length {len(payload)}"
            )
        if packet.protocol == 6 and packet.ports:
            return self._tcp(packet, payload)
        if packet.protocol == 17 and len(payload) >= 8:
            return _udp(packet, payload)
        if packet.protocol == 1 and len(payload) >= 8:
            return f"ICMP {_icmp4(payload)}, length {len(payload)}"
        if packet.protocol == 58 and len(payload) >= 8:
            return f"ICMP6, {_icmp6(payload)}, length {len(payload)}"
        return f"ip-proto-{packet.protocol} {len(payload)}"

    def _tcp(self, packet: Packet, payload: bytes) -> str:
        segment = tcp.parse(payload, 0, len(payload), 0)
        if segment is None:
            return f"tcp {len(payload)} [bad hdr]"
        marks = "".join(mark for bit, mark in _FLAGS if segment.flags & bit) or "none"
        words = [f"Flags [{marks}]"]
        seq, ack, peer = segment.seq, segment.ack, 0
        size = len(segment.payload)
        key = (packet.src, packet.dst, packet.ports)
        if segment.flags & tcp.SYN and len(self._first) < _FLOWS:
            self._first[key] = seq
        elif not self._absolute:
            if len(self._first) < _FLOWS:
                self._first.setdefault(key, seq)
            back = self._first.get((packet.dst, packet.src, packet.ports[::-1]))
            seq = diff(seq, self._first.get(key, 0))
            if back is not None:
                ack, peer = diff(ack, back), back
        if size or segment.flags & (tcp.SYN | tcp.FIN | tcp.RST):
            words.append(f"seq {seq}:{seq + size}" if size else f"seq {seq}")
        if segment.flags & tcp.ACK:
            words.append(f"ack {ack}")
        words.append(f"win {segment.wnd}")
        options = _tcp_options(payload[20 : (payload[12] >> 4) * 4], peer)
        if options:
            words.append(f"options [{options}]")
        return ", ".join([*words, f"length {size}"])


def _tcp_options(data: bytes, peer: int) -> str:
    """Options as tcpdump words them; ``peer``: what SACK edges count from."""
    words = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind <= 1:
            words.append("nop" if kind else "eol")
            at += 1
            if not kind:
                break
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            words.append(f"[bad opt {kind}]")
            break
        value = data[at + 2 : at + size]
        number = int.from_bytes(value, "big")
        if kind == 2:
            words.append(f"mss {number}")
        elif kind == 3:
            words.append(f"wscale {number}")
        elif kind == 4:
            words.append("sackOK")
        elif kind == 5:
            edges = [
                (int.from_bytes(value[i : i + 4], "big") - peer) & 0xFFFFFFFF
                for i in range(0, len(value) - 3, 4)
            ]
            blocks = "".join(f"{{{a}:{b}}}" for a, b in zip(edges[::2], edges[1::2], strict=False))
            words.append(f"sack {len(edges) // 2} {blocks}")
        elif kind == 8 and size == 10:
            words.append(f"TS val {number >> 32} ecr {number & 0xFFFFFFFF}")
        elif kind == 34:
            words.append(f"tfo  cookie {value.hex()}" if value else "tfo  cookiereq")
        else:
            words.append(f"unknown-{kind} 0x{value.hex()}" if value else f"unknown-{kind}")
        at += size
    return ",".join(words)


def _arp(arp: Arp) -> str:
    if arp.operation == 1:
        return f"ARP, Request who-has {text(arp.target)} tell {text(arp.sender)}, length 28"
    return f"ARP, Reply {text(arp.sender)} is-at {mac_text(arp.sender_mac)}, length 28"


def _udp(packet: Packet, payload: bytes) -> str:
    size = len(payload) - 8
    if 67 in packet.ports or 68 in packet.ports:
        message = Dhcp.parse(payload[8:])
        if message is not None:
            way = "Request from " + mac_text(message.mac) if message.op == 1 else "Reply"
            return f"BOOTP/DHCP, {way}, {dhcp4.KINDS[message.kind]}, length {size}"
    return f"UDP, length {size}"


def _icmp4(payload: bytes) -> str:
    kind, code = payload[0], payload[1]
    if kind in (0, 8):
        return f"{_ICMP4[kind]}, {_echo(payload)}"
    if kind == 3 and len(payload) >= 28:
        target = socket.inet_ntoa(payload[24:28])
        if code == 4:
            mtu = int.from_bytes(payload[6:8], "big")
            return f"{target} unreachable - need to frag (mtu {mtu})"
        name = {6: "tcp", 17: "udp"}.get(payload[17])
        if code == 3 and name is not None and len(payload) >= 32:
            return f"{target} {name} port {int.from_bytes(payload[30:32], 'big')} unreachable"
        return f"{target} {_UNREACHABLE4.get(code, f'code {code}')} unreachable"
    return _ICMP4.get(kind, f"type-{kind}")


def _icmp6(payload: bytes) -> str:
    kind = payload[0]
    name = _ICMP6.get(kind, f"type-{kind}")
    if kind in (128, 129):
        return f"{name}, {_echo(payload)}"
    if kind == 2:
        return f"{name}, mtu {int.from_bytes(payload[4:8], 'big')}"
    if kind in (135, 136) and len(payload) >= 24:
        return f"{name}, {'who has' if kind == 135 else 'tgt is'} {text(payload[8:24])}"
    return name


def _echo(payload: bytes) -> str:
    ident, sequence = (int.from_bytes(payload[i : i + 2], "big") for i in (4, 6))
    return f"id {ident}, seq {sequence}"


def fields(packet: Packet, number: int) -> dict[str, Any]:
    """The packet by Wireshark's names of fields."""
    captured = packet.captured
    found: dict[str, Any] = {
        "frame.number": number, "frame.time_epoch": captured.time / 1e9,
        "frame.len": captured.length, "frame.interface_name": captured.interface,
    }  # fmt: skip
    if packet.macs:
        found["eth.dst"], found["eth.src"] = (mac_text(mac) for mac in packet.macs)
    if packet.ethertype >= 0:
        found["eth.type"] = packet.ethertype
    if packet.arp is not None:
        found["arp.opcode"] = packet.arp.operation
        found["arp.src.proto_ipv4"], found["arp.dst.proto_ipv4"] = (
            text(packet.src),
            text(packet.dst),
        )
    elif packet.src:
        ip = "ip" if len(packet.src) == 4 else "ipv6"
        found[f"{ip}.src"], found[f"{ip}.dst"] = text(packet.src), text(packet.dst)
        found["ip.ttl" if ip == "ip" else "ipv6.hlim"] = packet.ttl
        found["ip.proto" if ip == "ip" else "ipv6.nxt"] = packet.protocol
    if packet.ports:
        name = "tcp" if packet.protocol == 6 else "udp"
        found[f"{name}.srcport"], found[f"{name}.dstport"] = packet.ports
    segment = tcp.parse(packet.payload, 0, len(packet.payload), 0) if packet.protocol == 6 else None
    if segment is not None and packet.ports:
        found |= {
            "tcp.seq_raw": segment.seq, "tcp.ack_raw": segment.ack, "tcp.len": len(segment.payload),
            "tcp.window_size_value": segment.wnd, "tcp.flags": segment.flags & 0xFF,
        }  # fmt: skip
    if captured.outgoing is not None:
        found["frame.p2p_dir"] = 0 if captured.outgoing else 1
    if captured.comments:
        found["frame.comment"] = list(captured.comments)
    return found
