# SPDX-License-Identifier: Apache-2.0
"""Raw sockets, step by step as Linux's are; the kernel gives them to root alone.

They hear whatever comes to the machine: so the kernel's half has a network namespace to itself.
"""

import os
import select
import socket as std
import struct
import sys
from typing import Any

import pytest
from beside_linux import Log, Steps, go_alike

IDENTIFICATION = b"\0\x09"
UNASSIGNED = 253  # a protocol nobody speaks, RFC 3692
HOSTS = {std.AF_INET: ["127.0.0.1", "127.0.0.2"], std.AF_INET6: ["::1"]}
ABSENT = {std.AF_INET: "192.0.2.77", std.AF_INET6: "2001:db8::77"}
ANY = {std.AF_INET: "", std.AF_INET6: "::"}
KINDS = [
    (std.AF_INET, std.IPPROTO_ICMP),
    (std.AF_INET, UNASSIGNED),
    (std.AF_INET, std.IPPROTO_UDP),
    (std.AF_INET, std.IPPROTO_RAW),
    (std.AF_INET6, std.IPPROTO_ICMPV6),
    (std.AF_INET6, UNASSIGNED),
    (std.AF_INET6, std.IPPROTO_UDP),
]
SOL_RAW, ICMP_FILTER, ICMP6_FILTER, IPV6_CHECKSUM = 255, 1, 1, 7
OPTIONS = [
    (std.IPPROTO_IP, 3),  # IP_HDRINCL
    (std.IPPROTO_IPV6, 36),  # IPV6_HDRINCL
    (std.IPPROTO_IPV6, IPV6_CHECKSUM),
    (SOL_RAW, IPV6_CHECKSUM),
    (SOL_RAW, ICMP_FILTER),
    (std.IPPROTO_ICMPV6, ICMP6_FILTER),
    (std.SOL_SOCKET, std.SO_PROTOCOL),
    (std.SOL_SOCKET, std.SO_TYPE),
    (std.IPPROTO_UDP, 1),
]
CALLS = [
    "bind", "connect", "connect", "send", "sendto", "sendto", "sendto", "ping", "ping", "ping",
    "udp", "packet", "packet", "recv", "recv", "recvfrom", "recvfrom", "peek", "recvmsg",
    "name", "peer", "error", "shutdown", "poll", "get", "set", "filter", "accept", "big",
]  # fmt: skip

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not std.has_dualstack_ipv6() or os.geteuid() != 0,
    reason="raw sockets of Linux are root's",
)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def shown(sock: std.socket, data: bytes) -> Any:
    """What was read, without what chance decides: identifications, ports."""
    if sock.family == std.AF_INET6 or len(data) < 20:
        return data[4:6] + data[8:] if sock.proto == std.IPPROTO_UDP else data
    seen = [*header(data), data[20:]]
    if sock.proto == std.IPPROTO_UDP:
        seen[-1] = data[24:26] + data[28:]
    elif sock.proto == std.IPPROTO_ICMP and data[20:21] == b"\3":  # an error quotes a packet
        seen[-1:] = [data[20:22], *header(data[28:]), data[48:]]
    return seen


def header(data: bytes) -> list[Any]:
    """Of IPv4."""
    return [data[:4], data[4:6] == IDENTIFICATION, data[6:10], data[12:20]]


