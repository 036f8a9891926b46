# SPDX-License-Identifier: Apache-2.0
"""The kernel's programs across simulated routers: ``capas run --real-time``."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .lab import Lab, missing

TOP = Path(__file__).resolve().parents[2]
HERE4, HERE6 = "10.77.0.2", "fd77::2"
WEB4, WEB6 = "10.77.2.80", "fd77:2::80"


@pytest.fixture
def world(lab: Lab, tmp_path: Path) -> subprocess.Popen[str]:
    process = lab.start(
        *(sys.executable, "-m", "capas.cli.main", "run", "--real-time", "--json"),
        "examples/kernel.toml",
        cwd=TOP,
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "log").open("wb"),
        text=True,
    )
    deadline = time.monotonic() + 30
    while HERE6 not in lab.run("ip", "-6", "address", "show").stdout:
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    lab.run("ip", "route", "add", "10.77.2.0/24", "via", "10.77.0.1")
    lab.run("ip", "route", "add", "fd77:2::/64", "via", "fd77::1")
    return process


@pytest.mark.parametrize("target", [WEB4, f"[{WEB6}]"])
def test_curl_crosses_simulated_routers(
    lab: Lab, world: subprocess.Popen[str], target: str
) -> None:
    if why := missing("curl"):
        pytest.skip(why)
    words = ("curl", "-sSfg", "--retry", "5", "--retry-all-errors", "--max-time", "50")
    assert "simulated office" in lab.run(*words, f"http://{target}/").stdout
    timing = lab.run(
        *words, "-o", "/dev/null", "-w", "%{size_download} %{time_connect}",
        f"http://{target}/bytes/1000000",
    ).stdout.split()  # fmt: skip
    assert timing[0] == "1000000"
    # Bound: a handshake takes a round trip, 2 * (10 + 5) ms.
    assert float(timing[1]) >= 0.03
    world.send_signal(signal.SIGINT)
    output, _ = world.communicate(timeout=30)
    assert world.returncode == 0
    report = json.loads(output)
    assert report["ok"] is True
    assert report["tcp"]["connections"] >= 2


def test_traceroute_sees_the_simulated_routers(lab: Lab, world: subprocess.Popen[str]) -> None:
    if why := missing("traceroute"):
        pytest.skip(why)
    lines = lab.run("traceroute", "-n", "-q", "5", "-w", "2", WEB4).stdout.splitlines()[1:]
    assert len(lines) == 3
    assert "10.77.0.1" in lines[0]
    assert WEB4 in lines[2]
