# SPDX-License-Identifier: Apache-2.0
"""A world as its users see it: building, running, programs, names, errors."""

import asyncio
import datetime
import errno
import io
import os
import socket as std
import time

import pytest

from capas.aio.loop import new_event_loop
from capas.base.clock import MS, SECOND
from capas.base.config import HostConfig
from capas.errors import BlockingInLoopError, CapasError, ConfigurationError, DeadlockError
from capas.sim.topology import chain, dumbbell, star, tree
from capas.sim.world import World
from capas.sockets.current import current_host, use_host
from capas.sockets.socket import Socket
from capas.wire.address import parse


def serve(port=80):
    """Echo one connection."""
    with Socket() as listener:
        listener.bind(("0.0.0.0", port))
        listener.listen()
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


def ask(address, data=b"hello", port=80):
    """What an echo server answers."""
    with Socket() as s:
        s.connect((address, port))
        s.sendall(data)
        s.shutdown(std.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))


def swallow(port=80):
    """How many bytes one connection brings."""
    with Socket() as listener:
        listener.bind(("0.0.0.0", port))
        listener.listen()
        connection, _ = listener.accept()
        with connection:
            return sum(map(len, iter(lambda: connection.recv(65536), b"")))


def pour(address, size, port=80):
    """Send ``size`` bytes."""
    with Socket() as s:
        s.connect((address, port))
        s.sendall(bytes(size))


def pair(**settings):
    world = World(seed=settings.pop("seed", 1), exact=settings.pop("exact", False))
    a, b = world.host("a"), world.host("b")
    return world, a, b, world.link(a, b, **settings)


# -- building -----------------------------------------------------------------------------------


def test_addresses_and_names_are_assigned_in_order_of_wiring():
    world, a, b, _ = pair()
    c = world.host("c")
    world.link(b, c)
    assert world.names["a"] == [parse("10.0.0.1"), parse("fd00::1")]
    assert world.names["b"][:2] == [parse("10.0.0.2"), parse("fd00::2")]
    assert world.names["c"] == [parse("10.0.1.2"), parse("fd00:0:0:1::2")]
    assert a.names is world.names
    assert c.names["b"][2:] == [parse("10.0.1.1"), parse("fd00:0:0:1::1")]


def test_all_on_connected_switches_share_a_prefix():
    world = World()
    one, two = world.switch("s1"), world.switch("s2")
    world.link(one, two)
    hosts = [world.host(f"h{i}") for i in range(4)]
    for i, host in enumerate(hosts):
        world.link(host, (one, two)[i % 2])
    assert [world.names[h.name][0] for h in hosts] == [parse(f"10.0.0.{i}") for i in range(1, 5)]


def test_switches_that_are_joined_late_reach_each_other():
    world = World()
    for name in ("s1", "s2"):
        world.switch(name)
        world.host(f"h-{name}")
        world.link(f"h-{name}", name)
    world.link("s1", "s2")
    world.thread("h-s1", serve)
    assert world.names["h-s1"][0] == parse("10.0.0.1")
    assert world.names["h-s2"][0] == parse("10.0.1.1")
    assert world.thread("h-s2", ask, "10.0.0.1").result() == b"hello"


def test_given_addresses_and_automatic_neighbours_in_the_same_prefix():
    world = World()
    world.host("a", addresses=["192.0.2.9/24", "2001:db8::9/64"])
    world.host("b")
    world.link("a", "b")
    assert world.names["a"] == [parse("192.0.2.9"), parse("2001:db8::9")]
    assert world.names["b"] == [parse("192.0.2.1"), parse("2001:db8::1")]
    world.host("c")
    world.link("a", "c", addresses={"c": ["198.51.100.1/30"]})
    assert world.names["a"][2:] == [parse("198.51.100.2")]


