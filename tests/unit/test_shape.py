# SPDX-License-Identifier: Apache-2.0
"""The size and shape of the source: small files, short functions, one licence line, a docstring."""

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "capas"
TESTS = Path(__file__).resolve().parents[1]

FILE_LINES = 400
FUNCTION_LINES = 60
CLASS_ATTRIBUTES = 25
SPDX = "# SPDX-License-Identifier: Apache-2.0"

#: Plain lists of settings or numbers, not objects with behaviour.
RECORDS = ("DatagramOptions", "HostConfig", "TcpInfo")

FILES = sorted(SOURCE.rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def attributes(node: ast.ClassDef) -> list[str]:
    """The names assigned to ``self`` anywhere in the class, and its annotated fields."""
    found: dict[str, None] = {}
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = None
    for inner in ast.walk(node):
        targets: list[ast.expr] = []
        if isinstance(inner, ast.Assign):
            targets = inner.targets
        elif isinstance(inner, ast.AnnAssign):
            targets = [inner.target]
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id == "self"
            ):
                found[target.attr] = None
    return list(found)


def test_files_are_short() -> None:
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {path: n for path, n in lengths.items() if n > FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{name(path)}:{node.name}"] = lines
    assert long == {}


def test_classes_have_few_attributes() -> None:
    wide = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name not in RECORDS:
                count = len(attributes(node))
                if count > CLASS_ATTRIBUTES:
                    wide[f"{name(path)}:{node.name}"] = count
    assert wide == {}


def test_each_file_says_its_licence_and_purpose() -> None:
    wrong = []
    for path in FILES:
        text = path.read_text("utf-8")
        if not text.startswith(SPDX) or ast.get_docstring(ast.parse(text)) is None:
            wrong.append(name(path))
    assert wrong == []


def test_each_test_file_says_its_licence() -> None:
    wrong = [
        str(path.relative_to(TESTS))
        for path in sorted(TESTS.rglob("*.py"))
        if path.stat().st_size and not path.read_text("utf-8").startswith(SPDX)
    ]
    assert wrong == []


def test_source_holds_no_tests() -> None:
    assert [name(path) for path in FILES if path.name.startswith("test_")] == []
