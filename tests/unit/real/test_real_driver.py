# SPDX-License-Identifier: Apache-2.0
"""Two hosts on a pipe in real time: who pumps, who waits, who is woken."""

import asyncio
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

import capas
from capas.base.clock import MS, SECOND
from capas.errors import BlockingInLoopError, DeviceError
from capas.host.host import Host
from capas.real.driver import RealDriver
from capas.real.pipe import CallbackPipe, Pipe
from capas.sockets.current import use_host
from capas.sockets.socket import Socket
from capas.transport.endpoint import READ, Endpoint
from capas.wire.address import parse

A, B = "10.0.0.1", "10.0.0.2"


class Pair:
    """Hosts ``a`` and ``b``, and an echo session of ``a``."""

    def __init__(self) -> None:
        self.driver = RealDriver()
        self.a, self.b = self.driver.host("a"), self.driver.host("b")
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.pipes = [Pipe(end) for end in ends]
        self.driver.attach(self.a, self.pipes[0], addresses=[f"{A}/24"])
        self.driver.attach(self.b, self.pipes[1], addresses=[f"{B}/24"])
        self.endpoint = self.a.new_endpoint()
        self.session = self.a.icmp.open_echo(self.endpoint)

    def ping(self, sequence: int = 1) -> None:
        with self.driver.lock:
            assert self.session.send(parse(B), sequence, b"x" * 56, self.driver.now())
            self.driver.kick(self.a)

    def later(self, seconds: float = 60) -> int:
        return self.driver.now() + round(seconds * SECOND)

    def answered(self) -> int:
        with self.driver.lock:
            result = self.session.receive()
            return 0 if result is None else result.sequence


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.driver.close()


class Bell:
    """A watcher that counts."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.rung = 0
        endpoint.watcher = self

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        self.rung += 1


def test_a_thread_waits_for_an_answer(pair: Pair) -> None:
    for sequence in range(1, 20):
        pair.ping(sequence)
        assert pair.driver.wait(pair.endpoint, READ, pair.later()) == READ
        assert pair.answered() == sequence
    assert pair.driver.wait(pair.endpoint, READ, pair.driver.now() + MS) == 0


def test_many_threads_wait_at_once(pair: Pair) -> None:
    failures: list[str] = []

    def work() -> None:
        endpoint = pair.a.new_endpoint()
        with pair.driver.lock:
            session = pair.a.icmp.open_echo(endpoint)
        for sequence in range(1, 20):
            with pair.driver.lock:
                session.send(parse(B), sequence, b"", pair.driver.now())
                pair.driver.kick(pair.a)
            if not pair.driver.wait(endpoint, READ, pair.later()):
                failures.append("no answer")
            with pair.driver.lock:
                session.receive()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_two_threads_wait_on_one_endpoint(pair: Pair) -> None:
    got: list[int] = []

    def work() -> None:
        got.append(pair.driver.wait(pair.endpoint, READ, pair.later()))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    pair.ping()
    for thread in threads:
        thread.join()
    assert got == [READ, READ]


def test_the_watcher_hears_beside_the_waiter(pair: Pair) -> None:
    bell = Bell(pair.endpoint)
    pair.ping()
    assert pair.driver.wait(pair.endpoint, READ, pair.later()) == READ
    assert bell.rung == 1


def test_a_loop_turns(pair: Pair) -> None:
    pair.driver.turn(pair.driver.now())
    bell = Bell(pair.endpoint)
    pair.ping()
    deadline = pair.later()
    while not bell.rung and pair.driver.now() < deadline:
        pair.driver.turn(deadline)
    assert bell.rung == 1 and pair.answered() == 1


def test_a_turn_ends_at_its_deadline(pair: Pair) -> None:
    deadline = pair.driver.now() + 3 * MS
    pair.driver.turn(deadline)
    assert deadline <= pair.driver.now() < deadline + 60 * SECOND
    pair.driver.turn(0)


def test_a_turn_ends_for_a_genuine_descriptor(pair: Pair) -> None:
    here, there = socket.socketpair()
    assert pair.driver.real_selector is not None
    pair.driver.real_selector.register(here, selectors.EVENT_READ)
    there.send(b"x")
    deadline = pair.later()
    pair.driver.turn(deadline)
    assert pair.driver.now() < deadline and pair.driver.ports.loop_ready
    assert pair.driver.real_selector.select(0)
    here.close()
    there.close()


def test_a_turn_is_woken_by_another_thread(pair: Pair) -> None:
    thread = threading.Thread(target=pair.driver.wake)
    deadline = pair.later()
    thread.start()
    pair.driver.turn(deadline)
    thread.join()
    assert pair.driver.now() < deadline


def test_a_thread_waits_while_a_loop_turns(pair: Pair) -> None:
    pair.driver.turn(0)
    got: list[int] = []

    def work() -> None:
        pair.ping()
        got.append(pair.driver.wait(pair.endpoint, READ, pair.later()))
        pair.driver.wake()

    thread = threading.Thread(target=work)
    thread.start()
    deadline = pair.later()
    while not got and pair.driver.now() < deadline:
        pair.driver.turn(deadline)
    thread.join()
    assert got == [READ]


def test_waiting_after_the_loop_is_over(pair: Pair) -> None:
    pair.driver.turn(0)
    pair.ping(1)
    assert pair.driver.wait(pair.endpoint, READ, pair.later()) == READ
    assert pair.answered() == 1
    pair.driver.turn(0)  # and back
    pair.driver.release()
    pair.ping(2)
    assert pair.driver.wait(pair.endpoint, READ, pair.later()) == READ


def test_blocking_in_the_loop_that_pumps_is_an_error(pair: Pair) -> None:
    async def main() -> None:
        pair.driver.turn(0)
        with pytest.raises(BlockingInLoopError):
            pair.driver.wait(pair.endpoint, READ, pair.later())
        assert pair.driver.wait(pair.endpoint, READ, 0) == 0

    asyncio.run(main())


def test_kicks_in_the_loop_wait_for_the_turn(pair: Pair) -> None:
    async def main() -> None:
        pair.driver.turn(0)
        pair.ping()
        bell = Bell(pair.endpoint)
        while not bell.rung:
            pair.driver.turn(pair.later())

    asyncio.run(main())
    assert pair.answered() == 1


def test_sleep(pair: Pair) -> None:
    deadline = pair.driver.now() + 2 * MS
    pair.driver.sleep(deadline)
    assert pair.driver.now() >= deadline
    pair.driver.sleep(0)


def test_frames_from_callables(pair: Pair) -> None:
    """Two hosts whose pipes feed each other, in both threads' hands."""
    pipes: list[CallbackPipe] = []
    pipes.append(CallbackPipe(lambda data: pipes[1].feed(data)))
    pipes.append(CallbackPipe(lambda data: pipes[0].feed(data)))
    one, two = pair.driver.host("one"), pair.driver.host("two")
    pair.driver.attach(one, pipes[0], addresses=["10.1.0.1/24"])
    pair.driver.attach(two, pipes[1], addresses=["10.1.0.2/24"])
    endpoint = one.new_endpoint()
    with pair.driver.lock:
        session = one.icmp.open_echo(endpoint)
        session.send(parse("10.1.0.2"), 9, b"", pair.driver.now())
        pair.driver.kick(one)
    assert pair.driver.wait(endpoint, READ, pair.later()) == READ


