# SPDX-License-Identifier: Apache-2.0
"""The small services, on the standard loop and the loopback interface."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from capas.application import inetd
from capas.application.serving import Service

HERE = ("127.0.0.1",)
EPOCH = 383_247_463.0  # Tuesday, February 22, 1982 17:37:43 UTC


def serve(name: str, body: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with await inetd.start(name, 0, HERE, wall=lambda: EPOCH) as service:
            async with asyncio.timeout(20):
                await body(service)

    asyncio.run(main())


async def ask_udp(port: int, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
            answer.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", port))
    try:
        transport.sendto(data)
        return await answer
    finally:
        transport.close()


@pytest.mark.rfc("862", "2")
def test_echo_returns_a_megabyte_and_ends_with_the_client() -> None:
    data = bytes(range(256)) * 4096

    async def body(service: Service) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)

        async def write() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        _, echoed = await asyncio.gather(write(), reader.read())
        assert echoed == data
        writer.close()

    serve("echo", body)


@pytest.mark.rfc("862", "3")
def test_echo_answers_datagrams() -> None:
    async def body(service: Service) -> None:
        assert await ask_udp(service.port, b"hello") == b"hello"

    serve("echo", body)


@pytest.mark.rfc("863", "2")
def test_discard_says_nothing_and_ends_with_the_client() -> None:
    async def body(service: Service) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(bytes(100_000))
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    serve("discard", body)


@pytest.mark.rfc("867", "2")
def test_daytime_says_the_time_and_closes() -> None:
    async def body(service: Service) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        assert await reader.read() == b"Monday, February 22, 1982 17:37:43-UTC\r\n"
        writer.close()
        assert (await ask_udp(service.port, b"?")).endswith(b"1982 17:37:43-UTC\r\n")

    serve("daytime", body)


@pytest.mark.rfc("864", "2")
def test_chargen_goes_on_until_the_client_leaves() -> None:
    async def body(service: Service) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        lines = (await reader.readexactly(74 * 1000)).split(b"\r\n")[:-1]
        assert [lines[0], lines[1], lines[95]] == [lines[0], lines[96], lines[0]]
        assert lines[0] == bytes(range(32, 104))
        assert all(len(line) == 72 for line in lines)
        writer.close()
        await writer.wait_closed()

    serve("chargen", body)


@pytest.mark.rfc("864", "3")
def test_chargen_datagrams_hold_up_to_512_characters() -> None:
    async def body(service: Service) -> None:
        sizes = [len(await ask_udp(service.port, b"?")) for _ in range(20)]
        assert all(1 <= size <= 512 for size in sizes)
        assert min(sizes) < max(sizes)

    serve("chargen", body)


class Recorder(asyncio.DatagramTransport):
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[object, object]] = []

    def sendto(self, data: object, addr: object = None) -> None:
        self.sent.append((data, addr))


@pytest.mark.parametrize("port", sorted(inetd.LOOPING_PORTS))
def test_no_answer_to_another_small_service(port: int) -> None:
    transport = Recorder()
    protocol = inetd._UdpService(bytes)
    protocol.connection_made(transport)
    protocol.datagram_received(b"x", ("192.0.2.1", port))
    assert transport.sent == []
    protocol.datagram_received(b"x", ("192.0.2.1", 40_000))
    assert transport.sent == [(b"x", ("192.0.2.1", 40_000))]


def test_an_unknown_service_is_named() -> None:
    with pytest.raises(ValueError, match=r"'finger'.*echo, discard"):
        asyncio.run(inetd.start("finger"))


def test_a_port_in_use_is_an_error() -> None:
    async def body(service: Service) -> None:
        with pytest.raises(OSError, match=r"in use"):
            await inetd.start("echo", service.port, HERE)

    serve("echo", body)
