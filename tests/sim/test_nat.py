# SPDX-License-Identifier: Apache-2.0
"""NAT44 on a router: transfers, echoes, errors, many hosts behind one address, limits, forwards."""

import asyncio
import socket as std
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import capas
from capas.base.checksum import checksum, ones_sum, pseudo_sum
from capas.base.clock import NEVER, SECOND
from capas.base.frame import Frame
from capas.errors import ConfigurationError
from capas.sim.bindings import ICMP, TCP, TCP_TIMEOUT, TRANSITORY, UDP, Binding, Bindings, rewrite
from capas.sim.world import World
from capas.sockets.socket import Socket
from capas.testing.fixture import Internet
from capas.wire.address import parse, text


def home(forward=None, limit=4096, exact=False, **link):
    """Two inside hosts behind a router, one outside."""
    world = World(seed=7, exact=exact)
    world.host("a", addresses=["192.168.0.10/24"])
    world.host("b", addresses=["192.168.0.11/24"])
    world.host("r", addresses=["192.168.0.1/24"], forwarding=True)
    world.host("out")
    world.switch("lan")
    for name in ("r", "a", "b"):
        world.link(name, "lan")
    wire = world.link(
        "r", "out", addresses={"r": ["198.51.100.1/24"], "out": ["198.51.100.2/24"]}, **link
    )
    nat = world.nat("r", wire, forward=forward, limit=limit)
    world.run(until=0.01)
    return world, nat


OUT = "198.51.100.2"
PUBLIC = "198.51.100.1"


def serve(port=80):
    """Echo one connection; who it came from."""
    with Socket() as listener:
        listener.bind(("0.0.0.0", port))
        listener.listen()
        connection, peer = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)
        return peer


