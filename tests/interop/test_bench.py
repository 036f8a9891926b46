# SPDX-License-Identifier: Apache-2.0
"""``capas bench`` runs as it is typed, and says what programs are promised; no figure is judged."""

import json
import subprocess
import sys
from typing import Any

import pytest

from capas.bench.report import Report, Row


def bench(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "capas", "bench", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (done.returncode == 0) == ok, done.stderr
    return done


def report(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench(*words, "--json").stdout)
    return found


def test_the_kernel_and_capas_are_measured_in_one_run() -> None:
    kinds = ("bulk_in", "bulk_out_6", "round_trips", "crr_1", "crr_32", "plain_out")
    only = [word for kind in kinds for word in ("--only", kind)]
    found = report("tap", "--quick", "--runs", "1", *only)
    assert found["ok"] is True and found["benchmark"] == "tap"
    assert set(found["ratios"]) | {"plain_out"} == set(kinds)  # no ethtool, no comparison
    for key, ratio in found["ratios"].items():
        samples = found["samples"][key]
        assert ratio == pytest.approx(samples["capas"][0] / samples["kernel"][0])
        assert ratio > 0
    assert found["machine"]["compiled"] in (True, False)


def test_where_the_time_goes_on_a_tun_device() -> None:
    # The kernel counts by ticks: on a busy machine a sample may have none in the kernel, not all.
    found = report("where", "--seconds", "1")["microseconds"]
    assert list(found) == [
        "super-frame in",
        "super-frame out",
        "1-byte exchange",
        "connection, one of 32",
        "1,500 bytes in",
        "1,500 bytes out",
    ]
    for column in found.values():
        whole = column["together"]
        parts = sum(n for name, n in column.items() if name not in ("together", "in the kernel"))
        assert 0 <= column["in the kernel"] <= whole
        assert parts == pytest.approx(whole)
    assert sum(column["in the kernel"] for column in found.values()) > 0


def test_the_simulator_is_measured_and_drawn(tmp_path: Any) -> None:
    drawn = tmp_path / "sim.svg"
    words = ("sim", "--quick", "--runs", "1", "--only", "S4", "--svg", str(drawn))
    found = report(*words)
    assert found["samples"]["S4"]["capas"][0] > 0
    assert found["goodput_bit_s"]["S4"]["capas"] > 0
    assert drawn.read_text().startswith("<svg")


def test_streams_are_measured_beside_loopback() -> None:
    found = report("sockets", "--quick", "--runs", "1")
    assert set(found["ratios"]) == {"round_trips", "bulk", "crr"}


def test_compiled_wants_a_python_that_is() -> None:
    done = bench("compiled", sys.executable, ok=False)
    assert "CAPAS_COMPILE=1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["tap"], ["sim"], ["compiled", sys.executable]])
def test_a_row_nobody_knows(words: list[str]) -> None:
    done = bench(*words, "--only", "nothing", ok=False)
    assert "nothing" in done.stderr and "Traceback" not in done.stderr


def test_a_report_of_another_python_is_read_as_it_was() -> None:
    rows = [
        Row("bulk", "Gbit/s", [2e9, 3e9], {"kernel": [4e9], "rival": []}, "bulk_in", 8e-9),
        Row("S1", "s", [1.5], more=False),
    ]
    one = Report("tap", "over TUN", "kernel", rows, ["a note"])
    found = Report.read(json.loads(json.dumps(one.json())))
    assert found.title.startswith("over TUN: CPython ") and found.name.startswith("tap-3.")
    assert found.markdown().splitlines()[1:] == one.markdown().splitlines()[1:]
    assert found.json()["ratios"] == pytest.approx({"bulk_in": 0.625})
    assert not found.rows[1].more
