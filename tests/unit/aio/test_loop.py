# SPDX-License-Identifier: Apache-2.0
"""Unmodified asyncio programs on hosts of a world."""

import asyncio
import os
import signal
import socket as std
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

import capas
from capas.aio.loop import CapasEventLoop, new_event_loop
from capas.sim.world import World
from capas.sockets import modules
from capas.sockets.current import current_host, set_default_host

PEM = str(Path(__file__).with_name("tls_test.pem"))


@pytest.fixture
def world() -> World:
    world = World(1)
    a, b = world.host("a"), world.host("b")
    world.link(a, b, delay="10ms", rate="10Mbit")
    return world


def run(world: World, main: Any) -> Any:
    return capas.run(main, world=world, host="a")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def on(host: Any, coroutine: Any) -> Any:
    return await capas.spawn(host, coroutine)


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    return context


@pytest.mark.parametrize("family", [std.AF_INET, std.AF_INET6])
def test_streams(world: World, family: int) -> None:
    async def main() -> None:
        server = await on(world.hosts["b"], asyncio.start_server(echo, None, 7))
        assert {sock.family for sock in server.sockets} == {std.AF_INET, std.AF_INET6}
        reader, writer = await asyncio.open_connection("b", 7, family=family)
        assert writer.get_extra_info("peername")[1] == 7
        writer.write(bytes(100_000))
        writer.write_eof()
        assert await reader.read() == bytes(100_000)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        with pytest.raises(OSError):
            await asyncio.open_connection("b", 7)

    run(world, main)


def test_time_is_virtual_and_given_back(world: World) -> None:
    before = time.time()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time(), time.monotonic(), time.time()
        await asyncio.sleep(3600)
        assert loop.time() - start[0] == pytest.approx(3600)
        assert time.monotonic() - start[1] == pytest.approx(3600)
        assert time.time() - start[2] == pytest.approx(3600)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        return loop.time()

    assert run(world, main) == pytest.approx(3605)
    assert time.time() - before < 60


