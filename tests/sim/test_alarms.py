# SPDX-License-Identifier: Apache-2.0
"""SIGALRM of blocking programs in virtual time, and beside the machine's own in its main thread."""

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from capas.errors import CapasError
from capas.sim.world import World
from capas.sockets import modules

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")


def run(program: Callable[[], Any], world: World | None = None) -> Any:
    world = world or World(seed=1)
    with world, modules.installed():
        return world.thread(world.hosts.get("a") or world.host("a"), program).result()


class LateError(Exception):
    """What a handler raises."""


def raises(number: int, frame: object) -> None:
    raise LateError


def test_a_handler_runs_where_the_program_waits_and_the_call_goes_on() -> None:
    def program() -> list[object]:
        heard: list[object] = []
        signal.signal(
            signal.SIGALRM, lambda number, frame: heard.append((number, time.monotonic()))
        )
        begin = time.monotonic()
        assert signal.setitimer(signal.ITIMER_REAL, 0.5, 1) == (0.0, 0.0)
        time.sleep(3)
        heard.append(time.monotonic() - begin)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.5, 1.0)
        assert signal.setitimer(signal.ITIMER_REAL, 0) == (0.5, 1.0)
        time.sleep(3)
        return heard

    assert run(program) == [(signal.SIGALRM, n + 0.5) for n in range(3)] + [3.0]


def test_a_handler_that_raises_ends_the_call() -> None:
    def program() -> list[object]:
        signal.signal(signal.SIGALRM, raises)
        found: list[object] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket() as listener:
            sock.bind(("", 7))
            listener.listen()
            lock, queued = threading.Lock(), threading.Condition()
            lock.acquire()

            def waits() -> None:
                with queued:
                    queued.wait()

            for call in (lambda: sock.recv(9), listener.accept, lock.acquire, waits, signal.pause):
                signal.alarm(2)
                begin = time.monotonic()
                with pytest.raises(LateError):
                    call()
                found.append(time.monotonic() - begin)
            listener.settimeout(5)
            with pytest.raises(TimeoutError):
                listener.accept()
        return found

    assert run(program) == [2.0] * 5


def test_what_is_received_meanwhile_is_not_lost() -> None:
    def program() -> object:
        heard: list[int] = []
        signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        with socket.create_connection(("b", 7)) as sock:
            data = b""
            while len(data) < 20:
                data += sock.recv(99)
        return data, len(heard)

    def serve() -> None:
        with socket.create_server(("", 7)) as listener:
            connection, _ = listener.accept()
            with connection:
                for _ in range(20):
                    time.sleep(0.1)
                    connection.send(b"x")

    world = World(seed=1)
    a, b = world.host("a"), world.host("b")
    world.link(a, b, delay="5ms")
    with world, modules.installed():
        world.thread(b, serve)
        data, heard = world.thread(a, program).result()
    assert data == b"x" * 20
    assert 19 <= heard <= 21


def test_without_a_handler_the_program_ends_with_its_threads() -> None:
    trace: list[str] = []

    def program() -> None:
        def beside() -> None:
            time.sleep(10)
            trace.append("went on beside")

        threading.Thread(target=beside).start()
        signal.alarm(1)
        time.sleep(5)
        trace.append("went on")

    world = World(seed=1)
    host = world.host("a")
    with world, modules.installed():
        with pytest.raises(CapasError, match="ended by SIGALRM"):
            world.thread(host, program).result()
        assert world.now == 1_000_000_000
        world.run(until=20)
    assert trace == []


def test_who_dies_of_an_alarm_does_not_wait_on_the_way_out() -> None:
    trace: list[object] = []

    def program() -> None:
        signal.alarm(1)
        for _ in range(5):
            try:
                time.sleep(2)
            except BaseException as error:  # as Twisted does
                trace.append((type(error).__name__, time.monotonic()))

    with pytest.raises(CapasError, match="ended by SIGALRM"):
        run(program)
    assert trace == [("ProcessKilled", 1.0)] * 5


def test_an_alarm_may_be_days_ahead_though_hosts_keep_asking_each_other() -> None:
    def serve() -> None:
        with socket.socket() as listener:
            listener.bind(("", 80))
            listener.listen()
            with listener.accept()[0] as connection:
                connection.recv(1)

    def program() -> float:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.connect(("b", 80))
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.alarm(2 * 86_400)
            signal.pause()
            return time.monotonic()

    world = World(seed=1)
    world.link(world.host("a"), world.host("b"))
    with world, modules.installed():
        world.thread("b", serve)
        assert world.thread("a", program).result() == pytest.approx(2 * 86_400, abs=1)