def test_routes_lead_everywhere_in_both_families():
    world = World(seed=3)
    routers = chain(world, 4)
    world.link(routers[0], routers[3])  # a ring
    for i in (1, 3):
        world.host(f"h{i}")
        world.link(f"h{i}", f"r{i}")
    for i, address in enumerate(world.names["h3"]):
        world.thread("h3", serve6 if i else serve)
        asking = ask6 if i else ask
        text = std.inet_ntop(std.AF_INET6 if i else std.AF_INET, address)
        assert world.thread("h1", asking, text).result() == b"hello"
    hops = world.hosts["r4"].counters.get("ipv4.forwarded")
    assert hops > 0 or world.hosts["r2"].counters.get("ipv4.forwarded") > 0


def serve6():  # a port of its own: that of IPv4 may linger
    with Socket(std.AF_INET6) as listener:
        listener.bind(("::", 81))
        listener.listen()
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


def ask6(address):
    with Socket(std.AF_INET6) as s:
        s.connect((address, 81))
        s.sendall(b"hello")
        s.shutdown(std.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))


def test_a_leaf_has_a_default_route_and_a_core_router_has_none():
    world = World()
    tree(world, [2, 2, 2])
    world.prepare()
    leaf = [r for r in world.hosts["n-1-1-1"].net.routes if r.origin == "world"]
    assert [str(r.prefix) for r in leaf] == ["0.0.0.0/0", "::/0"]
    core = [r for r in world.hosts["root"].net.routes if r.origin == "world"]
    assert len(core) == 2 * (2 * 2 + 8)  # every segment but its own two, both families
    assert "0.0.0.0/0" not in {str(r.prefix) for r in core}


def test_shapes():
    world = World()
    bell = dumbbell(world, 3, bottleneck={"rate": "1Mbit"})
    assert [h.name for h in bell.left + bell.right] == ["l1", "l2", "l3", "r1", "r2", "r3"]
    assert bell.bottleneck.up.rate.rate == 125_000
    _, hosts = star(world, 3, delay="1ms")
    world.thread("h1", serve)
    assert world.thread(hosts[2], ask, "h1").result() == b"hello"
    world.thread("r2", serve)
    assert world.thread("l1", ask, "r2").result() == b"hello"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda w: w.link("a", "nobody"), "no 'nobody'; it has a, b, s"),
        (lambda w: w.link("a", World().host("b")), "another world"),
        (lambda w: w.link("a", World().host("z")), "another world"),
        (lambda w: w.link("a", "a"), "both ends"),
        (lambda w: w.host("a"), "has a 'a' already"),
        (lambda w: w.switch("a"), "already"),
        (lambda w: w.host(""), "not a name"),
        (lambda w: w.host("c", config=HostConfig(tcp_congestion="vegas")), "there are .*cubic"),
        (lambda w: w.link("a", "b", speed=3), "no setting 'speed'.*mtu.*up, down"),
        (lambda w: w.link("a", "b", up={"los": 3}), "up: a link has no setting 'los'"),
        (lambda w: w.link("a", "b", loss="3"), "loss"),
        (lambda w: w.link("a", "b", rate="quick"), "a>b: rate"),
        (lambda w: w.link("a", "b", mtu=10), "MTU"),
        (lambda w: w.link("a", "b", addresses={"c": []}), "no end"),
        (lambda w: w.link("a", "b", addresses={"a": ["10.0.0.300/24"]}), "not an address"),
        (lambda w: w.link("a", "b", addresses={"a": ["10.9.0.1/24"], "b": ["10.9.0.1/24"]}), "'a'"),
        (lambda w: (w.link("s", w.switch("t")), w.link("s", "t")), "loop"),
        (lambda w: w.link("a", "b", addresses={"a": ["10.9.0.1/32"]}), "no address is free"),
        (lambda w: w.thread("s", ask), "switch"),
        (lambda w: w.run(until="tomorrow"), "until"),
        (lambda w: dumbbell(w, 0), "dumbbell"),
    ],
)
def test_what_cannot_be_built(build, message):
    world = World()
    world.host("a"), world.host("b"), world.switch("s")
    with pytest.raises(ConfigurationError, match=message):
        build(world)


def test_settings_of_a_host_are_its_own():
    config = HostConfig(default_ttl=3)
    world = World(config=config)
    a = world.host("a")
    router = world.router("r")
    assert a.config.default_ttl == 3
    assert router.config.forwarding
    assert not a.config.forwarding and not config.forwarding