def test_a_failed_pump_says_so(pair: Pair) -> None:
    class Broken:
        def receive(self, frame: object, now: int) -> None:
            raise ZeroDivisionError

        def link_ready(self, now: int) -> None: ...

    pair.pipes[1].sink = Broken()
    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        pair.ping()
        with pytest.raises(DeviceError, match="has failed"):
            pair.driver.wait(pair.endpoint, READ, pair.later())
    finally:
        threading.excepthook = hook


def test_close_is_idempotent_and_gives_everything_back(pair: Pair) -> None:
    pair.driver.start()
    with pair.driver:
        pass
    pair.driver.close()
    assert [pipe.fileno() for pipe in pair.pipes] == [-1, -1]
    assert not any(t.name == "capas-network" and t.is_alive() for t in threading.enumerate())


def test_who_waits_when_the_driver_closes_is_told(pair: Pair) -> None:
    errors: list[BaseException] = []

    def wait() -> None:
        with use_host(pair.a), pytest.raises(DeviceError, match="is closed") as raised:
            server.accept()
        errors.append(raised.value)

    with use_host(pair.a):
        server = Socket()
        server.bind(("", 7))
        server.listen()
    thread = threading.Thread(target=wait)
    thread.start()
    pair.driver.close()  # before it waits, or while it does
    thread.join(60)
    assert errors


def test_after_the_end_nobody_begins(pair: Pair) -> None:
    async def nothing() -> None:
        pass

    pair.driver.close()
    with use_host(pair.a), pytest.raises(DeviceError, match="is closed"):
        Socket().connect((B, 7))
    with pytest.raises(DeviceError, match="make another"):
        capas.run(nothing, host=pair.a)
    with pytest.raises(DeviceError, match="make another"):
        capas.run(nothing(), host=pair.a)


def test_hosts_have_secrets_of_their_own() -> None:
    with RealDriver() as one, RealDriver() as two:
        assert one.host("a").rng.u64() != two.host("a").rng.u64()
        assert isinstance(one.hosts[0], Host) and not one.virtual
