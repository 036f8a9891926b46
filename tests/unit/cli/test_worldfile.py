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
    assert list(file.serves()) == [("b", "echo"), ("b", "http:8080=.")]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_examples_can_be_built(example: Path) -> None:
    file = read(example)
    assert file.build(World(seed=file.seed)).hosts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no hosts"]),
        ("[hosts.a]\nx = !\n", ["not TOML", "line 2"]),
        ("[hosts.a]\nservice = []", ["hosts.a", "'service'", "did you mean 'serve'"]),
        ("[host.a]", ["'host'", "did you mean 'hosts'"]),
        ("seed = true\n[hosts.a]", ["seed", "True"]),
        ("hosts = 3", ["hosts", "not a table"]),
        ("[hosts.a]\nserve = 'echo'", ["hosts.a.serve", "list of texts"]),
        ("[hosts.a]\naddresses = ['10.0.0.300/24']", ["10.0.0.300/24", "192.0.2.1/24"]),
        ("[hosts.a]\n[routers.a]", ["'a'", "twice"]),
        ("[hosts.a]\n[[links]]\nbetween = ['a']", ["links, number 1", "between"]),
        ("[hosts.alpha]\n[[links]]\nbetween = ['alpha', 'alpa']", ["did you mean 'alpha'"]),
        ("[hosts.a]\n[hosts.b]\n[[links]]\nbetween=['a','b']\nlos = 1", ["'los'", "'loss'"]),
        ("[hosts.a]\n[hosts.b]\n[[links]]\nbetween=['a','b']\nloss = 2", ["number 1", "loss"]),
        ("[hosts.a]\n[hosts.b]\n[[links]]\nbetween=['a','b']\nup = {rat = 1}", ["up", "'rate'"]),
        ("[hosts.a]\n[hosts.b]\n[[links]]\nbetween=['a','b']\nmtu = 20", ["MTU", "20"]),
        ("[hosts.a]\n[taps.t]\nto = 'b'", ["taps.t.to", "'b'"]),
        ("[hosts.a]\nsettings = { tcp_sak = false }", ["tcp_sak", "tcp_sack"]),
        ("[hosts.a]\nsettings = { tcp_sack = 3 }", ["tcp_sack", "3", "bool"]),
        ("[hosts.a]\nnameservers = ['x.y']", ["nameservers", "x.y"]),
        ("[hosts.a]\n[names]\nwww = 'b'", ["names.www", "'b'"]),
        ("[hosts.a]\nserve = ['gopher']", ["serve", "gopher", "echo"]),
        ("[switches.s]", ["switches only"]),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str]
) -> None:
    file = write(tmp_path, text)
    assert main(["run", str(file)]) == 2
    error = capsys.readouterr().err
    assert str(file) in error
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
        ("def (", 1, ["could not be loaded"]),
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