def ask(address, data, port=80, bind=0):
    with Socket() as s:
        if bind:
            s.bind(("0.0.0.0", bind))
        s.connect((address, port))
        s.sendall(data)
        s.shutdown(std.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("loss", ["0%", "3%"])
def test_tcp(loss, exact):
    world, nat = home(exact=exact, loss=loss, rate="10Mbit", delay="5ms")
    server = world.thread("out", serve)
    data = bytes(range(256)) * 1000
    assert world.thread("a", ask, OUT, data).result() == data
    assert server.result()[0] == PUBLIC
    assert len(nat.mappings(world.now)) == 1
    assert not any("checksum" in name for name in world.hosts["out"].counters.snapshot())


def udp_server(count, port=53):
    with Socket(type=std.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", port))
        peers = []
        for _ in range(count):
            data, peer = s.recvfrom(65535)
            s.sendto(data, peer)
            peers.append(peer)
        return peers


def udp_ask(data, bind=0, to=OUT, port=53, timeout=5):
    with Socket(type=std.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        if bind:
            s.bind(("0.0.0.0", bind))
        s.connect((to, port))
        s.send(data)
        return s.recv(65535)


@pytest.mark.rfc("4787", "4.1", "REQ-1")
def test_two_hosts_with_one_port():
    world, nat = home()
    server = world.thread("out", udp_server, 3)
    first = world.thread("a", udp_ask, b"one", 5000)
    second = world.thread("b", udp_ask, b"two", 5000)
    assert (first.result(), second.result()) == (b"one", b"two")
    assert world.thread("a", udp_ask, b"again", 5000).result() == b"again"
    peers = server.result()
    assert [peer[0] for peer in peers] == [PUBLIC] * 3
    assert len({peer[1] for peer in peers}) == 2
    assert all(peer[1] % 2 == 0 for peer in peers)  # REQ-4: parity
    assert len(nat.mappings(world.now)) == 2


@pytest.mark.rfc("4787", "11", "REQ-14")
def test_fragments():
    world, _ = home()
    server = world.thread("out", udp_server, 1)
    data = bytes(4000)
    assert world.thread("a", udp_ask, data).result() == data
    server.result()


def test_ping():
    world, _ = home()
    host = world.hosts["a"]
    world.run(until=0.1)
    session = host.icmp.open_echo(None)
    assert session.send(parse(OUT), 1, b"hello", world.now)
    world.node("a").touch()
    world.run(until=1)
    result = session.receive()
    assert result is not None
    assert (text(result.source), result.payload) == (OUT, b"hello")
    assert world.hosts["r"].counters.snapshot()["nat.in"] == 1


@pytest.mark.rfc("5508", "4.1", "REQ-4")
def test_port_unreachable_comes_back():
    world, _ = home()
    with pytest.raises(ConnectionRefusedError):
        world.thread("a", udp_ask, b"x", 0, OUT, 9).result()
    assert world.hosts["r"].counters.snapshot()["nat.icmp_errors"] == 1


def test_port_forward():
    world, _ = home({80: ("192.168.0.11", 8080)})
    server = world.thread("b", serve, 8080)
    data = bytes(100_000)
    assert world.thread("out", ask, PUBLIC, data).result() == data
    assert server.result()[0] == OUT


@pytest.mark.rfc("4787", "6", "REQ-9")
def test_hairpin():
    world, _ = home({80: ("192.168.0.11", 8080)})
    server = world.thread("b", serve, 8080)
    assert world.thread("a", ask, PUBLIC, b"around").result() == b"around"
    assert server.result()[0] == PUBLIC


def told_by(host, world):
    """What a datagram to the forwarded port, where nobody listens, is answered with."""

    def send():
        with Socket(type=std.SOCK_DGRAM) as s:
            s.settimeout(3)
            s.connect((PUBLIC, 5000))
            s.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                s.recv(100)

    world.thread(host, send).result()


@pytest.mark.rfc("5508", "4.2", "REQ-7")
def test_errors_about_hairpinned_packets_come_back():
    world, nat = home(forward={5000: ("192.168.0.11", 5000)})
    told_by("out", world)
    told_by("a", world)
    assert nat.host.counters.get("nat.icmp_errors") == 3  # out, and back both ways


@pytest.mark.rfc("5382", "4.3", "REQ-4")
def test_a_syn_nobody_waits_for_is_not_answered():
    world, nat = home()

    def connect():
        with Socket() as s:
            s.settimeout(6)
            with pytest.raises(TimeoutError):
                s.connect((PUBLIC, 4000))

    world.thread("out", connect).result()
    assert nat.host.counters.get("nat.unsolicited") >= 2
    server = world.thread("r", serve, 4000)  # of the router's own
    assert world.thread("out", ask, PUBLIC, b"hello", 4000).result() == b"hello"
    assert server.result()[0] == OUT


@pytest.mark.rfc("5382", "4.3", "REQ-4")
def test_two_ends_behind_nats_open_at_once():
    world = World(seed=1)
    sides = (("1", "198.51.100.1", "198.51.100.9"), ("2", "203.0.113.2", "203.0.113.9"))
    world.host("core", forwarding=True)
    for n, public, core in sides:
        world.host("h" + n, addresses=[f"192.168.{n}.10/24"])
        world.host("n" + n, addresses=[f"192.168.{n}.1/24"], forwarding=True)
        world.link("h" + n, "n" + n)
        ends = {"n" + n: [public + "/24"], "core": [core + "/24"]}
        wire = world.link("n" + n, "core", delay="10ms", addresses=ends)
        world.nat("n" + n, wire)
    world.run(until=0.01)

    def punch(address, wait):
        time.sleep(wait)
        with Socket() as s:
            s.bind(("0.0.0.0", 4000))
            s.settimeout(30)
            s.connect((address, 4000))
            s.sendall(b"hello")
            return s.recv(100)

    with capas.installed():
        first = world.thread("h1", punch, "203.0.113.2", 0)
        second = world.thread("h2", punch, "198.51.100.1", 0.2)
        assert [first.result(), second.result()] == [b"hello", b"hello"]


def test_error_about_a_forwarded_packet_goes_out_translated():
    world, _ = home({9: ("192.168.0.11", 99)})
    with pytest.raises(ConnectionRefusedError):
        world.thread("out", udp_ask, b"x", 0, PUBLIC, 9).result()


def test_limit_and_expiry():
    world, nat = home(limit=1)
    server = world.thread("out", udp_server, 2)
    assert world.thread("a", udp_ask, b"one", 5000).result() == b"one"
    with pytest.raises(TimeoutError):
        world.thread("b", udp_ask, b"two", 5001).result()
    assert world.hosts["r"].counters.snapshot()["nat.full"] >= 1
    world.run_for(301)
    assert nat.mappings(world.now) == []
    assert world.thread("b", udp_ask, b"three", 5001).result() == b"three"
    server.result()
    assert len(nat.bindings.outer) == 1


def test_the_inside_is_not_reached_by_its_own_addresses():
    world, _ = home()
    with pytest.raises(TimeoutError):
        world.thread("out", udp_ask, b"x", 0, "192.168.0.10", 9).result()
    assert world.hosts["r"].counters.snapshot()["nat.inside_address"] == 1


@pytest.mark.rfc("5382", "5", "REQ-5")
def test_times_of_tcp():
    binding = Binding(TCP, parse("10.0.0.1"), 1, 1, 0)
    binding.touch(0x02, True, 0)
    assert binding.expires == TRANSITORY
    binding.touch(0x12, False, 0)
    binding.touch(0x10, True, 0)
    assert binding.expires == TCP_TIMEOUT
    binding.touch(0x11, True, 0)
    assert binding.expires == TCP_TIMEOUT
    binding.touch(0x11, False, SECOND)
    assert binding.expires == SECOND + TRANSITORY


def test_ports_run_out():
    drops = []
    bindings = Bindings(100_000, lambda now, name, clause: drops.append(name))
    bindings.insert(Binding(UDP, b"abcd", 2, 2, NEVER))
    for port in range(1, 600):
        bindings.new(UDP, port.to_bytes(4, "big"), 20, 0)
    assert drops == ["nat.no_port"] * (599 - 510)


@given(st.binary(min_size=8, max_size=60), st.binary(min_size=4, max_size=4), st.booleans())
@settings(deadline=None)
def test_checksums_stay_right(payload, address, source):
    src, dst = b"\x0a\0\0\1", b"\x0a\0\0\2"
    head = (
        b"\x45\0"
        + (20 + 8 + len(payload)).to_bytes(2, "big")
        + bytes(4)
        + b"\x40\x11\0\0"
        + src
        + dst
    )
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    length = 8 + len(payload)
    udp = b"\x12\x34\x56\x78" + length.to_bytes(2, "big") + b"\0\0" + payload
    value = checksum(udp, pseudo_sum(src, dst, 17, length)) or 0xFFFF
    data = bytearray(head + udp[:6] + value.to_bytes(2, "big") + payload)
    rewrite(data, 0, 20, source, address, 999)
    assert ones_sum(data[:20]) == 0xFFFF
    sums = pseudo_sum(bytes(data[12:16]), bytes(data[16:20]), 17, length)
    assert ones_sum(data[20:], sums) == 0xFFFF


@given(st.sampled_from([ICMP, TCP, UDP, 47]), st.binary(max_size=80), st.booleans())
@settings(deadline=None, max_examples=200)
def test_malformed_packets_are_counted_not_raised(protocol, payload, inward):
    world, _ = SHARED
    router = world.hosts["r"]
    src, dst = parse("192.168.0.10"), parse(OUT)
    if inward:
        src, dst = dst, parse(PUBLIC)
    total = (20 + len(payload)).to_bytes(2, "big")
    head = b"\x45\0" + total + bytes(4) + b"\x40" + bytes((protocol, 0, 0)) + src + dst
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    interface = router.interfaces[2 if inward else 1]
    frame = interface.mac + bytes(6) + b"\x08\0" + head + payload
    router.ipv4.receive(interface, Frame(frame), 14, world.now)


SHARED = home()


def test_refused_settings():
    world, _ = home()
    with pytest.raises(ConfigurationError):
        world.nat("a", "eth0")
    with pytest.raises(ConfigurationError):
        world.nat("r", "no such")
    with pytest.raises(ConfigurationError):
        world.nat("r", "eth1", forward={80: ("::1", 80)})


def test_the_fixture_translates_again_after_a_restart():
    with Internet(seed=1) as internet:
        inside, router, outside = internet.host("a"), internet.router("r"), internet.host("o")
        internet.link(inside, router)
        nat = internet.nat("r", internet.link(router, outside))
        peers = []

        async def handle(reader, writer):
            peers.append(writer.get_extra_info("peername")[0])
            writer.write(await reader.read(100))
            writer.close()

        async def ask():
            reader, writer = await asyncio.open_connection(outside.address, 7)
            writer.write(b"hi")
            return await reader.read()

        outside.serve(handle, port=7)
        assert inside.run(ask()) == b"hi"
        router.kill()
        router.restart()
        assert nat.mappings(internet.world.now) == []
        assert inside.run(ask()) == b"hi"
        assert peers == [text(nat.external())] * 2
