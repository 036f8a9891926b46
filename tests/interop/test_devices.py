# SPDX-License-Identifier: Apache-2.0
"""TAP and TUN against the kernel, below any stack: what is read, what may be written."""

import contextlib
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from capas.base.checksum import checksum, ones_sum, pseudo_sum
from capas.base.frame import CSUM_NONE, CSUM_PARTIAL, GSO_UDP_L4, Frame
from capas.errors import DeviceError
from capas.link.link import Medium
from capas.real import devices, netdev
from capas.real.ports import cores
from capas.wire.address import parse

from .lab import CAPAS4, KERNEL4, Lab

UDP_SEGMENT = 103
UDP_GRO = 104


def wait_for(device: devices.TunTap, wanted: Callable[[bytes], bool]) -> Frame:
    """The next frame that is wanted; the kernel sends multicast of its own."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        select.select([device], [], [], 1)
        frame = device.read(0)
        if frame is not None and wanted(frame.data):
            return frame
    raise AssertionError("no such frame came")


def is_udp4(data: bytes) -> bool:
    return data[0] == 0x45 and data[9] == 17


def udp4(payload: bytes, sport: int, dport: int, field: int) -> bytes:
    """An IPv4 UDP packet from capas to the kernel with ``field`` as its UDP checksum."""
    src, dst = parse(CAPAS4), parse(KERNEL4)
    size = 28 + len(payload)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0x4000, 64, 17, 0, src, dst)
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    return ip + struct.pack("!HHHH", sport, dport, size - 20, field) + payload


def pseudo(size: int) -> int:
    return pseudo_sum(parse(CAPAS4), parse(KERNEL4), 17, size)


def open_tun(lab: Lab, **options: object) -> devices.TunTap:
    device = lab.inside(lambda: devices.open_tun("t0", **options))  # type: ignore[arg-type]
    lab.addresses("t0", f"{KERNEL4}/24")
    return device


def kernel_socket(lab: Lab) -> socket.socket:
    return lab.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


@pytest.mark.parametrize("header", [10, 12])
def test_partial_checksum_and_super_datagrams_come_in(lab: Lab, header: int) -> None:
    device = open_tun(lab, header=header)
    assert device.header == header
    assert device.caps.csum and device.caps.medium is Medium.IP and device.caps.mtu == 1500
    with kernel_socket(lab) as sender:
        sender.sendto(b"hello", (CAPAS4, 9))
        frame = wait_for(device, is_udp4)
        assert (frame.csum, frame.csum_start, frame.csum_offset) == (CSUM_PARTIAL, 20, 6)
        assert frame.data[28:] == b"hello" and frame.gso_size == 0
        if GSO_UDP_L4 in device.caps.gso_types:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1400)
            sender.sendto(bytes(1400 * 40), (CAPAS4, 9))
            frame = wait_for(device, is_udp4)
            assert (frame.gso_type, frame.gso_size) == (GSO_UDP_L4, 1400)
            assert len(frame.data) == 28 + 1400 * 40
    device.close()
    assert device.fileno() == -1


def test_partial_checksum_and_super_datagrams_go_out(lab: Lab) -> None:
    device = open_tun(lab)
    with kernel_socket(lab) as receiver:
        receiver.bind((KERNEL4, 9001))
        receiver.settimeout(60)
        data = udp4(b"x" * 100, 7, 9001, pseudo(108))
        assert device.transmit(Frame(data, 0, CSUM_PARTIAL, 20, 6))
        assert receiver.recv(2000) == b"x" * 100
        if GSO_UDP_L4 in device.caps.gso_types:
            receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
            size = 1400 * 40
            data = udp4(bytes(size), 7, 9001, pseudo(size + 8))
            assert device.transmit(Frame(data, 0, CSUM_PARTIAL, 20, 6, GSO_UDP_L4, 1400))
            assert len(receiver.recv(70_000)) == size
    device.close()


def test_without_offloads_checksums_are_whole(lab: Lab) -> None:
    device = open_tun(lab, offload=False)
    assert device.header == 0 and not device.caps.csum and device.caps.gso_types == ()
    with kernel_socket(lab) as peer:
        peer.bind((KERNEL4, 9001))
        peer.settimeout(60)
        peer.sendto(b"hello", (CAPAS4, 9))
        frame = wait_for(device, is_udp4)
        assert frame.csum == CSUM_NONE
        start = pseudo_sum(parse(KERNEL4), parse(CAPAS4), 17, 13)
        assert ones_sum(frame.data[20:], start) == 0xFFFF
        field = checksum(udp4(b"y" * 9, 7, 9001, 0)[20:], pseudo(17))
        device.transmit(Frame(udp4(b"y" * 9, 7, 9001, field)))
        assert peer.recv(100) == b"y" * 9
    device.close()


def test_a_tap_has_ethernet_headers(lab: Lab) -> None:
    device = lab.inside(lambda: devices.open_tap("t0", mtu=1400))
    assert device.caps.medium is Medium.ETHERNET and device.caps.mtu == 1400
    assert lab.inside(lambda: netdev.is_up("t0"))
    lab.inside(lambda: netdev.add_kernel_address("t0", parse(KERNEL4), 24))
    with kernel_socket(lab) as sender:
        sender.sendto(b"hello", (CAPAS4, 9))
        frame = wait_for(device, lambda data: data[12:14] == b"\x08\x06")
    assert frame.data[:6] == b"\xff" * 6 and frame.data[38:42] == parse(CAPAS4)
    device.close()


def test_kernel_addresses(lab: Lab) -> None:
    device = lab.inside(lambda: devices.open_tap("t0"))
    for text, length in (("10.1.2.3", 20), ("fd00:1::1", 64)):
        lab.inside(
            lambda text=text, length=length: netdev.add_kernel_address("t0", parse(text), length)
        )
        assert f"{text}/{length}" in lab.run("ip", "address", "show", "dev", "t0").stdout
    device.close()


def test_a_vanished_device_is_noticed(lab: Lab) -> None:
    device = open_tun(lab)
    lab.run("ip", "link", "delete", "t0")
    assert device.read(0) is None
    assert device.gone
    device.close()


def test_errors_say_what_to_do(lab: Lab) -> None:
    device = open_tun(lab)
    for name, kind, text in (
        ("t0", devices.open_tun, "in use"),
        ("a-name-that-is-too-long", devices.open_tap, "1 to 15"),
        ("a/b", devices.open_tap, "slashes"),
        ("lo", devices.open_tap, "not a tap"),
    ):
        with pytest.raises(DeviceError, match=text):
            lab.inside(lambda name=name, kind=kind: kind(name))
    device.close()


def test_a_persistent_device_of_the_other_kind_is_explained(lab: Lab) -> None:
    lab.run("ip", "tuntap", "add", "dev", "t1", "mode", "tap")
    with pytest.raises(DeviceError, match="or --tap t1 if it is one"):
        lab.inside(lambda: devices.open_tun("t1"))
    lab.inside(lambda: devices.open_tap("t1")).close()


def test_a_multi_queue_device_is_attached_too(lab: Lab) -> None:
    lab.run("ip", "tuntap", "add", "dev", "t1", "mode", "tap", "multi_queue")
    device = lab.inside(lambda: devices.open_tap("t1"))
    assert device.header == 10
    device.close()


def test_a_device_is_made_once(lab: Lab) -> None:
    def indices() -> list[int]:
        return [index for index, _ in socket.if_nameindex()]

    before = lab.inside(indices)
    with contextlib.closing(lab.inside(lambda: devices.open_tun("t0"))):  # another's /sys
        after = lab.inside(indices)
    assert after == [*before, before[-1] + 1]
    script = (
        "import socket; from capas.real import devices; device = devices.open_tun('t1');"
        "print(*(index for index, _ in socket.if_nameindex()))"
    )
    done = lab.run(sys.executable, "-c", script)  # with its own
    assert done.stdout.split() == [str(index) for index in (*before, after[-1] + 1)]


@pytest.mark.skipif(cores() == 1, reason="a second core is missing: the kernel gets no thread")
def test_a_thread_of_the_kernels_takes_our_frames_and_keeps_us_waiting(lab: Lab) -> None:
    if lab.run("test", "-e", "/sys/class/net/lo/threaded", check=False).returncode:
        pytest.skip("threaded NAPI is missing (Linux 5.12), or /sys of a namespace")
    done = lab.run(sys.executable, str(Path(__file__).with_name("threaded.py")))
    assert done.stdout.splitlines() == [
        "threaded 0",
        "threaded 1",
        "refused True",
        "writable True",
        "whole True",
        "threaded 0",
    ]
