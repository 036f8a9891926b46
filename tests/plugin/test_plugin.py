# SPDX-License-Identifier: Apache-2.0
"""The fixture `internet`, the options, and what a failure leaves, seen from outside."""

import re
import shlex

import pytest

PASSING = """
def test_plain(pair, internet):
    assert pair[0].run(ask()) == b"hello"
    assert internet.now == pytest.approx(0.1)

async def test_async(pair):
    assert await pair[0].run(ask()) == b"hello"

@pytest.fixture
async def connection(pair):
    with pair[0]:
        reader, writer = await asyncio.open_connection("server", 7)
    yield reader, writer
    writer.close()

async def test_async_fixture(connection):
    connection[1].write(b"x")
    assert await connection[0].read(10) == b"x"

class TestMethods:
    async def test_method(self, pair):
        assert await pair[0].run(ask()) == b"hello"

@pytest.mark.internet
def test_marker_alone():
    assert time.monotonic() == 0

def test_blocking_code(pair, internet):
    def program():
        with socket.create_connection(("server", 7)) as sock:
            sock.sendall(b"hi")
            time.sleep(3600)
            return sock.recv(10), time.monotonic()
    data, now = pair[0].thread(program).result()
    assert data == b"hi" and now > 3600

def test_time_is_the_worlds(internet):
    before = time.time(), datetime.datetime.now(), time.monotonic(), uuid.uuid4()
    time.sleep(86400)
    assert time.time() - before[0] == 86400 == time.monotonic() - before[2]
    assert (datetime.datetime.now() - before[1]).days == 1

def test_time_is_given_back():
    assert time.monotonic is not None and time.time() > 1.7e9
    assert time.time.__module__ == "time"
"""


KEPT = """
from hypothesis import given, settings
from hypothesis import strategies as st

async def test_async(pair):
    assert await pair[0].run(ask()) == b"hello"

def test_threads(pair, internet):
    pair[1].thread(time.sleep, 3600)  # it still sleeps at the end
    assert pair[0].run(ask()) == b"hello"

async def test_failing(pair):
    assert await pair[0].run(ask()) == b"bye"

@settings(max_examples=3, database=None)
@given(st.integers(0, 9))
async def test_examples(internet, number):
    await asyncio.sleep(number)

def test_what_is_left():
    import gc, sys
    from capas.sim.world import World
    from capas.testing.fixture import Internet
    for name in ("last_exc", "last_value", "last_traceback"):  # of the last failure, for pdb.pm()
        if hasattr(sys, name):
            delattr(sys, name)
    gc.collect()
    left = [one for one in gc.get_objects() if isinstance(one, (World, Internet))]
    assert [type(user) for one in left for user in gc.get_referrers(one)] == []
"""


def test_no_test_keeps_its_world(inner):
    """Two hundred tests of the fixture held two hundred captures and buffers."""
    pytest.importorskip("hypothesis")
    done = inner(KEPT, plugins=["_hypothesis_pytestplugin"])
    assert "1 failed, 4 passed" in done.text, done.text
    assert "FAILED test_it.py::test_failing" in done.text


def test_plain_and_async_tests_without_another_plugin(inner):
    done = inner(PASSING)
    assert done.code == 0, done.text
    assert "8 passed" in done.text


@pytest.mark.parametrize(
    ("plugin", "mark", "options"),
    [
        ("pytest_asyncio.plugin", "asyncio", ["--asyncio-mode=strict"]),
        ("anyio.pytest_plugin", "anyio", []),
    ],
)
def test_beside_plugins_for_asyncio(inner, plugin, mark, options):
    pytest.importorskip(plugin.partition(".")[0])
    source = PASSING.replace("async def test", f"@pytest.mark.{mark}\nasync def test")
    source = source.replace(
        f"    @pytest.mark.{mark}\nasync def", f"    @pytest.mark.{mark}\n    async def"
    )
    source += """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
    done = inner(source, *options, "-Wignore", plugins=[plugin])
    assert done.code == 0, done.text
    assert "8 passed" in done.text


FAILING = """
@pytest.mark.internet(seed=3, runs=2)
def test_fails(pair, internet):
    internet.world.change(internet.wire("client", "server"), loss="10%")
    with internet.partition("client", "server", one_way=True):
        internet.run_for("100ms")
    got = [pair[0].run(ask(uuid.uuid4().bytes)) for _ in range(5)]
    assert got == [random.random()]
