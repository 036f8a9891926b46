# SPDX-License-Identifier: Apache-2.0
"""Blocking sockets in real time: programs in threads, one network thread, the kernel as peer."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from capas.base.checksum import pseudo_sum, verify
from capas.real.devices import open_tap, open_tun
from capas.real.driver import RealDriver
from capas.sockets.current import use_host
from capas.sockets.socket import Socket

from .bodies import pattern
from .lab import CAPAS4, CAPAS6, KERNEL4, KERNEL6, Lab

MIB = 1 << 20
KERNEL = {socket.AF_INET: KERNEL4, socket.AF_INET6: KERNEL6}
CAPAS = {socket.AF_INET: CAPAS4, socket.AF_INET6: CAPAS6}
FAMILIES = [socket.AF_INET, socket.AF_INET6]


@pytest.fixture(scope="module", params=["tap", "tun"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A host of this process on a device in a namespace; it is the current host."""
    opener = open_tap if request.param == "tap" else open_tun
    with Lab() as lab, RealDriver() as driver:
        device = lab.inside(lambda: opener("t0"))
        lab.addresses("t0", f"{KERNEL4}/24", f"{KERNEL6}/64")
        host = driver.host("capas")
        driver.attach(host, device, addresses=[f"{CAPAS4}/24", f"{CAPAS6}/64"])
        driver.start()
        host6 = f"{CAPAS6}"
        for _ in range(40):
            if lab.run("ping", "-c", "1", "-W", "1", host6, check=False).returncode == 0:
                break
        with use_host(host):
            yield lab


def kernel_server(lab: Lab, family: int) -> socket.socket:
    """A listening socket of the namespace."""

    def make() -> socket.socket:
        server = socket.socket(family, socket.SOCK_STREAM)
        server.bind((KERNEL[socket.AddressFamily(family)], 0))
        server.listen(256)
        return server

    return lab.inside(make)


def kernel_client(lab: Lab, family: int, port: int) -> socket.socket:
    def make() -> socket.socket:
        client = socket.socket(family, socket.SOCK_STREAM)
        client.settimeout(60)
        client.connect((CAPAS[socket.AddressFamily(family)], port))
        return client

    return lab.inside(make)


def echo(server: socket.socket) -> None:
    """One connection, echoed by the kernel."""
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65_536):
            connection.sendall(data)


@pytest.mark.parametrize("family", FAMILIES)
def test_send_and_receive_at_the_same_time(lab: Lab, family: int) -> None:
    data = pattern(20 * MIB)
    with kernel_server(lab, family) as server:
        kernel = threading.Thread(target=echo, args=(server,))
        kernel.start()
        with Socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(60)
            client.connect(server.getsockname()[:2])

            def send() -> None:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            digest = hashlib.sha256()
            while piece := client.recv(1 << 17):
                digest.update(piece)
            sender.join()
        kernel.join()
    assert digest.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_server_of_threads(lab: Lab, family: int) -> None:
    count = 50
    with Socket(family, socket.SOCK_STREAM) as server:
        server.settimeout(60)
        server.bind((CAPAS[socket.AddressFamily(family)], 0))
        server.listen(count)
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            connection.settimeout(60)
            with connection:
                got = b""
                while len(got) < 1000:
                    got += connection.recv(1000)
                connection.sendall(got[::-1])

        def ask(number: int) -> bool:
            data = f"{number:010d}".encode() * 100
            with kernel_client(lab, family, port) as client:
                client.sendall(data)
                got = b""
                while len(got) < 1000:
                    got += client.recv(1000)
            return got == data[::-1]

        with ThreadPoolExecutor(count) as servers, ThreadPoolExecutor(10) as clients:
            from contextvars import copy_context

            for _ in range(count):
                servers.submit(copy_context().run, serve)
            assert list(clients.map(ask, range(count))) == [True] * count


