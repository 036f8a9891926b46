# SPDX-License-Identifier: Apache-2.0
"""Samples by processes of their own, and which rivals are installed.

A process of its own has the memory of what it built and nothing else, and starts cold each time.
Rivals are never dependencies: they are compared with when their user has installed them.
"""

import gc
import importlib.util
import subprocess
import sys
from typing import Final

from capas.errors import CapasError

#: Rivals that are Python packages: the module that is looked for, and how one gets it.
PACKAGES: Final = {
    "py-radix": ("radix", "pip install py-radix"),
    "pytricia": ("pytricia", "pip install pytricia"),
    "ns-3": ("ns", "pip install ns3, on a Python it has wheels for"),
    "pmd-pytcp": ("pmd_pytcp", "pip install pmd-pytcp"),
}


def probe(module: str, *words: str, python: str = sys.executable) -> list[float]:
    """The numbers that ``python -m module words`` prints."""
    done = subprocess.run(
        [python, "-m", module, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise CapasError(f"{module} {' '.join(words)} failed: {last[0]}")
    return [float(word) for word in done.stdout.split()]


def resident() -> int:
    """Bytes of memory this process holds now."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def installed(rivals: list[str], notes: list[str]) -> list[str]:
    """Those of ``rivals`` that are there; a note says how to get the others."""
    there = [name for name in rivals if importlib.util.find_spec(PACKAGES[name][0]) is not None]
    notes += [
        f"Not compared with {name}, which is not installed: {PACKAGES[name][1]}."
        for name in rivals
        if name not in there
    ]
    return there