"""


def test_a_failure_says_how_to_repeat_it_and_leaves_two_files(inner):
    done = inner(FAILING)
    assert done.code == 1
    assert "pytest test_it.py::test_fails -pcapas.pytest_plugin --capas-replay=3" in done.text
    first = done.files("*.pcapng"), done.files("*.html")
    assert list(first[0]) == [f"test_it-test_fails-seed{seed}.pcapng" for seed in (3, 4)]
    assert len(set(first[0].values())) == 2  # another seed is another run
    page = first[1]["test_it-test_fails-seed3.html"].decode()
    assert "partition client" in page
    assert "<svg" in page
    assert "SYN" in page
    assert not re.search(r"https?://(?!www\.w3)", page)
    command = re.search(r"replay: pytest (.*)", done.text)[1]
    again = inner(FAILING, *shlex.split(command))
    assert again.code == 1
    assert "1 failed" in again.text
    assert (again.files("*.pcapng"), again.files("*.html")) == first
    assert "repeat" not in again.text


def test_a_replay_line_has_the_projects_options_and_the_path_from_here(inner):
    """Those that choose and report are left out."""
    source = (
        "def test_it(internet, pytestconfig):\n    assert not pytestconfig.getoption('--bug')\n"
    )
    done = inner("", "--co")
    below = done.folder / "below"
    below.mkdir()
    (done.folder / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--bug', type=int, default=0)\n"
    )
    (below / "test_that.py").write_text(source)
    failed = inner("", "below/test_that.py", "--bug", "3", "-v", "-k", "it", "--tb=short")
    line = re.search(r"replay: pytest (.*)", failed.text)[1]
    assert line == "below/test_that.py::test_it -pcapas.pytest_plugin --bug 3 --capas-replay=0"
    assert "1 failed" in inner("", *shlex.split(line)).text


def test_the_page_tells_frames_under_way_from_lost_ones(inner):
    done = inner(
        """
async def test_it(pair):
    with pair[0]:
        reader, writer = await asyncio.open_connection("server", 7)
    writer.write(b"x")
    await asyncio.sleep(0.001)
    assert False
"""
    )
    (page,) = done.files("*.html").values()
    assert "under way at the end" in page.decode()
    assert 'class="lost"' not in page.decode()
    assert "→ server:7" in page.decode()
    trace = done.text.partition("FAILURES")[2]
    assert "adapters.py" not in trace
    assert "base_events.py" not in trace


def test_the_same_with_xdist(inner):
    pytest.importorskip("xdist")
    alone = inner(FAILING, "--capas-pcap-dir=alone")
    shared = inner(FAILING, "--capas-pcap-dir=shared", "-n2", plugins=["xdist.plugin"])
    assert alone.code == shared.code == 1
    files = {path.parent.name: {} for path in alone.folder.rglob("*.pcapng")}
    for path in alone.folder.rglob("*.pcapng"):
        files[path.parent.name][path.name] = path.read_bytes()
    assert files["alone"] == files["shared"]
    assert "--capas-replay=4" in shared.text


def test_seeds_from_the_command_line(inner):
    source = """
def test_it(internet):
    assert internet.seed in (11, 12, 13)
"""
    done = inner(source, "--capas-seed=11", "--capas-runs=3")
    assert "3 passed" in done.text, done.text


SHRINKING = """
from hypothesis import given, settings
from capas.testing.strategies import network_faults

@settings(max_examples=60, database=None, derandomize=True)
@given(faults=network_faults("server", packets=8, kinds=("lose", "duplicate", "restart")))
async def test_is_quick(internet, faults):
    client, server = internet.hosts("client", "server")
    internet.link(client, server, delay="20ms")
    await server.serve(echo, port=7)
    faults.apply(internet)
    async with asyncio.timeout(0.9):
        assert await client.run(ask()) == b"hello"
"""


def test_faults_shrink_and_replay_without_hypothesis(inner):
    done = inner(SHRINKING, plugins=["_hypothesis_pytestplugin"])
    assert done.code == 1, done.text
    assert re.search(r"faults: the \w+ packet from server is lost\n", done.text), done.text
    line = re.search(r"--capas-replay=(seed=0;faults=lose\(server,\d\))'", done.text)[1]
    again = inner(SHRINKING, f"--capas-replay={line}")
    assert again.code == 1
    assert "1 failed" in again.text
    good = inner(SHRINKING, "--capas-replay=seed=0;faults=none")
    assert good.code == 0, good.text


DYING = """
from hypothesis import given, settings
from capas.testing.strategies import network_faults
from capas.testing.station import HostDiedError

seen = []

@given(faults=network_faults("client", kinds=("restart", "delay")))
@settings(max_examples=30)
async def test_it(internet, faults):
    client, server = internet.hosts("client", "server")
    internet.link(client, server, delay="20ms")
    await server.serve(echo, port=7)
    faults.apply(internet)
    assert await client.run(ask()) == b"hello"

