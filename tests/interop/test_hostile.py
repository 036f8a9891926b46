# SPDX-License-Identifier: Apache-2.0
"""A neighbour that sends rubbish, and a user without rights."""

import os
import random
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from capas.wire.address import parse

from .bodies import PEERS
from .lab import CAPAS4, CAPAS6, KERNEL4, KERNEL6, Lab

ETHERTYPES = (0x0800, 0x0800, 0x86DD, 0x86DD, 0x0806, 0x8100, 0x0000, 0xFFFF)
PROTOCOLS = (1, 2, 6, 6, 6, 17, 58, 0, 43, 44, 60, 255)


def rubbish(chance: random.Random, mac: bytes) -> bytes:
    """A frame that is right in some places and wrong in others."""
    ethertype = chance.choice(ETHERTYPES)
    body = chance.randbytes(chance.choice((0, 1, 8, 20, 28, 40, 60, 400)))
    protocol = chance.choice(PROTOCOLS)
    if ethertype == 0x0800:
        length = chance.choice((20 + len(body), chance.randrange(65_536)))
        fragment = chance.choice((0, 0, 0x4000, 0x2000, chance.randrange(65_536)))
        words = chance.choice((5, 5, 5, 6, 15, 0))
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x40 | words, 0, length, 7, fragment, chance.randrange(256), protocol,
            0, parse(KERNEL4), parse(CAPAS4),
        )  # fmt: skip
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        head = head[:10] + struct.pack("!H", (total + (total >> 16)) & 0xFFFF ^ 0xFFFF) + head[12:]
        body = head + body
    elif ethertype == 0x86DD:
        length = chance.choice((len(body), chance.randrange(65_536)))
        head = struct.pack("!IHBB", 6 << 28, length, protocol, chance.randrange(256))
        body = head + parse(KERNEL6) + parse(CAPAS6) + body
    elif ethertype == 0x0806:
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, chance.randrange(4)) + body
    frame = bytearray(mac + b"\x02\0\0\0\0\x07" + struct.pack("!H", ethertype) + body)
    for _ in range(chance.randrange(3)):
        frame[chance.randrange(14, len(frame) + 1) - 1] = chance.randrange(256)
    return bytes(frame[: chance.randrange(14, len(frame) + 1)] if chance.random() < 0.2 else frame)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rubbish_does_no_harm(lab: Lab, tmp_path: Path, seed: int) -> None:
    mac = "02:00:00:00:00:42"
    up = lab.up(tmp_path, "--serve", "echo:7", "--mac", mac, "--pcap", str(tmp_path / "x.pcapng"))
    chance = random.Random(seed)

    def sender() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("capas0", 0))
        return sock

    with lab.inside(sender) as sock:
        for _ in range(5000):
            try:
                sock.send(rubbish(chance, bytes.fromhex(mac.replace(":", ""))))
            except OSError:
                continue  # the kernel itself would not
    for host in (CAPAS4, CAPAS6):
        lab.run("ping", "-c", "2", "-w", "60", "-i", "0.1", host)
        assert lab.run(sys.executable, PEERS, "held", host, "5").stdout == "ok 5\n"
    assert up.stop() == 0
    assert "Traceback" not in up.text() and "checksum" in up.text(), up.text()


OWNER = """
import os, sys
from capas.errors import DeviceError
from capas.real import attach, devices, netdev
attach.CLONE_DEVICE = sys.argv[1]
os.setgroups([])
os.setuid(65534)
device = devices.open_tap("t1")
print(device.caps.mtu, device.caps.csum, len(device.caps.gso_types), netdev.is_up("t1"))
device.close()
for name, path in (("t2", sys.argv[1]), ("t1", sys.argv[2])):
    attach.CLONE_DEVICE = path
    try:
        devices.open_tap(name)
    except DeviceError as error:
        print(error)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Open to all users, unlike pytest's, which each run of pytest closes anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_device_made_for_a_user_needs_no_rights(lab: Lab, open_folder: Path) -> None:
    everybody, nobody = open_folder / "tun", open_folder / "private"
    for path, mode in ((everybody, 0o666), (nobody, 0o600)):
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(10, 200))
        path.chmod(mode)
    lab.run("ip", "tuntap", "add", "dev", "t1", "mode", "tap", "user", "65534")
    lab.run("ip", "link", "set", "t1", "mtu", "1400", "up")
    done = lab.run(sys.executable, "-c", OWNER, str(everybody), str(nobody))
    works, not_ours, no_clone = done.stdout.splitlines()
    assert works.startswith("1400 True") and works.endswith("True")
    assert "sudo ip tuntap add dev t2 mode tap user $USER" in not_ours
    assert "no permission to open" in no_clone and "run as root" in no_clone
