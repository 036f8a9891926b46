# SPDX-License-Identifier: Apache-2.0
"""The table of clauses is complete, honest, and not older than the tests."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def clauses() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clauses", HERE / "clauses.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(clauses: ModuleType) -> list[object]:
    return list(clauses.marks())


def test_every_number_is_in_the_table(clauses: ModuleType) -> None:
    numbers = clauses.REQUIREMENTS
    assert [n for n in range(1, 70) if f"MUST-{n}" not in numbers] == []
    assert [n for n in range(1, 32) if f"SHLD-{n}" not in numbers] == []


def test_no_requirement_lost_its_only_test(clauses: ModuleType, found: list[object]) -> None:
    text = (HERE.parents[1] / "docs" / "conformance.md").read_text("utf-8")
    match = re.search(r"missing: (.*)\.\n", text)
    assert match is not None, "run python tests/conformance/clauses.py"
    said = match.group(1).split(", ")
    assert [n for n in clauses.missing(found) if n not in said] == []


def test_what_is_missing_has_a_reason(clauses: ModuleType, found: list[object]) -> None:
    assert [n for n in clauses.missing(found) if n not in clauses.NOTES] == []


def test_marks_name_known_requirements(clauses: ModuleType, found: list[object]) -> None:
    known = clauses.REQUIREMENTS
    numbers = clauses.by_requirement(found)
    assert [n for n in numbers if n not in known and not n.startswith("MAY-")] == []
