# SPDX-License-Identifier: Apache-2.0
"""Faults of a world: each begins, does its harm, and ends."""

import asyncio
import socket as std
import time

import pytest

from capas.aio.loop import new_event_loop
from capas.base.clock import MS, SECOND
from capas.errors import ConfigurationError
from capas.sim.engine import HostNode
from capas.sim.rules import DROP, PASS, between, deliver_in
from capas.sim.world import World
from capas.sockets.current import use_host
from capas.sockets.socket import Socket


def clock_world(numbers=100, every=0.01, **settings):
    """A client that sends a datagram each 10 ms and a server that notes when they come."""
    world = World(seed=1)
    client, server = world.host("client"), world.host("server")
    wire = world.link(client, server, **settings)
    got = []

    def listen():
        with Socket(std.AF_INET, std.SOCK_DGRAM) as s:
            s.bind(("0.0.0.0", 9))
            while True:
                data, _ = s.recvfrom(100)
                got.append((int(data), world.now // MS))

    def send():
        with Socket(std.AF_INET, std.SOCK_DGRAM) as s:
            for i in range(numbers):
                s.sendto(str(i).encode(), ("10.0.0.2", 9))
                time.sleep(every)

    world.thread(server, listen)
    world.thread(client, send)
    return world, wire, got


def numbers(got):
    return [n for n, _ in got]


def test_a_partition_in_one_direction_and_in_both():
    world, _, got = clock_world()
    world.run(until=0.205)
    with world.partition("client", "server"):
        world.run(until=0.405)
    world.run(until=0.605)
    with world.partition(["server"], "client", one_way=True):
        world.run(until=0.8)
    world.run(until=2)
    assert numbers(got) == [*range(21), *range(41, 100)]


def test_a_partition_of_hosts_that_are_hops_apart():
    world = World()
    for name in "abc":
        world.host(name)
    world.switch("s"), world.router("r")
    world.link("a", "s"), world.link("b", "s"), world.link("s", "r"), world.link("r", "c")
    got = []

    def listen():
        with Socket(std.AF_INET, std.SOCK_DGRAM) as s:
            s.bind(("0.0.0.0", 9))
            while True:
                got.append(s.recvfrom(100)[0])

    def send(word):
        with Socket(std.AF_INET, std.SOCK_DGRAM) as s:
            s.sendto(word, (std.inet_ntoa(world.names["c"][0]), 9))

    world.thread("c", listen)
    with world.partition("a", "c"):
        world.thread("a", send, b"from a")
        world.thread("b", send, b"from b")
        world.run(until=1)
    world.thread("a", send, b"a again")
    world.run(until=2)
    assert got == [b"from b", b"a again"]


def test_cut_hold_and_a_scripted_rule():
    world, wire, got = clock_world(delay="5ms")
    world.run(until=0.103)
    with world.cut(wire):
        world.run(until=0.203)
    with world.hold(wire, "up"):
        world.run(until=0.303)
    with world.rule(wire, lambda frame, now: deliver_in("20ms"), "up"):
        world.run(until=0.403)
    world.run(until=2)
    times = dict(got)
    assert 10 not in times and 20 not in times  # cut; number 10 was on the wire when it went
    assert {times[n] for n in range(21, 31)} == {308}
    assert times[35] == 370
    assert numbers(got)[-1] == 99


def test_the_nth_packet_that_matches():
    world, wire, got = clock_world()
    world.run(until=0.001)
    with world.drop_nth(wire, 3, "up", matching=lambda frame: frame.data[12:14] == b"\x08\x00"):
        world.run(until=2)
    assert numbers(got) == [0, 1, 2, *range(4, 100)]


def test_a_rule_that_raises_stops_the_run_and_says_where():
    world, wire, _ = clock_world()

    def broken(frame, now):
        raise KeyError("no such")

    world.rule(wire, broken)
    with pytest.raises(KeyError) as caught:
        world.run(until=1)
    assert "client>server" in caught.value.__notes__[0]


def test_a_link_changes_while_it_works():
    world, wire, got = clock_world(delay="5ms")
    world.run(until=0.101)
    world.change(wire, "up", delay="50ms", loss=0)
    world.run(until=0.301)
    world.change(wire, loss=1.0)
    world.run(until=0.401)
    world.change(wire, loss=0, delay=0)
    world.run(until=2)
    times = dict(got)
    assert times[9] == 95
    assert times[15] == 200
    assert all(n not in times for n in range(31, 41))
    assert times[50] == 500
    with pytest.raises(ConfigurationError, match="no setting"):
        world.change(wire, lag=3)


def test_a_paused_host_reads_its_ring_when_it_wakes():
    world, _, got = clock_world()
    world.run(until=0.101)
    with world.pause("server"):
        world.run(until=0.501)
        assert numbers(got)[-1] == 10
    world.run(until=2)
    assert numbers(got) == list(range(100))
    assert dict(got)[30] == 501


def test_the_ring_of_a_paused_host_is_bounded():
    world, wire, _ = clock_world(numbers=5000, every=0.001)
    with world.pause("server"):
        world.run(until=4.9)
        assert len(world.node("server").inbox) == 4096
    assert world.node("server").overflows > 800
    assert wire.up.statistics.undeliverable == world.node("server").overflows
    assert isinstance(world.node("server"), HostNode)


def test_a_killed_host_is_silent_and_comes_back_as_another():
    world = World(seed=4)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="1ms")
    events = []

    def serve():
        with Socket() as listener:
            listener.bind(("0.0.0.0", 80))
            listener.listen()
            while True:
                connection, _ = listener.accept()
                events.append("accepted")
                try:
                    connection.recv(100)
                finally:
                    events.append("server ends")

    def ask():
        with Socket() as s:
            s.connect(("10.0.0.2", 80))
            time.sleep(3)
            try:
                s.sendall(b"x")
                s.recv(100)
            except OSError as error:
                return type(error), world.now

    called = []
    world.on_kill(server, lambda: called.append(world.now))
    world.thread(server, serve)
    process = world.thread(client, ask)
    world.run(until=1)
    fault = world.kill(server)
    assert called == [SECOND]
    assert events == ["accepted", "server ends"]
    assert world.node("server").processes == []
    world.run(until=2)
    fault.remove()
    assert world.hosts["server"] is server  # the same name, address and cable
    assert world.names["server"][0] in [a.address for a in server.interfaces[1].addresses]
    assert server.tcp.connections() == []
    error, when = process.result()
    assert error is ConnectionResetError  # the new server knows nothing of the connection
    assert when < 3.1 * SECOND
    world.thread(server, serve)
    process = world.thread(client, ask)
    world.run(until=world.time + 1)
    assert events[-1] == "accepted"


def test_a_connection_to_a_dead_host_times_out():
    world = World(seed=4)
    client = world.host("client")
    world.link(client, world.host("server"))
    world.kill("server")

    def connect():
        with Socket() as s:
            s.connect(("10.0.0.2", 80))

    with pytest.raises(OSError) as caught:
        world.thread(client, connect).result()
    assert isinstance(caught.value, TimeoutError) or caught.value.errno == 113  # EHOSTUNREACH


def test_isolated_hosts_hear_nothing():
    world, _, got = clock_world()
    world.run(until=0.101)
    with world.isolate("server"):
        world.run(until=0.301)
    world.run(until=2)
    assert numbers(got) == [*range(11), *range(31, 100)]


def test_a_black_hole_on_a_link():
    world, wire, got = clock_world()
    with world.black_hole(wire, 29):
        world.run(until=0.501)
    world.run(until=2)
    assert numbers(got) == [n for n in range(100) if n < 10 or n > 50]
    assert wire.up.statistics.black_holed >= 41


def test_matching_by_addresses():
    matches = between(frozenset([b"abcd"]), frozenset([b"efgh"]))
    world, wire, _ = clock_world()
    seen = []
    world.rule(wire, lambda f, now: DROP if matches(f) else seen.append(1) or PASS)
    world.run(until=0.1)
    assert len(seen) > 5


def test_tasks_of_an_event_loop_die_with_their_host():
    world = World(seed=2)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="1ms")
    ends = []

    async def handle(reader, writer):
        try:
            await reader.read(100)
            writer.close()
        except asyncio.CancelledError:
            ends.append("handler")
            writer.write(b"goodbye")
            raise

    async def serve():
        listener = await asyncio.start_server(handle, port=80)
        try:
            await listener.serve_forever()
        except asyncio.CancelledError:
            ends.append("server")
            raise

    async def main():
        with use_host(server):
            first = asyncio.create_task(serve())
        await asyncio.sleep(0.1)
        with use_host(client):
            reader, writer = await asyncio.open_connection("server", 80)
            await asyncio.sleep(0.1)
            with world.kill(server):
                await asyncio.sleep(1)
            assert first.cancelled()
            with use_host(server):
                second = asyncio.create_task(serve())
            writer.write(b"hello?")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            reader, writer = await asyncio.open_connection("server", 80)
            writer.write(b"hello")
            assert await reader.read() == b""
            writer.close()
        second.cancel()

    with asyncio.Runner(loop_factory=lambda: new_event_loop(world.driver)) as runner:
        runner.run(main())
    assert sorted(ends[:2]) == ["handler", "server"]
