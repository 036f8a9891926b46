# SPDX-License-Identifier: Apache-2.0
"""Threads, locks and queues that programs of a world make are the world's."""

import asyncio
import gc
import queue
import socket
import socketserver
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import capas
from capas.errors import BlockingInLoopError, DeadlockError


@pytest.fixture
def world() -> Any:
    with capas.World(seed=1) as world:
        world.link(world.host("a"), world.host("b"), delay="10ms")
        yield world


def test_threads_take_virtual_time(world: Any) -> None:
    found: queue.Queue[int] = queue.Queue()

    def work(number: int) -> None:
        time.sleep(number)
        found.put(number)

    def main() -> list[int]:
        own: queue.Queue[int] = queue.Queue()
        threads = [threading.Thread(target=work, args=(n,)) for n in (3, 1, 2)]
        for thread in threads:
            thread.start()
            assert thread.is_alive()
        threads[0].join(timeout=0.5)
        assert threads[0].is_alive()
        for thread in threads:
            thread.join()
            assert not thread.is_alive()
        before = time.monotonic()
        with pytest.raises(queue.Empty):
            own.get(timeout=2)
        assert time.monotonic() - before == pytest.approx(2)
        return [found.get() for _ in threads]

    assert world.thread("a", main).result() == [1, 2, 3]
    assert 5 <= world.time < 5.1


def test_conditions_and_pools(world: Any) -> None:
    def main() -> list[int]:
        barrier = threading.Barrier(3)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: barrier.wait(5), range(3)))
            return sorted(pool.map(lambda n: (time.sleep(1), n)[1], range(6)))

    assert world.thread("a", main).result() == list(range(6))
    assert 2 <= world.time < 2.1


def test_a_threading_server(world: Any) -> None:
    class Upper(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line.upper())

    def serve() -> None:
        with socketserver.ThreadingTCPServer(("", 7), Upper) as server:
            server.serve_forever()

    def main() -> bytes:
        import socket

        with socket.create_connection(("b", 7)) as client:
            client.sendall(b"hello\n")
            return client.recv(100)

    with capas.installed():
        world.thread("b", serve)
        assert world.thread("a", main).result() == b"HELLO\n"


@pytest.mark.parametrize("end", ["shutdown", "peer"])
def test_a_socket_closed_while_another_thread_reads(world: Any, end: str) -> None:
    """The call that waits keeps the socket open, as in Linux: what ends it, ends the connection."""
    got: list[Any] = []

    def server() -> None:
        with socket.create_server(("", 7)) as listener:
            connection, _ = listener.accept()
            time.sleep(2)
            connection.close()

    def client() -> None:
        sock = socket.create_connection(("b", 7))
        thread = threading.Thread(target=lambda: got.append(sock.recv(10)))
        thread.start()
        time.sleep(1)
        if end == "shutdown":
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        thread.join()
        got.append(int(time.monotonic()))

    with capas.installed():
        world.thread("b", server)
        world.thread("a", client).result()
    assert got == [b"", 1 if end == "shutdown" else 2]


def test_a_program_that_goes_on_after_its_end(world: Any) -> None:
    """It swallows what ends it, each time: the host dies all the same."""
    told: list[float] = []

    def stubborn() -> None:
        while True:
            try:
                time.sleep(1)
            except BaseException:
                told.append(time.monotonic())

    program = world.thread("b", stubborn)
    world.run_for("1.5s")
    world.kill("b")
    assert program.done
    assert 1 < len(told) < 100
    assert set(told) == {1.5}


def test_waiting_for_a_lock_that_nobody_gives_back(world: Any) -> None:
    def main() -> None:
        lock = threading.Lock()
        lock.acquire()
        assert not lock.acquire(timeout=1)
        lock.acquire()

    with pytest.raises(DeadlockError, match="waits for a lock"):
        world.thread("a", main).result()


def test_a_loop_that_waits_for_an_event_is_told(world: Any) -> None:
    async def main() -> None:
        event = threading.Event()
        with pytest.raises(BlockingInLoopError):
            event.wait()
        thread = threading.Thread(target=event.set)
        thread.start()
        await asyncio.sleep(0.1)
        assert event.is_set()

    capas.run(main, world=world, host="a")


def test_a_killed_event_loop_leaves_no_complaints(
    world: Any, monkeypatch: Any, caplog: Any
) -> None:
    """Its tasks would await something on their way out; the garbage collector told of each."""
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    ended: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def serve() -> None:
        try:
            async with await asyncio.start_server(handle, port=7) as server:
                await server.serve_forever()
        finally:
            await asyncio.sleep(1)
            ended.append("here")

    async def client() -> None:
        await asyncio.open_connection("a", 7)
        await asyncio.sleep(1)

    with capas.installed():
        world.thread("a", lambda: asyncio.run(serve()))
        world.thread("b", lambda: asyncio.run(client())).result()
        world.kill(world.hosts["a"])
        world.run(until="5s")
    gc.collect()
    assert complaints == []
    assert ended == []
    assert "destroyed" not in caplog.text


def test_outside_all_is_genuine(world: Any) -> None:
    world.thread("a", time.sleep, 1).result()
    assert type(threading.Lock()).__module__ == "_thread"
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    thread.join()
