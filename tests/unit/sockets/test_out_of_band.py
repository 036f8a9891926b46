# SPDX-License-Identifier: Apache-2.0
"""MSG_OOB and all that belongs to it: the same steps on Linux's sockets and on ours, by seed."""

import errno
import fcntl
import random
import select
import socket as std
import struct
import sys
import time
from collections.abc import Callable

import pytest

from capas.sim.world import World
from capas.sockets import modules
from capas.sockets.driver import VIRTUAL_FD

SIOCATMARK, FIONREAD = 0x8905, 0x541B
STEPS = 60
_RECEIVED = 128  # tcp_info.tcpi_bytes_received

Log = list[tuple[str, object]]


def outcome(call: Callable[..., object], *arguments: object) -> object:
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def ask(sock: std.socket, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), request, bytes(4)))[0])


def ready(sock: std.socket) -> object:
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLPRI)
    readers, _, others = select.select([sock], [], [sock], 0)
    return [event for _, event in poll.poll(0)], bool(readers), bool(others)


def wait_until_all_came(sock: std.socket, total: int) -> None:
    def received() -> int:
        info = sock.getsockopt(std.IPPROTO_TCP, std.TCP_INFO, 256)
        return int(struct.unpack_from("Q", info, _RECEIVED)[0])

    while received() < total:
        time.sleep(0.001)


def steps(seed: int) -> Log:
    """Write, read and ask in an order of chance; what came of each."""
    chance = random.Random(seed)
    log: Log = []
    sent = 0
    with std.create_server(("127.0.0.1", 0)) as listener:
        sender = std.create_connection(listener.getsockname())
        receiver = listener.accept()[0]
        log.append(("ours", receiver.fileno() >= VIRTUAL_FD))
    with sender, receiver:
        sender.setsockopt(std.IPPROTO_TCP, std.TCP_NODELAY, 1)
        receiver.setblocking(False)
        receiver.setsockopt(std.SOL_SOCKET, std.SO_OOBINLINE, chance.random() < 0.3)
        for _ in range(STEPS):
            size = chance.choice((0, 1, 1, 2, 3, 5, 40))
            receive = chance.choice((receiver.recv, receiver.recvfrom))
            flags = chance.choice((0, 0, 0, std.MSG_PEEK))
            match chance.choice(("send", "send", "urge", "urge", "oob", "recv", "recv", "mark")):
                case "send":
                    sent += sender.send(bytes(chance.choices(b"abcdefgh", k=size + 1)))
                    wait_until_all_came(receiver, sent)
                case "urge":
                    sent += sender.send(bytes(chance.choices(b"ABCDEFGH", k=size)), std.MSG_OOB)
                    wait_until_all_came(receiver, sent)
                case "recv":
                    name = f"{receive.__name__} {size} {flags}"
                    log.append((name, outcome(receive, size, flags)))
                case "oob":
                    shown = outcome(receiver.recvmsg, size, 0, flags | std.MSG_OOB)
                    log.append((f"urgent {size} {flags}", shown))
                case "mark":
                    log.append(("mark", ask(receiver, SIOCATMARK)))
                    log.append(("unread", ask(receiver, FIONREAD)))
            log.append(("ready", ready(receiver)))
        sender.shutdown(std.SHUT_WR)
        ended = select.poll()
        ended.register(receiver, select.POLLRDHUP)
        ended.poll()
        log.append(("urgent at the end", outcome(receiver.recv, 1, std.MSG_OOB)))
        while log[-1][1] != b"":
            log.append(("recv at the end", outcome(receiver.recv, 1000)))
            log.append(("ready at the end", ready(receiver)))
            log.append(log[-2])
    return log


@pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing")
@pytest.mark.rfc("9293", "3.8.5", "MUST-30")
@pytest.mark.parametrize("seed", range(40))
def test_urgent_data_is_as_in_linux(seed: int) -> None:
    with modules.installed():
        world = World(1)
        ours = world.thread(world.host("a"), steps, seed).result()
    assert ours.pop(0) == ("ours", True)
    for step, (mine, linux) in enumerate(zip(ours, steps(seed)[1:], strict=True)):
        assert mine == linux, f"step {step} after {ours[:step]}"


def test_a_blocking_program_waits_for_urgent_data_and_reads_around_it() -> None:
    """As telnet and rlogin do: select's third list, SIOCATMARK, SO_OOBINLINE."""
    world = World(1)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="10ms", loss="20%")

    def serve() -> tuple[bytes, bytes, bytes]:
        with std.create_server(("", 23)) as listener:
            sock, _ = listener.accept()
        with sock:
            assert select.select([], [], [sock]) == ([], [], [sock])
            before = bytearray()
            while not ask(sock, SIOCATMARK):
                before += sock.recv(100)
            return bytes(before), sock.recv(1, std.MSG_OOB), sock.recv(100, std.MSG_WAITALL)

    def interrupt() -> None:
        with std.create_connection(("server", 23)) as sock:
            sock.sendall(b"typed ahead" * 1000)
            assert sock.send(b"\x03", std.MSG_OOB) == 1
            sock.sendall(b"next")

    with modules.installed():
        serving = world.thread(server, serve)
        world.thread(client, interrupt)
        assert serving.result() == (b"typed ahead" * 1000, b"\x03", b"next")


def test_datagrams_have_no_mark() -> None:
    def program() -> None:
        with std.socket(std.AF_INET, std.SOCK_DGRAM) as sock, pytest.raises(OSError) as caught:
            ask(sock, SIOCATMARK)
        assert caught.value.errno == errno.ENOTTY

    with modules.installed():
        world = World(1)
        world.thread(world.host("a"), program).result()