class Walk(Steps):
    """Of raw sockets, all of one family."""

    calls = CALLS

    def open(self) -> Log:
        log: Log = []
        family = self.chance.choice([std.AF_INET, std.AF_INET6])
        kinds = [kind for kind in KINDS if kind[0] == family]
        for _ in range(3):
            family, proto = self.chance.choice(kinds)
            sock = std.socket(family, std.SOCK_RAW, proto)
            sock.setblocking(False)
            self.sockets.append(sock)
            log.append((f"socket {proto}", sock.proto))
        return log

    def ping(self, family: int) -> bytes:
        kind = 8 if family == std.AF_INET else 128
        body = struct.pack("!BBHHH", kind, 0, 0, 7, self.chance.randrange(3)) + b"payload"
        return body[:2] + struct.pack("!H", checksum(body)) + body[4:]

    def packet(self, family: int, host: str) -> bytes:
        """A whole packet, some of it left to the stack, some of it wrong."""
        chance = self.chance
        proto = chance.choice([UNASSIGNED, std.IPPROTO_ICMP, std.IPPROTO_UDP])
        body = bytes(chance.choice([0, 8, 40]))
        target = std.inet_pton(family, host)
        if family == std.AF_INET6:
            head = struct.pack("!IHBB", 6 << 28, len(body), UNASSIGNED, 64)
            return (head + target + target + body)[: chance.choice([100, 100, 39])]
        source = chance.choice([bytes(4), target])
        ident, flags = chance.choice([(0, 0), (9, 0), (9, 0x4000), (0, 0x4000)])
        length = chance.choice([0, 20 + len(body)])
        head = struct.pack("!BBHHHBBH", 0x45, 0, length, ident, flags, 33, proto, 0)
        return (head + source + target + body)[: chance.choice([100, 100, 19])]

    def step(self, sock: std.socket, call: str) -> Any:
        chance, family = self.chance, sock.family
        host = chance.choice(HOSTS[family])
        port = chance.choice([0, 0, sock.proto, 5])
        size = chance.choice([0, 1, 5, 100])
        match call:
            case "bind":
                own = [*HOSTS[family], ANY[family], ABSENT[family]]
                return sock.bind((chance.choice(own), port))
            case "connect":
                return sock.connect((host, port))
            case "send":
                return sock.send(bytes(size))
            case "sendto":
                return sock.sendto(bytes(size), (host, port))
            case "ping":
                return sock.sendto(self.ping(family), (host, 0))
            case "packet" if sock.proto != std.IPPROTO_UDP:  # of UDP's port 0 we are silent
                return sock.sendto(self.packet(family, host), (host, 0))
            case "udp":
                with std.socket(family, std.SOCK_DGRAM) as other:
                    other.bind((HOSTS[family][0], 0))
                    other.settimeout(1)
                    return other.sendto(bytes(size), other.getsockname()), other.recv(1000)
            case "big":
                return sock.sendto(
                    bytes(chance.choice([65_515, 65_516, 65_535, 65_536])), (host, 0)
                )
            case "recv":
                return len(sock.recv(1000))
            case "recvfrom" | "peek":
                data, source = sock.recvfrom(1000, std.MSG_PEEK if call == "peek" else 0)
                return shown(sock, data), source
            case "recvmsg":
                data, ancillary, flags, source = sock.recvmsg(chance.choice([2, 100]))
                return len(data), ancillary, flags, source
            case "name":
                return sock.getsockname()
            case "peer":
                return sock.getpeername()
            case "error":
                return sock.getsockopt(std.SOL_SOCKET, std.SO_ERROR)
            case "shutdown":
                return sock.shutdown(chance.choice([std.SHUT_RD, std.SHUT_WR, std.SHUT_RDWR]))
            case "get":
                level, name = chance.choice(OPTIONS)
                return level, name, sock.getsockopt(level, name, 32)
            case "set":
                level, name = chance.choice(OPTIONS)
                value = chance.choice([0, 1, 2, -1])
                return level, name, value, sock.setsockopt(level, name, value)
            case "filter":
                return self.filter(sock)
            case "accept":
                return sock.listen() or sock.accept()
        poll = select.poll()
        poll.register(sock, 0x3FFF)
        return poll.poll(0)[0][1] if poll.poll(0) else 0

    def filter(self, sock: std.socket) -> Any:
        """No echo requests, or no replies, or nothing filtered."""
        v4 = sock.family == std.AF_INET
        blocked = self.chance.choice([[], [8, 128], [0, 129]])
        mask = sum(1 << kind for kind in blocked if (kind < 32) is v4)
        level, name = (SOL_RAW, ICMP_FILTER) if v4 else (std.IPPROTO_ICMPV6, ICMP6_FILTER)
        return blocked, sock.setsockopt(level, name, mask.to_bytes(4 if v4 else 32, "little"))


def walk(seed: int) -> Log:
    return Walk(seed).run()


@pytest.mark.rfc("3542", "3")
@pytest.mark.parametrize("seed", range(40))
def test_each_step_is_as_in_linux(seed: int) -> None:
    go_alike(walk, seed, apart=True)
