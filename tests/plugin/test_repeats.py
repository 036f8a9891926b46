# SPDX-License-Identifier: Apache-2.0
"""Identical seeds, identical captures and verdicts: again and again, with xdist and without."""

import os
import random
import re
import secrets
import subprocess
import sys
import types
import uuid
from os import urandom

import pytest

from capas.testing.fixture import Internet

SOURCE = """
import asyncio, http.client, http.server, os, random, time
import pytest
from hypothesis import given, settings
from capas.testing.strategies import network_faults

repeats = pytest.mark.parametrize("repeat", range(3))

async def echo(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()

@repeats
@pytest.mark.internet(seed=5)
async def test_streams(internet, repeat):
    a, b, r = internet.host("a"), internet.host("b"), internet.router("r")
    internet.link(a, r, rate="10Mbit", delay="10ms", loss="5%", reorder="5%", duplicate="1%")
    internet.link(r, b, rate="10Mbit", jitter="2ms", corrupt="0.5%")
    await b.serve(echo, port=7)
    async def one(where):
        reader, writer = await asyncio.open_connection(where, 7)
        data = random.randbytes(20000)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
    await asyncio.gather(a.run(one(b.address)), a.run(one(b.address6)))

class Page(http.server.BaseHTTPRequestHandler):
    sys_version = ""  # Python's own version would be on the wire
    def do_GET(self):
        body = os.urandom(5000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

@repeats
@pytest.mark.internet(seed=6)
def test_threads(internet, repeat):
    a, b = internet.hosts("a", "b")
    internet.link(a, b, delay="5ms", loss="10%")
    b.thread(lambda: http.server.ThreadingHTTPServer(("", 80), Page).serve_forever())
    def get():
        time.sleep(0.01)
        connection = http.client.HTTPConnection("b", 80, timeout=60)
        connection.request("GET", "/")
        return connection.getresponse().read()
    assert all(len(p.result()) == 5000 for p in [a.thread(get) for _ in range(3)])

@repeats
@settings(max_examples=30, database=None, derandomize=True)
@given(faults=network_faults("a", "b", kinds=("lose", "delay", "die", "pause", "isolate")))
async def test_faults(internet, repeat, faults):
    a, b = internet.hosts("a", "b")
    internet.link(a, b, delay="20ms")
    await b.serve(echo, port=7)
    faults.apply(internet)
    async def ask():
        reader, writer = await asyncio.open_connection("b", 7)
        writer.write(b"x")
        return await reader.read(1)
    async with asyncio.timeout(2):
        assert await a.run(ask()) == b"x"
"""


def runs(folder, name, *options):
    """{test: (captures, verdicts)} of one run of pytest, whatever the repeat."""
    there = folder / name
    plugins = "capas.pytest_plugin,_hypothesis_pytestplugin,xdist.plugin"
    entries = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": plugins}
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-pno:cacheprovider"]
    command += ["--capas-keep", f"--capas-pcap-dir={there}", "test_it.py", *options]
    environment = os.environ | entries | {"PYTHONHASHSEED": "random"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    found = {}
    for verdict, test in re.findall(r"(PASSED|FAILED) test_it.py::(\w+)", done.stdout):
        found.setdefault(test, ([], []))[1].append(verdict)
    for path in there.glob("*.pcapng"):
        test = re.match(r"test_it-(test_[a-z]+)", path.name)[1]
        found[test][0].append(path.read_bytes())
    return found, done.stdout + done.stderr


@pytest.mark.slow
def test_seeds_repeat_with_xdist_and_without(tmp_path):
    """In CI three times each way; a hundred times over three Pythons when it was measured."""
    pytest.importorskip("xdist")
    (tmp_path / "test_it.py").write_text(SOURCE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    alone, said = runs(tmp_path, "alone")
    shared, _ = runs(tmp_path, "shared", "-n2")
    assert set(alone) == set(shared) == {"test_streams", "test_threads", "test_faults"}, said
    for test in alone:
        captures = alone[test][0] + shared[test][0]
        verdicts = alone[test][1] + shared[test][1]
        assert len(captures) == len(verdicts) == 6, said
        assert len(set(captures)) == 1, test
        assert set(verdicts) == {"FAILED" if test == "test_faults" else "PASSED"}, test


CHANCE = {
    "urandom": lambda: os.urandom(16),
    "from os import urandom": lambda: urandom(16),
    "random": lambda: random.random(),
    "Random()": lambda: random.Random().random(),
    "seed()": lambda: (random.seed(), random.random())[1],
    "SystemRandom": lambda: random.SystemRandom().random(),
    "secrets": lambda: secrets.token_bytes(16),
    "uuid1": lambda: (uuid.uuid1(), uuid.uuid1()),
    "uuid4": lambda: uuid.uuid4(),
}
if hasattr(os, "getrandom"):
    CHANCE["getrandom"] = lambda: os.getrandom(16)


def drawn(how, seed):
    """What a program of an internet of this seed draws, and then the test itself."""
    with Internet(seed) as internet:
        return internet.host("a").thread(how).result(), how()


@pytest.mark.parametrize("how", CHANCE.values(), ids=CHANCE)
def test_chance_is_of_the_seed(how):
    before, genuine = random.getstate(), how()
    random.setstate(before)
    first = drawn(how, 1)
    assert first == drawn(how, 1) != drawn(how, 2)
    assert first[0] != first[1] != genuine
    assert random.getstate() == before
    if how is not CHANCE["random"]:  # genuine again
        assert how() != how()
    random.setstate(before)


def test_a_module_of_the_first_world_draws_from_the_second():
    late = types.ModuleType("capas_late_module")

    def draw():
        exec("from os import urandom", vars(late))
        return late.urandom(16)

    first = drawn(draw, 1)
    with Internet(1) as internet:
        again = internet.host("a").thread(late.urandom, 16).result()
    assert again == first[0]
    assert late.urandom(16) != late.urandom(16)


def test_identifiers_are_of_the_worlds_time():
    with Internet(1, start=1_700_000_000) as internet:
        made = internet.host("a").thread(uuid.uuid1).result()
    since = 0x01B21DD213814000  # 1582 to 1970, in 100 ns (RFC 9562 §5.1)
    assert (made.time - since) // 10_000_000 == 1_700_000_000
    assert made.node >> 40 & 1  # of no card
