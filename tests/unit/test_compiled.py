# SPDX-License-Identifier: Apache-2.0
"""What the hot modules must keep to, so that mypyc makes of them what Python would."""

import ast
import asyncio
import gc
import importlib.util
from pathlib import Path

import capas
from capas.link.interface import Interface
from capas.sim.world import World
from capas.transport.tcp.connection import TcpConnection

CLONE = Path(__file__).resolve().parents[2]


def hot_classes() -> dict[str, ast.ClassDef]:
    spec = importlib.util.spec_from_file_location("hatch_build", CLONE / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    sources = [CLONE / "src" / name for name in build.modules(CLONE / "src")]
    trees = [ast.parse(source.read_text("utf-8")) for source in sources]
    return {
        node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)
    }


def declared(node: ast.ClassDef) -> set[str]:
    """The attributes of instances that the class gives a type: ``x: T``, ``self.x: T``."""
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.AnnAssign):
            name, _, attribute = ast.unparse(inner.target).partition(".")
            if name == "self":
                found.add(attribute)
            elif inner in node.body and not ast.unparse(inner.annotation).startswith("ClassVar"):
                found.add(name)
    return found


def test_no_attribute_is_declared_twice() -> None:
    """Else mypyc 2.4 counts it twice for the collector, which then clears an object that lives."""
    classes = hot_classes()

    def inherited(node: ast.ClassDef) -> set[str]:
        bases = [classes[name] for base in node.bases if (name := ast.unparse(base)) in classes]
        held = [base for base in bases if "Protocol" not in map(ast.unparse, base.bases)]
        return set().union(*(declared(base) | inherited(base) for base in held))

    twice = {name: declared(node) & inherited(node) for name, node in classes.items()}
    assert {name: both for name, both in twice.items() if both} == {}


def test_a_world_that_is_done_with_is_collected() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(9))

    def run() -> None:
        world = World(7)
        a, b = world.host("a"), world.host("b")
        world.link(a, b)

        async def main() -> bytes:
            with capas.use_host(b):
                await asyncio.start_server(answer, port=7)
            reader, writer = await asyncio.open_connection("b", 7)
            writer.write(b"left open")
            return await reader.readexactly(9)

        assert capas.run(main, world=world, host=a) == b"left open"

    def alive() -> set[int]:
        gc.collect()
        return {id(one) for one in gc.get_objects() if isinstance(one, Interface | TcpConnection)}

    before = alive()
    run()
    assert alive() <= before
