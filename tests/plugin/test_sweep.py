# SPDX-License-Identifier: Apache-2.0
"""Sweeps: chunks of seeds, outcomes on disk, going on after a stop."""

import json
import os
import subprocess
import sys

from capas.testing.sweep import Outcome, Sweep, chunks

SOURCE = """
def test_it(internet):
    assert internet.seed not in (3, 5), "unlucky"
"""


def sweep(folder, *arguments):
    (folder / "test_it.py").write_text(SOURCE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "capas", "sweep", "test_it.py::test_it", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_chunks_have_no_gaps():
    assert list(chunks([0, 1, 2, 5, 6, 9], 2)) == [(0, 2), (2, 1), (5, 2), (9, 1)]
    assert list(chunks([], 3)) == []


def test_half_a_line_is_forgotten(tmp_path):
    one = Sweep("a.py::test_b", tmp_path)
    one.add([Outcome(0, "passed"), Outcome(1, "failed", "no")])
    with one.file.open("a") as file:
        file.write('{"seed": 2, "outc')
    again = Sweep("a.py::test_b", tmp_path)
    assert again.outcomes[1].error == "no"
    assert again.missing(0, 4) == [2, 3]


def test_a_sweep_finds_failures_and_goes_on(tmp_path):
    code, out, err = sweep(tmp_path, "--runs=4", "--workers=1")
    assert code == 1, out + err
    assert "seed 3 failed: AssertionError: unlucky" in out
    assert "pytest test_it.py::test_it --capas-replay=3" in out
    assert "1 failed, 3 passed" in out
    code, out, err = sweep(tmp_path, "--runs=8", "--workers=1")
    assert "4 of 8 runs are known from before" in out
    assert "2 failed, 6 passed" in out
    assert "4/4 runs" in err
    lines = next(iter(tmp_path.rglob("outcomes.jsonl"))).read_text().splitlines()
    assert sorted(json.loads(line)["seed"] for line in lines) == list(range(8))
    assert len(list(tmp_path.rglob("*.pcapng"))) == 2
