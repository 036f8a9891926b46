# SPDX-License-Identifier: Apache-2.0
"""Blocking TLS: `ssl` and `http.client` unmodified over sockets of ours."""

import http.client
import io
import socket as std
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capas.sim.world import World
from capas.sockets import modules
from capas.sockets.tls import TlsSocket

PEM = str(Path(__file__).parents[1] / "aio" / "tls_test.pem")


@pytest.fixture
def world() -> Iterator[World]:
    world = World(1)
    world.link(world.host("a"), world.host("b"), delay="10ms", rate="10Mbit")
    with modules.installed():
        yield world


def accept_one(world: World, answer: Any) -> Any:
    """A server on b for one TLS connection."""

    def program() -> Any:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(PEM)
        with std.create_server(("", 443)) as listener:
            plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as secure:
            assert plain.fileno() == -1
            return answer(secure)

    return world.thread("b", program)


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=PEM)


def test_an_unmodified_https_client(world: World) -> None:
    body = bytes(range(256)) * 300

    def answer(secure: TlsSocket) -> bytes:
        with secure.makefile("rwb") as stream:
            line = stream.readline()
            while stream.readline().strip():
                pass
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            stream.write(head.encode() + body)
        return line

    def client() -> bytes:
        connection = http.client.HTTPSConnection("b", context=trusting(), timeout=60)
        connection.request("GET", "/")
        got = connection.getresponse().read()
        connection.close()
        return got

    serving = accept_one(world, answer)
    assert world.thread("a", client).result() == body
    assert serving.result() == b"GET / HTTP/1.1\r\n"


def test_the_surface_of_an_ssl_socket(world: World) -> None:
    def answer(secure: TlsSocket) -> None:
        assert secure.recv(3) == b"abc"
        buffer = bytearray(10)
        assert secure.recv_into(buffer, 3) == 3
        secure.sendall(bytes(200_000))
        plain = secure.unwrap()
        assert plain.recv(10) == b"plain"
        plain.close()

    def client() -> None:
        with std.create_connection(("b", 443)) as sock:
            secure = trusting().wrap_socket(sock, server_hostname="b")
            assert isinstance(secure, TlsSocket)
            assert secure.version() == "TLSv1.3"
            assert secure.cipher()
            assert dict(secure.getpeercert()["subject"][0])["commonName"] == "b"
            assert secure.family == std.AF_INET
            secure.settimeout(0.5)
            with pytest.raises(TimeoutError):
                secure.recv(1)
            secure.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):
                secure.recv(1)
            secure.settimeout(None)
            with pytest.raises(ValueError, match="flags"):
                secure.recv(1, std.MSG_PEEK)
            with pytest.raises(ValueError, match="not allowed"):
                secure.recvfrom(1)
            assert secure.send(b"abc") == 3
            secure.write(b"def")
            with secure.makefile("rb") as stream:
                assert stream.read(200_000) == bytes(200_000)
            assert secure.recv(1) == b""
            plain = secure.unwrap()
            plain.sendall(b"plain")
            plain.close()

    serving = accept_one(world, answer)
    world.thread("a", client).result()
    serving.result()


def test_a_certificate_for_somebody_else(world: World) -> None:
    def answer(secure: TlsSocket) -> None:
        raise AssertionError("the handshake must fail")

    def client() -> None:
        with (
            std.create_connection(("b", 443)) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            trusting().wrap_socket(sock, server_hostname="c")

    serving = accept_one(world, answer)
    world.thread("a", client).result()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):  # the alert, or what overtook it
        serving.result()


def test_files_over_tls(world: World) -> None:
    def answer(secure: TlsSocket) -> int:
        return secure.sendfile(io.BytesIO(b""))

    def client() -> bytes:
        with std.create_connection(("b", 443)) as sock:
            return trusting().wrap_socket(sock, server_hostname="b").recv(1)

    serving = accept_one(world, answer)
    assert world.thread("a", client).result() == b""
    assert serving.result() == 0
