# SPDX-License-Identifier: Apache-2.0
"""``capas demo``: what it reports, and that one seed is one run."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="needs click: pip install 'capas[tools]'")
pytest.importorskip("aiosmtplib", reason="needs aiosmtplib: pip install 'capas[tools]'")

from capas.application import web
from capas.cli.demo_world import PAGE, PINGS, Story, addresses_of
from capas.cli.main import main


def demo(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["demo", "--json", *arguments]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["0", "0.02", "5%"])
def test_the_report(capsys: pytest.CaptureFixture[str], loss: str) -> None:
    report = demo(capsys, "--loss", loss, "--seed", "3")
    assert report["seed"] == 3
    assert report["ok"] is True
    digest = hashlib.sha256(web.page(PAGE)).hexdigest()
    found = report["web"]
    assert (found["status"], found["bytes"], found["sha256"]) == (200, PAGE, digest)
    assert report["mail"]["accepted"] is True
    assert report["mail"]["bytes"] > 200 * 1024 * 4 / 3  # base64 of the attachment
    assert report["ping"]["sent"] == PINGS
    # A hop whose three answers are lost is silent.
    hops = [hop["name"] for hop in report["traceroute"] if hop["name"] is not None]
    way = ["r1.capas.test", "r2.capas.test", "web.capas.test"]
    assert hops == way if loss == "0" else hops == [name for name in way if name in hops]
    assert hops[-1] == "web.capas.test"
    tcp = report["tcp"]
    assert tcp["segments"] > PAGE / 1460
    if loss == "0":
        assert (tcp["retransmitted"], tcp["lost_on_links"]) == (0, 0)
        assert report["ping"]["received"] == PINGS
    else:
        assert tcp["retransmitted"] > 0
        assert tcp["lost_on_links"] > 0
    assert report["virtual_seconds"] > 0
    assert report["wall_seconds"] > 0


@pytest.mark.slow
def test_goodput_is_below_the_rate_of_the_link(capsys: pytest.CaptureFixture[str]) -> None:
    report = demo(capsys, "--loss", "0", "--rate", "5Mbit", "--delay", "10ms")
    goodput = PAGE * 8 / report["web"]["seconds"]  # bit/s
    # Bound: the line rate less IPv6, TCP and Ethernet headers (1428 of 1514 bytes), less one
    # second's worth of handshake and slow start of the ideal time of 1.78 s.
    ideal = 5e6 * 1428 / 1514
    assert 0.7 * ideal < goodput < ideal


@pytest.mark.slow
def test_people_see_each_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--loss", "0.02"]) == 0
    output = capsys.readouterr().out
    for word in (
        *("names over DNS", "a page by httpx", "a mail by aiosmtplib", "ping", "traceroute"),
        *("Transport", "Internet", "Network access", "fast retransmit", "round trip", "in flight"),
        *("sequence of client", "SYN", "of virtual time took"),
    ):
        assert word in output, word
    assert max(map(len, output.splitlines())) <= 100


PROGRAM = "from capas.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
def test_one_seed_is_one_capture(tmp_path: Path) -> None:
    files = []
    for hash_seed in ("0", "12345"):
        file = tmp_path / f"{hash_seed}.pcapng"
        arguments = ["demo", "--json", "--loss", "0.03", "--every-port", "--pcap", str(file)]
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=110,
        )
        files.append(file.read_bytes())
    assert files[0] == files[1]
    assert len(files[0]) > PAGE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--loss", "2"], ["loss"]),
        (["--loss", "-1%"], ["loss"]),
        (["--delay", "fast"], ["delay", "20ms"]),
        (["--rate", "0"], ["rate"]),
        (["--seed", "x"], ["seed"]),
        (["extra"], ["extra"]),
    ],
)
def test_wrong_options_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    assert main(["demo", *arguments]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error


def test_a_capture_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json", "--pcap", "/nonexistent/demo.pcapng"]) == 1
    assert "/nonexistent/demo.pcapng" in capsys.readouterr().err


def test_the_client_knows_the_name_server_by_both_families() -> None:
    """Twice as many tries: at 10 % loss and seed 5 one server's two tries were lost."""
    story = Story(seed=5)
    with story.world:
        assert story.client.nameservers == addresses_of(story.dns)
        assert sorted(map(len, story.client.nameservers)) == [4, 16]
