# SPDX-License-Identifier: Apache-2.0
"""``capas iperf`` and ``--serve iperf`` against the real iperf3, both ways."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from .lab import CAPAS4, CAPAS6, KERNEL4, KERNEL6, Lab, missing

pytestmark = pytest.mark.skipif(bool(missing("iperf3")), reason=f"iperf: {missing('iperf3')}")
OURS = {4: f"{CAPAS4}/24", 6: f"{CAPAS6}/64"}
KERNEL = {4: KERNEL4, 6: KERNEL6}


def _total(told: dict[str, object], side: str) -> int:
    end = told["end"]
    assert isinstance(end, dict)
    return int(end[side]["bytes"])


@pytest.mark.parametrize("reverse", [[], ["-R"]])
@pytest.mark.parametrize("family", [4, 6])
def test_the_client_against_iperf3(lab: Lab, family: int, reverse: list[str]) -> None:
    lab.run("ip", "tuntap", "add", "dev", "capas0", "mode", "tap")
    lab.addresses("capas0", f"{KERNEL4}/24", f"{KERNEL6}/64")
    server = lab.start("iperf3", "-s", "-1", stdout=subprocess.DEVNULL)
    for _ in range(3000):
        if ":5201 " in lab.run("ss", "-Hnlt").stdout:
            break
        time.sleep(0.02)
    done = lab.capas(
        "iperf", "--tap", "capas0", "--address", OURS[family], "-c", KERNEL[family],
        "-t", "1", "-P", "3", *reverse, "--json", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert server.wait(60) == 0
    told = json.loads(done.stdout)
    sent, received = _total(told, "sum_sent"), _total(told, "sum_received")
    assert sent >= received > 1 << 20  # bytes: more than a window, from one side to the other
    assert len(told["end"]["streams"]) == 3 and told["intervals"]


@pytest.mark.parametrize("words", [["-t", "1"], ["-t", "1", "-R", "-P", "2"], ["-n", "8M"]])
@pytest.mark.parametrize("family", [4, 6])
def test_iperf3_against_the_server(lab: Lab, tmp_path: Path, family: int, words: list[str]) -> None:
    up = lab.up(tmp_path, "--serve", "iperf")
    host = {4: CAPAS4, 6: CAPAS6}[family]
    done = lab.run("iperf3", "-c", host, "-J", *words, check=False)
    assert done.stdout, (done.returncode, done.stderr, up.text())
    told = json.loads(done.stdout)
    assert "error" not in told, told["error"]
    assert _total(told, "sum_received") > 1 << 20
    refused = lab.run("iperf3", "-c", host, "-u", "-J", "-t", "1", check=False)
    assert "error" in json.loads(refused.stdout)  # UDP is not measured; the server lives on
    again = json.loads(lab.run("iperf3", "-c", host, "-J", "-n", "1M").stdout)
    assert _total(again, "sum_sent") >= 1 << 20
    assert up.stop() == 0


def test_nobody_listens(lab: Lab) -> None:
    lab.run("ip", "tuntap", "add", "dev", "capas0", "mode", "tap")
    lab.addresses("capas0", f"{KERNEL4}/24")
    done = lab.capas("iperf", "--tap", "capas0", "--address", OURS[4], "-c", KERNEL4, check=False)
    assert done.returncode == 1 and "refused" in done.stderr.lower()
