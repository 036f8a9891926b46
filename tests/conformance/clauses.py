# SPDX-License-Identifier: Apache-2.0
"""Writes docs/conformance.md: which test shows which clause of which RFC.

python tests/conformance/clauses.py           writes docs/conformance.md
python tests/conformance/clauses.py --check   exits with 1 if a requirement lost its only test

The marks ``@pytest.mark.rfc("9293", "3.8.1", "MUST-14")`` are read from the tests' syntax trees, so
nothing is imported or run.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
OUTPUT = ROOT / "docs" / "conformance.md"
NUMBER = re.compile(r"(MUST|SHLD|REC|MAY)-\d+")
SHOWN = 3  # tests named per requirement; the rest are counted

sys.path.insert(0, str(Path(__file__).resolve().parent))

from requirements import NOTES, REQUIREMENTS  # noqa: E402

Mark = tuple[str, str, tuple[str, ...], str]  # RFC, section, rest, test


def marks() -> Iterator[Mark]:
    """Every mark of every test, in the order of files and lines."""
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        where = path.relative_to(ROOT).as_posix()
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _name(decorator.func) == "pytest.mark.rfc":
                    words = [
                        str(one.value) for one in decorator.args if isinstance(one, ast.Constant)
                    ]
                    if words:
                        section = words[1] if len(words) > 1 else ""
                        yield words[0], section, tuple(words[2:]), f"{where}::{node.name}"


def _name(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def by_requirement(found: list[Mark]) -> dict[str, list[str]]:
    """The tests of each numbered requirement of RFC 9293."""
    tests: dict[str, list[str]] = {}
    for rfc, _, rest, test in found:
        if rfc == "9293":
            for word in rest:
                for match in NUMBER.finditer(word):
                    tests.setdefault(match.group(), []).append(test)
    return tests


def missing(found: list[Mark]) -> list[str]:
    """The requirements without a test."""
    tests = by_requirement(found)
    return [number for number in REQUIREMENTS if number not in tests]


def _order(key: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", key)] or [0]


def _short(tests: list[str]) -> str:
    unique = list(dict.fromkeys(tests))
    names = [f"`{test.removeprefix('tests/')}`" for test in unique[:SHOWN]]
    more = len(unique) - SHOWN
    return "<br>".join(names) + (f"<br>and {more} more" if more > 0 else "")


def document() -> str:
    """The whole of docs/conformance.md."""
    found = list(marks())
    tests = by_requirement(found)
    lost = missing(found)
    lines = [
        "# Conformance\n",
        "<!-- Written by tests/conformance/clauses.py; change the marks of the tests. -->\n",
        f"{len(REQUIREMENTS) - len(lost)} of the {len(REQUIREMENTS)} MUSTs and SHOULDs of RFC"
        " 9293's appendix B have a test; missing: " + (", ".join(lost) or "none") + ".\n",
        "## RFC 9293, appendix B\n",
        "| requirement | § | what is asked | tests |",
        "| --- | --- | --- | --- |",
    ]
    for number, (section, text) in REQUIREMENTS.items():
        shown = _short(tests[number]) if number in tests else "**missing**"
        if number in NOTES:
            shown += f"<br>{NOTES[number]}"
        lines.append(f"| {number} | {section} | {text} | {shown} |")
    lines += ["\n## All clauses with a test\n", "| RFC | clause | tests |", "| --- | --- | --- |"]
    clauses: dict[tuple[str, str], list[str]] = {}
    for rfc, section, _, test in found:
        clauses.setdefault((rfc, section), []).append(test)
    for rfc, section in sorted(clauses, key=lambda one: (_order(one[0]), _order(one[1]), one[1])):
        unique = dict.fromkeys(clauses[rfc, section])
        files = dict.fromkeys(test.split("::")[0].removeprefix("tests/") for test in unique)
        shown = ", ".join(f"`{file}`" for file in list(files)[:SHOWN])
        where = f"§{section}" if section else ""
        lines.append(f"| {rfc} | {where} | {len(unique)} in {shown} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the document, or check its list of what is missing."""
    if "--check" in sys.argv[1:]:
        match = re.search(r"missing: (.*)\.\n", OUTPUT.read_text("utf-8"))
        said = match.group(1).split(", ") if match else []
        lost = [number for number in missing(list(marks())) if number not in said]
        if lost:
            print(f"no test shows these any more: {', '.join(lost)}")
            return 1
        return 0
    OUTPUT.write_text(document(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
