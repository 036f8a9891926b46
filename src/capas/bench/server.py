# SPDX-License-Identifier: Apache-2.0
"""The measured ends of ``capas bench tap``: the same services on the kernel and on capas.

``python -m capas.bench.server kernel INTERFACE``  unshares a network namespace, waits for a
line on standard input (by then the parent has moved INTERFACE there), and serves on the kernel's
sockets: one epoll loop for discard, chargen and echo, a child process for HTTP.

``python -m capas.bench.server capas INTERFACE offload|plain``  attaches a host to a TUN device
and serves with the servers of `capas.application` on the capas event loop, as ``capas up`` does.

Each says "ready" when it serves, and ends with its standard input.
"""

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from capas.bench.load import BLOCK, pin_congestion

ECHO: Final = 7
DISCARD: Final = 9
CHARGEN: Final = 19
HTTP: Final = 80
#: The peer's own addresses, on its veth and on the TUN device.
OWN: Final = {"veth": ("10.98.1.1", "fd98:1::1"), "tun": ("10.98.2.1", "fd98:2::1")}
KERNEL: Final = ("10.98.1.2", "fd98:1::2")  # the kernel's server over veth
CAPAS: Final = ("10.98.2.2", "fd98:2::2")  # capas over TUN
PAGE: Final = b"<!doctype html><title>bench</title><p>A small page.\n"


def unshare_network() -> None:
    """Give this process a network namespace of its own (in a user namespace unless root)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    flags, uid, gid = 0x40020000, os.getuid(), os.getgid()  # CLONE_NEWNET, CLONE_NEWNS
    if uid != 0:
        flags |= 0x10000000  # CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    if uid != 0:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    # Its own interfaces in /sys, as `ip netns exec` shows them; other mounts stay as they are.
    libc.mount(None, b"/", None, 0x44000, None)  # MS_REC, MS_PRIVATE
    libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)


def ip(*words: str) -> None:
    """One ``ip`` command; OSError with its message if it fails."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def configure(interface: str, addresses: tuple[str, str], lengths: str = "24 64") -> None:
    """Addresses on a kernel interface, and up."""
    for address, length in zip(addresses, lengths.split(), strict=True):
        words = ["addr", "add", f"{address}/{length}", "dev", interface]
        ip(*words, "nodad") if ":" in address else ip(*words)
    ip("link", "set", interface, "up")


def set_offloads(interface: str, word: str) -> bool:
    """Segmentation offloads of a kernel interface "on" or "off"; False without ``ethtool``."""
    words = ["ethtool", "-K", interface, "tso", word, "gso", word, "gro", word]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _application() -> Any:
    """The small page, by starlette."""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    async def page(_: Any) -> HTMLResponse:
        return HTMLResponse(PAGE)

    return Starlette(routes=[Route("/", page)])


# -- on the kernel ---------------------------------------------------------------------------------


class _KernelServer:
    """One epoll loop; level-triggered, one system call per event, as little Python as possible."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, int]] = {}
        self._connections: dict[int, tuple[socket.socket, int]] = {}
        self._buffer = bytearray(BLOCK)
        self._block = memoryview(bytes(BLOCK))
        for address in KERNEL:
            for port in (ECHO, DISCARD, CHARGEN):
                sock = socket.create_server(
                    (address, port),
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    backlog=512,
                )
                pin_congestion(sock)
                sock.setblocking(False)
                self._listeners[sock.fileno()] = (sock, port)
                self._poll.register(sock, select.EPOLLIN)

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._listeners:
                    self._accept(fd)
                else:
                    self._serve(fd)

    def _accept(self, fd: int) -> None:
        listener, port = self._listeners[fd]
        with contextlib.suppress(BlockingIOError):
            sock, _ = listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = (sock, port)
            self._poll.register(sock, select.EPOLLOUT if port == CHARGEN else select.EPOLLIN)

    def _serve(self, fd: int) -> None:
        sock, port = self._connections[fd]
        try:
            if port == CHARGEN:
                sock.send(self._block)
                return
            n = sock.recv_into(self._buffer)
            if n:
                if port == ECHO:
                    sock.send(self._buffer[:n])
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        del self._connections[fd]
        sock.close()


def _kernel_http() -> None:
    import uvicorn

    # By address, not by a socket of ours: asyncio sets TCP_NODELAY on sockets it made only.
    config = uvicorn.Config(
        _application(),
        host=KERNEL[0],
        port=HTTP,
        log_config=None,
        access_log=False,
        loop="asyncio",
        http="h11",
        ws="none",
    )
    uvicorn.Server(config).run()


def kernel(interface: str) -> None:
    """The services on the kernel's sockets, in a namespace of their own."""
    unshare_network()
    _say("namespace")
    sys.stdin.readline()
    ip("link", "set", "lo", "up")
    configure(interface, KERNEL)
    ip("route", "add", "default", "via", OWN["veth"][0])
    server = _KernelServer()
    if not os.fork():
        # The parent's end ends this child: it holds no other reference to the namespace.
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _kernel_http()
        os._exit(0)
    _end_with_input({word: partial(set_offloads, interface, word) for word in ("on", "off")})
    _say("ready")
    server.run()


def _end_with_parent() -> None:
    import time

    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)


# -- on capas --------------------------------------------------------------------------------------


def capas(interface: str, offload: bool) -> None:
    """The services on a host of ours, on a TUN device."""
    from capas.aio.loop import new_event_loop
    from capas.application import inetd, web
    from capas.base.config import HostConfig
    from capas.bench.sampler import Sampler
    from capas.real.devices import open_tun
    from capas.real.driver import RealDriver
    from capas.sockets.current import use_host

    async def main(sampler: Sampler) -> None:
        for name in ("echo", "discard", "chargen"):
            await inetd.start(name)
        await web.start(HTTP, app=_application())
        _end_with_input({"begin": sampler.begin, "end": sampler.end})
        _say("ready")
        await asyncio.Event().wait()

    config = HostConfig(dad_transmits=0, tcp_congestion="cubic")
    device = open_tun(interface, offload=offload)
    with RealDriver() as driver:
        host = driver.host("bench", config)
        driver.attach(host, device, addresses=(f"{CAPAS[0]}/24", f"{CAPAS[1]}/64"))
        host.add_route("default", via=OWN["tun"][0])
        sampler = Sampler(host)
        loop = new_event_loop(driver)
        with use_host(host):
            loop.run_until_complete(main(sampler))


# -- common ----------------------------------------------------------------------------------------


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def _end_with_input(orders: dict[str, Callable[[], object]]) -> None:
    """End this process when its standard input does; obey the ``orders`` that come by it.

    An order's answer is the text that it returns, or "done".
    """

    def wait() -> None:
        while line := os.read(0, 4096):
            answer = orders[line.decode().strip()]()
            _say(answer if isinstance(answer, str) else "done")
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main(words: list[str]) -> int:
    """kernel INTERFACE, or capas INTERFACE offload|plain."""
    if words[0] == "kernel":
        kernel(words[1])
    else:
        capas(words[1], words[2] == "offload")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
