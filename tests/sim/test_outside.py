# SPDX-License-Identifier: Apache-2.0
"""Pipes, Unix sockets and processes of the machine, in programs of a virtual world."""

import asyncio
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest

import capas
from capas.errors import DeadlockError
from capas.sim import virtual_time
from capas.sockets.driver import VIRTUAL_FD

pytestmark = pytest.mark.skipif(not hasattr(select, "poll"), reason="Windows has no such pipes")


@pytest.fixture
def world() -> Iterator[Any]:
    with capas.World(seed=1) as world, capas.installed():
        world.link(world.host("a"), world.host("b"), delay="10ms")
        yield world


@pytest.mark.parametrize("kind", ["pipe", "socketpair"])
def test_a_server_that_another_thread_wakes(world: Any, kind: str) -> None:
    """The self-pipe of selectors-based servers: nobody looked at it, and the world stood still."""

    def server() -> list[bytes]:
        if kind == "pipe":
            reader, writer = os.pipe()
        else:
            ends = socket.socketpair()
            reader, writer = ends[0].fileno(), ends[1].fileno()
        threading.Timer(5, os.write, (writer, b"x")).start()
        heard = []
        with socket.create_server(("", 7)) as listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(reader, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == reader:
                        return heard
                    heard.append(listener.accept()[0].recv(10))

    def client() -> None:
        with socket.create_connection(("b", 7)) as sock:
            sock.sendall(b"hello")

    serving = world.thread("b", server)
    world.thread("a", client)
    assert serving.result() == [b"hello"]
    assert world.time == pytest.approx(5)


def test_waits_for_a_pipe_alone(world: Any) -> None:
    def main() -> tuple[float, Any]:
        reader, writer = os.pipe()
        before = time.monotonic()
        assert select.select([reader], [], [], 2) == ([], [], [])
        threading.Timer(3, os.write, (writer, b"x")).start()
        assert select.select([reader], [], []) == ([reader], [], [])
        return time.monotonic() - before, os.read(reader, 1)

    assert world.thread("a", main).result() == (pytest.approx(5), b"x")


def test_an_event_loop_wakes_a_thread(world: Any) -> None:
    reader, writer = os.pipe()

    def server() -> bool:
        with socket.create_server(("", 7)) as listener:
            return select.select([listener, reader], [], [])[0] == [reader]

    async def main() -> None:
        await asyncio.sleep(3)
        os.write(writer, b"x")
        await asyncio.sleep(1)

    serving = world.thread("b", server)
    capas.run(main, world=world, host=world.hosts["a"])
    assert serving.done
    assert serving.result()


def test_a_pipe_to_which_nobody_writes_is_a_deadlock(world: Any) -> None:
    reader, _ = os.pipe()
    with pytest.raises(DeadlockError, match="waits for READ"):
        world.thread("a", lambda: select.select([reader], [], [])).result()


def test_a_pause_lasts(world: Any) -> None:
    reader, writer = os.pipe()
    waiting = world.thread("a", lambda: select.select([reader], [], []))
    world.run(until="1s")
    with world.pause(world.hosts["a"]):
        os.write(writer, b"x")
        world.run(until="3s")
        assert not waiting.done
    assert waiting.result()[0] == [reader]


def test_threads_talk_by_a_socket_pair(world: Any) -> None:
    """Blocking calls on a genuine pair stopped the only thread that ran."""

    def main() -> float:
        one, other = socket.socketpair()
        assert isinstance(one, socket.socket)
        one.settimeout(2)
        with pytest.raises(TimeoutError, match="timed out"):
            one.recv(1)
        one.settimeout(None)

        def answer() -> None:
            time.sleep(3)
            assert other.recv(10) == b"question"
            other.sendall(bytes(1_000_000))
            other.close()

        threading.Thread(target=answer).start()
        one.sendall(b"question")
        with one.makefile("rb") as file:
            assert len(file.read()) == 1_000_000
        one.setblocking(False)
        assert one.recv(1) == b""
        return time.monotonic()

    before = world.time
    assert world.thread("a", main).result() - before == pytest.approx(5)


def test_a_unix_server(world: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    def server() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            sock, _ = listener.accept()
            with sock:
                sock.sendall(sock.recv(10)[::-1])

    def client() -> bytes:
        time.sleep(1)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(b"abc")
            return sock.recv(10)

    world.thread("a", server)
    assert world.thread("a", client).result() == b"cba"


def test_processes_take_their_time(world: Any) -> None:
    def ticks() -> None:
        while True:
            time.sleep(0.001)

    def main() -> tuple[bytes, list[int]]:
        hello = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            first = list(pool.map(abs, [-1, 2]))
            time.sleep(1)  # the pool's own thread waits meanwhile
            return hello.stdout, first + list(pool.map(abs, [-3]))

    world.thread("b", ticks)
    assert world.thread("a", main).result() == (b"1\n", [1, 2, 3])


def test_a_loop_waits_for_a_process(world: Any) -> None:
    """Virtual time ran to the end of the time limit while the process had hardly begun."""

    async def main() -> tuple[bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input())", stdin=-1, stdout=-1
        )
        said, _ = await asyncio.wait_for(process.communicate(b"hello"), 100)
        return said.strip(), str(process.returncode).encode()

    async def ticks() -> None:
        while True:
            await asyncio.sleep(0.01)

    async def both() -> tuple[bytes, bytes]:
        ticking = asyncio.create_task(ticks())
        try:
            return await main()
        finally:
            ticking.cancel()

    assert capas.run(both, world=world, host=world.hosts["a"]) == (b"hello", b"0")
    assert world.thread("a", lambda: asyncio.run(both())).result() == (b"hello", b"0")
    assert world.time < 100


def test_a_loop_waits_for_a_process_without_pipes(world: Any) -> None:
    """Before Python 3.12 nothing but a genuine thread of asyncio's waits for its end."""

    async def main() -> list[int]:
        ended = []
        for status in (3, 4):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", f"raise SystemExit({status})"
            )
            ended.append(await asyncio.wait_for(process.wait(), 5))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        return [*ended, await process.wait()]

    assert capas.run(main, world=world, host=world.hosts["a"]) == [3, 4, 0]
    assert world.thread("a", lambda: asyncio.run(main())).result() == [3, 4, 0]
    assert world.time < 10


