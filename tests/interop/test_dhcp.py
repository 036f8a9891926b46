# SPDX-License-Identifier: Apache-2.0
"""DHCP against other people's programs: dnsmasq as the server, busybox's udhcpc as the client."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import KERNEL4, Lab, missing

_SCRIPT = """\
#!/bin/sh
[ "$1" = bound ] || exit 0
env | grep -E '^(ip|subnet|router|dns|domain|lease|mtu|serverid)=' | sort > {facts}.part
ip address add "$ip/$mask" dev "$interface"
mv {facts}.part {facts}
"""


@pytest.fixture
def tap(lab: Lab) -> Iterator[Lab]:
    """A TAP whose kernel end is up."""
    lab.run("ip", "tuntap", "add", "dev", "capas0", "mode", "tap")
    lab.run("ip", "link", "set", "capas0", "up")
    yield lab


def _until(lab: Lab, process: "subprocess.Popen[bytes]", path: Path) -> None:
    deadline = time.monotonic() + 100
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, "no answer in 100 s"
        time.sleep(0.05)


@pytest.mark.skipif(bool(missing("dnsmasq")), reason=f"DHCP server: {missing('dnsmasq')}")
@pytest.mark.parametrize("impaired", [[], ["--loss", "20%", "--duplicate", "10%"]])
def test_an_address_from_dnsmasq(tap: Lab, tmp_path: Path, impaired: list[str]) -> None:
    tap.addresses("capas0", f"{KERNEL4}/24")
    log = tmp_path / "dnsmasq.log"
    with log.open("wb") as out:
        server = tap.start(
            "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--log-dhcp",
            "--interface=capas0", "--bind-interfaces", "--no-resolv", "--no-hosts",
            f"--pid-file={tmp_path}/pid", f"--dhcp-leasefile={tmp_path}/leases",
            "--dhcp-range=10.99.0.50,10.99.0.59,255.255.255.0,1h", "--domain=lab.test",
            "--address=/web.lab.test/10.99.0.1", "--dhcp-option=option:mtu,1400",
            "--dhcp-option=121,10.50.0.0/16,10.99.0.1,0.0.0.0/0,10.99.0.1",
            stdout=out, stderr=out,
        )  # fmt: skip
    for _ in range(3000):
        if ":67 " in tap.run("ss", "-Hnlu").stdout:
            break
        assert server.poll() is None, log.read_text()
        time.sleep(0.02)
    # the name is found in the domain, by the name server given; a query may be lost too often
    done = tap.capas(
        "ping", "--tap", "capas0", "--address", "dhcp", "-c", "20", "-i", "0.02", "--json",
        KERNEL4 if impaired else "web", *impaired, check=False,
    )  # fmt: skip
    text = log.read_text()
    assert done.returncode == 0, done.stderr + text
    told = json.loads(done.stdout)
    assert told["ok"] and told["received"] >= 1
    assert "DHCPACK(capas0) 10.99.0.5" in text
    if not impaired:
        assert "DHCPRELEASE(capas0) 10.99.0.5" in text


@pytest.mark.skipif(bool(missing("dnsmasq")), reason=f"DHCP server: {missing('dnsmasq')}")
def test_up_says_which_address_it_got(tap: Lab, tmp_path: Path) -> None:
    tap.addresses("capas0", f"{KERNEL4}/24")
    tap.start(
        "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--interface=capas0",
        "--bind-interfaces", "--port=0", f"--pid-file={tmp_path}/pid",
        f"--dhcp-leasefile={tmp_path}/leases", "--dhcp-range=10.99.0.50,10.99.0.50,1h",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    up = tap.up(tmp_path, "--address", "dhcp", "--serve", "echo")
    assert json.loads((tmp_path / "ready").read_text())["addresses"] == ["10.99.0.50/24"]
    assert tap.run("nc", "-N", "-w", "20", "10.99.0.50", "7", input="hello\n").stdout == "hello\n"
    assert up.stop() == 0
    assert "10.99.0.50/24 on TAP capas0" in up.text()


def test_nobody_answers(tap: Lab) -> None:
    done = tap.capas(
        "ping", "--tun", "capas1", "--address", "dhcp", "10.99.0.1", check=False, timeout=100
    )
    assert done.returncode == 2 and "needs a TAP" in done.stderr


def test_what_it_waits_for(tap: Lab) -> None:
    """Thirty seconds of silence looked like a hang."""
    process = tap.start(
        sys.executable, "-m", "capas.cli.main", "ping", "--tap", "capas0", "--address", "dhcp",
        KERNEL4, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline().startswith(
        b"capas: waiting up to 30 s for a DHCP server on capas0"
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1  # no answer, as of a ping that is stopped


@pytest.mark.skipif(bool(missing("udhcpc")), reason=f"DHCP client: {missing('udhcpc')}")
@pytest.mark.parametrize("impaired", [[], ["--loss", "10%", "--duplicate", "10%"]])
def test_udhcpc_gets_an_address_from_us(lab: Lab, tmp_path: Path, impaired: list[str]) -> None:
    facts = tmp_path / "facts"
    script = tmp_path / "script"
    script.write_text(_SCRIPT.format(facts=facts))
    script.chmod(0o755)
    up = lab.up(
        tmp_path, "--address", "10.7.0.1/24", *impaired, "--serve", "echo", "--serve",
        "dhcp=10.7.0.20-10.7.0.29,router=10.7.0.1,dns=10.7.0.1,domain=x.test,lease=600,mtu=1400",
    )  # fmt: skip
    # the kernel takes a host for gone when three ARP exchanges fail: here one time in 150
    for probes in ("mcast_solicit", "ucast_solicit"):
        lab.run("sysctl", "-qw", f"net.ipv4.neigh.capas0.{probes}=50")
    client = lab.start(
        "udhcpc", "-f", "-i", "capas0", "-s", str(script), "-R", "-t", "30", "-T", "1", "-O", "mtu",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    _until(lab, client, facts)
    told = dict(line.split("=", 1) for line in facts.read_text().splitlines())
    assert told == {
        "ip": "10.7.0.20", "subnet": "255.255.255.0", "router": "10.7.0.1", "dns": "10.7.0.1",
        "domain": "x.test", "lease": "600", "mtu": "1400", "serverid": "10.7.0.1",
    }  # fmt: skip
    assert lab.run("nc", "-N", "-w", "150", "10.7.0.1", "7", input="hello\n").stdout == "hello\n"
    client.terminate()  # it releases
    client.wait(60)
    up.stop()
    assert "dhcpd.ack" not in up.text() and "dhcpd.request" in up.text()


def test_the_kernel_takes_an_address_from_our_advertisements(lab: Lab, tmp_path: Path) -> None:
    lab.run("ip", "tuntap", "add", "dev", "capas0", "mode", "tap")
    lab.run("sysctl", "-qw", "net.ipv6.conf.capas0.accept_ra=2")
    up = lab.up(
        tmp_path, "--address", "fd55::1/64", "--serve", "ra=lifetime=600", "--serve", "echo"
    )
    deadline = time.monotonic() + 60
    while (
        "fd55:" not in lab.run("ip", "-6", "address", "show", "dev", "capas0", "-tentative").stdout
    ):
        assert time.monotonic() < deadline, "no address in 60 s"
        time.sleep(0.1)
    assert "default via fe80::" in lab.run("ip", "-6", "route").stdout
    assert lab.run("nc", "-N", "-w", "30", "fd55::1", "7", input="hello\n").stdout == "hello\n"
    assert up.stop() == 0
    assert "default" not in lab.run("ip", "-6", "route").stdout  # it said goodbye
