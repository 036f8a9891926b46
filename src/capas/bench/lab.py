# SPDX-License-Identifier: Apache-2.0
"""The laboratory of ``capas bench tap``: namespaces, a veth pair, TUN devices, server processes.

The calling process moves into a network namespace of its own, which ends with it; nothing is seen
by, or left on, the machine.  Needs Linux, ``ip``, and root or user namespaces.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO, ClassVar, Final

from capas.bench import pytcp
from capas.bench.cable import NEAR
from capas.bench.server import (
    CHARGEN,
    DISCARD,
    ECHO,
    HTTP,
    OWN,
    configure,
    ip,
    set_offloads,
    unshare_network,
)
from capas.errors import DeviceError

_VETH: Final = ("bench0", "bench1")
_TUN: Final = "benchtun"
_PYTCP: Final = "tunbench"  # pmd-pytcp knows a TUN device by its name
_CABLE: Final = ("benchnear", "benchfar")
PORTS: Final = {
    "in": DISCARD,
    "out": CHARGEN,
    "rtt": ECHO,
    "crr1": ECHO,
    "crr32": ECHO,
    "http": HTTP,
}


class Server:
    """A server process; ends with ``close``."""

    core: ClassVar[int] = -1  # where it runs; -1: anywhere

    def __init__(self, *words: str, module: str = "server", python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, "-m", f"capas.bench.{module}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.core >= 0:
            os.sched_setaffinity(self.process.pid, {self.core})

    def hear(self) -> str:
        """A line of its standard output."""
        out: IO[str] | None = self.process.stdout
        assert out is not None
        return out.readline().strip()

    def expect(self, word: str) -> None:
        """Wait for ``word`` on its standard output."""
        line = self.hear()
        if line != word:
            raise DeviceError(f"the benchmark's server said {line!r} instead of {word!r}")

    def tell(self, line: str) -> None:
        """One line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def pinned(apart: bool) -> Iterator[None]:
    """Servers started herein on the last core, load generators on the first: or all on that."""
    cores = sorted(os.sched_getaffinity(0))
    before, Server.core = Server.core, cores[-1] if apart else cores[0]
    os.sched_setaffinity(0, {cores[0]})
    try:
        yield
    finally:
        Server.core = before
        os.sched_setaffinity(0, cores)


def enter() -> None:
    """Move this process into a network namespace of its own."""
    if not sys.platform.startswith("linux"):
        raise DeviceError("`capas bench tap` needs Linux; the other benchmarks run anywhere")
    if shutil.which("ip") is None:
        raise DeviceError("`capas bench tap` needs the program `ip` (package iproute2)")
    try:
        unshare_network()
    except OSError as error:
        raise DeviceError(
            f"no network namespace to measure in ({error.strerror}): run as root, or allow user"
            " namespaces (sysctl user.max_user_namespaces)"
        ) from None
    ip("link", "set", "lo", "up")
    settings = {
        "ip_local_port_range": "1024 65535",  # connect, ask, close by the ten thousand
        "tcp_tw_reuse": "1",
    }
    for name, value in settings.items():
        with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv4/{name}", "w") as file:
            file.write(value)


@contextlib.contextmanager
def kernel_server() -> Iterator[Server]:
    """The kernel's server at `KERNEL` behind a veth pair."""
    server = Server("kernel", _VETH[1])
    try:
        server.expect("namespace")
        ip("link", "add", _VETH[0], "type", "veth", "peer", "name", _VETH[1])
        try:
            ip("link", "set", _VETH[1], "netns", str(server.process.pid))
            configure(_VETH[0], OWN["veth"])
            server.tell("go")
            server.expect("ready")
            yield server
        finally:
            with contextlib.suppress(OSError):
                ip("link", "del", _VETH[0])
    finally:
        server.close()


@contextlib.contextmanager
def capas_server(offload: bool = True, python: str = sys.executable) -> Iterator[Server]:
    """The server on capas (that of ``python``), at `CAPAS`, behind a TUN device."""
    server = Server("capas", _TUN, "offload" if offload else "plain", python=python)
    try:
        server.expect("ready")
        configure(_TUN, OWN["tun"])
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def pytcp_server() -> Iterator[Callable[[str, str, float], float]]:
    """The Python rival's server, at `PYTCP`, behind a TUN device: as `sample`, of it and others.

    It sleeps while others are measured: its threads keep a core busy even when nothing comes, and
    the kernel's ends, which then meet on the other core, answer each other eight times as fast.
    """
    server = Server(_PYTCP, module="pytcp")
    try:
        server.expect("ready")
        ip("addr", "add", f"{pytcp.OWN}/24", "dev", _PYTCP)
        ip("link", "set", _PYTCP, "up")

        def take(kind: str, host: str, seconds: float) -> float:
            if host not in pytcp.PYTCP:
                return sample(kind, host, seconds)
            server.process.send_signal(signal.SIGCONT)
            try:
                return sample(kind, host, seconds)
            finally:
                server.process.send_signal(signal.SIGSTOP)

        server.process.send_signal(signal.SIGSTOP)
        yield take
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.close()


@contextlib.contextmanager
def without_offloads(server: Server) -> Iterator[bool]:
    """Both ends of the veth pair segment in software; False if ``ethtool`` is missing."""

    def turn(word: str) -> bool:
        server.tell(word)
        server.expect("done")
        return set_offloads(_VETH[0], word)

    try:
        yield turn("off")
    finally:
        turn("on")


@contextlib.contextmanager
def bad_cable() -> Iterator[Callable[[str, str, float], float]]:
    """Load generators behind a bad cable (`capas.bench.cable`): as `sample`, beyond it."""
    cable = Server(*_CABLE, module="cable")
    try:
        cable.expect("ready")
        configure(_CABLE[0], NEAR)
        with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write("1")

        def beyond(kind: str, host: str, seconds: float) -> float:
            cable.tell(f"{kind} {host} {seconds}")
            answer = cable.hear()
            try:
                return float(answer)
            except ValueError:
                raise DeviceError(f"the load beyond the cable ({kind} to {host}) failed") from None

        yield beyond
    finally:
        cable.close()


def sample(kind: str, host: str, seconds: float) -> float:
    """One measurement by a load generator of its own."""
    if kind == "http" and (wrk := shutil.which("wrk")):
        return _wrk(wrk, host, seconds)
    done = subprocess.run(
        [sys.executable, "-m", "capas.bench.load", kind, host, str(PORTS[kind]), str(seconds)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + seconds,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise DeviceError(f"the load generator ({kind} to {host}) failed: {last[0]}")
    return float(done.stdout)


def _wrk(program: str, host: str, seconds: float) -> float:
    whole = max(1, round(seconds))
    done = subprocess.run(
        [program, "-t1", "-c32", f"-d{whole}s", f"http://{host}/"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + whole,
    )
    for line in done.stdout.splitlines():
        if line.startswith("Requests/sec:"):
            return float(line.split()[1])
    raise DeviceError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