def test_refused_and_timed_out(lab: Lab) -> None:
    with Socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(60)
        with pytest.raises(ConnectionRefusedError):
            client.connect((KERNEL4, 4242))
    with kernel_server(lab, socket.AF_INET) as server, Socket(socket.AF_INET) as client:
        client.connect(server.getsockname())
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_datagrams(lab: Lab) -> None:
    def make() -> socket.socket:
        kernel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        kernel.bind((KERNEL4, 0))
        kernel.settimeout(60)
        return kernel

    with lab.inside(make) as kernel, Socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.settimeout(60)
        for size in (0, 1, 1472, 1473, 60_000):
            ours.sendto(bytes(size), kernel.getsockname())
            data, peer = kernel.recvfrom(65_536)
            assert data == bytes(size) and peer[0] == CAPAS4
            kernel.sendto(data, peer)
            assert ours.recvfrom(65_536) == (data, kernel.getsockname())


def test_round_trips(lab: Lab) -> None:
    """A thousand in a row: nobody waits for a timer."""
    with kernel_server(lab, socket.AF_INET) as server:
        kernel = threading.Thread(target=echo, args=(server,))
        kernel.start()
        with Socket(socket.AF_INET) as client:
            client.settimeout(60)
            client.connect(server.getsockname())
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(1000):
                client.sendall(bytes([i & 0xFF]))
                assert client.recv(10) == bytes([i & 0xFF])
        kernel.join()


@pytest.mark.rfc("9293", "3.8.5", "MUST-62")
@pytest.mark.parametrize("family", FAMILIES)
def test_urgent_data_both_ways(lab: Lab, family: int) -> None:
    """Amid bulk data: what is out of line is where the other end put it."""
    data = pattern(MIB)

    def send(sock: socket.socket) -> None:
        sock.sendall(data)
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    def receive(sock: socket.socket) -> list[bytes]:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        whole = bytearray()
        while piece := sock.recv(MIB):
            if len(whole) < MIB:
                assert len(whole) + len(piece) <= MIB  # a read ends before the mark
            whole += piece
        return [bytes(whole[:MIB]), bytes(whole[MIB : MIB + 1]), bytes(whole[MIB + 1 :])]

    with ThreadPoolExecutor() as pool, kernel_server(lab, family) as server:
        ours = Socket(family, socket.SOCK_STREAM)
        ours.settimeout(60)
        ours.connect(server.getsockname()[:2])
        kernel, _ = server.accept()
        kernel.settimeout(60)
        with ours, kernel:
            for sender, receiver in ((ours, kernel), (kernel, ours)):
                sending = pool.submit(send, sender)
                assert receive(receiver) == [data, b"!", data]
                sending.result()


def test_who_listens_to_tcp_sees_whole_packets(lab: Lab) -> None:
    """Super-frames and trains come from the device; a raw socket reads what would be on a wire."""
    data = pattern(2 * MIB)
    with (
        Socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as ear,
        Socket(socket.AF_INET) as server,
    ):
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * MIB)
        ear.settimeout(0)
        server.settimeout(60)
        server.bind((CAPAS4, 0))
        server.listen()
        with kernel_client(lab, socket.AF_INET, server.getsockname()[1]) as client:
            connection, _ = server.accept()
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            connection.settimeout(60)
            with connection:
                got = b""
                while len(got) < len(data):
                    got += connection.recv(MIB)
            sender.join()
        payload: dict[int, bytes] = {}
        while True:
            try:
                packet = ear.recv(70_000)
            except BlockingIOError:
                break
            assert int.from_bytes(packet[2:4], "big") == len(packet) <= 1500
            assert verify(packet[:20])
            pseudo = pseudo_sum(packet[12:16], packet[16:20], 6, len(packet) - 20)
            assert verify(packet[20:], pseudo)
            text = packet[20 + (packet[32] >> 4) * 4 :]
            if text:
                payload[int.from_bytes(packet[24:28], "big")] = text
    assert got == data
    first = min(payload, key=lambda sequence: data.index(payload[sequence]))
    ordered = sorted(payload, key=lambda sequence: (sequence - first) % (1 << 32))
    assert b"".join(payload[sequence] for sequence in ordered) == data
