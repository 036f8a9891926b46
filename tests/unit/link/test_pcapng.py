# SPDX-License-Identifier: Apache-2.0
import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from link_fakes import A4, A6, Notes, Station, exchange, intact, tcp, udp

from capas.base.clock import MS, SECOND
from capas.base.frame import Frame
from capas.link import pcapng
from capas.link.link import Medium
from capas.link.offload import complete
from capas.link.pcapng import Capture, CaptureWriter


class Packet:
    def __init__(self, body: bytes) -> None:
        self.interface, high, low, size, self.original = struct.unpack_from("<IIIII", body)
        self.time = high << 32 | low
        self.data = body[20 : 20 + size]
        self.options = options(body[20 + (size + 3) // 4 * 4 :])
        self.flags = struct.unpack("<I", dict(self.options)[pcapng.EPB_FLAGS])[0]

    @property
    def comments(self) -> list[str]:
        return [v.decode() for k, v in self.options if k == pcapng.OPT_COMMENT]


def options(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while True:
        code, size = struct.unpack_from("<HH", data)
        if code == 0:
            assert len(data) == 4
            return found
        found.append((code, data[4 : 4 + size]))
        data = data[4 + (size + 3) // 4 * 4 :]


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of each block; both lengths agree and are multiples of 4."""
    found = []
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, size - 4)[0] == size
        found.append((kind, data[8 : size - 4]))
        data = data[size:]
    return found


def packets(data: bytes) -> list[Packet]:
    return [Packet(body) for kind, body in blocks(data) if kind == pcapng.PACKET]


class File:
    """A capture into memory."""

    def __init__(self, **options: object) -> None:
        self.parts: list[bytes] = []
        self.writer = CaptureWriter(self.parts.append, **options)  # type: ignore[arg-type]
        self.capture = Capture(self.writer)

    def bytes(self) -> bytes:
        self.capture.close()
        return b"".join(self.parts)


def pair(file: File) -> tuple[Station, Station]:
    a, b = Station(1), Station(2)
    file.capture.watch(a.interface, "a")
    file.capture.watch(b.interface, "b")
    a.interface.trace, b.interface.trace = file.capture.tracer("a"), file.capture.tracer("b")
    return a, b


def test_section_and_interfaces_are_described() -> None:
    file = File(comment="a world", hardware="capas simulation")
    assert file.writer.add_interface("a:eth0", Medium.ETHERNET, "left") == 0
    assert file.writer.add_interface("b:tun0", Medium.IP) == 1
    assert file.writer.add_interface("b:lo", Medium.LOOPBACK) == 2
    (section, head), *rest = blocks(file.bytes())
    assert section == pcapng.SECTION
    assert struct.unpack_from("<IHHq", head) == (0x1A2B3C4D, 1, 0, -1)
    assert options(head[16:]) == [(1, b"a world"), (2, b"capas simulation"), (4, b"capas")]
    assert [kind for kind, _ in rest] == [pcapng.INTERFACE] * 3
    assert [struct.unpack_from("<HHI", body)[0] for _, body in rest] == [1, 101, 101]
    assert options(rest[0][1][8:]) == [(2, b"a:eth0"), (1, b"left"), (9, b"\x09")]


def test_a_packet_has_time_direction_bytes_and_comments() -> None:
    file = File(epoch=1_700_000_000 * SECOND)
    port = file.writer.add_interface("x", Medium.ETHERNET)
    frame = Frame(b"\x01" * 61)
    file.writer.packet(port, frame, 123, True, ("one", "two"))
    file.writer.packet(port, frame, 124, False)
    out, back = packets(file.bytes())
    assert (out.time, out.flags, out.data, out.original) == (
        1_700_000_000 * SECOND + 123,
        pcapng.OUTBOUND,
        frame.data,
        61,
    )
    assert out.comments == ["one", "two"]
    assert (back.flags, back.comments) == (pcapng.INBOUND, [])


@pytest.mark.parametrize("v6", [False, True])
def test_checksums_are_finished_super_frames_stay_whole(v6: bool) -> None:
    file = File()
    port = file.writer.add_interface("x", Medium.ETHERNET)
    for frame in (tcp(b"abc", v6=v6), tcp(bytes(40_000), v6=v6, gso=1448), udp(b"abc", v6=v6)):
        file.writer.packet(port, frame, 0, True)
    file.writer.packet(port, udp(bytes(4000), v6=v6, gso=1200), 0, True)
    found = packets(file.bytes())
    assert all(intact(p.data) for p in found)
    assert [len(p.comments) for p in found] == [0, 1, 0, 1]
    assert "TCP segments of 1448 bytes" in found[1].comments[0]
    assert "UDP datagrams of 1200 bytes" in found[3].comments[0]


def test_secrets_and_names() -> None:
    file = File()
    file.writer.names([(A4, "web"), (A6, "web6")])
    file.capture.secrets(b"CLIENT_RANDOM 00 11\n")
    _, (kind, names), (secrets, body) = blocks(file.bytes())
    assert (kind, secrets) == (pcapng.NAMES, pcapng.SECRETS)
    assert options(names) == [(1, A4 + b"web\0"), (2, A6 + b"web6\0")]
    assert body == struct.pack("<II", 0x544C534B, 20) + b"CLIENT_RANDOM 00 11\n"


def test_long_comments_are_cut_between_characters() -> None:
    file = File()
    port = file.writer.add_interface("x", Medium.ETHERNET)
    file.writer.packet(port, Frame(b"x"), 0, True, ["§" * 5000, "x" + "§" * 5000])
    (packet,) = packets(file.bytes())
    assert [len(c) for c in packet.comments] == [500, 500]


# -- comments -------------------------------------------------------------------------------------


def test_decisions_go_to_the_next_frame_sent() -> None:
    file = File()
    a, b = pair(file)
    trace = file.capture.tracer("a")
    trace.decided(5, "tcp.rto", "after 200 ms")
    trace.decided(5, "tcp.cwnd", "")
    b.interface.send_to_mac(a.mac, 0x0800, (b"\x45",), 5)  # another host's frame
    a.interface.send_to_mac(b.mac, 0x0800, (b"\x45",), 5)
    a.interface.send_to_mac(b.mac, 0x0800, (b"\x45",), 5)
    found = packets(file.bytes())
    assert [p.comments for p in found] == [[], ["tcp.rto: after 200 ms", "tcp.cwnd"], []]


def test_old_decisions_are_not_about_the_next_frame() -> None:
    file = File()
    a, b = pair(file)
    file.capture.tracer("a").decided(0, "tcp.idle", "")
    a.interface.send_to_mac(b.mac, 0x0800, (b"\x45",), 101 * MS)
    file.capture.tracer("a").decided(102 * MS, "tcp.new", "")
    a.interface.send_to_mac(b.mac, 0x0800, (b"\x45",), 103 * MS)
    assert [p.comments for p in packets(file.bytes())] == [[], ["tcp.new"]]


def test_drops_go_to_the_frame_received_last_on_that_host() -> None:
    file = File()
    a, b = pair(file)
    b.interface.receive(Frame(a.mac + b.mac + b"\x08\x00"), 5)  # not for b
    a.interface.receive(Frame(a.mac + b.mac + b"\x12\x34"), 5)
    file.capture.tracer("b").dropped(5, "tcp.late", "")  # after another host's frame
    file.capture.tracer("b").dropped(6, "ip.timeout", "")  # a timer, not about any frame
    found = packets(file.bytes())
    assert found[0].comments == ["dropped: link.not_for_us (RFC 1122 §2.3)", "dropped: tcp.late"]
    assert found[1].comments == ["dropped: link.unknown_type (RFC 1122 §2.3.3)"]


def test_tracers_pass_on_what_they_hear() -> None:
    file, notes = File(), Notes()
    trace = file.capture.tracer("a", then=notes)
    assert file.capture.tracer("a") is trace
    assert file.capture.tracer("a", then=trace).then is notes  # never itself
    trace.dropped(0, "x.y", "")
    trace.decided(0, "z", "")
    assert (notes.drops, notes.decisions) == (["x.y"], ["z"])


def test_interfaces_not_announced_get_a_name_of_their_own() -> None:
    file = File()
    a, b = Station(1), Station(2)
    a.interface.trace = file.capture.tracer("alice")
    for s in (a, b):
        s.interface.taps.append(file.capture)
        s.interface.send_to_mac(a.mac, 0x0800, (b"\x45",), 0)
    names = [options(b[8:])[0][1] for kind, b in blocks(file.bytes()) if kind == pcapng.INTERFACE]
    assert names == [b"alice:eth1", b"eth2"]


def test_file_order_is_capture_order_and_waits_are_bounded() -> None:
    file = File()
    a, b = pair(file)
    for n in range(pcapng.HELD_RECORDS + 100):  # all in one instant
        a.interface.receive(Frame(n.to_bytes(4, "big")), 7)
    assert len(packets(b"".join(file.parts))) == 100
    b.interface.receive(Frame(b"later"), 8)
    assert len(packets(b"".join(file.parts))) == pcapng.HELD_RECORDS + 100
    found = packets(file.bytes())
    assert [p.data for p in found[:-1]] == [
        n.to_bytes(4, "big") for n in range(pcapng.HELD_RECORDS + 100)
    ]
    assert [p.time for p in found] == sorted(p.time for p in found)


def test_waits_are_bounded_in_bytes_and_notes() -> None:
    file = File()
    a, _ = pair(file)
    big = Frame(bytes(1 << 20))
    for _ in range(20):
        a.interface.receive(big, 7)
    assert len(packets(b"".join(file.parts))) == 4
    trace = file.capture.tracer("a")
    for n in range(100):
        trace.dropped(7, f"x.{n}", "")
        trace.decided(7, "y", str(n))
    a.interface.send_to_mac(a.mac, 0x0800, (b"\x45",), 7)
    *_, dropped, sent = packets(file.bytes())
    assert len(dropped.comments) == len(sent.comments) == pcapng.NOTES


def test_packets_of_things_that_are_no_interfaces_take_their_turn() -> None:
    file = File()
    a, _ = pair(file)
    port = file.writer.add_interface("switch:1", Medium.ETHERNET)
    a.interface.receive(Frame(b"first"), 1)
    file.capture.packet(port, Frame(b"second"), 1, True, "flooded")
    assert [(p.data, p.comments[-1]) for p in packets(file.bytes())] == [
        (b"first", "dropped: link.short (RFC 894)"),
        (b"second", "flooded"),
    ]


# -- the whole ------------------------------------------------------------------------------------


def scene() -> bytes:
    file = File(comment="scene", epoch=1_700_000_000 * SECOND)
    a, b = pair(file)
    a.interface.caps.csum = True
    a.interface.caps.gso_types = (1, 4, 5)
    a.interface.caps.gso_max = 65_536
    now = 0
    for v6 in (False, True):
        for n, frame in enumerate(
            (
                tcp(b"x" * 20_000, v6=v6, gso=1448, seq=1),
                tcp(b"x" * 3, v6=v6, seq=20_001),
                tcp(b"", v6=v6, seq=20_004, flags=0x11),
                udp(b"x" * 3000, v6=v6, gso=1200, port=9),
                udp(b"x", v6=v6, port=9),
            )
        ):
            now += MS
            file.capture.tracer("a").decided(now, "test.frame", str(n))
            a.interface.transmit(frame, 14, now)
            exchange(a, b, now)
    b.send4(bytes((192, 0, 2, 1)), complete(udp(b"reply", port=9)).data[14:], now)
    exchange(a, b, now)
    return file.bytes()


def test_the_same_calls_give_the_same_bytes_everywhere() -> None:
    """The digest is part of the contract: no Python, machine or hash seed may change it."""
    data = scene()
    assert scene() == data
    assert hashlib.sha256(data).hexdigest() == DIGEST


DIGEST = "fe49afaa0bd5bfa70fb38dd0c29b4ee318ed879bc9f685550002c859fd28ab16"


@pytest.mark.slow
def test_tshark_finds_nothing_wrong(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = tmp_path / "scene.pcapng"
    path.write_bytes(scene())
    checks = [f"{name}.check_checksum:TRUE" for name in ("ip", "tcp", "udp")]
    command = [tshark, "-r", str(path), "-V"]
    for check in checks:
        command += ["-o", check]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "alformed" not in result.stdout
    assert "Checksum Status: Bad" not in result.stdout
    assert result.stdout.count("Checksum Status: Good") >= 20
    assert "incorrect" not in result.stdout
    assert "test.frame: 4" in result.stdout
    assert "Interface name: a:eth1" in result.stdout
    stderr = [line for line in result.stderr.splitlines() if "as user" not in line]
    assert stderr == []
