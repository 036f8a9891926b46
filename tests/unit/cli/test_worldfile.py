# SPDX-License-Identifier: Apache-2.0
"""Worlds in TOML, and ``capas run``."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("click", reason="needs click: pip install 'capas[tools]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'capas[tools]'")

from capas.cli.main import main
from capas.cli.worldfile import read
from capas.errors import ConfigurationError
from capas.sim.world import World

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

GOOD = """
seed = 3
[hosts.a]
[hosts.b]
serve = ["echo", "http:8080=."]
[routers.r]
[[links]]
between = ["a", "r"]
rate = "10Mbit"
up = { loss = "1%" }
[[links]]
between = ["r", "b"]
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "world.toml"
    file.write_text(text)
    return file


def test_a_world_is_built(tmp_path: Path) -> None:
    file = read(write(tmp_path, GOOD))
    world = file.build(World(seed=file.seed))
    assert list(world.hosts) == ["a", "b", "r"]
    assert world.hosts["r"].config.forwarding
    assert [wire.name for wire in world.wires] == ["a-r", "r-b"]
    serves = [(name, text, str(place)) for name, text, place in file.serves()]
    where = f"{file.path}:5: hosts.b.serve"
    assert serves == [
        ("b", "echo", f"{where}, number 1"),
        ("b", "http:8080=.", f"{where}, number 2"),
    ]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_examples_can_be_built(example: Path) -> None:
    file = read(example)
    assert file.build(World(seed=file.seed)).hosts


TWO = "[hosts.a]\n[hosts.b]\n[[links]]\nbetween=['a','b']\n"


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (0, "", ["no hosts"]),
        (0, "[hosts.a]\nx = !\n", ["not TOML", "line 2"]),
        (2, "[hosts.a]\nservice = []", ["hosts.a", "'service'", "did you mean 'serve'"]),
        (1, "[host.a]", ["'host'", "did you mean 'hosts'"]),
        (1, "seed = true\n[hosts.a]", ["seed", "True"]),
        (1, "hosts = 3", ["hosts", "not a table"]),
        (2, "\nuntil = 'soon'\n[hosts.a]", ["until", "'soon'", "20ms"]),
        (2, "[hosts.a]\nserve = 'echo'", ["hosts.a.serve", "list of texts"]),
        (2, "[hosts.a]\naddresses = ['10.0.0.300/24']", ["10.0.0.300/24", "192.0.2.1/24"]),
        (2, "[hosts.a]\n[routers.a]", ["'a'", "twice"]),
        (2, "[hosts.a]\n[[links]]\nbetween = ['a']", ["links, number 1", "between"]),
        (3, "[hosts.alpha]\n[[links]]\nbetween = ['alpha', 'alpa']", ["did you mean 'alpha'"]),
        (5, TWO + "los = 1", ["number 1", "'los'", "'loss'"]),
        (3, TWO + "loss = 2", ["number 1", "loss"]),
        (5, TWO + "up = {rat = 1}", ["number 1: up", "'rate'"]),
        (6, TWO + "[links.down]\nrat = 1", ["number 1: down", "'rate'"]),
        (8, TWO + "[[links]]\nbetween=['a','b']\ndelay.x = 1\nlos = 1", ["number 2", "'los'"]),
        (3, TWO + "mtu = 20", ["MTU", "20"]),
        (3, "[hosts.a]\n[taps.t]\nto = 'b'", ["taps.t.to", "'b'"]),
        (2, "[hosts.a]\nsettings = { tcp_sak = false }", ["tcp_sak", "tcp_sack"]),
        (3, "[hosts.a]\n[hosts.a.settings]\ntcp_sack = 3", ["tcp_sack", "3", "bool"]),
        (2, "[hosts.a]\nnameservers = ['x.y']", ["nameservers", "x.y"]),
        (3, "[hosts.a]\n[names]\nwww = 'b'", ["names.www", "'b'"]),
        (2, "[hosts.a]\nserve = ['gopher']", ["serve, number 1", "gopher", "echo"]),
        (2, "[hosts.a]\nserve = ['http=nowhere']", ["nowhere' is not a directory"]),
        (2, "[hosts.a]\nroutes = { x = '10.0.0.1' }", ["hosts.a.routes.x"]),
        (1, "[switches.s]", ["switches only"]),
        (6, '[hosts.a]\naddresses = [\n  # one\n "10.0.0.1/8",\n]\nx = 1', ["unknown key 'x'"]),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: int, text: str, words: list[str]
) -> None:
    file = write(tmp_path, text)
    assert main(["run", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"{file}:{line}: " in error if line else f"{file}: " in error, error
    assert all(word in error for word in words), error


@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "world.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigurationError):
        read(file)


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nosuch.toml"]) == 2
    assert "nosuch.toml: No such file" in capsys.readouterr().err


def test_everybody_reaches_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(write(tmp_path, GOOD)), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {name: list(row) for name, row in report["reachable"].items()} == {
        "a": ["b", "r"],
        "b": ["a", "r"],
        "r": ["a", "b"],
    }


PROGRAM = """
import asyncio, socket, time
async def a():
    reader, writer = await asyncio.open_connection("b", 7)
    writer.write(b"hello")
    print(await reader.readexactly(5))
    writer.close()
def r():
    with socket.create_connection(("b", 8080)) as s:
        s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(s.recv(12))
async def main(world):
    await asyncio.sleep(1000)
    print(sorted(world.hosts), time.monotonic() >= 1000)
"""


def test_programs_run_on_their_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert main(["run", str(write(tmp_path, GOOD)), str(program)]) == 0
    output = capsys.readouterr().out
    assert "b'hello'" in output
    assert "b'HTTP/1." in output
    assert "['a', 'b', 'r'] True" in output
    assert "a → b 7 (echo)" in output


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("def a():\n    raise KeyError('x')", 1, ["KeyError: 'x'"]),
        ("x = 1\ndef (", 1, ["program.py:2: invalid syntax: def ("]),
        (
            "import nosuch",
            1,
            ["could not be loaded: ModuleNotFoundError: No module named 'nosuch'"],
        ),
        ("x = 1", 2, ["no function is named after a host (a, b, r)"]),
        ("def main(world): pass", 2, ["main(world) must be a coroutine function"]),
        ("async def a():\n    import asyncio\n    await asyncio.sleep(100)", 1, []),
    ],
)
def test_programs_that_fail(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    program: str,
    code: int,
    words: list[str],
) -> None:
    file = tmp_path / "program.py"
    file.write_text(program)
    arguments = ["run", str(write(tmp_path, GOOD)), str(file), "--until", "50"]
    assert main(arguments) == code
    found = capsys.readouterr()
    assert all(word in found.out + found.err for word in words)
    assert "importlib" not in found.err and "capas/cli" not in found.err


def test_a_blocking_program_nobody_answers_is_a_deadlock_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "program.py"
    file.write_text("import socket\ndef a():\n    socket.create_server(('', 80)).accept()")
    assert main(["run", str(write(tmp_path, GOOD)), str(file)]) == 1
    error = capsys.readouterr().err
    assert "deadlock" in error and "program.py:3 in a" in error and "Traceback" not in error