@given(faults=network_faults("client", kinds=("die",)))
@settings(max_examples=30)
def test_blocking(internet, faults):
    client = internet.host("client")
    faults.apply(internet)
    assert client.thread(time.sleep, 0.3).result() is None
"""


def test_an_example_whose_program_dies_with_its_host_does_not_count(inner):
    """The least failure was always the death of the program that the test waits for."""
    plugins = ["_hypothesis_pytestplugin"]
    done = inner(DYING, plugins=plugins)
    assert done.code == 0, done.text
    line = "--capas-replay=seed=0;faults=die(client,100ms)"
    done = inner(DYING, line, "-k", "blocking", plugins=plugins)
    assert done.code == 1
    assert "HostDiedError: client:_sleep ended with its host" in done.text, done.text


def test_the_first_failure_as_it_was_found(inner):
    shrunk, found = (
        inner(SHRINKING, *words, plugins=["_hypothesis_pytestplugin"])
        for words in ((), ("--capas-no-shrink",))
    )
    assert shrunk.code == found.code == 1, found.text
    pattern = r"--capas-replay=(seed=0;faults=[^']*)'"
    least, whole = (re.search(pattern, done.text)[1] for done in (shrunk, found))
    assert len(whole) > len(least)  # as it was drawn, and not as simple as it can be
    again = inner(SHRINKING, f"--capas-replay={whole}")
    assert again.code == 1, again.text


def test_bad_use_says_what_is_wrong(inner):
    source = """
def test_wire(internet):
    internet.hosts("a", "b")
    internet.cut("a-b")

def test_other_world(internet):
    from capas import World
    internet.link(internet.host("a"), World().host("b"))

async def test_nobody(pair):
    await pair[0].run(asyncio.open_connection("nobody", 1))

async def test_blocking(pair):
    with pair[0]:
        socket.create_connection(("server", 7))

def test_deadlock(internet):
    a, b = internet.hosts("a", "b")
    internet.link(a, b)
    def waits():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", 5))
        sock.recv(1)
    a.thread(waits).result()

def test_twice(internet):
    internet.host("a")
    internet.host("a")

def test_rule(pair, internet):
    def rule(frame, now):
        raise KeyError("oops")
    internet.rule("client-server", rule)
    pair[0].run(ask())

def test_invariant(pair, internet):
    internet.invariant(lambda: internet.now < 0.05, "all is early")
    pair[0].run(ask())
"""
    done = inner(source)
    assert "8 failed" in done.text
    for words in (
        "this world has no wire 'a-b'; it has no wire yet",
        "'b' belongs to another world",
        "Name or service not known",
        "BlockingInLoopError",
        "of virtual time: nothing is ready",
        "a:waits: waits for READ",
        "this world has a 'a' already",
        "on client>server at 0.",
        "invariant broken: all is early",
    ):
        assert words in done.text, words


def test_a_name_asked_on_no_host(inner):
    """The machine's resolver knows nothing of the internet, and its error says nothing of hosts."""
    source = """
async def test_it(pair):
    await asyncio.open_connection("server.invalid", 7)

def test_blocking(pair):
    try:
        socket.create_connection(("server.invalid", 7))
    except OSError as error:
        raise RuntimeError("no server") from error

async def test_nobody(pair):
    await pair[0].run(asyncio.open_connection("nobody", 1))
"""
    done = inner(source)
    assert "3 failed" in done.text
    assert done.text.count("hint: the machine was asked for this name") == 2


def test_wrong_options(inner):
    done = inner("def test_it(internet): pass", "--capas-replay=x=oops(")
    assert done.code != 0
    assert "oops( is not a fault" in done.text or "'oops(' is not a fault" in done.text
    done = inner("@pytest.mark.internet(sed=1)\ndef test_it(internet): pass")
    assert "does not know 'sed'" in done.text


AROUND = """
@pytest.fixture
def broken(pair):
    raise RuntimeError("before")

def test_before(broken): pass

@pytest.fixture
async def untidy(pair):
    yield
    raise RuntimeError("after")

async def test_after(untidy, pair):
    client, server = pair
    await client.run(ask())

async def test_both(untidy): assert 0, "during"
"""


