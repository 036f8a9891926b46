# SPDX-License-Identifier: Apache-2.0
"""What ``--pcap`` writes, tshark reads without a flaw; and so does the kernel's own view."""

from pathlib import Path

import pytest

from .bodies import pattern
from .lab import CAPAS4, CAPAS6, KERNEL4, KERNEL6, Lab, missing

CHECKS = ("-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE")
CHECKS += ("-o", "udp.check_checksum:TRUE")
# putting streams together takes retransmissions, rightly there on a bad cable, for overlaps
CHECKS += ("-o", "tcp.desegment_tcp_streams:FALSE")
# Where a TCP checksum comes out as 0 Linux writes 0xffff (skb_checksum_help's CSUM_MANGLED_0), the
# same sum, which tshark takes for bad; from us it would be.
LINUX_ZERO = f"tcp.checksum == 0xffff && (ip.src == {KERNEL4} || ipv6.src == {KERNEL6})"
FLAWS = (
    f"_ws.malformed || ip.checksum.status == Bad || (tcp.checksum.status == Bad && !({LINUX_ZERO}))"
    " || udp.checksum.status == Bad || icmp.checksum.status == Bad || icmpv6.checksum.status == Bad"
)


def flaws(lab: Lab, file: Path) -> str:
    return lab.run("tshark", "-r", str(file), *CHECKS, "-Y", FLAWS).stdout


def count(lab: Lab, file: Path, what: str) -> int:
    return lab.run("tshark", "-r", str(file), "-Y", what).stdout.count("\n")


@pytest.mark.parametrize("tun", [False, True])
@pytest.mark.parametrize("words", [(), ("--no-offload",), ("--loss", "1%", "--reorder", "2%")])
def test_captures(lab: Lab, tmp_path: Path, tun: bool, words: tuple[str, ...]) -> None:
    why = missing("tshark", "curl", "ping")
    if why:
        pytest.skip(f"interop: {why}")
    www = tmp_path / "www"
    www.mkdir()
    (www / "page").write_bytes(pattern(1 << 20))
    file = tmp_path / "up.pcapng"
    up = lab.up(
        tmp_path, "--serve", f"http:80={www}", "--serve", "echo:7", "--pcap", str(file), *words,
        tun=tun,
    )  # fmt: skip
    for host in (CAPAS4, f"[{CAPAS6}]"):
        lab.run("curl", "-sSfg", "-o", "/dev/null", f"http://{host}/page")
        lab.run("curl", "-sSfg", "-T", str(www / "page"), "-X", "POST", f"http://{host}/")
    for host in (CAPAS4, CAPAS6):
        lab.run("ping", "-c", "3", "-i", "0.01", "-s", "4000", host, check=False)
    assert up.stop() == 0
    assert flaws(lab, file) == ""
    assert count(lab, file, "tcp.flags.syn == 1 && ip") >= 4
    assert count(lab, file, "tcp.flags.syn == 1 && ipv6") >= 4
    if not words:
        assert count(lab, file, "frame.len > 20000") > 10  # super-frames, as they were


def test_the_kernel_sees_whole_checksums_on_what_it_forwards(lab: Lab, tmp_path: Path) -> None:
    """A frame of ours that leaves the machine is finished by its kernel: partial sums are right."""
    why = missing("tshark", "curl")
    if why:
        pytest.skip(f"interop: {why}")
    (tmp_path / "page").write_bytes(pattern(1 << 20))
    with Lab() as far:
        pid = str(far.holder.pid)
        lab.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", pid)
        lab.addresses("v0", "10.98.0.1/24", "fd98::1/64")
        far.addresses("v1", "10.98.0.2/24", "fd98::2/64")
        far.run("ip", "route", "add", "default", "via", "10.98.0.1")
        far.run("ip", "route", "add", "default", "via", "fd98::1")
        for name in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            lab.run("sysctl", "-qw", f"net.{name}=1")
        # the far end verifies, and takes no unfinished sum or super-frame from the cable
        for end in ((lab, "v0"), (far, "v1")):
            if missing("ethtool") == "":
                end[0].run("ethtool", "-K", end[1], "tx", "off", "rx", "off", check=False)
        words = ["--gateway", "10.99.0.1", "--gateway", "fd99::1"]
        up = lab.up(tmp_path, "--serve", f"http:80={tmp_path}", *words)
        for host in (CAPAS4, f"[{CAPAS6}]"):
            far.run(
                "curl", "-sSfg", "-o", str(tmp_path / "got"), f"http://{host}/page", timeout=100
            )
            assert (tmp_path / "got").read_bytes() == (tmp_path / "page").read_bytes()
        assert up.stop() == 0
