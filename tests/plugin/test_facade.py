# SPDX-License-Identifier: Apache-2.0
"""Everything the fixture `internet` offers, on programs of asyncio and of blocking sockets."""

import asyncio
import contextlib
import http.client
import socket
import sys
import time

import pytest

from capas import World
from capas.errors import (
    BlockingInLoopError,
    CapasError,
    ConfigurationError,
    DeadlockError,
)
from capas.sim.direction import DROP, PASS
from capas.sim.rules import deliver_in
from capas.testing.faultlog import payload_of
from capas.testing.faultplan import FaultPlan
from capas.testing.fixture import Internet
from capas.testing.station import HostDiedError

FAMILIES = pytest.mark.parametrize("family", [4, 6])


async def echo(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def ask(where, data=b"hello", port=7):
    """Send, and read as much back: what came, and how long it all took."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection(where, port)
    writer.write(data)
    got = await reader.readexactly(len(data))
    writer.close()
    return got, time.monotonic() - begun


def of(station, family):
    return station.address if family == 4 else station.address6


@pytest.fixture
def pair(internet):
    client, server = internet.hosts("client", "server")
    internet.link(client, server, delay="10ms")
    server.serve(echo, port=7)
    return client, server


# -- building -------------------------------------------------------------------------------------


@FAMILIES
def test_addresses_are_given_or_assigned(internet, family):
    given, other = internet.host("given", addresses=["192.0.2.7/24", "2001:db8::7/64"]), None
    other = internet.host("other")
    internet.link(given, other)
    assert {"192.0.2.7", "2001:db8::7"} <= set(given.addresses)
    assert other.address.startswith("192.0.2.")
    assert other.address6.startswith("2001:db8::")
    given.serve(echo, port=7)
    assert other.run(ask(of(given, family)))[0] == b"hello"


def test_an_address_twice(internet):
    first = internet.host("first", addresses=["192.0.2.7/24"])
    second = internet.host("second", addresses=["192.0.2.7/24"])
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.7.*first"):
        internet.link(first, second)


def test_a_link_to_a_host_of_another_world(internet):
    stranger = World().host("stranger")
    with pytest.raises(ConfigurationError, match="'stranger' belongs to another world"):
        internet.link(internet.host("a"), stranger)


def test_a_link_to_nobody(internet):
    internet.host("a")
    with pytest.raises(ConfigurationError, match="nobody"):
        internet.link("a", "nobody")


@FAMILIES
def test_names_by_dns(internet, family):
    client, server, dns = internet.hosts("client", "server", "dns")
    internet.switch("lan", client, server, dns, delay="1ms")
    internet.dns(dns)
    server.serve(echo, port=7)
    kind = socket.AF_INET if family == 4 else socket.AF_INET6

    async def look():
        found = await asyncio.get_running_loop().getaddrinfo("server", 7, family=kind)
        return found[0][4][0]

    assert client.run(look()) == of(server, family)
    with pytest.raises(socket.gaierror):
        client.run(asyncio.open_connection("nobody", 7))
    queries = [hop for hop in internet.tracks.hops.values() if b"server" in hop.frame.data]
    assert queries


@FAMILIES
def test_a_name_nobody_has(pair, family):
    client, _ = pair
    kind = socket.AF_INET if family == 4 else socket.AF_INET6

    def blocking():
        socket.getaddrinfo("nobody", 7, kind)

    with pytest.raises(socket.gaierror):
        client.thread(blocking).result()


def test_nat(internet):
    """Two hosts share an address; the answer finds each; a forwarded port is reached."""
    one, two, server = internet.hosts("one", "two", "server")
    router = internet.router("router")
    internet.switch("lan", one, two, router)
    outside = internet.link(router, server, delay="5ms", loss="5%")
    internet.nat(router, outside, forward={8080: (one.address, 80)})
    seen = []

    async def tell(reader, writer):
        seen.append(writer.get_extra_info("peername")[0])
        await echo(reader, writer)

    server.serve(tell, port=7)
    one.serve(echo, port=80)
    for host in (one, two):
        assert host.run(ask("server"))[0] == b"hello"
    public = [a for a in router.addresses if a.startswith(server.address.rpartition(".")[0] + ".")]
    assert set(seen) == set(public)
    assert server.run(ask(public[0], port=8080))[0] == b"hello"


# -- faults ---------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("one_way", [False, True])
async def test_partitions(pair, internet, family, one_way):
    client, server = pair
    await client.run(ask(of(server, family)))  # they know each other's link addresses
    with internet.partition("server", "client", one_way=one_way):
        task = client.run(ask(of(server, family)))
        await asyncio.sleep(5)
        assert not task.done()
        from_client = internet.wire("client", "server").up.statistics
        assert bool(from_client.rule_drops) != one_way
    got, took = await task
    assert got == b"hello"
    assert took > 5


@FAMILIES
async def test_hold_and_release(pair, internet, family):
    client, server = pair
    held = internet.hold(("client", "server"))
    task = client.run(ask(of(server, family)))
    await asyncio.sleep(0.5)
    assert not task.done()
    held.remove()
    _, took = await task
    assert 0.5 < took < 1.5


@FAMILIES
async def test_a_killed_host_is_silent_and_then_another(pair, family):
    """Peers notice nothing until they ask; the new host answers with a reset."""
    client, server = pair
    with client:
        reader, writer = await asyncio.open_connection(of(server, family), 7)
    died = server.run(asyncio.sleep(100))
    await asyncio.sleep(0.1)
    server.kill()
    with pytest.raises(HostDiedError, match="ended with its host 'server'"):
        await died
    writer.write(b"x")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 3)
    server.restart()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 30)
    assert (await client.run(ask(of(server, family))))[0] == b"hello"  # served again


@FAMILIES
async def test_a_paused_host(pair, family):
    client, server = pair
    task = client.run(ask(of(server, family)))
    await asyncio.sleep(0.015)
    with server.pause():
        await asyncio.sleep(2)
        assert not task.done()
    assert (await task)[1] > 2


async def test_a_paused_host_does_not_run_its_threads(pair):
    _, server = pair
    ticks = []

    def tick():
        for _ in range(10):
            time.sleep(0.1)
            ticks.append(time.monotonic())

    program = server.thread(tick)
    await asyncio.sleep(0.25)
    with server.pause():
        await asyncio.sleep(5)
        assert len(ticks) == 2
    await program
    assert ticks[2] >= 5.25


@FAMILIES
def test_a_changed_link(pair, internet, family):
    client, server = pair
    assert client.run(ask(of(server, family)))[1] < 0.1
    with internet.changed(("client", "server"), delay="300ms"):
        assert client.run(ask(of(server, family)))[1] >= 1.2
    assert client.run(ask(of(server, family)))[1] < 0.1


@FAMILIES
def test_a_black_hole(pair, internet, family):
    """Large packets vanish without a word; TCP finds out and goes on with small ones."""
    client, server = pair
    data = bytes(30_000)
    internet.black_hole(("client", "server"), 1300)
    got, took = client.run(ask(of(server, family), data))
    assert got == data
    assert took > 1


def test_slow_dns(internet):
    client, server, dns = internet.hosts("client", "server", "dns")
    internet.switch("lan", client, server, dns)
    internet.dns(dns)
    server.serve(echo, port=7)
    assert client.run(ask("server"))[1] < 1
    with internet.slow_dns("2s"):
        assert 2 <= client.run(ask("server"))[1] < 12
    assert client.run(ask("server"))[1] < 1


@FAMILIES
async def test_the_nth_packet_that_matches(pair, internet, family):
    client, server = pair
    wire = internet.wire("client", "server")
    internet.drop_nth(wire, 2, "up", lambda frame: payload_of(frame).startswith(b"word"))
    with client:
        reader, writer = await asyncio.open_connection(of(server, family), 7)
    for n in range(3):
        begun = time.monotonic()
        writer.write(b"word%d" % n)
        assert await reader.readexactly(5) == b"word%d" % n
        assert (time.monotonic() - begun > 0.1) == (n == 1)
    assert [mark.text for mark in internet.marks] == ["packet 2 on client-server dropped"]


@FAMILIES
def test_scripted_verdicts(pair, internet, family):
    client, server = pair
    answers = []

    def rule(frame, now):
        if payload_of(frame) != b"hello":
            return PASS
        answers.append(now)
        return DROP if len(answers) == 1 else deliver_in("1s")

    with internet.rule("client-server", rule, "up"):
        _, took = client.run(ask(of(server, family)))
    assert len(answers) >= 2
    assert took > 1
    assert client.run(ask(of(server, family)))[1] < 0.1


def test_a_rule_that_raises_says_what_and_where(pair, internet):
    def clumsy(frame, now):
        return {}["key"]

    internet.rule("client-server", clumsy)
    with pytest.raises(KeyError) as caught:
        pair[0].run(ask("server"))
    assert any(
        "clumsy" in note and "client>server at 0." in note for note in caught.value.__notes__
    )


@pytest.mark.parametrize(
    ("line", "least"),
    [
        ("lose(server,2)", 0.2),
        ("delay(server,2,150ms)", 0.15),
        ("hold(server,1,800ms)", 0.8),
        ("pause(server,15ms,900ms)", 0.9),
        ("isolate(server,5ms,1500ms)", 1.5),
        ("isolate(client,25ms,600ms)", 0.6),
        ("duplicate(server,2)", 0),
    ],
)
@FAMILIES
async def test_kinds_of_faults(pair, internet, line, least, family):
    client, server = pair
    FaultPlan.parse(line).apply(internet)
    got, took = await client.run(ask(of(server, family)))
    assert got == b"hello"
    assert took >= least


@FAMILIES
async def test_a_host_that_dies_by_plan(pair, internet, family):
    client, server = pair
    FaultPlan.parse("lose(server,2)+die(server,50ms)").apply(internet)
    task = client.run(ask(of(server, family)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(task, 60)
    assert [mark.text for mark in internet.marks][-1] == "server down"


# -- time -----------------------------------------------------------------------------------------


def test_until(pair, internet):
    client, _ = pair
    internet.run(until="2s")
    assert internet.now == 2
    done = []
    task = client.spawn(ask("server"))
    task.add_done_callback(done.append)
    internet.run(until=lambda: done)
    assert 2 < internet.now < 3
    program = client.thread(lambda: time.sleep(5) or 7)
    assert internet.run(until=program) == 7
    internet.run_for("1s")


def test_quiet(pair, internet):
    client, _ = pair
    client.spawn(ask("server", bytes(100_000)))
    assert internet.quiet()
    assert internet.now < 600

    async def beats():
        while True:
            await asyncio.sleep(1)

    client.spawn(beats())
    assert not internet.quiet(limit="100s")


def test_an_invariant_is_asked_at_each_event(pair, internet):
    client, _ = pair
    seen = []
    internet.invariant(lambda: seen.append(internet.now) or True)
    client.run(ask("server"))
    assert len(seen) > 5
    assert sorted(set(seen)) == list(dict.fromkeys(seen))
    internet.invariant(lambda: internet.now < 5, "all is early")

    async def late():
        await asyncio.sleep(6)
        await ask("server")

    client.spawn(late())
    with pytest.raises(AssertionError, match="invariant broken: all is early"):
        internet.run_for("9s")


# -- what cannot be -------------------------------------------------------------------------------


async def test_blocking_calls_in_a_loop(pair):
    client, _ = pair

    async def request():
        connection = http.client.HTTPConnection("server", 7)
        connection.request("GET", "/")

    async def sleep():
        time.sleep(1)

    with pytest.raises(BlockingInLoopError):
        await client.run(request())
    with pytest.raises(CapasError):
        await client.run(sleep())


def test_run_inside_a_loop(pair, internet):
    async def inside():
        internet.run_for(1)

    with pytest.raises(BlockingInLoopError, match="await what you wait for"):
        pair[0].run(inside())


def test_a_deadlock_says_who_waits_for_what(pair):
    """Tasks and threads, both by name, with what they wait for and where."""
    client, server = pair

    def listens():
        with socket.create_server(("", 99)) as listener:
            listener.accept()

    server.thread(listens)

    async def never():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError) as caught:
        client.run(never())
    text = str(caught.value)
    assert "server:listens" in text
    assert "never" in text
    assert "test_facade.py" in text


def test_a_second_loop_beside_the_internets_own(pair):
    client, _ = pair
    main = ask("server")
    with client, pytest.raises(BlockingInLoopError, match=r"use host\.run"):
        asyncio.run(main)
    main.close()
    assert client.thread(lambda: asyncio.run(ask("server"))).result()[0] == b"hello"


def test_a_loop_on_no_host(internet):
    """Its time would never come."""
    for main in (asyncio.sleep(0.1), asyncio.to_thread(int)):
        with pytest.raises(BlockingInLoopError, match=r"use host\.run"):
            asyncio.run(main)
    assert asyncio.run(asyncio.sleep(0, "at once")) == "at once"
    assert internet.run(asyncio.sleep(0.1, "later")) == "later"


def test_what_a_program_dies_of_at_the_very_end():
    """The test is over: closing its internet tells of nothing that closing has caused."""

    def dies():
        raise ValueError("too late")

    async def lingers():
        try:
            await asyncio.sleep(9)
        finally:
            await asyncio.sleep(0.001)

    with Internet() as internet:
        client = internet.host("client")
        client.spawn(lingers())
        client.run(asyncio.sleep(1))
        client.thread(dies)


async def test_a_process_of_the_machine(pair):
    """A loop waits for it in real time."""
    client, _ = pair

    async def run():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(6 * 7)", stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate())[0]

    assert int(await client.run(run())) == 42


def test_loops_that_ask_the_kernel(pair):
    """trio is refused in words, uvloop gives way; both are seen if they are there."""
    client, _ = pair
    trio = pytest.importorskip("trio", reason="needs the package trio")
    with pytest.raises(NotImplementedError, match="anyio on asyncio"):
        client.thread(lambda: trio.run(trio.sleep, 1)).result()


async def _nothing():
    """A coroutine function."""


MISUSE = [
    (lambda i, w: i.link("client", None), "None is no host and no switch"),
    (
        lambda i, w: i.link("client", "server", queue="codle"),
        "link client>server#2: queue: 'codle' is not",
    ),
    (lambda i, w: i.link("client", "server", addresses=["10.9.0.1/24"]), "addresses: say {'client"),
    (lambda i, w: i.link("client", "server", addresses={"client": "10.9.0.1/24"}), "say a list"),
    (lambda i, w: i.host("new", addresses="10.9.0.1/24"), "host 'new': addresses: say a list"),
    (lambda i, w: i.isolate(w), r"Wire\(client-server\) is no host"),
    (lambda i, w: i.cut("client", "server"), r"or internet\.wire\(a, b\)"),
    (lambda i, w: i.changed(w), "changed: client-server: what"),
    (lambda i, w: i.black_hole(w, "big"), "black_hole: 'big' is not a size"),
    (lambda i, w: i.slow_dns("3s"), r"slow_dns: .*internet\.dns\(host\) first"),
    (lambda i, w: i.drop_nth(w, "1"), "numbers from 1 on, not '1'"),
    (lambda i, w: i.drop_nth(w, 1, matching=b"hello"), "matching: b'hello' is not a function"),
    (lambda i, w: i.hold(w, matching=b"hello"), "matching: b'hello' is not a function"),
    (lambda i, w: i.rule(w, None), "a rule: None is not a function"),
    (lambda i, w: i.invariant(None), "invariant: None is not a function"),
    (lambda i, w: i.run(5), "internet.run: say until=5"),
    (lambda i, w: i.stations["client"].run(42), "client.run: 42 is no coroutine"),
    (lambda i, w: i.stations["client"].thread(_nothing()), "a coroutine is for client.run"),
    (lambda i, w: i.stations["client"].thread(_nothing), "a coroutine is for client.run"),
    (lambda i, w: i.stations["client"].thread(None), "client.thread: None is not a function"),
    (lambda i, w: i.stations["client"].on_boot(3), "client.on_boot: 3 is not a function"),
    (lambda i, w: i.stations["client"].serve(echo), "a handler of connections needs a port"),
    (lambda i, w: i.stations["client"].serve(3, port=7), "client.serve: 3 is not a function"),
]


@pytest.mark.parametrize(("use", "words"), MISUSE)
def test_misuse_says_at_once_what_is_wrong(internet, use, words):
    wire = internet.link(*internet.hosts("client", "server"))
    with pytest.raises(ConfigurationError, match=words):
        use(internet, wire)


def test_what_rules_answer_and_invariants_are(pair, internet):
    client, _ = pair
    wire = internet.wire("client", "server")
    rule = internet.rule(wire, lambda frame, now: "drop")
    with rule, pytest.raises(ValueError, match="not 'drop'"):
        client.run(ask("server"))
    hold = internet.hold(wire, matching=lambda frame: frame.nonsense)
    with hold, pytest.raises(AttributeError) as caught:
        client.run(ask("server"))
    assert "in rule 'hold' on client>server" in caught.value.__notes__[0]
    internet.invariant(_nothing)
    with pytest.raises(TypeError, match="no coroutine can be"):
        client.run(ask("server"))


def test_programs_on_a_host_without_power(pair):
    client, _ = pair
    client.kill()
    booted = []
    client.on_boot(lambda: booted.append(client.down))
    for start in (
        lambda: client.run(ask("server")),
        lambda: client.thread(time.sleep, 1),
        lambda: client.serve(echo, port=8),
    ):
        with pytest.raises(HostDiedError, match="restart"):
            start()
    client.restart()
    assert booted == [False]
    assert client.run(ask("server"))[0] == b"hello"


def test_until_a_task_is_done(pair, internet):
    task = pair[0].spawn(ask("server"))
    assert internet.run(until=task)[0] == b"hello"


def test_slow_dns_by_a_router(internet):
    """Its own answers are late, those it passes on are not late twice."""
    client, dns, server = internet.host("client"), internet.router("dns"), internet.host("server")
    internet.link(client, dns)
    internet.link(dns, server)
    internet.dns(dns)
    server.serve(echo, port=7)
    with internet.slow_dns("2s"):
        assert 2 <= client.run(ask("server"))[1] < 12


async def test_a_server_that_runs_for_ever(pair):
    """Awaited in a loop, too, it just starts."""
    client, server = pair

    async def forever():
        async with await asyncio.start_server(echo, port=80) as listening:
            await listening.serve_forever()

    serving = await server.serve(forever)
    assert not serving.done()
    assert (await client.run(ask("server", port=80)))[0] == b"hello"
    with pytest.raises(OSError, match="in use"):
        await server.serve(echo, port=80)


def test_a_deadlock_says_where_inside(pair):
    """The test's own line, and the innermost one: not what runs them."""

    async def deep():
        await asyncio.wait_for(asyncio.get_running_loop().create_future(), None)

    async def outer():
        await deep()

    with pytest.raises(DeadlockError) as caught:
        pair[0].run(outer())
    (line,) = (line for line in str(caught.value).splitlines() if "outer" in line)
    assert line.endswith("in deep")
    assert "station.py" not in str(caught.value)


async def test_a_handler_that_dies_with_its_host_is_no_news(pair, internet):
    client, server = pair

    async def waits(reader, writer):
        await reader.read()

    async def hangs():
        kept = await asyncio.open_connection("server", 99)
        await asyncio.sleep(1)
        del kept

    await server.serve(waits, port=99)
    task = client.run(hangs())
    await asyncio.sleep(0.5)
    server.kill()
    await task
    assert internet.complaints == []


@pytest.mark.parametrize("looped", [False, True])
def test_two_that_only_write_are_a_deadlock(internet, looped):
    """Their hosts probe closed windows for ever, so something is always scheduled."""
    client, server = internet.hosts("client", "server")
    internet.link(client, server, rate="1Gbit", delay="1ms")

    def repeats():
        with socket.create_server(("", 12)) as listener:
            connection, _ = listener.accept()
            while data := connection.recv(65536):
                connection.sendall(data)

    def writes():
        with socket.create_connection(("server", 12)) as connection:
            connection.sendall(bytes(12_000_000))

    server.thread(repeats)
    if looped:
        client.run(asyncio.sleep(0))
    with pytest.raises(DeadlockError, match="closed windows") as caught:
        client.thread(writes).result()
    assert "client:writes: waits for WRITE" in str(caught.value)


def test_a_program_that_sleeps_for_days_is_none(internet):
    client, server = internet.hosts("client", "server")
    internet.link(client, server)
    assert client.thread(lambda: time.sleep(9 * 86_400) or "awake").result() == "awake"


def test_a_restart_is_told_as_one(pair, internet):
    pair[1].restart()
    pair[1].kill().remove()
    assert [mark.text for mark in internet.marks] == [
        "server restarts",
        "server down",
        "server boots",
    ]
