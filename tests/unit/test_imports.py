# SPDX-License-Identifier: Apache-2.0
"""Imports point down, and nothing below `sockets` knows time, chance or I/O."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "capas"

#: What each package may import of ours, beside itself.
BELOW = {
    "base": (),
    "wire": ("base",),
    "link": ("base", "wire"),
    "internet": ("base", "wire", "link"),
    "transport": ("base", "wire", "link", "internet"),
    "host": ("base", "wire", "link", "internet", "transport"),
    "sockets": ("base", "wire", "link", "internet", "transport", "host"),
}
CORE = tuple(name for name in BELOW if name != "sockets")
_ABOVE = (*BELOW,)
BELOW |= {
    "aio": (*_ABOVE,),
    "sim": (*_ABOVE, "aio"),
    "real": (*_ABOVE, "aio"),
    "testing": (*_ABOVE, "aio", "sim"),
    "application": (*_ABOVE, "aio"),
    "conformance": (*_ABOVE, "aio", "sim", "testing"),
    "bench": (*_ABOVE, "aio", "sim", "real", "application"),
    "cli": (*_ABOVE, "aio", "sim", "real", "testing", "application", "conformance", "bench"),
}
FORBIDDEN = (
    "time",
    "random",
    "os",
    "secrets",
    "socket",
    "select",
    "selectors",
    "threading",
    "asyncio",
    "logging",
    "subprocess",
)
FORBIDDEN_CALLS = ("id", "hash", "input", "print", "open")
#: Modules of Linux only, allowed in `real` alone (and imported there where they are used).
LINUX_ONLY = ("fcntl", "termios", "pwd", "grp", "resource")
#: Parties of the kind "extra": the core must run without them.
EXTRAS = ("click", "rich", "uvicorn", "starlette", "aiosmtpd", "dns", "httpx", "aiosmtplib")

FILES = sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else ""


def typing_only(tree: ast.Module) -> list[ast.stmt]:
    """The bodies of ``if TYPE_CHECKING:``: they import nothing at run time."""
    return [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
        if isinstance(inner, ast.stmt)
    ]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, wherever it stands."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = typing_only(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            assert node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def test_every_package_has_a_rule() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages == set(BELOW)


@pytest.mark.parametrize("package", BELOW)
def test_imports_point_down(package: str) -> None:
    allowed = (package, "errors", *BELOW[package])
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {module}"
        for path in FILES
        if package_of(path) == package
        for line, module in imports(path)
        if module.split(".")[0] == "capas"
        and module != "capas.__version__"
        and module.split(".")[1] not in allowed
    ]
    assert wrong == []


def test_congestion_controls_know_the_base_only() -> None:
    own = "capas.transport.tcp.congestion"
    wrong = [
        f"{path.name}:{line}: {module}"
        for path in (SOURCE / "transport" / "tcp" / "congestion").glob("*.py")
        for line, module in imports(path)
        if module.startswith("capas.") and not module.startswith(("capas.base.", own))
    ]
    assert wrong == []


def test_no_clock_chance_or_io_below_sockets() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {module}"
        for path in FILES
        if package_of(path) in CORE
        for line, module in imports(path)
        if module.split(".")[0] in (*FORBIDDEN, *LINUX_ONLY)
    ]
    assert wrong == []


def is_set(node: ast.expr) -> bool:
    return isinstance(node, ast.Set | ast.SetComp) or (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("set", "frozenset")
    )


def test_no_forbidden_calls_and_no_iteration_over_sets_below_sockets() -> None:
    wrong = []
    for path in FILES:
        if package_of(path) not in CORE:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in FORBIDDEN_CALLS:
                    wrong.append(f"{where}: {node.func.id}()")
            elif isinstance(node, ast.For | ast.comprehension) and is_set(node.iter):
                wrong.append(f"{path.relative_to(SOURCE)}:{node.iter.lineno}: iterates over a set")
    assert wrong == []


def on_import(path: Path) -> list[int]:
    """The lines of imports that happen when the module is imported, not when a function runs."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    ]
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and node not in inside
    ]


def test_linux_only_modules_stay_in_the_devices() -> None:
    # A command may import one when it runs (a benchmark asks for its memory, say).
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {module}"
        for path in FILES
        if package_of(path) != "real"
        for line, module in imports(path)
        if module.split(".")[0] in LINUX_ONLY
        and (package_of(path) not in ("bench", "cli") or line in on_import(path))
    ]
    assert wrong == []


def test_the_core_has_no_dependencies() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {module}"
        for path in FILES
        if package_of(path) not in ("application", "bench", "cli")
        for line, module in imports(path)
        if module.split(".")[0] in EXTRAS
    ]
    assert wrong == []


def test_sim_and_real_do_not_know_each_other() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {module}"
        for path in FILES
        for ours, other in (("sim", "capas.real"), ("real", "capas.sim"))
        if package_of(path) == ours
        for line, module in imports(path)
        if module.startswith(other)
    ]
    assert wrong == []
