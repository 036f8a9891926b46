# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends a test, whatever its programs do, and tells how to repeat it."""

import os
import signal
import subprocess
import sys
import time

import pytest

SOURCE = """
import ctypes, pathlib, time

def begun():
    time.sleep(1.5)
    pathlib.Path("begun").touch()

def spin():
    begun()
    while True:
        pass

def one_call():
    begun()
    ctypes.CDLL(None).sleep(1000)  # no bytecode meanwhile

def test_it(internet):
    internet.host("here").thread({}).result()
"""


def _hears_interrupts():
    """In a child: tests that run in a script's background were born deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["spin", "one_call"])
def test_a_program_that_never_waits(tmp_path, program):
    (tmp_path / "test_it.py").write_text(SOURCE.format(program))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-pcapas.pytest_plugin", "test_it.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_hears_interrupts,
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2, out
    assert "interrupted: test_it.py::test_it, seed 0, 1.500000 s of virtual time" in out
    assert f"here:{program} was running: {tmp_path / 'test_it.py'}:" in out
    assert "replay: pytest test_it.py::test_it " in out
