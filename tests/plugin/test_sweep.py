# SPDX-License-Identifier: Apache-2.0
"""Sweeps: chunks of seeds, outcomes on disk, going on after a stop, processes that die."""

import json
import os
import select
import signal
import subprocess
import sys

import pytest

from capas.testing.sweep import Outcome, Sweep, chunks

SOURCE = """
import os, signal
import pytest

with open("pids", "a") as file:
    file.write(f"{os.getpid()}\\n")

def test_it(internet):
    assert internet.seed not in (3, 5), "unlucky"

def test_dies(internet):
    if internet.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if internet.seed == 4:
        os._exit(3)

@pytest.mark.parametrize("word", ["good", "bad"])
def test_of_several(internet, word):
    assert internet.seed or word == "good"

def test_waits(internet):
    if internet.seed >= 4:
        open("gate").close()  # until somebody opens the other end

def spin():
    while True:
        pass

def test_spins(internet):
    if internet.seed == 1:
        internet.host("here").thread(spin).result()

def test_plain():
    pass
"""


#: No other plugin, which would only take time.
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "capas.pytest_plugin"}


@pytest.fixture
def folder(tmp_path):
    """With a file of tests."""
    (tmp_path / "test_it.py").write_text(SOURCE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def _hears_interrupts():
    """In a child: tests that run in a script's background were born deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin(folder, test, *arguments, **entries):
    """A sweep that runs."""
    command = [sys.executable, "-m", "capas", "sweep", f"test_it.py::{test}", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | ALONE | entries,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hears_interrupts,
    )


def sweep(folder, test, *arguments, **entries):
    """A sweep from its beginning to its end: exit code, output, errors."""
    process = begin(folder, test, *arguments, **entries)
    out, err = process.communicate()
    return process.returncode, out, err


def kept(folder):
    """The outcomes on disk, by seed; each seed is there once."""
    lines = next(iter(folder.rglob("outcomes.jsonl"))).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    seeds = [one["seed"] for one in found]
    assert len(set(seeds)) == len(seeds)
    return {one["seed"]: one for one in found}


def open_gate(folder):
    """Let `test_waits` go on, now and later."""
    return os.open(folder / "gate", os.O_RDWR)


def gone(pid):
    """Whether a process ends, sooner or later."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(process) as file:
        return bool(select.select([file], [], [], 60)[0])


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
    again.add([Outcome(2, "passed")])
    assert Sweep("a.py::test_b", tmp_path).missing(0, 4) == [3]


def test_other_options_are_another_sweep(tmp_path):
    assert Sweep("a.py::b", tmp_path).file != Sweep("a.py::b", tmp_path, ["--bug"]).file


def test_a_sweep_finds_failures_and_goes_on(folder):
    code, out, err = sweep(folder, "test_it", "--runs=4", "--workers=1")
    assert code == 1, out + err
    assert "seed 3 failed: AssertionError: unlucky" in out
    assert "pytest test_it.py::test_it --capas-replay=3" in out
    assert "1 failed, 3 passed" in out
    code, out, err = sweep(folder, "test_it", "--runs=8", "--workers=1")
    assert "4 of 8 runs are known from before" in out
    assert "2 failed, 6 passed" in out
    assert "4/4 runs" in err
    assert sorted(kept(folder)) == list(range(8))
    assert len(list(folder.rglob("*.pcapng"))) == 2


def test_a_process_that_dies_has_failed_and_the_others_run(folder):
    code, out, err = sweep(folder, "test_dies", "--runs=6", "--workers=1")
    assert code == 1, out + err
    assert "seed 2 failed: the process of this run was ended by SIGKILL" in out
    assert "pytest test_it.py::test_dies --capas-replay=2" in out
    assert "seed 4 failed: the process of this run ended with exit code 3" in out
    assert "2 failed, 4 passed" in out


def test_a_seed_with_several_tests_has_the_worst_outcome(folder):
    _, out, _ = sweep(folder, "test_of_several", "--runs=3", "--workers=1")
    assert "seed 0 failed" in out
    assert "1 failed, 2 passed" in out


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("test_plain", "test_it.py::test_plain does not use the fixture `internet`"),
        ("nobody", "not found: "),
    ],
)
def test_what_cannot_be_swept(folder, test, words):
    code, out, err = sweep(folder, test, "--runs=2", "--workers=1")
    assert code == 2, out + err
    assert words in err
    assert "kept" not in err


@pytest.mark.slow
def test_a_run_that_never_ends_has_failed(folder):
    code, out, err = sweep(folder, "test_spins", "--runs=4", "--workers=1", "--limit=8")
    assert code == 1, out + err
    assert "1 failed, 3 passed" in out, out + err
    found = kept(folder)
    assert sorted(found) == [0, 1, 2, 3]
    assert found[1]["error"].startswith("took over 8 s of real time; here:spin was running: ")
    assert found[1]["replay"] == "pytest test_it.py::test_spins --capas-replay=1"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_sweep_loses_nothing_and_leaves_no_process(folder, number):
    os.mkfifo(folder / "gate")
    arguments = ("--runs=12", "--workers=2", "--chunk=3")
    process = begin(folder, "test_waits", "--json", *arguments)
    told = [json.loads(process.stdout.readline()) for _ in range(4)]  # all that need no gate
    process.send_signal(number)
    _, err = process.communicate()
    assert {one["seed"] for one in told} == set(kept(folder)) == {0, 1, 2, 3}
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 130
        assert "capas: interrupted\n4 of 12 runs are kept: call again to go on" in err
    pids = [int(line) for line in (folder / "pids").read_text().split()]
    assert len(pids) >= 2
    assert all(gone(pid) for pid in pids)
    gate = open_gate(folder)
    code, out, err = sweep(folder, "test_waits", *arguments)
    os.close(gate)
    assert code == 0, out + err
    assert "4 of 12 runs are known from before" in out
    assert "12 passed" in out
    assert sorted(kept(folder)) == list(range(12))
