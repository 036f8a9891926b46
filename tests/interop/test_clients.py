# SPDX-License-Identifier: Apache-2.0
"""``capas ping`` and its kin against the kernel's own servers."""

import hashlib
import json
import mailbox
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bodies import PEERS, pattern
from .lab import CAPAS4, CAPAS6, KERNEL4, KERNEL6, Lab, missing
from .test_servers import TestBadTap as _Bad

OURS = {4: f"{CAPAS4}/24", 6: f"{CAPAS6}/64"}
KERNEL = {4: KERNEL4, 6: KERNEL6}
URL = {4: f"http://{KERNEL4}:8000", 6: f"http://[{KERNEL6}]:8000"}


@pytest.fixture(scope="module")
def kernel() -> Iterator[Lab]:
    """A namespace with a TAP that stays, so that addresses need no detection each time."""
    with Lab() as lab:
        lab.run("ip", "tuntap", "add", "dev", "capas0", "mode", "tap")
        lab.addresses("capas0", f"{KERNEL4}/24", f"{KERNEL6}/64")
        yield lab


def capas(
    lab: Lab, command: str, *words: str, family: int = 4, **more: Any
) -> "subprocess.CompletedProcess[str]":
    more.setdefault("check", False)
    return lab.capas(command, "--tap", "capas0", "--address", OURS[family], *words, **more)


def as_json(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def listening(lab: Lab, port: int, kind: str = "-t") -> None:
    """Wait until the kernel listens on ``port``."""
    for _ in range(3000):
        if f":{port} " in lab.run("ss", "-Hnl", kind).stdout:
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}")


@pytest.mark.parametrize("family", [4, 6])
def test_ping(kernel: Lab, family: int) -> None:
    done = capas(kernel, "ping", KERNEL[family], "-c", "3", "-i", "0.05", family=family)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"PING {KERNEL[family]} ({KERNEL[family]}) 56")
    assert lines[1].startswith(f"64 bytes from {KERNEL[family]}: icmp_seq=1 ttl=64 time=")
    assert "3 packets transmitted, 3 received, 0% packet loss" in done.stdout
    assert "rtt min/avg/max/mdev = " in lines[-1]


def test_ping_json_and_large(kernel: Lab) -> None:
    done = capas(kernel, "ping", KERNEL4, "-c", "2", "-i", "0.05", "-s", "9000", "--json")
    told = as_json(done)
    assert told["ok"] and told["sent"] == told["received"] == 2
    assert [reply["sequence"] for reply in told["replies"]] == [1, 2]
    assert told["rtt_ms"]["min"] <= told["rtt_ms"]["avg"] <= told["rtt_ms"]["max"]


def test_ping_of_nobody(kernel: Lab) -> None:
    done = capas(kernel, "ping", "10.99.0.77", "-c", "1", "-W", "30")
    assert done.returncode == 1
    assert "1 packets transmitted, 0 received, +1 errors, 100% packet loss" in done.stdout
    assert "Host unreachable" in done.stdout
    done = capas(kernel, "ping", "192.0.2.1", "-c", "1", "--json")
    assert done.returncode == 1 and not as_json(done)["ok"]
    assert "unreachable" in done.stderr and "Traceback" not in done.stderr


