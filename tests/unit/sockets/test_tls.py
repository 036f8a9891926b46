# SPDX-License-Identifier: Apache-2.0
"""Blocking TLS: `ssl` and `http.client` unmodified over sockets of ours."""

import errno
import http.client
import io
import select
import socket as std
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capas.sim.world import World
from capas.sockets import modules

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

    def answer(secure: ssl.SSLSocket) -> bytes:
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
    def answer(secure: ssl.SSLSocket) -> None:
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
            assert isinstance(secure, ssl.SSLSocket)
            assert secure.version() == "TLSv1.3"
            assert secure.cipher()
            certificate: Any = secure.getpeercert()
            assert dict(certificate["subject"][0])["commonName"] == "b"
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
    def answer(secure: ssl.SSLSocket) -> None:
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
    def answer(secure: ssl.SSLSocket) -> int:
        return secure.sendfile(io.BytesIO(b""))

    def client() -> bytes:
        with std.create_connection(("b", 443)) as sock:
            return trusting().wrap_socket(sock, server_hostname="b").recv(1)

    serving = accept_one(world, answer)
    assert world.thread("a", client).result() == b""
    assert serving.result() == 0


def secured(sock: std.socket, context: ssl.SSLContext | None = None, **settings: Any) -> Any:
    return (context or trusting()).wrap_socket(sock, server_hostname="b", **settings)


def hear(secure: ssl.SSLSocket) -> bytes:
    """All that comes, to the end."""
    with secure.makefile("rb") as stream:
        got = stream.read()
    secure.unwrap().close()
    return got


def test_a_write_that_must_wait_is_sent_once(world: World) -> None:
    data = bytes(range(256)) * 2000  # 512 KB: more than the buffers hold

    def client() -> int:
        waits = 0
        secure = secured(std.create_connection(("b", 443)))
        secure.setblocking(False)
        left = memoryview(data)
        while left:
            try:
                left = left[secure.send(left) :]
            except ssl.SSLWantWriteError:
                waits += 1
                select.select([], [secure], [])
        secure.setblocking(True)
        secure.unwrap().close()
        return waits

    serving = accept_one(world, hear)
    assert world.thread("a", client).result() > 0
    assert serving.result() == data


def test_a_timeout_counts_for_the_whole_handshake(world: World) -> None:
    def server() -> None:
        with std.create_server(("", 443)) as listener, listener.accept()[0] as sock:
            sock.recv(10_000)
            for byte in b"\x16\x03\x03\x7f\xff" + bytes(100):
                time.sleep(0.5)
                sock.send(bytes([byte]))

    def client() -> float:
        with std.create_connection(("b", 443), timeout=2) as sock:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                secured(sock)
            return time.monotonic() - began

    world.thread("b", server)
    assert world.thread("a", client).result() == pytest.approx(2)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(world: World, version: ssl.TLSVersion) -> None:
    def server() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(PEM)
        with std.create_server(("", 443)) as listener:
            for _ in range(3):
                with context.wrap_socket(listener.accept()[0], server_side=True) as secure:
                    secure.send(b"again" if secure.session_reused else b"first")
                    secure.recv(1)

    def client() -> list[tuple[bytes, bool]]:
        context = trusting()
        context.maximum_version = version
        found = []
        session = None
        for late in (False, False, True):
            sock = std.create_connection(("b", 443))
            with secured(
                sock,
                context,
                session=None if late else session,
                do_handshake_on_connect=not late,
            ) as secure:
                if late:
                    secure.session = session
                    secure.do_handshake()
                found.append((secure.recv(9), secure.session_reused))
                session = secure.session
        return found

    world.thread("b", server)
    first, *others = world.thread("a", client).result()
    assert first == (b"first", False)
    assert others == [(b"again", True)] * 2


def test_a_server_names_callback_sees_the_socket(world: World) -> None:
    seen = []

    def program() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        for each in (context, other):
            each.load_cert_chain(PEM)
        other.set_alpn_protocols(["two"])

        def named(sock: Any, name: str | None, _: ssl.SSLContext) -> None:
            seen.append((isinstance(sock, ssl.SSLSocket), name))
            sock.context = other

        context.sni_callback = named
        with context.wrap_socket(std.create_server(("", 443)), server_side=True) as listener:
            secure, _ = listener.accept()
            assert isinstance(secure, ssl.SSLSocket)
            assert secure.context is other
            secure.close()

    class Own(ssl.SSLSocket):
        def chosen(self) -> str | None:
            return self.selected_alpn_protocol()

    def client() -> Any:
        context = trusting()
        context.set_alpn_protocols(["one", "two"])
        context.sslsocket_class = Own
        with secured(std.socket(), context) as secure:  # connected later
            assert secure.version() is None
            assert secure.cipher() is None
            assert secure.connect_ex(("b", 444)) == errno.ECONNREFUSED
        with secured(std.socket(), context) as secure:
            assert secure.connect_ex(("b", 443)) == 0
            return secure.chosen()

    serving = world.thread("b", program)
    assert world.thread("a", client).result() == "two"
    serving.result()
    assert seen == [(True, "b")]


def test_a_thread_reads_while_another_writes(world: World) -> None:
    data = bytes(range(256)) * 4000  # 1 MB each way: both must wait for room

    def answer(secure: ssl.SSLSocket) -> None:
        while text := secure.recv(50_000):
            secure.sendall(text)
        secure.unwrap().close()

    def client() -> bytes:
        secure = secured(std.create_connection(("b", 443)))
        writer = threading.Thread(target=secure.sendall, args=(data,))
        writer.start()
        got = b""
        while len(got) < len(data):
            got += secure.recv(50_000)
        writer.join()
        secure.unwrap().close()
        return got

    serving = accept_one(world, answer)
    assert world.thread("a", client).result() == data
    serving.result()


def test_a_write_that_timed_out_is_gone_on_with(world: World) -> None:
    data = bytes(range(256)) * 2000

    def client() -> int:
        secure = secured(std.create_connection(("b", 443)))
        secure.setsockopt(std.SOL_SOCKET, std.SO_SNDBUF, 50_000)
        secure.settimeout(0.005)  # a record takes 13 ms
        timeouts = 0
        left = memoryview(data)
        while left:
            try:
                left = left[secure.send(left) :]
            except TimeoutError:
                timeouts += 1
        secure.settimeout(None)
        secure.unwrap().close()
        return timeouts

    serving = accept_one(world, hear)
    assert world.thread("a", client).result() > 0
    assert serving.result() == data
