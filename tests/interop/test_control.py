# SPDX-License-Identifier: Apache-2.0
"""Looking at a running ``capas up``: ss, ip, tcpdump; who may ask, and how much."""

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .lab import CAPAS4, KERNEL4, Lab, Up


@pytest.fixture
def up(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Up:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return lab.up(tmp_path, "--serve", "echo", "--gateway", KERNEL4)


def _path(folder: Path) -> Path:
    (found,) = (folder / f"capas-{os.getuid()}").glob("*.sock")
    return found


def test_ss(lab: Lab, up: Up) -> None:
    talking = lab.start("nc", CAPAS4, "7", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert talking.stdin is not None and talking.stdout is not None
    talking.stdin.write(b"hello\n")
    talking.stdin.flush()
    assert talking.stdout.readline() == b"hello\n"
    done = lab.capas("ss", "-tin")
    heading, line, info = done.stdout.splitlines()
    assert heading.startswith("State Recv-Q Send-Q ") and "Peer Address:Port" in heading
    assert line.split()[:4] == ["ESTAB", "0", "0", f"{CAPAS4}:7"]
    assert " cubic wscale:" in info and " mss:1448 " in info and " bytes_acked:" in info
    told = json.loads(lab.capas("ss", "-a", "--json").stdout)
    states = [(row["netid"], row["state"], row["local_port"]) for row in told["sockets"]]
    assert ("tcp", "LISTEN", 7) in states and ("tcp", "ESTAB", 7) in states
    assert [line.split()[0] for line in lab.capas("ss", "-lH").stdout.splitlines()].count(
        "tcp"
    ) == 2
    talking.stdin.close()


def test_ip(lab: Lab, up: Up) -> None:
    lab.run("ping", "-c", "1", CAPAS4)
    words = lab.capas("ip", "-4", "a", "show", "dev", "capas0").stdout
    assert words.startswith("2: capas0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP\n")
    assert f"    inet {CAPAS4}/24 scope global capas0\n" in words and "inet6" not in words
    assert f"default via {KERNEL4} dev capas0 proto static" in lab.capas("ip", "r").stdout
    mac = json.loads(lab.run("ip", "-j", "link", "show", "dev", "capas0").stdout)[0]["address"]
    assert f"{KERNEL4} dev capas0 lladdr {mac} " in lab.capas("ip", "neigh").stdout
    assert "RX:" in lab.capas("ip", "-s", "link").stdout
    # the kernel's own tool uses the same words
    theirs = json.loads(lab.run("ip", "-j", "address", "show", "dev", "capas0").stdout)[0]
    ours = json.loads(lab.capas("ip", "-j", "address", "show", "dev", "capas0").stdout)[0]
    assert set(ours) <= set(theirs) and ours["mtu"] == theirs["mtu"]
    assert {"family", "local", "prefixlen", "scope"} <= set(ours["addr_info"][0])
    assert lab.capas("ip", "address", "add", "1.2.3.4", check=False).returncode == 2
    assert lab.capas("ip", "link", "show", "dev", "nix", check=False).returncode == 2


def test_tcpdump(lab: Lab, up: Up, tmp_path: Path) -> None:
    dump = lab.start(
        sys.executable, "-m", "capas.cli.main", "tcpdump", "-t", "-c", "4", "icmp or udp port 9999",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert dump.stdout is not None
    lines: list[str] = []
    pinging = lab.start("ping", "-i", "0.2", CAPAS4, stdout=subprocess.DEVNULL)
    for line in dump.stdout:
        lines.append(line.rstrip())
    pinging.terminate()
    assert dump.wait(30) == 0
    assert sum("ICMP echo" in line for line in lines) == 4
    assert any(f"IP {KERNEL4} > {CAPAS4}: ICMP echo request, id " in line for line in lines)
    assert lab.run("ping", "-c", "1", CAPAS4)  # the host has lost its listener and goes on
    assert up.stop() == 0


def test_only_its_own_user_may_ask_and_only_so_much(up: Up, tmp_path: Path) -> None:
    path = _path(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def ask(data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(30)
            one.connect(str(path))
            one.sendall(data)
            return b"".join(iter(lambda: one.recv(1 << 16), b""))

    for words in (b"{}\n", b"[]\n", b"not JSON\n", b'{"want": 7}\n', b"[" * 4000 + b"\n"):
        assert b'{"error": "there is no ' in ask(words)
    with contextlib.suppress(ConnectionError):
        assert ask(b"x" * 100_000 + b"\n") == b""  # more than anybody has to ask
    idle = []
    for _ in range(16):
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(path))
        idle.append(one)
    assert b"too many ask" in ask(b'{"want": "links"}\n')
    for one in idle:
        one.close()
    assert up.stop() == 0
    assert not path.exists()


def test_which_host_is_meant(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert "no host runs: start one" in lab.capas("ss", check=False).stderr
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        lab.up(folder, "--address", f"10.{len(name)}.0.2/24", device=f"t{name}")
    done = lab.capas("ip", "a", check=False)
    assert done.returncode == 2 and "tone-" in done.stderr and "ttwo-" in done.stderr
    assert "2: ttwo:" in lab.capas("ip", "a", "--on", "ttwo").stdout
    done = lab.capas("ss", "--on", "three", check=False)
    assert done.returncode == 1 and "no host runs on 'three'" in done.stderr