def test_ping_is_interrupted_with_its_summary(kernel: Lab) -> None:
    process = kernel.start(
        sys.executable, "-m", "capas.cli.main", "ping", "--tap", "capas0",
        "--address", OURS[4], KERNEL4, "-c", "1000", "-i", "0.05",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "icmp_seq=3" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stdout.read()
    assert process.wait(60) == 0 and "0% packet loss" in rest and "Traceback" not in rest


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("how", [[], ["-I"]])
def test_traceroute(kernel: Lab, family: int, how: list[str]) -> None:
    done = capas(kernel, "traceroute", KERNEL[family], *how, family=family)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith(f"traceroute to {KERNEL[family]} ({KERNEL[family]}), 30 hops max, ")
    assert last.startswith(f" 1  {KERNEL[family]}  ") and last.count(" ms") == 3
    told = as_json(capas(kernel, "traceroute", KERNEL[family], *how, "--json", family=family))
    assert told["reached"] and len(told["hops"]) == 1


def test_traceroute_over_a_router(kernel: Lab) -> None:
    """The kernel forwards to an address behind it: two hops."""
    kernel.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    kernel.run("ip", "netns", "list")
    with Lab() as far:
        pid = str(far.holder.pid)
        kernel.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", pid)
        kernel.addresses("v0", "10.98.0.1/24")
        far.addresses("v1", "10.98.0.2/24")
        far.run("ip", "route", "add", "default", "via", "10.98.0.1")
        done = capas(kernel, "traceroute", "10.98.0.2", "--gateway", KERNEL4)
        assert done.returncode == 0, done.stdout + done.stderr
        _, one, two = done.stdout.splitlines()
        assert one.startswith(f" 1  {KERNEL4}  ") and two.startswith(" 2  10.98.0.2  ")


@pytest.fixture(scope="module")
def web(kernel: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("www")
    for mib in (25, 100):
        (folder / str(mib)).write_bytes(pattern(mib << 20))
    (folder / "small").write_text("hello\n")
    kernel.start(
        sys.executable, "-m", "http.server", "8000", "--bind", "::", "-d", str(folder),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    listening(kernel, 8000)
    return folder


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("kind", "mib"), [("clean", 100), ("bad", 25)])
def test_get_a_large_file(
    kernel: Lab, web: Path, tmp_path: Path, family: int, kind: str, mib: int
) -> None:
    bad = _Bad.WORDS if kind == "bad" else ()
    target = tmp_path / "got"
    done = capas(
        kernel, "get", f"{URL[family]}/{mib}", "-o", str(target), "--json", *bad,
        family=family, timeout=280,
    )  # fmt: skip
    told = as_json(done)
    wanted = hashlib.sha256((web / str(mib)).read_bytes()).hexdigest()
    assert told["ok"] and told["status"] == 200 and told["bytes"] == mib << 20
    assert told["sha256"] == wanted
    assert hashlib.sha256(target.read_bytes()).hexdigest() == wanted


def test_get_to_standard_output(kernel: Lab, web: Path) -> None:
    done = capas(kernel, "get", f"{URL[4]}/small")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    done = capas(kernel, "get", "-i", f"{URL[4]}/small")
    assert done.stdout.startswith("HTTP/1.0 200 OK\n") or "200 OK" in done.stdout.splitlines()[0]


def test_get_what_is_not_there(kernel: Lab, web: Path) -> None:
    done = capas(kernel, "get", f"{URL[4]}/nothing", "-o", "/dev/null")
    assert done.returncode == 1 and "404" in done.stderr
    done = capas(kernel, "get", f"http://{KERNEL4}:4242/")
    assert done.returncode == 1 and "refused" in done.stderr.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_nc_ends_when_the_peer_has_all(kernel: Lab, seed: str) -> None:
    """Its network ends with it, unlike the kernel's: what was lost is sent again before."""
    why = missing("nc")
    if why:
        pytest.skip(f"interop: {why}")
    server = kernel.start(
        "nc", "-4", "-N", "-l", "5000", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    listening(kernel, 5000)
    text = "".join(f"line {i}\n" for i in range(10_000))
    done = capas(kernel, "nc", "--loss", "10%", "--seed", seed, KERNEL[4], "5000", input=text)
    assert done.returncode == 0, done.stderr
    assert server.stdout is not None and server.stdout.read() == text


@pytest.mark.parametrize("family", [4, 6])
def test_nc(kernel: Lab, family: int) -> None:
    why = missing("nc")
    if why:
        pytest.skip(f"interop: {why}")
    server = kernel.start(
        "nc", f"-{family}", "-N", "-l", "5000",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    listening(kernel, 5000)
    assert server.stdin is not None
    server.stdin.write("from the kernel\n")
    server.stdin.close()
    text = "".join(f"line {i}\n" for i in range(10_000))
    done = capas(kernel, "nc", KERNEL[family], "5000", family=family, input=text)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "from the kernel\n"
    assert server.stdout is not None and server.stdout.read() == text


def test_nc_listens(kernel: Lab) -> None:
    process = kernel.start(
        sys.executable, "-m", "capas.cli.main", "nc", "--tap", "capas0", "--address", OURS[4],
        "-l", "5001", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"from capas\n")
    process.stdin.close()
    for _ in range(600):
        done = kernel.run("nc", "-N", CAPAS4, "5001", input="from the kernel\n", check=False)
        if done.returncode == 0:
            break
        assert process.poll() is None, (done.stderr, process.communicate())
        time.sleep(0.1)
    assert done.stdout == "from capas\n"
    assert process.stdout.read() == b"from the kernel\n"
    assert process.wait(60) == 0


def test_nc_to_a_closed_port_and_over_udp(kernel: Lab) -> None:
    done = capas(kernel, "nc", "-z", KERNEL4, "4242", timeout=60)  # giving up takes two minutes
    assert done.returncode == 1 and "refused" in done.stderr.lower()
    done = capas(kernel, "nc", "-u", "-z", "-w", "60", KERNEL4, "4242")
    assert done.returncode == 1 and "refused" in done.stderr.lower()
    done = capas(kernel, "nc", "-z", KERNEL4, "no-such-service")
    assert done.returncode == 2


@pytest.mark.parametrize("family", [4, 6])
def test_mail(kernel: Lab, tmp_path: Path, family: int) -> None:
    box = tmp_path / "box"
    server = kernel.start(
        sys.executable, PEERS, "serve_mail", str(box), stdout=subprocess.PIPE
    )  # fmt: skip
    try:
        assert server.stdout is not None and server.stdout.readline() == b"up\n"
        attachment = tmp_path / "picture.bin"
        attachment.write_bytes(pattern(200 << 10))
        host = KERNEL[family]
        done = capas(
            kernel, "mail", "--server", host, "--from", "a@example.org", "-s", "Grüße",
            "-b", "hello\n.\nend", "-a", str(attachment), "b@example.org", "c@example.org",
            "--json", family=family,
        )  # fmt: skip
        told = as_json(done)
        assert told["ok"] and told["accepted"] == ["b@example.org", "c@example.org"]
        (message,) = mailbox.Maildir(box)
        parts = message.get_payload()
        assert parts[1].get_payload(decode=True) == attachment.read_bytes()
    finally:
        server.terminate()
        server.wait(60)
    done = capas(kernel, "mail", "--server", KERNEL4, "-b", "x", "b@example.org")
    assert done.returncode == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize("family", [4, 6])
def test_dig(kernel: Lab, family: int) -> None:
    server = kernel.start(sys.executable, PEERS, "serve_names", stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"up\n"
        at = f"@{KERNEL[family]}"
        done = capas(kernel, "dig", at, "web.test", family=family)
        assert done.returncode == 0, done.stderr
        for text in (
            "->>HEADER<<- opcode: QUERY, status: NOERROR",
            "QUERY: 1, ANSWER: 1",
            ";; QUESTION SECTION:\n;web.test.\t\tIN\tA",
            ";; ANSWER SECTION:\nweb.test.",
            f";; SERVER: {KERNEL[family]}#53",
        ):
            assert text in done.stdout, done.stdout
        done = capas(kernel, "dig", at, "web.test", "AAAA", "--short", family=family)
        assert done.stdout == "fd99::1\n"
        told = as_json(capas(kernel, "dig", at, "nothing.test", "--json", family=family))
        assert told["status"] == "NXDOMAIN" and not told["ok"]
        done = capas(
            kernel, "ping", "web.test", "-c", "1", "--nameserver", KERNEL[family], family=family
        )
        assert done.returncode == 0 and "PING web.test (" in done.stdout, done.stderr
    finally:
        server.terminate()
        server.wait(60)


def test_a_capture_is_clean(kernel: Lab, tmp_path: Path) -> None:
    why = missing("tshark")
    if why:
        pytest.skip(f"interop: {why}")
    file = tmp_path / "ping.pcapng"
    done = capas(kernel, "ping", KERNEL4, "-c", "2", "-i", "0.01", "--pcap", str(file))
    assert done.returncode == 0
    out = kernel.run("tshark", "-r", str(file), "-o", "ip.check_checksum:TRUE").stdout
    assert out.count("Echo (ping) reply") == 2
    flaws = "_ws.malformed || ip.checksum.status == Bad || icmp.checksum.status == Bad"
    assert kernel.run("tshark", "-r", str(file), "-Y", flaws).stdout == ""


@pytest.mark.parametrize("family", [4, 6])
def test_nc_over_udp(kernel: Lab, family: int) -> None:
    server = kernel.start(
        "nc", f"-{family}", "-u", "-l", "5002",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    listening(kernel, 5002, "-u")
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(b"an answer\n")
    server.stdin.flush()
    process = kernel.start(
        sys.executable, "-m", "capas.cli.main", "nc", "--tap", "capas0", "--address", OURS[family],
        "-u", KERNEL[family], "5002", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"a question\n")
    process.stdin.flush()
    assert server.stdout.readline() == b"a question\n"
    assert process.stdout.readline() == b"an answer\n"
    process.stdin.close()  # from now on it ends when nothing comes for a second
    assert process.wait(60) == 0
    server.terminate()
    server.wait(60)


def test_nc_sends_much_input_over_udp(kernel: Lab) -> None:
    """In pieces that a datagram can hold, as OpenBSD's."""
    server = kernel.start("nc", "-u", "-l", "5004", stdout=subprocess.PIPE)
    listening(kernel, 5004, "-u")
    done = capas(
        kernel, "nc", "-u", "-w", "1", "--json", KERNEL4, "5004", input="x" * 200_000
    )  # fmt: skip
    server.terminate()
    server.wait(60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr)["sent"] == 200_000


@pytest.mark.parametrize("family", [4, 6])
def test_nc_listens_over_udp(kernel: Lab, family: int) -> None:
    process = kernel.start(
        sys.executable, "-m", "capas.cli.main", "nc", "--tap", "capas0", "--address", OURS[family],
        "-u", "-l", "5003", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"from capas\n")
    process.stdin.close()
    host = OURS[family].partition("/")[0]
    assert kernel.run(sys.executable, PEERS, "asks", host, "5003").stdout == "from capas\n"
    assert process.stdout.readline() == b"hello\n"
    assert process.wait(60) == 0


def test_get_posts_a_file(kernel: Lab, tmp_path: Path) -> None:
    """To a server of the kernel's side that tells the hash of what came."""
    server = kernel.start(sys.executable, PEERS, "serve_web", "8001", stdout=subprocess.PIPE)
    assert server.stdout is not None and server.stdout.readline() == b"up\n"
    file = tmp_path / "file"
    file.write_bytes(pattern(10 << 20))
    done = capas(kernel, "get", f"http://{KERNEL4}:8001/", "-d", f"@{file}")
    told = json.loads(done.stdout)
    assert told["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest(), done.stderr
    done = capas(kernel, "get", f"http://{KERNEL4}:8001/", "-d", "text", "-H", "x-y: z", "--json")
    assert as_json(done)["status"] == 200
    server.terminate()
    server.wait(60)


def test_a_slow_cable_shows_in_the_round_trip(kernel: Lab) -> None:
    told = as_json(
        capas(kernel, "ping", KERNEL4, "-c", "3", "-i", "0.05", "--delay", "30ms", "--json")
    )
    assert told["received"] == 3 and told["rtt_ms"]["min"] >= 60  # two ways of 30 ms
