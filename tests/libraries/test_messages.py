# SPDX-License-Identifier: Apache-2.0
"""Mail, names, shells, QUIC and gRPC on asyncio, and asyncio's own streams."""

import asyncio
import contextlib
from email.message import EmailMessage
from typing import Any

import pytest

BODY = bytes(range(256)) * 400


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    writer.close()


@pytest.mark.parametrize("tls", [False, True])
def test_asyncio_streams(lab: Any, tls: bool) -> None:
    async def main() -> None:
        server_side = lab.server_context() if tls else None
        server = await lab.serve(asyncio.start_server(echo, "b", 7, ssl=server_side))
        client_side = lab.client_context() if tls else None
        reader, writer = await asyncio.open_connection("b", 7, ssl=client_side)
        writer.write(BODY)
        await writer.drain()
        assert await reader.readexactly(len(BODY)) == BODY
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    lab.run(main)


def test_asyncio_start_tls(lab: Any) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(lab.server_context())
        await echo(reader, writer)

    async def main() -> None:
        await lab.serve(asyncio.start_server(upgrade, "b", 7))
        reader, writer = await asyncio.open_connection("b", 7)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(lab.client_context(), server_hostname="b")
        writer.write(BODY)
        assert await reader.readexactly(len(BODY)) == BODY
        writer.close()
        await writer.wait_closed()

    lab.run(main)


@pytest.mark.parametrize("tls", [False, True])
def test_aiosmtpd_and_aiosmtplib(lab: Any, tls: bool) -> None:
    aiosmtplib = pytest.importorskip("aiosmtplib")
    smtp = pytest.importorskip("aiosmtpd.smtp")
    got: list[Any] = []

    class Keep:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            got.append(envelope)
            return "250 kept"

    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "me@a", "you@b", "hello"
    message.set_content("line\n" * 10_000)

    async def start() -> Any:
        context = lab.server_context() if tls else None
        return await asyncio.get_running_loop().create_server(
            lambda: smtp.SMTP(Keep(), tls_context=context, require_starttls=tls), None, 25
        )

    async def main() -> None:
        await lab.serve(start())
        await aiosmtplib.send(
            message, hostname="b", port=25, start_tls=tls, tls_context=lab.client_context()
        )

    lab.run(main)
    assert got[0].rcpt_tos == ["you@b"]
    assert got[0].content.count(b"line") == 10_000


def test_aiosmtpd_controller(lab: Any) -> None:
    """Its Controller starts a thread with a loop of its own."""
    pytest.importorskip("aiosmtpd")
    import smtplib

    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Sink

    def server() -> None:
        import time

        controller = Controller(Sink(), hostname="0.0.0.0", port=25, ready_timeout=30)
        controller.start()
        time.sleep(100)
        controller.stop()

    def client() -> None:
        import time

        time.sleep(1)
        with smtplib.SMTP("b", 25) as connection:
            connection.sendmail("me@a", ["you@b"], "Subject: hello\r\n\r\nhello")

    lab.threads(server, client)
    lab.serving.result()