def test_waiting_until_later_than_now_ends(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        expiry = loop.time() + 1
        done = asyncio.Event()

        def check() -> None:
            if loop.time() <= expiry:
                loop.call_at(expiry, check)
            else:
                done.set()

        loop.call_at(expiry, check)
        await done.wait()

    run(world, main)


def test_callbacks_run_on_the_host_of_their_socket(world: World) -> None:
    seen: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(current_host())
        writer.close()

    async def main() -> None:
        b = world.hosts["b"]
        sock = capas.Socket(host=b)
        sock.bind(("", 80))
        with capas.use_host(None):
            server = await asyncio.start_server(serve, sock=sock)
        reader, writer = await asyncio.open_connection("b", 80)
        await reader.read()
        assert current_host() is world.hosts["a"]
        assert seen == [b]
        writer.close()
        server.close()

    run(world, main)


def test_datagram_endpoints(world: World) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.transport.sendto(data[::-1], address)

    class Client(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.events: asyncio.Queue[Any] = asyncio.Queue()

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.events.put_nowait(data)

        def error_received(self, error: Exception) -> None:
            self.events.put_nowait(error)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, _ = await on(
            world.hosts["b"], loop.create_datagram_endpoint(Echo, local_addr=("0.0.0.0", 7))
        )
        transport, client = await loop.create_datagram_endpoint(Client, remote_addr=("10.0.0.2", 7))
        transport.sendto(b"x" * 20_000 + b"y")
        assert await client.events.get() == b"y" + b"x" * 20_000
        server.close()
        await asyncio.sleep(0)
        transport.sendto(b"?")
        assert isinstance(await client.events.get(), ConnectionRefusedError)
        transport.close()

    run(world, main)


def test_tls_and_start_tls(world: World) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"ok\n")
        await writer.start_tls(server_context())
        await echo(reader, writer)

    async def main() -> None:
        trust = ssl.create_default_context(cafile=PEM)
        b = world.hosts["b"]
        secure = await on(b, asyncio.start_server(echo, "b", 443, ssl=server_context()))
        plain = await on(b, asyncio.start_server(upgrade, "b", 25))
        reader, writer = await asyncio.open_connection("b", 443, ssl=trust)
        assert writer.get_extra_info("cipher")
        writer.write(bytes(50_000))
        assert await reader.readexactly(50_000) == bytes(50_000)
        writer.close()
        reader, writer = await asyncio.open_connection("b", 25)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"ok\n"
        await writer.start_tls(trust, server_hostname="b")
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("b", 443, ssl=trust, server_hostname="c")
        secure.close()
        plain.close()
        await asyncio.sleep(1)

    run(world, main)


def test_sock_calls(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener, client = std.socket(), std.socket()
        with listener, client:
            for sock in (listener, client):
                sock.setblocking(False)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            accepting = asyncio.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            server, _ = await accepting
            with server:
                await loop.sock_sendall(client, bytes(300_000)[:1000])
                buffer = bytearray(2000)
                assert await loop.sock_recv_into(server, buffer) == 1000
        one, other = std.socket(type=std.SOCK_DGRAM), std.socket(type=std.SOCK_DGRAM)
        with one, other:
            one.setblocking(False)
            other.setblocking(False)
            one.bind(("127.0.0.1", 0))
            await loop.sock_sendto(other, b"hi", one.getsockname())
            data, address = await loop.sock_recvfrom(one, 10)
            assert (data, address[0]) == (b"hi", "127.0.0.1")

    run(world, main)


def test_sendfile(world: World, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 1000)

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with path.open("rb") as file:
                await asyncio.get_running_loop().sendfile(writer.transport, file)
            writer.close()

        server = await on(world.hosts["b"], asyncio.start_server(serve, "b", 80))
        reader, writer = await asyncio.open_connection("b", 80)
        assert await reader.read() == path.read_bytes()
        writer.close()
        server.close()

    run(world, main)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no such signals")
def test_signals(world: World) -> None:
    """A handler runs at the instant of the signal, not when time is over."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        heard: list[str] = []
        loop.add_signal_handler(signal.SIGUSR1, heard.append, "one")
        loop.add_signal_handler(signal.SIGUSR2, stop.set)
        loop.call_later(1, os.kill, os.getpid(), signal.SIGUSR1)
        loop.call_later(2, os.kill, os.getpid(), signal.SIGUSR2)
        await asyncio.wait_for(stop.wait(), 5)
        assert loop.time() == pytest.approx(2)
        assert heard == ["one"]
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        assert loop.remove_signal_handler(signal.SIGUSR2)

    run(world, main)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_program_in_a_thread_may_ask_for_signals(world: World) -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        return loop.remove_signal_handler(signal.SIGTERM)

    with modules.installed():
        assert world.thread("a", lambda: asyncio.run(main())).result()


def test_a_loop_of_somebodys_own_class(world: World) -> None:
    """It is a blocking program to the world: it waits in its selector, in virtual time."""

    class Own(asyncio.SelectorEventLoop):
        pass

    async def main() -> float:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, port=7)
        reader, writer = await asyncio.open_connection("a", 7)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
        await asyncio.to_thread(time.sleep, 1)
        await asyncio.sleep(2)
        server.close()
        await server.wait_closed()
        writer.close()
        assert type(loop) is Own
        return loop.time()

    def program() -> float:
        loop = Own()
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    with modules.installed():
        assert world.thread("a", program).result() == pytest.approx(3, abs=0.01)


def test_names(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo("b", "http", type=std.SOCK_STREAM)
        assert ("10.0.0.2", 80) in [info[4] for info in infos]
        assert await loop.getnameinfo(("10.0.0.2", 80)) == ("b", "http")
        with pytest.raises(std.gaierror):
            await loop.getaddrinfo("nobody", 80)
        assert std.gethostname() == "a"
        assert std.gethostbyname("b") == "10.0.0.2"

    run(world, main)


def test_executors_run_in_virtual_time(world: World) -> None:
    def blocking(seconds: float) -> tuple[float, str]:
        time.sleep(seconds)
        with pytest.raises(ConnectionRefusedError):
            std.create_connection(("b", 81))
        return time.monotonic(), std.gethostname()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        first, second = await asyncio.gather(
            asyncio.to_thread(blocking, 20), loop.run_in_executor(None, blocking, 10)
        )
        assert first[0] - start == pytest.approx(20, abs=0.5)
        assert second[0] - start == pytest.approx(10, abs=0.5)
        assert first[1] == second[1] == "a"
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    run(world, main)


def test_blocking_inside_the_loop_is_an_error(world: World) -> None:
    async def main() -> None:
        with pytest.raises(capas.BlockingInLoopError):
            std.create_connection(("10.0.0.2", 80))

    run(world, main)


def test_a_wait_that_can_never_end_is_an_error(world: World) -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(capas.DeadlockError):
        run(world, main)


def test_outside_any_host_sockets_are_genuine(world: World) -> None:
    async def main() -> None:
        with capas.use_host(None):
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            assert server.sockets[0].fileno() < 1 << 20
            server.close()
            with std.socket() as sock:
                assert type(sock) is modules.real_socket

    run(world, main)


def test_stand_ins_are_given_back_whatever_happens(world: World) -> None:
    before = std.socket, std.getaddrinfo, time.time, time.sleep

    async def main() -> None:
        assert std.socket is not before[0]
        with std.socket() as sock:
            assert isinstance(sock, std.socket)
        raise KeyError("whatever")

    with pytest.raises(KeyError):
        run(world, main)
    assert (std.socket, std.getaddrinfo, time.time, time.sleep) == before


def test_the_same_seed_gives_the_same_run() -> None:
    def once() -> Any:
        world = World(7)
        a, b = world.host("a"), world.host("b")
        world.link(a, b, delay="10ms", jitter="3ms", loss=0.05, rate="10Mbit")

        async def main() -> float:
            await on(b, asyncio.start_server(echo, "b", 7))
            reader, writer = await asyncio.open_connection("b", 7)
            writer.write(bytes(200_000))
            await reader.readexactly(200_000)
            writer.close()
            return asyncio.get_running_loop().time()

        return capas.run(main, world=world, host=a), a.counters.snapshot()

    assert once() == once()


def test_which_host(world: World) -> None:
    async def main() -> str:
        host = current_host()
        assert host is not None
        return host.name

    assert capas.run(main) == "localhost"
    assert capas.run(main, world=world, host="b") == "b"
    with pytest.raises(capas.ConfigurationError, match="give host"):
        capas.run(main, world=world)
    set_default_host(world.hosts["a"])
    try:
        assert current_host() is world.hosts["a"]
        with capas.use_host(None):
            assert current_host() is None
    finally:
        set_default_host(None)


def test_loops_by_host(world: World) -> None:
    with capas.use_host(world.hosts["a"]):
        loop = new_event_loop()
    assert isinstance(loop, CapasEventLoop)
    assert loop.driver is world.driver
    assert loop.run_until_complete(asyncio.sleep(1, "x")) == "x"
    loop.close()
    loop.close()
    plain = new_event_loop()
    assert not isinstance(plain, CapasEventLoop)
    plain.close()
