# SPDX-License-Identifier: Apache-2.0
"""The README's programs run as they stand, and are as short as it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (TOP / "README.md").read_text("utf-8"), re.DOTALL)


def test_there_are_two_of_at_most_twelve_lines() -> None:
    lengths = [len([line for line in text.splitlines() if line]) for text in PROGRAMS]
    assert len(lengths) == 2
    assert max(lengths) <= 12


def test_the_lossy_world() -> None:
    command = [sys.executable, "-c", PROGRAMS[0]]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert output.startswith("b'hello, world' after 0.")


def test_a_host_of_ones_own() -> None:
    (program,) = re.findall(
        r"```python\n(.*?)```", (TOP / "docs" / "embedding.md").read_text("utf-8"), re.DOTALL
    )
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert (output.stdout, output.stderr) == ("b'through the tunnel'\n", "")


IN_NAMESPACE = """
ip link set lo up
"$PYTHON" -c "$PROGRAM" &
server=$!
trap 'kill $server' EXIT
for n in $(seq 600); do
    ip addr add 192.0.2.1/24 dev tap0 2>/dev/null && break
    sleep 0.1
done
for n in $(seq 600); do
    exec 3<>/dev/tcp/192.0.2.2/7 && break
    sleep 0.1
done
echo hello >&3
timeout 60 cat <&3
"""


@pytest.mark.interop
def test_the_server_on_a_tap() -> None:
    for missing in ("unshare", "ip", "bash"):
        if shutil.which(missing) is None:
            pytest.skip(f"needs the program {missing}")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root, for a network namespace and a TAP")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/net/tun")
    done = subprocess.run(
        ["unshare", "-n", "bash", "-c", IN_NAMESPACE],
        env={**os.environ, "PYTHON": sys.executable, "PROGRAM": PROGRAMS[1]},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stdout == "hello\n", done.stderr


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for document in (TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_generated_documents_are_up_to_date() -> None:
    command = [sys.executable, str(TOP / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}; run: python docs/generate.py"
