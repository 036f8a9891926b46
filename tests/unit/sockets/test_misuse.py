# SPDX-License-Identifier: Apache-2.0
"""Wrong arguments raise what they raise on CPython's own socket, whatever stands where."""

import errno
import socket as std
from typing import Any

import pytest

from capas.sim.world import World
from capas.sockets.socket import Socket

HERE = object()  # where the wrong argument stands
WRONG = [
    None, True, -1, 0, 7, 1 << 31, -1 << 40, 1.5, float("nan"), "x", b"", b"abc", bytes(4),
    bytearray(3), memoryview(b"abcdef")[::2], memoryview(bytearray(4)), object, [], [b"a", b"b"],
    [bytearray(2)], {}, (), ("127.0.0.1",), ("127.0.0.1", "x"), ("127.0.0.1", 70_000),
    ("127.0.0.1", -1), ("127.0.0.1", 1.5), (b"127.0.0.1", 1), ["127.0.0.1", 1], (None, 1), (1, 1),
    ("127.0.0.1", 1, 2), ("127.1", 9), ("1.2.3.4.5", 9, 9),
]  # fmt: skip
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("bind", (HERE,)),
    ("connect", (HERE,)),
    ("connect_ex", (HERE,)),
    ("send", (HERE,)),
    ("send", (b"x", HERE)),
    ("sendall", (HERE,)),
    ("sendto", (b"x", HERE)),
    ("sendto", (HERE, ("127.0.0.1", 9))),
    ("sendmsg", (HERE,)),
    ("sendmsg", ([b"x"], HERE)),
    ("recv", (HERE,)),
    ("recv", (1, HERE)),
    ("recvfrom", (HERE,)),
    ("recv_into", (HERE,)),
    ("recv_into", (bytearray(4), HERE)),
    ("recvfrom_into", (bytearray(4), HERE)),
    ("recvmsg", (HERE,)),
    ("recvmsg", (1, HERE)),
    ("settimeout", (HERE,)),
    ("shutdown", (HERE,)),
    ("getsockopt", (HERE, 2)),
    ("getsockopt", (std.SOL_SOCKET, HERE)),
    ("getsockopt", (std.SOL_SOCKET, std.SO_REUSEADDR, HERE)),
    ("setsockopt", (HERE, 2, 1)),
    ("setsockopt", (std.SOL_SOCKET, HERE, 1)),
    ("setsockopt", (std.SOL_SOCKET, std.SO_REUSEADDR, HERE)),
    ("setsockopt", (std.SOL_SOCKET, std.SO_LINGER, HERE)),
    ("setsockopt", (std.SOL_SOCKET, std.SO_REUSEADDR, None, HERE)),
    ("set_inheritable", (HERE,)),
]


def outcome(sock: std.socket, call: str, arguments: tuple[Any, ...]) -> str:
    """The kind of error, or that there was none; the socket is used up."""
    with sock:
        sock.setblocking(False)
        try:
            getattr(sock, call)(*arguments)
        except OSError as error:
            number = error.errno or 0
            return f"{type(error).__name__} {errno.errorcode.get(number, str(error))}"
        except (TypeError, ValueError, OverflowError, BufferError) as error:
            return type(error).__name__
    return "nothing"


@pytest.mark.parametrize("kind", [std.SOCK_STREAM, std.SOCK_DGRAM], ids=["stream", "datagram"])
@pytest.mark.parametrize(("call", "form"), CALLS, ids=lambda part: str(part)[:20])
def test_wrong_arguments(call: str, form: tuple[Any, ...], kind: int) -> None:
    world = World(1)
    host = world.host("a")
    flags = len(form) == 2 and call in ("send", "recv", "recvmsg") and form[1] is HERE
    for wrong in WRONG:
        if flags and isinstance(wrong, int):
            continue  # a flag or many
        arguments = tuple(wrong if part is HERE else part for part in form)
        ours = world.thread(host, lambda: outcome(Socket(type=kind), call, arguments)).result()  # noqa: B023
        genuine = outcome(std.socket(type=kind), call, arguments)
        assert ours == genuine, f"{call}{arguments}"
