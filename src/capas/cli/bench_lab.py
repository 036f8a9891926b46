# SPDX-License-Identifier: Apache-2.0
"""The laboratory of ``capas bench tap``: namespaces, a veth pair, TUN devices, server processes.

The calling process moves into a network namespace of its own, which ends with it; nothing is seen
by, or left on, the machine.  Needs Linux, ``ip``, and root or user namespaces.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, ClassVar, Final

from capas.cli.bench_server import (
    CAPAS,
    CHARGEN,
    DISCARD,
    ECHO,
    HTTP,
    KERNEL,
    configure,
    ip,
    unshare_network,
)
from capas.errors import DeviceError

_VETH: Final = ("bench0", "bench1")
_TUN: Final = "benchtun"
_OWN: Final = {"veth": ("10.98.1.1", "fd98:1::1"), "tun": ("10.98.2.1", "fd98:2::1")}
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

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "capas.cli.bench_server", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.core >= 0:
            os.sched_setaffinity(self.process.pid, {self.core})

    def expect(self, word: str) -> None:
        """Wait for ``word`` on its standard output."""
        out: IO[str] | None = self.process.stdout
        assert out is not None
        line = out.readline().strip()
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


def pin() -> None:
    """Servers to the last core, load generators (and this process) to the first."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        Server.core = cores[-1]
        os.sched_setaffinity(0, {cores[0]})


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
def kernel_server() -> Iterator[tuple[str, str]]:
    """The kernel's server behind a veth pair; yields its addresses."""
    server = Server("kernel", _VETH[1])
    try:
        server.expect("namespace")
        ip("link", "add", _VETH[0], "type", "veth", "peer", "name", _VETH[1])
        try:
            ip("link", "set", _VETH[1], "netns", str(server.process.pid))
            configure(_VETH[0], _OWN["veth"])
            server.tell("go")
            server.expect("ready")
            yield KERNEL
        finally:
            with contextlib.suppress(OSError):
                ip("link", "del", _VETH[0])
    finally:
        server.close()


@contextlib.contextmanager
def capas_server(offload: bool = True) -> Iterator[tuple[str, str]]:
    """The server on capas behind a TUN device; yields its addresses."""
    server = Server("capas", _TUN, "offload" if offload else "plain")
    try:
        server.expect("ready")
        configure(_TUN, _OWN["tun"])
        yield CAPAS
    finally:
        server.close()


def set_veth_offloads(on: bool) -> bool:
    """Segmentation offloads of our end of the veth pair; False if ``ethtool`` is missing."""
    tool = shutil.which("ethtool")
    if tool is None:
        return False
    word = "on" if on else "off"
    words = [tool, "-K", _VETH[0], "tso", word, "gso", word, "gro", word]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def sample(kind: str, host: str, seconds: float) -> float:
    """One measurement by a load generator of its own."""
    if kind == "http" and (wrk := shutil.which("wrk")):
        return _wrk(wrk, host, seconds)
    done = subprocess.run(
        [sys.executable, "-m", "capas.cli.bench_load", kind, host, str(PORTS[kind]), str(seconds)],
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