def test_failures_before_and_after_a_test_say_how_to_repeat_them(inner):
    done = inner(AROUND)
    before, after, again = done.text.split("ERROR at teardown")
    assert re.search("replay: pytest test_it.py::test_before .*--capas-replay=0", before), before
    assert "page: " in before
    assert re.search("replay: pytest test_it.py::test_after .*--capas-replay=0", after), after
    assert "page: capas-failures/test_it-test_after-seed0.html" in after, after
    page = done.files("test_it-test_after-*.html")["test_it-test_after-seed0.html"].decode()
    assert "RuntimeError: after" in page and ">client<" in page and "SYN" in page
    # the test's own failure keeps its files
    again, _, during = again.partition("FAILURES")
    assert "page: " in during and "page: " not in again, again
    page = done.files("test_it-test_both-*.html")["test_it-test_both-seed0.html"].decode()
    assert "AssertionError: during" in page


def test_a_replay_line_is_told_where_no_file_can_be_left(inner):
    done = inner("def test_it(internet): assert 0", "--capas-pcap-dir=test_it.py/within")
    assert "no files could be left: " in done.text, done.text
    assert re.search("replay: pytest test_it.py::test_it .*--capas-replay=0", done.text)
    assert "artefacts.py" not in done.text


def test_a_replay_of_faults_needs_a_test_that_takes_them(inner):
    done = inner("def test_it(internet): pass", "--capas-replay=seed=1;faults=lose(a,1)")
    assert done.code == 1
    assert "takes no values from hypothesis" in done.text, done.text


TRACED = """
async def test_deadlock(pair):
    await asyncio.get_running_loop().create_future()

def test_thread(pair, internet):
    def dies():
        time.sleep(0.1)
        raise ValueError("of the program")
    pair[0].thread(dies)
    internet.run_for(1)

def test_misuse(internet):
    internet.cut("a-b")

def test_cause(pair):
    async def never():
        await asyncio.wait_for(asyncio.sleep(9), 1)
    pair[0].run(never())
"""


def test_tracebacks_have_the_tests_own_frames(inner):
    done = inner(TRACED, "--tb=short")
    failures = done.text.partition("= FAILURES")[2]
    assert "test_deadlock, " in failures
    places = re.findall(r"^(\S+\.py):\d+: in", failures, re.M)
    assert places.count("test_it.py") >= 5, failures
    assert not [p for p in places if "_pytest" in p or "base_events" in p or "engine" in p], places
    whole = inner(TRACED, "--tb=short", "--full-trace")
    assert "base_events.py" in whole.text


TWO = """
from hypothesis import given, settings
from capas.testing.strategies import network_faults

@settings(max_examples=20, database=None, derandomize=True)
@given(faults=network_faults("client", "server", packets=6, kinds=("lose",), most=2))
async def test_it(internet, faults):
    client, server = internet.hosts("client", "server")
    internet.link(client, server, delay="20ms")
    await server.serve(echo, port=7)
    faults.apply(internet)
    await client.run(ask())
    assert str(faults) not in ALSO
    assert len(faults) < 2
"""


def test_one_fault_is_told_rather_than_two(inner):
    """Shrinking ends where no fault can be taken away; another one alone may do as well."""
    plugins = ["_hypothesis_pytestplugin"]
    done = inner(TWO + "ALSO = ['lose(server,3)']\n", plugins=plugins)
    assert "faults: the third packet from server is lost\n" in done.text, done.text
    assert "--capas-replay=seed=0;faults=lose(server,3)'" in done.text
    assert "Failing test case: faults=FaultPlan.parse('lose(server,3)')" in done.text
    done = inner(TWO + "ALSO = []\n", plugins=plugins)
    assert re.search(r"faults: the \w+ packet from \w+ is lost and the", done.text), done.text
    found = re.search(r"--capas-replay=(seed=0;faults=lose\S+)'", done.text)[1]
    assert "1 failed" in inner(TWO + "ALSO = []\n", f"--capas-replay={found}").text
    done = inner(TWO + "ALSO = ['lose(server,3)']\n", "--capas-no-shrink", plugins=plugins)
    assert "is lost and the" in done.text, done.text


def test_hypothesis_in_a_class_and_beside_fixtures(inner):
    source = """
    from hypothesis import given, settings, strategies as st

    class TestIt:
        @settings(max_examples=5, database=None)
        @given(n=st.integers(0, 9))
        def test_in_class(self, internet, n):
            assert n < 0

    @settings(max_examples=5, database=None)
    @given(n=st.integers(0, 9))
    def test_beside(pair, internet, n):
        pair[0].run(ask())
    """
    plugins = ["_hypothesis_pytestplugin"]
    done = inner(source, plugins=plugins)
    assert "--capas-replay=seed=0;n=0'" in done.text, done.text
    assert "make hosts in the test, not in a fixture" in done.text
    done = inner(source, "--capas-replay=seed=0;n=0", "-k", "class", plugins=plugins)
    assert "assert 0 < 0" in done.text, done.text
