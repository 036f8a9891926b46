# SPDX-License-Identifier: Apache-2.0
"""docs/limits.md names settings, counters and tests that exist."""

import re
from dataclasses import fields
from pathlib import Path

from capas.base.config import HostConfig

TOP = Path(__file__).resolve().parents[2]
TABLES = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in (TOP / "docs" / "limits.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and "---" not in line
]
ROWS = [row for row in TABLES if len(row) == 5][1:]
REFUSED = [row for row in TABLES if len(row) == 3][1:]


def test_each_cap_names_a_test_that_is_there() -> None:
    missing = []
    for row in ROWS + REFUSED:
        found = re.fullmatch(r"`(tests/\S+)::(test_\w+)`", row[-1])
        assert found is not None, row
        path = TOP / found[1]
        if not path.is_file() or f"def {found[2]}(" not in path.read_text("utf-8"):
            missing.append(row[-1])
    assert missing == []


def test_settings_and_their_values_are_the_code_s() -> None:
    defaults = HostConfig()
    names = {one.name for one in fields(HostConfig)}
    for row in ROWS:
        for name, value in re.findall(r"`(\w+)` ([\d,]+)(?! [KMG]iB)(?:\b)", row[2]):
            if name in names:
                assert getattr(defaults, name) == int(value.replace(",", "")), name
            else:
                assert name in ("table_limit", "limit"), name


def test_counters_are_counted_somewhere() -> None:
    source = "".join(p.read_text("utf-8") for p in (TOP / "src" / "capas").rglob("*.py"))
    wrong = []
    for row in ROWS:
        for counter in re.findall(r"`(\w+\.\w+)`", row[3]):
            layer, _, rest = counter.partition(".")
            if counter in source or (layer in ("dhcp", "dhcpd") and f'"{rest}"' in source):
                continue
            if counter == "Service.refused":
                continue
            wrong.append(counter)
    assert wrong == []
