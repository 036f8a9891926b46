# SPDX-License-Identifier: Apache-2.0
"""Tests of the plugin run pytest on small files, in processes of their own."""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio, datetime, random, socket, time, uuid
import pytest

async def echo(reader, writer):
    writer.write(await reader.read(100))
    await writer.drain()
    writer.close()

async def ask(text=b"hello"):
    reader, writer = await asyncio.open_connection("server", 7)
    writer.write(text)
    return await reader.read(100)

@pytest.fixture
def pair(internet):
    client, server = internet.hosts("client", "server")
    internet.link(client, server, delay="20ms")
    server.serve(echo, port=7)
    return client, server
"""


class Inner:
    """A run of pytest: its exit code and what it said."""

    def __init__(self, folder, done):
        self.folder = folder
        self.code = done.returncode
        self.text = done.stdout + done.stderr

    def files(self, pattern):
        return {path.name: path.read_bytes() for path in sorted(self.folder.rglob(pattern))}


@pytest.fixture
def inner(tmp_path):
    """``inner(source, *arguments)``: run pytest on a file that begins with `PROGRAM`."""

    def run(source, *arguments, plugins=()):
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_it.py").write_text(PROGRAM + textwrap.dedent(source))
        entries = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "100"}
        named = [f"-p{name}" for name in ("capas.pytest_plugin", *plugins)]
        command = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", *named, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=entries, capture_output=True, text=True, check=False
        )
        return Inner(tmp_path, done)

    return run
