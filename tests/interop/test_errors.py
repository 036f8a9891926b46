# SPDX-License-Identifier: Apache-2.0
"""What cannot be is said in one line, with exit code 2 (the command line) or 1 (the machine)."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .lab import CAPAS4, KERNEL4, Lab

OWN = ("--tap", "t0", "--address", "10.0.0.1/24")
PING, GET = ("ping", *OWN), ("get", *OWN)
BOTH = ("--tap", "capas0", "--address", f"{CAPAS4}/24", "--kernel-address", f"{KERNEL4}/24")
UP = ("up", "--tap", "capas0", "--address", f"{CAPAS4}/24")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("up", "--address", "10.0.0.1/24"), 2, "--tap NAME or --tun NAME"),
        (("up", "--tap", "a", "--tun", "b", "--address", "10.0.0.1/24"), 2, "either"),
        (("up", "--tap", "t0"), 2, "--address"),
        (("up", "--tap", "t0", "--address", "10.0.0.1"), 2, "10.0.0.1/24"),
        (("up", "--tap", "t0", "--address", "10.0.0.300/24"), 2, "10.0.0.300"),
        (("up", "--tap", "t0", "--address", "10.0.0.1/33"), 2, "0 to 32"),
        ((*UP, "--gateway", "nowhere"), 2, "nowhere"),
        ((*UP, "--gateway", "192.0.2.1"), 2, "--gateway 192.0.2.1"),
        ((*UP, "--serve", "gopher:70"), 2, "there are http"),
        ((*UP, "--serve", "http:80"), 2, "http:80=DIRECTORY"),
        ((*UP, "--serve", "http:80=/no/such/directory"), 2, "not a directory"),
        ((*UP, "--serve", "echo:99999"), 2, "1 to 65535"),
        ((*UP, "--loss", "200%"), 2, "probability"),
        ((*UP, "--delay", "soon"), 2, "20ms"),
        ((*UP, "--mac", "01:00:00:00:00:01"), 2, "group address"),
        ((*UP, "--address", f"{CAPAS4}/24"), 2, "already has"),
        ((*UP, "--pcap", "/no/such/directory/file"), 1, "No such file"),
        ((*UP, "--serve", "echo:7", "--serve", "discard:7"), 1, "port 7"),
        ((*UP, "--serve", f"dns={sys.executable}"), 1, "not UTF-8 text of lines `ADDRESS NAME"),
        ((*UP, "--ready-file", "/"), 2, "--ready-file /: say a file"),
        ((*UP, "--ready-file", "/no/such/directory/file"), 2, "say a file"),
        (("up", "--tap", "x" * 16, "--address", "10.0.0.1/24"), 1, "1 to 15"),
        (("up", "--tap", "lo", "--address", "10.0.0.1/24"), 1, "not a tap device"),
        (("ping", "--tap", "t0", "--address", "10.0.0.1/24", "a.name"), 1, "--nameserver"),
        ((*PING, "300.1.1.1"), 2, "neither an address nor a name"),
        ((*PING, ""), 2, "neither an address nor a name"),
        ((*PING, "198.51.100.1"), 1, "no --gateway leads there"),
        ((*PING, "2001:db8::1"), 1, "no --address is in that network"),
        (("traceroute", *OWN, "198.51.100.1"), 1, "no --gateway leads there"),
        ((*GET, "ftp://x/"), 2, "not a URL"),
        ((*GET, "http://198.51.100.1/"), 1, "no --gateway leads there"),
        ((*GET, "http://xn--/"), 2, "Malformed A-label"),
        ((*GET, "http://10.0.0.2/", "-H", "a: \u00fc"), 2, "one line of ASCII"),
        ((*GET, "http://10.0.0.2/", "-H", "a: b\nc: d"), 2, "one line of ASCII"),
        (("nc", *OWN, "-l", "-z", "7"), 2, "say one of them"),
        (("nc", *OWN, "-l", "10.0.0.9", "7"), 2, "no address of this host"),
        (("mail", *BOTH, "--server", KERNEL4, "a@b.c", "-b", ""), 1, "port 25: Connection refused"),
        (("iperf", *BOTH, "-c", KERNEL4), 1, "port 5201: Connection refused"),
        (
            ("ping", *BOTH, "--kernel-address", "fd99::1/64", "--mtu", "600", "::1"),
            1,
            "MTU of 1280",
        ),
    ],
)
def test_errors(lab: Lab, words: tuple[str, ...], code: int, text: str) -> None:
    done = lab.capas(*words, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr, done.stderr


def test_a_busy_tap(lab: Lab, tmp_path: Path) -> None:
    lab.up(tmp_path)
    done = lab.capas(*UP, check=False)
    assert done.returncode == 1 and "in use by another program" in done.stderr


def test_no_rights(lab: Lab) -> None:
    done = lab.run(
        "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups",
        sys.executable, "-m", "capas.cli.main", *UP, check=False,
    )  # fmt: skip
    if "capas" not in done.stderr:
        pytest.skip(f"interop: an interpreter that everybody may run is missing ({done.stderr})")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no permission" in done.stderr and "CAP_NET_ADMIN" in done.stderr


def test_json_errors_are_objects(lab: Lab) -> None:
    done = lab.capas("up", "--tap", "lo", "--address", "10.0.0.1/24", "--json", check=False)
    assert done.returncode == 1
    assert (
        json.loads(done.stdout)["ok"] is False and "not a tap" in json.loads(done.stdout)["error"]
    )


def test_a_deleted_device_ends_it(lab: Lab, tmp_path: Path) -> None:
    up = lab.up(tmp_path)
    lab.run("ip", "link", "delete", "capas0")
    assert up.process.wait(60) == 1
    assert "has been deleted" in up.text() and "Traceback" not in up.text()


@pytest.mark.parametrize("words", [("nc", "-l", "7"), ("iperf", "-s")], ids=lambda w: w[0])
def test_a_deleted_device_ends_who_waits(lab: Lab, words: tuple[str, ...]) -> None:
    waits = lab.start(
        sys.executable, "-m", "capas.cli.main", *words, *BOTH,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lab.eventually(lambda: KERNEL4 in lab.run("ip", "address").stdout)
    lab.run("ip", "link", "delete", "capas0")
    assert "capas0 has been deleted" in waits.communicate(timeout=60)[1]
    assert waits.returncode == 1


def test_ipv6_that_the_kernel_has_off(lab: Lab) -> None:
    lab.run("sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    done = lab.capas(*UP, "--kernel-address", "fd99::1/64", check=False)
    assert done.returncode == 1 and "IPv6 is off: `sudo sysctl" in done.stderr, done.stderr


def test_a_tun_without_a_network(lab: Lab) -> None:
    """As VPNs give addresses: a /32, and all else at the other end."""
    lab.run("ip", "tuntap", "add", "dev", "capas0", "mode", "tun")
    lab.run("ip", "address", "add", f"{KERNEL4}/32", "peer", CAPAS4, "dev", "capas0")
    lab.run("ip", "link", "set", "capas0", "up")
    tun = ("--tun", "capas0", "--address", f"{CAPAS4}/32", "--gateway", KERNEL4)
    assert "1 received" in lab.capas("ping", *tun, "-c", "1", KERNEL4).stdout


def test_signals_end_it_with_a_summary(lab: Lab, tmp_path: Path) -> None:
    up = lab.up(tmp_path, "--serve", "echo:7")
    facts = json.loads((tmp_path / "ready").read_text())
    assert facts["services"] == {"echo": 7} and facts["device"] == "capas0"
    lab.run("ping", "-c", "1", CAPAS4)
    assert up.stop() == 0
    assert "received" in up.text() and "icmp.echo_answered 1" in up.text()
    assert not (tmp_path / "ready").exists()
    assert KERNEL4 not in lab.run("ip", "address").stdout


def test_a_closed_terminal_ends_it_too(lab: Lab, tmp_path: Path) -> None:
    up = lab.up(tmp_path)
    up.process.send_signal(signal.SIGHUP)
    assert up.process.wait(60) == 0
    assert "received" in up.text() and not (tmp_path / "ready").exists()


def test_who_ignores_that_goes_on(lab: Lab, tmp_path: Path) -> None:
    """As under nohup(1)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        up = lab.up(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    up.process.send_signal(signal.SIGHUP)
    lab.run("ping", "-c", "1", CAPAS4)
    assert up.stop() == 0


def test_a_full_disk_ends_the_capture_and_not_the_host(lab: Lab, tmp_path: Path) -> None:
    up = lab.up(tmp_path, "--pcap", "/dev/full")
    lab.run("ping", "-q", "-c", "200", "-i", "0.002", "-s", "1400", CAPAS4)
    assert up.stop() == 0
    assert "icmp.echo_answered 200" in up.text() and "Traceback" not in up.text()
    told = "capas: --pcap /dev/full: No space left on device: the capture ends here"
    assert up.text().count(told) == 1


def test_a_killed_host_comes_again(lab: Lab, tmp_path: Path) -> None:
    """The ready file it left fools nobody."""
    up = lab.up(tmp_path, "--serve", "echo:7")
    up.process.kill()
    up.process.wait(60)
    assert (tmp_path / "ready").exists()
    busy = (*UP, "--serve", "echo", "--serve", "echo", "--ready-file", str(tmp_path / "ready"))
    assert lab.capas(*busy, check=False).returncode == 1
    assert not (tmp_path / "ready").exists()
    assert lab.up(tmp_path).stop() == 0


def test_two_hosts_may_not_have_one_address(lab: Lab, tmp_path: Path) -> None:
    """The kernel has the IPv6 address already: duplicate address detection finds out."""
    lab.run("ip", "tuntap", "add", "dev", "capas0", "mode", "tap")
    lab.addresses("capas0", "fd99::1/64")
    done = lab.capas("up", "--tap", "capas0", "--address", "fd99::1/64", check=False)
    assert done.returncode == 1 and "in use by another host" in done.stderr, done.stderr


def test_help_is_there_without_rights() -> None:
    for command in ("up", "ping", "traceroute", "get", "nc", "mail", "dig"):
        done = subprocess.run(
            [sys.executable, "-m", "capas.cli.main", command, "--help"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "--tap" in done.stdout and "--loss" in done.stdout
