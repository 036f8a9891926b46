# SPDX-License-Identifier: Apache-2.0
"""Blocking libraries, in threads of the world with the stand-ins installed."""

import ftplib
import http.client
import http.server
import io
import select
import selectors
import smtplib
import socket
import socketserver
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

import capas

BODY = bytes(range(256)) * 400


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = self.path == "/"
        body = BODY if found else b"no"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)[::-1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


class AllPages(Pages):
    def do_GET(self) -> None:
        self.path = "/"
        super().do_GET()


def web(lab: Any, tls: bool) -> Any:
    def serve() -> None:
        with http.server.ThreadingHTTPServer(("", 443 if tls else 80), Pages) as server:
            if tls:
                server.socket = lab.server_context().wrap_socket(server.socket, server_side=True)
            server.serve_forever()

    return serve


@pytest.mark.parametrize("tls", [False, True])
def test_http_client_and_server(lab: Any, tls: bool) -> None:
    def client() -> None:
        if tls:
            connection: Any = http.client.HTTPSConnection("b", context=lab.client_context())
        else:
            connection = http.client.HTTPConnection("b", timeout=30)
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == BODY
            connection.request("POST", "/", body=BODY)
            assert connection.getresponse().read() == BODY[::-1]
        connection.close()

    lab.threads(web(lab, tls), client)


def test_same_seed_same_frames() -> None:
    """Threads on both sides, and what the wire saw is the same to the byte."""

    def capture() -> bytes:
        file = io.BytesIO()
        with capas.World(seed=5) as world, capas.installed():
            a, b = world.host("a"), world.host("b")
            world.link(a, b, delay="20ms", loss="2%")
            world.capture(file)

            def client() -> None:
                threads = [threading.Thread(target=get, args=(n,)) for n in range(5)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            def get(number: int) -> None:
                with urllib.request.urlopen(f"http://b/{number or ''}") as response:
                    assert response.read() == BODY

            def serve() -> None:
                with http.server.ThreadingHTTPServer(("", 80), AllPages) as server:
                    server.serve_forever()

            world.thread(b, serve)
            world.thread(a, client).result()
            return file.getvalue()

    first = capture()
    assert len(first) > 5 * len(BODY)
    assert capture() == first


@pytest.mark.parametrize("tls", [False, True])
def test_urllib_request(lab: Any, tls: bool) -> None:
    base = "https://b" if tls else "http://b"

    def client() -> None:
        context = lab.client_context() if tls else None
        with urllib.request.urlopen(f"{base}/", timeout=20, context=context) as response:
            assert response.read() == BODY
        with pytest.raises(urllib.error.HTTPError) as info:
            urllib.request.urlopen(f"{base}/nothing", context=context)
        info.value.close()

    lab.threads(web(lab, tls), client)


@pytest.mark.parametrize("tls", [False, True])
def test_urllib3(lab: Any, tls: bool) -> None:
    urllib3 = pytest.importorskip("urllib3")
    base = "https://b" if tls else "http://b"

    def client() -> None:
        with urllib3.PoolManager(ssl_context=lab.client_context() if tls else None) as pool:
            for _ in range(3):
                assert pool.request("GET", f"{base}/").data == BODY
            assert pool.request("POST", f"{base}/", body=BODY).data == BODY[::-1]
            begin = time.monotonic()
            with pytest.raises(urllib3.exceptions.MaxRetryError):
                retries = urllib3.Retry(connect=2, backoff_factor=1)
                pool.request("GET", "http://b:81/", retries=retries)
            assert time.monotonic() - begin > 2

    lab.threads(web(lab, tls), client)


@pytest.mark.parametrize("tls", [False, True])
def test_requests(lab: Any, tls: bool) -> None:
    requests = pytest.importorskip("requests")
    base = "https://b" if tls else "http://b"

    def client() -> None:
        with requests.Session() as session:
            session.trust_env = False  # no certificates, no proxies of this machine
            session.verify = lab.pem
            for _ in range(3):
                assert session.get(f"{base}/", timeout=20).content == BODY
            assert session.post(f"{base}/", data=BODY).content == BODY[::-1]
            with pytest.raises(requests.ConnectionError):
                session.get("http://b:81/")

    lab.threads(web(lab, tls), client)


def test_smtplib(lab: Any) -> None:
    smtp = pytest.importorskip("aiosmtpd.smtp")
    import asyncio

    got: list[Any] = []

    class Keep:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            got.append(envelope)
            return "250 kept"

    def send() -> None:
        with smtplib.SMTP("b", 25, timeout=30) as client:
            client.starttls(context=lab.client_context())
            client.ehlo()
            client.sendmail("me@a", ["you@b"], "Subject: hello\r\n\r\n" + "line\r\n" * 10_000)

    async def start() -> Any:
        return await asyncio.get_running_loop().create_server(
            lambda: smtp.SMTP(Keep(), tls_context=lab.server_context()), None, 25
        )

    async def main() -> None:
        await lab.serve(start())
        await asyncio.to_thread(send)

    lab.run(main)
    assert got[0].content.count(b"line") == 10_000


@pytest.mark.parametrize("passive", [True, False])
def test_ftplib_and_pyftpdlib(lab: Any, passive: bool, tmp_path: Any) -> None:
    pytest.importorskip("pyftpdlib")
    import logging

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler

    logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
    (tmp_path / "file").write_bytes(BODY)

    def server() -> None:
        from pyftpdlib.ioloop import IOLoop
        from pyftpdlib.servers import FTPServer

        class Handler(FTPHandler):  # type: ignore[misc]
            authorizer = DummyAuthorizer()

        Handler.authorizer.add_user("me", "secret", str(tmp_path), perm="elradfmw")
        FTPServer(("0.0.0.0", 21), Handler, ioloop=IOLoop()).serve_forever()

    def client() -> None:
        with ftplib.FTP("b", "me", "secret", timeout=60) as ftp:
            ftp.set_pasv(passive)
            got = io.BytesIO()
            ftp.retrbinary("RETR file", got.write)
            assert got.getvalue() == BODY
            ftp.storbinary("STOR copy", io.BytesIO(BODY[::-1]))
            assert sorted(ftp.nlst()) == ["copy", "file"]
            ftp.quit()

    lab.threads(server, client)
    assert (tmp_path / "copy").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_socketserver_streams(lab: Any, kind: str) -> None:
    class Upper(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line.upper())

    def server() -> None:
        with getattr(socketserver, kind)(("", 7), Upper) as serving:
            serving.serve_forever(poll_interval=0.5)

    def client() -> None:
        for _ in range(3):
            with socket.create_connection(("b", 7)) as connection:
                connection.sendall(b"hello\n" * 1000)
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as file:
                    assert file.read() == b"HELLO\n" * 1000

    lab.threads(server, client)


def test_socketserver_datagrams(lab: Any) -> None:
    class Upper(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            sock.sendto(data.upper(), self.client_address)

    def server() -> None:
        with socketserver.ThreadingUDPServer(("", 7), Upper) as serving:
            serving.serve_forever()

    def client() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            for number in range(20):
                for _ in range(10):
                    sock.sendto(b"n%d" % number, ("b", 7))
                    try:
                        assert sock.recvfrom(100)[0] == b"N%d" % number
                        break
                    except TimeoutError:
                        pass

    lab.threads(server, client)


def test_paramiko(lab: Any) -> None:
    paramiko = pytest.importorskip("paramiko")
    key = paramiko.Ed25519Key.generate() if hasattr(paramiko.Ed25519Key, "generate") else None
    key = key or paramiko.RSAKey.generate(2048)

    class Door(paramiko.ServerInterface):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.command: Any = None
            self.asked = threading.Event()

        def check_auth_password(self, username: str, password: str) -> int:
            if (username, password) == ("me", "secret"):
                return int(paramiko.AUTH_SUCCESSFUL)
            return int(paramiko.AUTH_FAILED)

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

        def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
            self.command = command
            self.asked.set()
            return True

    def server() -> None:
        with socket.create_server(("", 22)) as listener:
            connection, _ = listener.accept()
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            door = Door()
            transport.start_server(server=door)
            channel = transport.accept(60)
            assert door.asked.wait(60)
            data = channel.makefile("rb").read()
            channel.sendall(door.command + b" " + data.upper())
            channel.send_exit_status(3)
            channel.close()
            time.sleep(10)
            transport.close()

    def client() -> None:
        ssh = paramiko.SSHClient()
        ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        ssh.connect("b", 22, "me", "secret", look_for_keys=False, allow_agent=False, timeout=30)
        stdin, stdout, _ = ssh.exec_command("name")
        stdin.write("hello " * 1000)
        stdin.channel.shutdown_write()
        assert stdout.read() == b"name " + b"HELLO " * 1000
        assert stdout.channel.recv_exit_status() == 3
        ssh.close()

    lab.threads(server, client)


@pytest.mark.parametrize("how", ["select", "poll", "epoll", "selectors"])
def test_chat_by_readiness(lab: Any, how: str) -> None:
    """A talk server of the kind that telnet is used with: one thread, many bare sockets."""
    if how != "selectors" and not hasattr(select, how):
        pytest.skip(f"no select.{how} here")

    def ready(socks: dict[int, socket.socket]) -> list[int]:
        if how == "select":
            return select.select(list(socks), [], [], 60)[0]
        if how == "selectors":
            with selectors.DefaultSelector() as selector:
                for fd in socks:
                    selector.register(fd, selectors.EVENT_READ)
                return [key.fd for key, _ in selector.select(60)]
        if how == "poll":
            poll = select.poll()
            for fd in socks:
                poll.register(fd, select.POLLIN)
            return [fd for fd, _ in poll.poll(60_000)]
        with select.epoll() as epoll:
            for fd in socks:
                epoll.register(fd, select.EPOLLIN)
            return [fd for fd, _ in epoll.poll(60)]

    def server() -> None:
        listener = socket.create_server(("", 23))
        socks = {listener.fileno(): listener}
        while True:
            for fd in ready(socks):
                if fd == listener.fileno():
                    sock, _ = listener.accept()
                    socks[sock.fileno()] = sock
                    continue
                data = socks[fd].recv(1000)
                if not data:
                    socks.pop(fd).close()
                    continue
                for other, sock in socks.items():
                    if sock is not listener and other != fd:
                        sock.sendall(data)

    def client() -> None:
        with socket.create_connection(("b", 23)) as one, socket.create_connection(("b", 23)) as two:
            time.sleep(1)
            for _ in range(10):
                one.sendall(b"\xff\xfd\x03hello\r\n")
                assert two.makefile("rb").readline() == b"\xff\xfd\x03hello\r\n"
                two.sendall(b"you\r\n")
                assert one.recv(100) == b"you\r\n"

    lab.threads(server, client)


@pytest.mark.parametrize("how", ["select", "poll", "epoll"])
def test_twisted(lab: Any, how: str) -> None:
    pytest.importorskip("twisted")
    from twisted.internet import protocol
    from twisted.protocols.basic import LineReceiver

    name = f"{how.capitalize() if how == 'select' else 'Poll' if how == 'poll' else 'EPoll'}Reactor"
    module = pytest.importorskip(f"twisted.internet.{how}reactor")
    got: list[tuple[bytes, float]] = []

    class Upper(LineReceiver):  # type: ignore[misc]
        def lineReceived(self, line: bytes) -> None:  # noqa: N802
            self.sendLine(line.upper())

        def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
            self.transport.reactor.stop()

    class Client(LineReceiver):  # type: ignore[misc]
        def connectionMade(self) -> None:  # noqa: N802
            self.sendLine(b"hello" * 1000)

        def lineReceived(self, line: bytes) -> None:  # noqa: N802
            got.append((line, self.transport.reactor.seconds()))
            self.transport.loseConnection()

        def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
            self.transport.reactor.callLater(2, self.transport.reactor.stop)

    def server() -> None:
        reactor = getattr(module, name)()
        reactor.listenTCP(7, protocol.Factory.forProtocol(Upper))
        reactor.run(installSignalHandlers=False)

    def client() -> None:
        reactor = getattr(module, name)()
        reactor.connectTCP("10.0.0.2", 7, protocol.ClientFactory.forProtocol(Client))
        begin = time.time()
        reactor.run(installSignalHandlers=False)
        assert [line for line, _ in got] == [b"HELLO" * 1000]
        assert begin < got[0][1] <= time.time() - 2

    lab.threads(server, client)


def test_pings_and_a_traceroute_by_raw_sockets(seed: int) -> None:
    import icmplib
    import ping3

    def client() -> None:
        found = [ping3.ping("b", timeout=1, unit="ms") for _ in range(20)]
        seconds = [time for time in found if time is not None]
        assert len(seconds) > 10  # of two crossings of two cables one is lost at times
        assert min(seconds) == pytest.approx(42, abs=0.5)
        assert ping3.ping("b", ttl=1) is False  # time exceeded
        host = icmplib.ping("b", count=20, interval=0.1, privileged=True)
        assert 10 < host.packets_received <= 20
        assert host.min_rtt == pytest.approx(42, abs=0.5)
        route = icmplib.traceroute("b", count=5, interval=0.1)
        assert [hop.distance for hop in route] == [1, 2]
        assert route[1].address == icmplib.resolve("b", family=4)[0]

    with capas.World(seed=seed) as world, capas.installed():
        router = world.router("r")
        world.link(world.host("a"), router, delay="20ms", loss="2%")
        world.link(router, world.host("b"), delay="1ms", loss="2%")
        world.thread("a", client).result()