def test_dnspython(lab: Any) -> None:
    pytest.importorskip("dns")
    import dns.asyncquery
    import dns.asyncresolver
    import dns.message
    import dns.query
    import dns.resolver
    import dns.rrset

    class Names(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.transport.sendto(answer(data), address)

    def answer(data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        name = query.question[0].name
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.7"))
        return reply.to_wire()

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                reply = answer(await reader.readexactly(size))
                writer.write(len(reply).to_bytes(2, "big") + reply)
        writer.close()

    async def start() -> str:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Names, ("0.0.0.0", 53))
        await asyncio.start_server(over_tcp, port=53)
        return str((await loop.getaddrinfo("b", 53))[0][4][0])

    def setting(resolver: Any, address: str) -> Any:
        resolver.nameservers = [address]
        return resolver

    def blocking(address: str) -> None:
        resolver = setting(dns.resolver.Resolver(configure=False), address)
        for number in range(20):
            assert resolver.resolve(f"host{number}.test.", "A")[0].to_text() == "192.0.2.7"
        assert resolver.resolve("large.test.", "A", tcp=True)[0].to_text() == "192.0.2.7"

    async def main() -> None:
        import socket

        await lab.serve(start())
        address = socket.getaddrinfo("b", 53, socket.AF_INET)[0][4][0]
        resolver = setting(dns.asyncresolver.Resolver(configure=False), address)
        for number in range(20):
            found = await resolver.resolve(f"host{number}.test.", "A")
            assert found[0].to_text() == "192.0.2.7"
        found = await resolver.resolve("large.test.", "A", tcp=True)
        assert found[0].to_text() == "192.0.2.7"
        await asyncio.to_thread(blocking, address)

    lab.run(main)


def test_asyncssh(lab: Any) -> None:
    asyncssh = pytest.importorskip("asyncssh")
    key = asyncssh.generate_private_key("ssh-ed25519")

    class Server(asyncssh.SSHServer):  # type: ignore[misc,name-defined]
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("me", "secret")

    async def start() -> Any:
        return await asyncssh.listen(
            "", 22, server_factory=Server, server_host_keys=[key], process_factory=shell
        )

    async def shell(process: Any) -> None:
        process.stdout.write((await process.stdin.read()).upper() + (process.command or ""))
        process.exit(3)

    async def main() -> None:
        server = await lab.serve(start())
        settings = {"username": "me", "config": [], "known_hosts": None, "agent_path": None}
        async with asyncssh.connect("b", 22, password="secret", **settings) as connection:
            result = await connection.run("name", input="hello " * 1000)
            assert result.stdout == "HELLO " * 1000 + "name"
            assert result.exit_status == 3
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect("b", 22, password="wrong", **settings)
        server.close()
        await server.wait_closed()

    lab.run(main)


def test_aioquic(lab: Any) -> None:
    pytest.importorskip("aioquic")
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.server import serve
    from aioquic.quic.configuration import QuicConfiguration

    def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer() -> None:
            writer.write((await reader.read())[::-1])
            writer.write_eof()

        tasks.append(asyncio.ensure_future(answer()))

    tasks: list[Any] = []

    async def main() -> None:
        server_side = QuicConfiguration(alpn_protocols=["test"], is_client=False)
        server_side.load_cert_chain(lab.pem, lab.pem)
        await lab.serve(serve("::", 4433, configuration=server_side, stream_handler=handle))
        client_side = QuicConfiguration(alpn_protocols=["test"], server_name="b")
        client_side.load_verify_locations(lab.pem)
        async with connect("b", 4433, configuration=client_side) as client:
            reader, writer = await client.create_stream()
            writer.write(BODY)
            writer.write_eof()
            assert await reader.read() == BODY[::-1]

    lab.run(main)


def test_grpclib(lab: Any) -> None:
    pytest.importorskip("grpclib")
    pytest.importorskip("google.protobuf")
    import grpclib.client
    import grpclib.server
    from google.protobuf.wrappers_pb2 import StringValue
    from grpclib.const import Cardinality, Handler, Status
    from grpclib.exceptions import GRPCError

    class Upper:
        async def one(self, stream: Any) -> None:
            request = await stream.recv_message()
            if request.value == "bad":
                raise GRPCError(Status.INVALID_ARGUMENT, "bad")
            await stream.send_message(StringValue(value=request.value.upper()))

        async def many(self, stream: Any) -> None:
            async for request in stream:
                await stream.send_message(StringValue(value=request.value.upper()))

        def __mapping__(self) -> dict[str, Any]:
            kinds = StringValue, StringValue
            return {
                "/t.Upper/One": Handler(self.one, Cardinality.UNARY_UNARY, *kinds),
                "/t.Upper/Many": Handler(self.many, Cardinality.STREAM_STREAM, *kinds),
            }

    async def start() -> Any:
        server = grpclib.server.Server([Upper()])
        await server.start("0.0.0.0", 50051)
        return server

    async def main() -> None:
        server = await lab.serve(start())
        channel = grpclib.client.Channel("b", 50051)
        one = grpclib.client.UnaryUnaryMethod(channel, "/t.Upper/One", StringValue, StringValue)
        many = grpclib.client.StreamStreamMethod(channel, "/t.Upper/Many", StringValue, StringValue)
        long = "hello " * 5000
        assert (await one(StringValue(value=long))).value == long.upper()
        with pytest.raises(GRPCError):
            await one(StringValue(value="bad"))
        answers = await many([StringValue(value=str(n) + "x") for n in range(50)])
        assert [answer.value for answer in answers] == [f"{n}X" for n in range(50)]
        with pytest.raises(asyncio.TimeoutError):
            async with many.open(timeout=2) as stream:
                await stream.send_message(StringValue(value="x"))
                await stream.recv_message()
                await stream.recv_message()
        channel.close()
        server.close()
        await server.wait_closed()

    lab.run(main)