# -- time ---------------------------------------------------------------------------------------


def test_run_until_a_time_a_condition_or_the_end():
    world, _, _, wire = pair(delay="10ms", rate="1Mbit")
    world.run(until="2s")
    assert world.now == 2 * SECOND
    world.run(until=2)
    assert world.now == 2 * SECOND
    world.run_for("500ms")
    assert world.now == 2500 * MS
    world.thread("b", serve)
    process = world.thread("a", ask, "b", bytes(10_000))
    world.run(until=lambda: wire.up.statistics.packets > 5)
    assert not process.done
    world.run(until=process)
    assert process.value == bytes(10_000)
    assert world.run_until_quiet()
    assert world.time < 200


def test_a_condition_that_can_never_be_is_a_deadlock():
    world, *_ = pair()
    with pytest.raises(DeadlockError, match="nothing is scheduled"):
        world.run(until=lambda: False)


def test_programs_see_virtual_time():
    world, *_ = pair()

    def program():
        from time import monotonic

        time.sleep(1.5)
        return (
            time.time(),
            time.monotonic(),
            monotonic(),
            time.perf_counter_ns(),
            datetime.datetime.now(datetime.UTC),
            datetime.date.today(),
            time.gmtime()[:6],
            current_host().name,
        )

    before = time.time()
    assert world.thread("a", program).result() == (
        1767225601.5,
        1.5,
        1.5,
        1_500_000_000,
        datetime.datetime(2026, 1, 1, 0, 0, 1, 500_000, datetime.UTC),
        datetime.date.fromtimestamp(1767225601),
        (2026, 1, 1, 0, 0, 1),
        "a",
    )
    assert time.time() >= before
    assert type(datetime.datetime.now()) is datetime.datetime
    assert type(time.sleep).__name__ == "builtin_function_or_method"


def test_the_time_of_day_can_be_chosen():
    world = World(start=1000)
    world.host("a")
    assert world.thread("a", time.time).result() != 1000  # bound before: a genuine builtin
    assert world.thread("a", lambda: time.time()).result() == 1000


