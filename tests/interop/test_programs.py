# SPDX-License-Identifier: Apache-2.0
"""Programs of the README and worlds in real time, with the kernel as their client."""

import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .lab import Lab, missing

ROOT = Path(__file__).parents[2]


def block(title: str) -> str:
    """The first Python block below a heading of the README."""
    text = (ROOT / "README.md").read_text("utf-8")
    _, _, rest = text.partition(f"## {title}")
    found = re.search(r"```python\n(.*?)```", rest, re.DOTALL)
    assert found is not None, title
    return found[1]


def until(lab: Lab, *words: str, seconds: float = 60, **more: object) -> str:
    """Standard output of a command, as soon as it succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        done = lab.run(*words, check=False, **more)  # type: ignore[arg-type]
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.1)


def test_the_readmes_server_on_a_tap(lab: Lab) -> None:
    program = lab.start(sys.executable, "-c", block("The same server on a TAP"))
    until(lab, "ip", "addr", "add", "192.0.2.1/24", "dev", "tap0")
    ask = (
        "import socket; s = socket.create_connection(('192.0.2.2', 7), 5);"
        "s.sendall(b'hello'); print(s.recv(100))"
    )
    assert until(lab, sys.executable, "-c", ask) == "b'hello'\n"
    assert program.poll() is None


def test_curl_crosses_simulated_routers(lab: Lab, tmp_path: Path) -> None:
    why = missing("curl", "traceroute", "ping")
    if why:
        pytest.skip(f"interop: {why}")
    page = tmp_path / "page"
    page.write_bytes(bytes(range(256)) * 8192)
    log = (tmp_path / "log").open("wb")
    world = lab.start(
        sys.executable, "-m", "capas.cli.main", "run", "--real-time",
        str(ROOT / "examples" / "kernel.toml"), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines = (ROOT / "examples" / "kernel.toml").read_text().splitlines()
    told = [shlex.split(line[1:], comments=True) for line in lines if line.startswith("#   ")]
    for words in told[1:]:  # the file says how, and it is so
        until(lab, *words)
    assert [words[0] for words in told[1:]] == ["ip", "ip", "curl", "curl"]
    for host in ("10.77.2.80", "[fd77:2::80]"):
        echoed = lab.run("curl", "-sSfg", "-T", str(page), "-X", "POST", f"http://{host}/").stdout
        assert hashlib.sha256(page.read_bytes()).hexdigest() in echoed
    out = lab.run("ping", "-c", "5", "-i", "0.05", "10.77.2.80", check=False).stdout
    least = re.search(r"= ([\d.]+)/", out)
    assert least is not None and float(least[1]) >= 30, out  # 10 ms and 5 ms, each way
    hops = lab.run("traceroute", "-n", "-q", "5", "10.77.2.80").stdout.splitlines()[1:]
    assert len(hops) == 3 and "10.77.0.1" in hops[0] and "10.77.2.80" in hops[2], hops
    world.terminate()
    assert world.wait(60) in (0, 130), (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    log.close()


def test_a_world_ends_by_a_closed_terminal_and_by_a_deleted_device(
    lab: Lab, tmp_path: Path
) -> None:
    file = tmp_path / "world.toml"
    file.write_text(
        "[hosts.web]\n[switches.lan]\n[[links]]\nbetween = ['lan', 'web']\n"
        "[taps.capas0]\nto = 'lan'\nkernel-address = ['10.77.0.9/24']\n"
    )
    words = (sys.executable, "-m", "capas.cli.main", "run", "--real-time", "--json", str(file))
    for code in (0, 1):
        world = lab.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert world.stderr is not None and "interrupt to end" in world.stderr.readline()
        if code:
            until(lab, "ip", "link", "delete", "capas0")
        else:
            world.send_signal(signal.SIGHUP)
        told, errors = world.communicate(timeout=60)
        assert world.returncode == code and json.loads(told)["ok"] is not bool(code)
        assert errors == ("capas: capas0 has been deleted\n" if code else "")
