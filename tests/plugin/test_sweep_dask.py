# SPDX-License-Identifier: Apache-2.0
"""Sweeps on a Dask cluster: a scheduler and two workers, processes of this machine on loopback."""

import ctypes
import json
import os
import signal
import subprocess
import sys

import pytest

from .test_sweep import ALONE, SOURCE, begin, gone, kept, open_gate, sweep

_PR_SET_PDEATHSIG = 1


def _dies_with_us():
    """In a child: no part of a cluster outlives a run of tests that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Cluster:
    """A scheduler with workers; they know each other by a file."""

    def __init__(self, folder):
        self.folder = folder
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port=0")
        self.workers = []

    def _start(self, what, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host=127.0.0.1"]
        command += [f"--scheduler-file={self._file}", "--no-dashboard", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | ALONE,
            stderr=subprocess.PIPE if what == "scheduler" else subprocess.DEVNULL,
            text=True,
            preexec_fn=_dies_with_us,
        )

    @property
    def where(self):
        for line in self.scheduler.stderr:
            if "Scheduler at:" in line:
                self._address = line.rpartition("tcp://")[2].strip()
                break
        return f"--on=dask://{self._address}"

    def add_worker(self):
        settings = ("--nthreads=1", "--no-nanny", f"--local-directory={self.folder}")
        self.workers.append(self._start("worker", *settings))

    def close(self):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.communicate()


@pytest.fixture
def cluster(tmp_path):
    pytest.importorskip("distributed", reason="needs the package distributed: capas[dask]")
    (tmp_path / "test_it.py").write_text(SOURCE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    os.mkfifo(tmp_path / "gate")
    made = Cluster(tmp_path)
    yield made
    made.close()


SOON = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}


@pytest.mark.slow
def test_failures_and_their_files_come_back(cluster, tmp_path):
    where = cluster.where
    cluster.add_worker()
    code, out, err = sweep(tmp_path, "test_it", where, "--runs=6", "--chunk=3")
    assert code == 1, out + err
    assert "seed 3 failed: AssertionError: unlucky" in out
    assert "pytest test_it.py::test_it --capas-replay=3" in out
    assert "2 failed, 4 passed" in out
    assert "6/6 runs, 2 failed" in err
    for one in kept(tmp_path).values():
        assert bool(one["capture"]) == bool(one["page"]) == (one["outcome"] == "failed")
        assert (tmp_path / one["capture"]).exists()
        assert (tmp_path / one["page"]).exists()
    code, out, err = sweep(tmp_path, "nobody", where, "--runs=6", "--chunk=3")
    assert code == 2
    assert "ERROR: not found: " in err


def four_runs_told(cluster, folder):
    """A sweep of twelve runs on two workers, when it told of four: (it, seeds, arguments)."""
    where = cluster.where
    cluster.add_worker()
    cluster.add_worker()
    arguments = ("test_waits", "--json", where, "--runs=12", "--chunk=2")
    process = begin(folder, *arguments)
    return process, [json.loads(process.stdout.readline())["seed"] for _ in range(4)], arguments


def the_others_follow(process, folder):
    """The sweep that goes on runs the eight others, and leaves nothing behind."""
    gate = open_gate(folder)
    out, err = process.communicate()
    os.close(gate)
    assert process.returncode == 0, out + err
    assert sorted(json.loads(line)["seed"] for line in out.splitlines()) == list(range(4, 12))
    assert sorted(kept(folder)) == list(range(12))
    pids = [int(line) for line in (folder / "pids").read_text().split()]
    assert all(gone(pid) for pid in pids)


@pytest.mark.slow
def test_a_worker_dies_and_a_sweep_is_stopped(cluster, tmp_path):
    process, told, arguments = four_runs_told(cluster, tmp_path)
    assert sorted(told) == [0, 1, 2, 3]  # the others wait for the gate
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "4 of 12 runs are kept: call again to go on" in err

    process = begin(tmp_path, *arguments)
    cluster.workers[0].kill()
    the_others_follow(process, tmp_path)


@pytest.mark.slow
def test_the_client_is_killed(cluster, tmp_path):
    process, told, arguments = four_runs_told(cluster, tmp_path)
    process.kill()  # the workers are in the middle of the next ones
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert sorted(told) == sorted(kept(tmp_path)) == [0, 1, 2, 3]

    the_others_follow(begin(tmp_path, *arguments), tmp_path)


@pytest.mark.slow
def test_a_scheduler_that_dies(cluster, tmp_path):
    where = cluster.where
    cluster.add_worker()
    process = begin(tmp_path, "test_waits", where, "--json", "--runs=12", "--chunk=2", **SOON)
    assert [json.loads(process.stdout.readline())["seed"] for _ in range(4)] == [0, 1, 2, 3]
    cluster.scheduler.kill()
    _, err = process.communicate()
    assert process.returncode == 1, err
    assert "is gone\n4 of 12 runs are kept" in err


def test_nobody_answers(cluster, tmp_path):
    code, _, err = sweep(tmp_path, "test_it", "--on=dask://127.0.0.1:9", **SOON)
    assert code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in err
    assert "dask worker tcp://127.0.0.1:9" in err
    code, _, err = sweep(tmp_path, "test_it", "--on=somewhere")
    assert code == 2
    assert "--on 'somewhere': say local or dask://HOST:PORT" in err


def test_without_the_package(tmp_path):
    (tmp_path / "distributed.py").write_text("raise ModuleNotFoundError(name='distributed')")
    code, _, err = sweep(tmp_path, "test_it", "--on=dask://127.0.0.1", PYTHONPATH=str(tmp_path))
    assert code == 2
    assert "pip install 'capas[dask]'" in err
