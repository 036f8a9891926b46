# SPDX-License-Identifier: Apache-2.0
"""How far sockets reach and who reaches them: as on Linux's over loopback, and across a router."""

import contextlib
import errno
import socket as std
import sys
import time

import pytest
from beside_linux import MOMENT, Log, go_alike
from test_options_as_linux import tried

from capas.sim.world import World
from capas.sockets import modules

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing")
IP, IPV6 = std.IPPROTO_IP, std.IPPROTO_IPV6
#: Family, address, option level, least TTL (IP_MINTTL, IPV6_MINHOPCOUNT), TTL.
FAMILIES = (
    (std.AF_INET, "127.0.0.1", IP, 21, std.IP_TTL),
    (std.AF_INET6, "::1", IPV6, 73, std.IPV6_UNICAST_HOPS),
)
LOOPBACK = 65_536  # bytes, the MTU
SHORT = 0.05  # s, how long somebody waits who is not heard


def datagrams_from_afar(_: int) -> Log:
    log: Log = []
    for family, host, level, least, ttl in FAMILIES:
        with std.socket(family, std.SOCK_DGRAM) as one, std.socket(family, std.SOCK_DGRAM) as two:
            one.bind((host, 0))
            one.setsockopt(level, least, 100)
            two.setsockopt(level, ttl, 50)
            two.sendto(b"x", one.getsockname())
            time.sleep(MOMENT)
            log.append((host, tried(one.recv, 9, std.MSG_DONTWAIT)))
    return log


@LINUX
def test_udp_hears_from_everywhere() -> None:
    go_alike(datagrams_from_afar, 0)


def streams_from_afar(_: int) -> Log:
    log: Log = []
    for family, host, level, least, ttl in FAMILIES:
        with std.socket(family) as listener:
            listener.setsockopt(level, least, 100)
            listener.bind((host, 0))
            listener.listen()
            for hops in (99, 100):
                with std.socket(family) as client:
                    client.setsockopt(level, ttl, hops)
                    client.settimeout(SHORT)
                    log.append((f"{hops} hops", tried(client.connect, listener.getsockname())))
                    if hops < 100:
                        continue
                    server, _ = listener.accept()
                    log.append(("inherits", server.getsockopt(level, least)))
                    server.settimeout(SHORT)
                    client.setsockopt(level, ttl, 99)
                    client.send(b"from afar")
                    log.append(("hears", tried(server.recv, 99)))
                    client.setsockopt(level, ttl, 255)
                    client.send(b", then nearer")
                    server.settimeout(5)
                    got = b""
                    with contextlib.suppress(TimeoutError):
                        while len(got) < 22:
                            got += server.recv(99)
                    log.append(("hears", got))
                    server.close()
    return log


@LINUX
@pytest.mark.rfc("5082", "3")
def test_tcp_hears_nobody_from_afar() -> None:
    go_alike(streams_from_afar, 0, apart=True)


@pytest.mark.rfc("5082", "3")
def test_what_comes_from_afar_is_counted_and_errors_do_not_count() -> None:
    def client() -> object:
        with std.socket() as sock:
            sock.setsockopt(IP, 21, 255)
            sock.settimeout(3)
            return tried(sock.connect, ("server", 9))

    world = World(seed=1)
    near, router, far = world.host("near"), world.router("router"), world.host("server")
    world.link(near, router)
    world.link(router, far)
    with world, modules.installed():
        assert world.thread(near, client).result() == "timeout"  # though port 9 is closed
    assert near.counters.get("tcp.min_ttl") >= 2


def whole_datagrams(_: int) -> Log:
    log: Log = []
    for family, host, *_rest in FAMILIES:
        for wanted in (0, 1):
            with std.socket(family, std.SOCK_DGRAM) as one:
                if family == std.AF_INET6:
                    one.setsockopt(IPV6, 62, wanted)
                    one.setsockopt(IPV6, std.IPV6_UNICAST_HOPS, 3)
                header = 48 if family == std.AF_INET6 else 28
                for size in (LOOPBACK - header, LOOPBACK - header + 1, 65_508):
                    sent = tried(one.sendto, bytes(size), (host, 9))
                    log.append((f"{host} {wanted} {size}", sent))
                    tried(one.getsockopt, std.SOL_SOCKET, std.SO_ERROR)
    return log


@LINUX
def test_a_datagram_that_must_stay_whole_is_too_long() -> None:
    go_alike(whole_datagrams, 0, apart=True)


def without_routes(_: int) -> Log:
    log: Log = []
    for kind in (std.SOCK_STREAM, std.SOCK_DGRAM):
        for family, host, *_rest in FAMILIES:
            with std.socket(family, kind) as sock:
                sock.setsockopt(std.SOL_SOCKET, std.SO_DONTROUTE, 1)
                log.append((f"{host} {kind}", tried(sock.connect, (host, 9))))
                log.append(("reads", sock.getsockopt(std.SOL_SOCKET, std.SO_DONTROUTE)))
    return log


@LINUX
def test_oneself_is_reached_without_routes() -> None:
    go_alike(without_routes, 0)


def test_without_routes_only_neighbours_are_reached_over_ipv4() -> None:
    """Each verdict is Linux's in a namespace with a gateway: IPv6 knows no such thing there."""

    def client() -> dict[str, list[object]]:
        found: dict[str, list[object]] = {}
        for name in ("router", "server"):
            for family in (std.AF_INET, std.AF_INET6):
                there = std.getaddrinfo(name, 9, family)[0][4]
                said = found.setdefault(f"{name} {family.name}", [])
                with std.socket(family, std.SOCK_DGRAM) as sock:
                    said.append(tried(sock.sendto, b"x", std.MSG_DONTROUTE, there))
                    said.append(tried(sock.sendto, b"x", there))
                    sock.connect(there)
                    sock.setsockopt(std.SOL_SOCKET, std.SO_DONTROUTE, 1)
                    said.append(tried(sock.send, b"x"))
                with std.socket(family) as sock:
                    sock.setsockopt(std.SOL_SOCKET, std.SO_DONTROUTE, 1)
                    said.append(tried(sock.connect, there))
        return found

    world = World(seed=1)
    client_host, router, server = world.host("client"), world.router("router"), world.host("server")
    world.link(client_host, router)
    world.link(router, server)
    with world, modules.installed():
        found = world.thread(client_host, client).result()
    refused = errno.errorcode[errno.ECONNREFUSED]
    unreachable = errno.errorcode[errno.ENETUNREACH]
    assert found["server AF_INET"] == [unreachable, 1, unreachable, unreachable]
    assert found["router AF_INET"] == [1, 1, 1, refused]
    assert found["router AF_INET6"] == [1, 1, 1, refused]
    assert found["server AF_INET6"] == [1, 1, 1, refused]


def to_port_0(_: int) -> Log:
    log: Log = []
    raw = std.socket(std.AF_INET, std.SOCK_RAW, std.IPPROTO_UDP)
    errors = std.socket(std.AF_INET, std.SOCK_RAW, std.IPPROTO_ICMP)
    with raw, errors:
        errors.settimeout(SHORT)
        for length in (9, 8, 7, 10):  # the header says
            raw.sendto(b"\x30\x39\0\0\0" + bytes((length,)) + b"\0\0x", ("127.0.0.1", 0))
            answer = tried(errors.recv, 100)
            said = answer[20:22] if isinstance(answer, bytes) else answer
            log.append((f"length {length}", said))
    return log


@LINUX
@pytest.mark.rfc("1122", "4.1.3.1")
def test_port_0_is_unreachable_as_any_where_nobody_is() -> None:
    go_alike(to_port_0, 0, apart=True)