def test_threads_take_turns_in_order():
    world = World()
    world.host("a")
    said = []

    def program(name, gap):
        for _ in range(3):
            time.sleep(gap)
            said.append((name, world.now // MS))

    for name, gap in (("x", 0.002), ("y", 0.003), ("z", 0.002)):
        world.thread("a", program, name, gap)
    world.run()
    assert said == [
        *(("x", 2), ("z", 2), ("y", 3), ("x", 4), ("z", 4)),
        *(("y", 6), ("x", 6), ("z", 6), ("y", 9)),
    ]


def test_one_program_waits_for_another():
    world = World()
    world.host("a")

    def slow():
        time.sleep(3)
        return 7

    first = world.thread("a", slow)
    assert world.thread("a", lambda: first.result() + 1).result() == 8
    assert world.time == 3


def test_an_error_in_a_program_stops_the_world_or_goes_to_who_asks():
    world = World()
    world.host("a")
    world.thread("a", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        world.run()
    process = world.thread("a", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        process.result()
    assert time.time() > 1_780_000_000 or time.time() < 1_767_000_000


def test_a_deadlock_says_who_waits_and_where():
    world, *_ = pair()
    world.thread("b", serve, name="server")

    def client():
        with Socket() as s:
            s.bind(("0.0.0.0", 99))
            s.listen()
            s.accept()

    process = world.thread("a", client)
    with pytest.raises(DeadlockError) as caught:
        process.result()
    text = str(caught.value)
    assert "server: waits for READ" in text
    assert "a:client: waits for READ" in text
    assert "test_world.py" in text
    world.close()
    assert world.engine.processes == []


def test_closing_a_world_ends_its_programs():
    ended = []

    def program():
        try:
            time.sleep(1000)
        finally:
            ended.append(1)

    with World() as world:
        world.host("a")
        world.thread("a", program)
        world.thread("a", program)
        world.run(until=1)
        world.thread("a", program)
    assert ended == [1, 1]


def test_blocking_calls_without_a_thread_run_the_world():
    world, a, b, _ = pair(delay="5ms")
    world.thread(b, serve)
    with use_host(a):
        assert ask("10.0.0.2") == b"hello"
    assert world.now >= 20 * MS


def test_a_program_that_only_reads_the_clock_comes_through():
    world = World()
    world.host("a")

    def spin():
        start = time.monotonic()
        while time.monotonic() <= start:
            pass
        return time.monotonic() - start

    assert 0 < world.thread("a", spin).result() < 0.001


# -- asyncio ------------------------------------------------------------------------------------


def run(world, main):
    with asyncio.Runner(loop_factory=lambda: new_event_loop(world.driver)) as runner:
        return runner.run(main)


async def exchange(world, size=100_000):
    async def handle(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    with use_host(world.hosts["b"]):
        server = await asyncio.start_server(handle, port=80)
    with use_host(world.hosts["a"]):
        reader, writer = await asyncio.open_connection("b", 80)
        writer.write(bytes(size))
        writer.write_eof()
        count = len(await reader.read())
        writer.close()
    server.close()
    return count


def test_asyncio_streams():
    world, *_ = pair(delay="20ms", rate="10Mbit")
    assert run(world, exchange(world)) == 100_000
    assert 0.18 < world.time < 0.5  # 80 ms of line, a handshake and slow start


def test_asyncio_and_threads_in_one_world():
    world, *_ = pair(delay="5ms")
    world.thread("b", serve)

    async def main():
        with use_host(world.hosts["a"]):
            answer = await asyncio.to_thread(ask, "b", b"x" * 1000)
        await asyncio.sleep(2.25)
        return answer, asyncio.get_running_loop().time(), time.monotonic()

    answer, loop_time, seen = run(world, main())
    assert answer == b"x" * 1000
    assert loop_time == seen == pytest.approx(2.27, abs=0.01)


def test_an_event_loop_inside_a_blocking_program():
    world, *_ = pair(delay="5ms")
    world.thread("b", serve)

    def program():
        async def main():
            reader, writer = await asyncio.open_connection("b", 80)
            writer.write(b"inside")
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            await asyncio.sleep(1)
            return answer

        with asyncio.Runner(loop_factory=lambda: new_event_loop(world.driver)) as runner:
            return runner.run(main())

    other = world.thread("a", lambda: time.sleep(0.5) or time.monotonic())
    assert world.thread("a", program).result() == b"inside"
    assert other.value == 0.5


def test_blocking_in_a_loop_is_refused():
    world, *_ = pair(delay="1ms")

    async def main():
        for call in (lambda: time.sleep(1), lambda: world.run(until=9), lambda: ask("10.0.0.2")):
            with (
                use_host(world.hosts["a"]),
                pytest.raises(BlockingInLoopError, match="event loop"),
            ):
                call()

    run(world, main())


def test_a_deadlock_in_a_loop_lists_tasks():
    world, *_ = pair()

    async def main():
        asyncio.current_task().set_name("stuck")
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match=r"task stuck: .*main"):
        run(world, main())


def test_a_loop_that_turns_without_waiting_gets_time():
    world, *_ = pair()

    async def main():
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() <= start:
            await asyncio.sleep(0)
        fired = loop.create_future()

        def later(deadline):  # aiohttp's way: until later than now
            if loop.time() > deadline:
                fired.set_result(None)
            else:
                loop.call_at(deadline, later, deadline)

        later(start + 1)
        await fired

    run(world, main())
    assert 1 < world.time < 1.001


def test_world_run_inside_a_program_is_refused():
    world = World()
    world.host("a")
    with pytest.raises(CapasError, match="inside a program"):
        world.thread("a", lambda: world.run(until=1)).result()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is missing")
def test_a_full_disk_says_which_file():
    world = World()
    capture = world.capture("/dev/full")
    with pytest.raises(OSError, match="/dev/full") as caught:
        capture.close()
    assert caught.value.errno == errno.ENOSPC
    world.close()


def test_a_gateway_is_somebody_else():
    with World() as world:
        one, two = world.host("one"), world.host("two")
        world.link(one, two, addresses={"one": ["10.0.0.1/24"], "two": ["10.0.0.2/24"]})
        with pytest.raises(ConfigurationError, match="'one' itself"):
            one.add_route("default", "10.0.0.1")
        one.add_route("default", "10.0.0.2")


# -- sameness -----------------------------------------------------------------------------------


def capture_of(seed, **settings):
    world = World(seed)
    world.router("r"), world.host("a"), world.host("b")
    world.link("a", "r", delay="1ms", rate="100Mbit")
    world.link("r", "b", delay="10ms", jitter="2ms", loss="2%", rate="10Mbit", **settings)
    file = io.BytesIO()
    capture = world.capture(file)
    world.thread("b", serve)
    assert world.thread("a", ask, "b", bytes(200_000)).result() == bytes(200_000)
    world.close()
    assert capture.closed
    return file.getvalue()


@pytest.mark.slow
def test_one_seed_one_capture():
    first = capture_of(5, duplicate="1%", reorder="1%", corrupt="1%")
    assert first == capture_of(5, duplicate="1%", reorder="1%", corrupt="1%")
    assert first != capture_of(6, duplicate="1%", reorder="1%", corrupt="1%")
    assert b"seed 5" in first


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0, 0.005])
def test_trains_and_packets_agree(loss):
    """The bound: what the line carries of payload, 10 Mbit/s x 1448/1514."""
    rates = []
    for exact in (False, True):
        world, _, _, wire = pair(
            rate="10Mbit", delay="10ms", queue=100, loss=loss, seed=2, exact=exact
        )
        sink = world.thread("b", swallow)
        size = 3_000_000
        world.thread("a", pour, "b", size)
        assert sink.result() == size
        assert wire.up.statistics.delivered
        rates.append(size * 8 / world.time)
    assert max(rates) <= 10e6 * 1448 / 1514
    assert rates[0] == pytest.approx(rates[1], rel=0.05 if not loss else 0.25)


def test_a_program_that_only_sends_takes_time():
    world, *_ = pair(rate="1Mbit", queue=10)

    def flood():
        with Socket(std.AF_INET, std.SOCK_DGRAM) as s:
            while True:
                s.sendto(b"x", ("10.0.0.2", 9))

    world.thread("a", flood)
    world.run(until=0.000_005)
    assert world.now == 5000
    world.close()


def test_traffic_that_takes_no_time_takes_a_little():
    """An exchange over the loopback interface for ever does not stop the clock."""
    world = World()
    world.host("a")

    async def echo(reader, writer):
        while data := await reader.read(10):
            writer.write(data)
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        with use_host(world.hosts["a"]):
            server = await asyncio.start_server(echo, port=7)
            reader, writer = await asyncio.open_connection("127.0.0.1", 7)
            start = loop.time()
            while loop.time() <= start + 0.000_010:
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            writer.close()
            server.close()

    run(world, main())
    assert world.time < 1


def test_bulk_data_after_small_takes_no_time_on_one_host():
    """Segments of 64 KB: a window 128 bytes too small for the second waits for a timer."""
    world = World()
    host = world.host("a")
    size = 5_000_000

    async def sink(reader, writer):
        assert await reader.readexactly(2) == b"xx"
        assert len(await reader.readexactly(size)) == size
        writer.write(b"!")
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        with use_host(host):
            server = await asyncio.start_server(sink, port=7)
            reader, writer = await asyncio.open_connection("127.0.0.1", 7)
            for _ in range(2):
                writer.write(b"x")
                await asyncio.sleep(0.05)
            start = loop.time()
            writer.write(bytes(size))
            assert await reader.read() == b"!"
            assert loop.time() - start < 0.001
            writer.close()
            server.close()

    run(world, main())


def test_a_program_may_be_the_first_thing_that_happens() -> None:
    world = World(1)
    for name in ("a", "c"):
        world.host(name)
    world.router("b")
    world.link("a", "b")
    world.link("b", "c")

    def refused() -> str:
        with Socket() as s:
            try:
                s.connect(("c", 81))
            except OSError as error:
                return type(error).__name__
        return "connected"

    assert world.thread("a", refused).result() == "ConnectionRefusedError"