def test_a_read_of_a_pipe(world: Any) -> None:
    def program() -> None:
        reading, writing = os.pipe()
        threading.Timer(2, os.write, (writing, b"x")).start()
        assert os.read(reading, 10) == b"x"
        os.close(writing)
        assert os.read(reading, 10) == b""
        os.close(reading)

    world.thread("a", program).result()
    assert 2 <= world.time < 2.1


def _time_and_place(queue: Any) -> None:
    begin = time.time()
    time.sleep(0.01)
    with socket.socket() as sock:
        queue.put((time.time() - begin >= 0.01, sock.fileno() < VIRTUAL_FD))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_processes_are_the_machines(world: Any) -> None:
    """A queue's feeder thread meets locks that were made in the world."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")

    def program() -> Any:
        context = get_context("fork")
        queue = context.Queue()
        process = context.Process(target=_time_and_place, args=(queue,))
        process.start()
        try:
            return queue.get()
        finally:
            process.join()

    assert world.thread("a", program).result() == (True, True)


def _ends_while_a_thread_has(lock: Any, pipe: Any) -> None:
    held = threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            time.sleep(0.2)
            pipe.send("the thread is ready")

    def at_the_end() -> None:
        with lock:
            pipe.send("the program ends")

    Finalize(None, at_the_end, exitpriority=1)
    threading.Thread(target=hold, daemon=True).start()
    held.wait()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_the_end_of_a_forked_process_waits_for_locks(world: Any) -> None:
    """Python 3.13 flushes queues after the end of threading: two had a lock, data was lost."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")

    def program() -> list[Any]:
        context = get_context("fork")
        reader, writer = context.Pipe(False)
        process = context.Process(target=_ends_while_a_thread_has, args=(threading.Lock(), writer))
        process.start()
        writer.close()
        try:
            return [reader.recv(), reader.recv()]
        finally:
            process.join()

    said = world.thread("a", program).result()
    assert said == ["the thread is ready", "the program ends"]


def waits_with_a_limit() -> object:
    return subprocess.Popen(["sleep", "0.2"]).wait(5)


def runs_with_a_limit() -> object:
    return subprocess.run(["sleep", "0.2"], timeout=5, check=True).returncode


def asks_again() -> object:
    process = subprocess.Popen(["sleep", "0.2"])
    while process.poll() is None:
        time.sleep(0.1)
    return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("program", [waits_with_a_limit, runs_with_a_limit, asks_again])
def test_a_quick_process_takes_no_virtual_time(world: Any, program: Any) -> None:
    """Minutes went by: the limit was genuine and the sleeps were not."""
    assert world.thread("a", program).result() == 0
    assert world.now == 0


@pytest.mark.slow
def test_a_slow_process_holds_virtual_time_to_the_real(world: Any) -> None:
    def program() -> tuple[float, float]:
        process = subprocess.Popen(["sleep", "60"])
        begin, watch = time.monotonic(), virtual_time.stopwatch()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        for _ in range(3):
            assert process.poll() is None
            time.sleep(0.1)
        took = time.monotonic() - begin, virtual_time.stopwatch() - watch
        time.sleep(3600)  # that is no wait for a process
        process.kill()
        assert process.wait(5) < 0
        return took

    watch = virtual_time.stopwatch()
    virtual, real = world.thread("a", program).result()
    assert 0.6 <= virtual < 0.601
    assert real >= 1 + virtual - 0.001  # the second, and then as long
    assert virtual_time.stopwatch() - watch < 60
