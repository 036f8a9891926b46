# SPDX-License-Identifier: Apache-2.0
"""``--address dhcp``, ``--serve dhcp=`` and ``addresses = ["dhcp"]``."""

import json
from pathlib import Path

import pytest

pytest.importorskip("click", reason="needs click: pip install 'capas[tools]'")

from capas.cli.main import main

WORLD = """
[hosts.a]
addresses = ["dhcp"]
[hosts.b]
addresses = ["dhcp"]
[routers.r]
addresses = ["192.168.7.1/24"]
serve = ["dhcp=192.168.7.50-192.168.7.60,lease=600"]
[switches.lan]
[[links]]
between = ["r", "lan"]
[[links]]
between = ["a", "lan"]
delay = "10ms"
[[links]]
between = ["b", "lan"]
"""


def test_hosts_of_a_file_boot_by_dhcp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "world.toml"
    path.write_text(WORLD)
    assert main(["run", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and set(told["reachable"]) == {"a", "b", "r"}
    assert set(told["reachable"]["a"]) == {"b", "r"}


def test_a_file_without_a_server_says_who_got_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "world.toml"
    path.write_text(WORLD.replace('serve = ["dhcp', '# ["dhcp'))
    assert main(["run", str(path)]) == 1
    assert ": a: no DHCP server gave an address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["up", "--tun", "t0", "--address", "dhcp"], "needs a TAP"),
        (["up", "--tap", "t0", "--address", "1.2.3.4/24", "--serve", "dhcp"], "say dhcp:67=FIRST"),
        (["up", "--tap", "t0", "--address", "1.2.3.4/24", "--serve", "dhcp=x"], "DHCP pool 'x'"),
        (["up", "--tap", "t0", "--kernel-address", "dhcp"], "IPv4 or IPv6 address"),
    ],
)
def test_wrong_words(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert why in capsys.readouterr().err.replace("\n", " ")