def test_a_thread_may_pause_and_a_program_may_raise_the_signal_itself() -> None:
    def program() -> list[object]:
        heard: list[object] = []
        signal.signal(signal.SIGALRM, lambda *_: heard.append(time.monotonic()))
        threading.Thread(target=signal.pause).start()  # the signal comes to the main thread
        signal.alarm(1)
        time.sleep(1.5)
        signal.raise_signal(signal.SIGALRM)
        heard.append("raised")
        threading.Timer(0.5, signal.raise_signal, (signal.SIGALRM,)).start()
        time.sleep(1)
        return heard

    assert run(program) == [1.0, 1.5, "raised", 2.0]


def test_a_condition_has_its_lock_back_before_a_handler_s_error_leaves_it() -> None:
    def program() -> float:
        signal.signal(signal.SIGALRM, raises)
        condition = threading.Condition()

        def hold() -> None:
            time.sleep(0.5)
            with condition:
                condition.notify()
                time.sleep(5)

        threading.Thread(target=hold).start()
        signal.alarm(1)
        with pytest.raises(LateError), condition:
            condition.wait()
        with condition:
            return time.monotonic()

    assert run(program) == 5.5


def test_an_alarm_may_be_ignored_and_ends_with_its_program() -> None:
    def program() -> float:
        assert signal.signal(signal.SIGALRM, signal.SIG_IGN) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
        signal.alarm(1)
        time.sleep(2)
        signal.setitimer(signal.ITIMER_REAL, 3600, 3600)
        return time.monotonic()

    world = World(seed=1)
    host = world.host("a")
    with world, modules.installed():
        assert world.thread(host, program).result() == 2.0
        world.run()
        assert world.now < 3_000_000_000


def test_each_program_has_its_own_and_its_threads_share_it() -> None:
    def program(delay: float) -> list[float]:
        heard: list[float] = []
        signal.signal(signal.SIGALRM, lambda *_: heard.append(time.monotonic()))

        def beside() -> None:
            with pytest.raises(ValueError, match="main thread"):
                signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, delay)

        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        time.sleep(5)
        return heard

    world = World(seed=1)
    hosts = world.host("a"), world.host("b")
    with world, modules.installed():
        programs = [world.thread(h, program, n + 1.5) for n, h in enumerate(hosts)]
        assert [p.result() for p in programs] == [[1.5], [2.5]]


def test_asyncio_in_a_program_is_interrupted_as_on_a_machine() -> None:
    def program() -> float:
        signal.signal(signal.SIGALRM, raises)
        signal.setitimer(signal.ITIMER_REAL, 0.25)
        begin = time.monotonic()
        with contextlib.suppress(LateError):
            asyncio.run(asyncio.sleep(9))
        return time.monotonic() - begin

    assert run(program) == 0.25


#: Runs in a program of a world, and in the main thread of a process of the machine.
ARGUMENTS = """
def tried(call, *args):
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__, str(error)

def program():
    heard = []
    found = [
        tried(signal.alarm, 0), tried(signal.alarm, 10), tried(signal.alarm, 0),
        tried(signal.alarm, 1.5), tried(signal.alarm, "x"), tried(signal.alarm, 1 << 40),
        tried(signal.setitimer, signal.ITIMER_REAL, -1), tried(signal.setitimer, 7, 1),
        tried(signal.setitimer, signal.ITIMER_REAL, math.nan),
        tried(signal.setitimer, signal.ITIMER_REAL, 1, -1),
        tried(signal.signal, signal.SIGALRM, 5), tried(signal.signal, signal.SIGALRM, "x"),
        str(signal.getsignal(signal.SIGALRM)),
        str(signal.signal(signal.SIGALRM, lambda *_: heard.append(1))),
    ]
    for left in (0.2, 0.7, 1.4, 1.6):
        signal.setitimer(signal.ITIMER_REAL, left)
        found.append(signal.alarm(0))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    found.append((signal.pause(), heard))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    while len(heard) < 4:
        time.sleep(0.01)
    found.append((signal.setitimer(signal.ITIMER_REAL, 0)[1], len(heard)))
    return found
"""


def test_arguments_and_results_are_the_machine_s() -> None:
    names: dict[str, Any] = {"signal": signal, "math": math, "time": time}
    exec(ARGUMENTS, names)
    script = "import signal, math, time\n" + ARGUMENTS + "print(repr(program()))"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert repr(run(names["program"])) == done.stdout.strip()
