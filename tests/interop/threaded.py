# SPDX-License-Identifier: Apache-2.0
"""Run inside a laboratory whose /sys is its own: a thread of the kernel's takes our frames.

``python threaded.py``  has the thread begin, floods a device whose frames may hold little memory,
sends 16 MiB through it, and has the thread end; each line is what a test looks for.
"""

import fcntl
import hashlib
import select
import socket
import struct
import subprocess
import threading
import time

from capas.base.checksum import checksum
from capas.base.clock import SECOND
from capas.base.frame import Frame
from capas.real.attach import TUNSETSNDBUF
from capas.real.devices import TunTap, open_tun
from capas.real.driver import RealDriver
from capas.sockets.current import use_host
from capas.sockets.socket import Socket

NEAR, FAR = "10.99.0.1", "10.99.0.2"
LITTLE = 1000  # bytes: the next frame is refused while one is still there
PATIENCE = 20  # s, until the thread is once too slow for that
DATA = bytes(range(251)) * ((16 << 20) // 251)


def threaded() -> None:
    with open("/sys/class/net/t0/threaded") as file:
        print("threaded", file.read().strip(), flush=True)


def flood(device: TunTap) -> None:
    """Datagrams to a closed port until one is refused; then until one is taken again."""
    src, dst = socket.inet_aton(FAR), socket.inet_aton(NEAR)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 60_000, 0, 0, 64, 253, 0, src, dst)
    data = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + bytes(60_000 - 20)
    end = time.monotonic() + PATIENCE
    taken = True
    while taken and time.monotonic() < end:
        taken = device.transmit(Frame(data, 0))
    print("refused", not taken and device.busy, flush=True)
    writable = select.select([], [device], [], 60)[1]
    print("writable", bool(writable) and device.transmit(Frame(data, 0)), flush=True)


def receive(listener: socket.socket, digests: list[str]) -> None:
    digest = hashlib.sha256()
    with listener.accept()[0] as sock:
        while data := sock.recv(1 << 20):
            digest.update(data)
    digests.append(digest.hexdigest())


def main() -> None:
    device = open_tun("t0")
    assert device.thread is not None
    begun = time.monotonic_ns()
    for came, later in ((0, 0), (1 << 40, SECOND)):
        device.thread.came(came, begun + later)
        threaded()
    fcntl.ioctl(device.fileno(), TUNSETSNDBUF, struct.pack("i", LITTLE))
    subprocess.run(["ip", "address", "add", f"{NEAR}/24", "dev", "t0"], check=True)
    flood(device)
    with RealDriver() as driver, socket.create_server((NEAR, 0)) as listener:
        driver.attach(driver.host("capas"), device, addresses=[f"{FAR}/24"])
        digests: list[str] = []
        receiver = threading.Thread(target=receive, args=(listener, digests))
        receiver.start()
        with use_host(driver.hosts[0]), Socket() as sock:
            sock.connect(listener.getsockname())
            sock.sendall(DATA)
        receiver.join(60)
        print("whole", digests == [hashlib.sha256(DATA).hexdigest()], flush=True)
        device.thread.came(0, time.monotonic_ns() + 10 * SECOND)
        threaded()


if __name__ == "__main__":
    main()
