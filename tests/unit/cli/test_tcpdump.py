# SPDX-License-Identifier: Apache-2.0
"""``capas tcpdump``: files in, lines and JSON out, beside the real tcpdump; its filters."""

import asyncio
import gzip
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from struct import pack

import pytest

pytest.importorskip("click", reason="needs click: pip install 'capas[tools]'")

import capas
from capas.aio.run import run_on
from capas.application import dhcp, dhcp_server
from capas.application.diagnostics import ping
from capas.cli.dump_file import Captured, read
from capas.cli.dump_filter import compile_filter
from capas.cli.dump_packet import Packet
from capas.cli.main import main
from capas.errors import CapasError, ConfigurationError
from capas.link.pcapng import Capture, CaptureWriter
from capas.sim.world import World


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one host saw of DHCP, ARP, echoes, UDP to a closed port, TCP with losses."""
    out = io.BytesIO()
    world = World(seed=2)
    router, host = world.router("router"), world.host("host", addresses=None)
    world.link(
        router, host, addresses={"router": ["10.0.0.1/24", "fd00::1/64"]}, loss="5%", delay="2ms"
    )
    card = host.interfaces[1]
    host.add_address(card, "fd00::9/64")
    tap = Capture(CaptureWriter(out.write))
    tap.watch(card, "host")
    host.set_trace(tap.tracer("host"))

    async def talk() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(100_000))
            writer.close()

        await capas.spawn(router, dhcp_server.start("10.0.0.50-10.0.0.60"))
        await dhcp.configure()
        await capas.spawn(router, asyncio.start_server(serve, port=80))
        for address in ("10.0.0.1", "fd00::1"):
            await ping(host, capas.wire.address.parse(address), count=2, interval=0.1)
            reader, writer = await asyncio.open_connection(address, 80)
            await reader.read(-1)
            writer.close()
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("10.0.0.1", 9999)
        )
        transport.sendto(b"anybody?")
        await asyncio.sleep(1)
        transport.close()

    with world:
        run_on(host, talk)
    tap.close()
    path = tmp_path_factory.mktemp("dump") / "host.pcapng"
    path.write_bytes(out.getvalue())
    return path


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["tcpdump", *words]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is missing")
@pytest.mark.parametrize("absolute", [[], ["-S"]])
def test_lines_are_those_of_tcpdump(
    capture: Path, capsys: pytest.CaptureFixture[str], absolute: list[str]
) -> None:
    ours = lines(capsys, "-qtn", "-r", str(capture), *absolute)
    done = subprocess.run(
        ["tcpdump", "-tn", *absolute, "-r", "-"],
        input=capture.read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    # it goes on with what the payload says, and words a few rare things in its own way
    theirs = [
        re.sub(r"(, length \d+): .*", r"\1", line) for line in done.stdout.decode().splitlines()
    ]
    assert len(ours) == len(theirs) > 100
    different = [
        (mine, other)
        for mine, other in zip(ours, theirs, strict=True)
        if mine != other and "ICMP6, " not in mine and "BOOTP" not in mine
    ]
    assert different == []
    assert sum("BOOTP/DHCP, R" in line for line in theirs) == sum("BOOTP" in line for line in ours)


def test_json_has_wiresharks_names(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in lines(capsys, "--json", "-r", str(capture))]
    syn = next(row for row in rows if row.get("tcp.flags") == 2)
    assert syn["ip.dst"] == "10.0.0.1" and syn["tcp.dstport"] == 80
    assert [row["frame.number"] for row in rows] == list(range(1, len(rows) + 1))
    assert any("frame.comment" in row for row in rows)


def test_what_the_host_decided_is_told(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, "-r", str(capture))
    assert any(line.startswith("\t# tcp.") for line in found)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{6} ", found[0])


def test_bytes_and_link_headers(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, "-c", "1", "-e", "-x", "-t", "-q", "-r", str(capture), "arp")
    assert "ethertype 0x0806, length 42: ARP, Request who-has" in found[0]
    assert found[1].startswith("\t0x0000:  0001 0800 0604 0001")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("arp", lambda p: p.arp is not None),
        ("tcp port 80", lambda p: p.protocol == 6 and 80 in p.ports),
        ("tcp and dst port http", lambda p: p.protocol == 6 and p.ports[1] == 80),
        ("udp and (port 67 or port 68)", lambda p: p.protocol == 17 and 67 in p.ports),
        ("not ip and not arp", lambda p: p.ethertype == 0x86DD),
        ("icmp or icmp6", lambda p: p.protocol in (1, 58)),
        ("src host 10.0.0.1 and greater 1000",
         lambda p: p.src == b"\n\0\0\1" and len(p.captured.data) >= 1000),
        ("net fd00::/64 && !tcp",
         lambda p: (p.src[:1] == b"\xfd" or p.dst[:1] == b"\xfd") and p.protocol != 6),
        ("portrange 60-90", lambda p: any(60 <= port <= 90 for port in p.ports)),
        ("less 60 tcp", lambda p: p.captured.length <= 60 and p.protocol == 6),
        ("ether src 02:00:00:00:00:02", lambda p: p.macs[1] == b"\2\0\0\0\0\2"),
        ("vlan", lambda p: False),
        ("", lambda p: True),
    ],
)  # fmt: skip
def test_filters(capture: Path, words: str, wanted: object) -> None:
    test = compile_filter(words)
    packets = [Packet(one) for one in read([capture.read_bytes()])]
    assert callable(wanted)
    assert [test(p) for p in packets] == [bool(wanted(p)) for p in packets]


@pytest.mark.parametrize(
    "words",
    ["host", "port x", "foo", "(tcp", "tcp)", "not", "tcp or", "greater x", "host 1.2.3",
     "ether 7", "(" * 100, "not " * 100],
)  # fmt: skip
def test_filters_that_mean_nothing(words: str) -> None:
    with pytest.raises(ConfigurationError, match="filter: "):
        compile_filter(words)


def test_pcap_of_both_byte_orders() -> None:
    frame = bytes(12) + b"\x88\xcc" + bytes(10)
    for order, magic, unit in (
        ("<", 0xA1B2C3D4, 1000), (">", 0xA1B2C3D4, 1000), ("<", 0xA1B23C4D, 1),
    ):  # fmt: skip
        data = pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
        data += pack(order + "IIII", 5, 7, len(frame), 99) + frame
        assert list(read([data[:30], data[30:]])) == [Captured(5 * 10**9 + 7 * unit, frame, 99, 1)]


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ", bytes(100), b"\x0a\x0d\x0d\x0a" + bytes(20), b"\xd4\xc3\xb2\xa1" + bytes(3)],
)
def test_what_is_no_capture(data: bytes) -> None:
    with pytest.raises(CapasError, match="capture file"):
        list(read([data]))


def test_a_compressed_capture_says_what_to_do(capture: Path) -> None:
    with pytest.raises(CapasError, match="gunzip"):
        list(read([gzip.compress(capture.read_bytes())]))


def test_a_file_cut_short_shows_what_is_there(capture: Path) -> None:
    data = capture.read_bytes()
    whole = list(read([data]))
    assert (
        list(read([data[: len(data) // 2]])) == whole[: len(list(read([data[: len(data) // 2]])))]
    )
    assert list(read(data[i : i + 7] for i in range(0, len(data), 7))) == whole


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["-r", "/nowhere/x"], 1, "No such file"),
        (["-w", "x", "tcp"], 2, "-w writes"),
        (["-r", "x", "bogus"], 2, "filter"),
        (["--on", "nobody-here"], 1, "no host runs on 'nobody-here'"),
    ],
)
def test_wrong_usage(
    words: list[str], code: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tcpdump", *words]) == code
    assert why in capsys.readouterr().err
