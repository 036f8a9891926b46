# SPDX-License-Identifier: Apache-2.0
"""The stand-ins of ``time`` and ``datetime``: where they apply, and that they go away."""

import copy
import datetime
import gc
import pickle
import sys
import threading
import time
import types
from datetime import date as taken_date
from datetime import datetime as taken_datetime
from time import monotonic as taken_monotonic
from time import time as taken_time

import pytest

from capas.sim import virtual_time
from capas.sim.world import World

THIS = sys.modules[__name__]
REAL = {name: getattr(time, name) for name in ("time", "sleep", "monotonic", "gmtime", "strftime")}


class Source:
    epoch = 1_000_000_000 * 10**9

    def __init__(self):
        self.now = 0
        self.slept = []

    def read(self):
        return self.now

    def sleep(self, deadline):
        self.slept.append(deadline)
        self.now = deadline

    def adopt_thread(self):
        virtual_time.adopt_thread(self)

    def activate(self):
        return virtual_time.running(self)


def test_everything_tells_the_same_time():
    source = Source()
    with source.activate():
        source.now = 2_500_000_000
        assert time.time() == 1_000_000_002.5
        assert time.time_ns() == 1_000_000_002_500_000_000
        assert time.monotonic() == time.perf_counter() == 2.5
        assert time.monotonic_ns() == time.perf_counter_ns() == 2_500_000_000
        assert time.gmtime()[:6] == (2001, 9, 9, 1, 46, 42)
        assert time.strftime("%s") == "1000000002"
        assert time.localtime() == time.localtime(1_000_000_002)
        assert time.ctime() == time.ctime(1_000_000_002.5) == time.asctime()
        assert datetime.datetime.now().timestamp() == 1_000_000_002.5
        assert datetime.datetime.now(datetime.UTC).isoformat() == "2001-09-09T01:46:42.500000+00:00"
        assert datetime.datetime.utcnow().isoformat() == "2001-09-09T01:46:42.500000"
        assert datetime.datetime.today() == datetime.datetime.now()
        assert datetime.date.today() == datetime.datetime.now().date()
        time.sleep(1.25)
        time.sleep(0)
        with pytest.raises(ValueError, match="non-negative"):
            time.sleep(-1)
    assert source.slept == [3_750_000_000]


def test_names_that_a_module_took_are_found():
    source = Source()
    with source.activate():
        assert THIS.taken_time() == 1_000_000_000
        assert THIS.taken_monotonic() == 0
        assert THIS.taken_datetime.now().timestamp() == 1_000_000_000
        assert THIS.taken_date.today() == datetime.date.fromtimestamp(1_000_000_000)
    assert THIS.taken_time is REAL["time"]
    assert (taken_time, taken_monotonic) == (REAL["time"], REAL["monotonic"])
    assert taken_datetime is datetime.datetime
    assert taken_date is datetime.date


class Timer:
    """Keeps clocks as classes of others do."""

    plain = time.time
    static = staticmethod(time.monotonic)

    def __init__(self, clock=time.time, *, sleep=time.sleep):
        self.clock, self.sleep = clock, sleep


def test_clocks_of_classes_and_of_default_arguments_are_found():
    def seen():
        made = Timer()
        return vars(Timer)["plain"], Timer.static, made.plain, made.clock, made.sleep

    real = REAL["time"], REAL["monotonic"], REAL["time"], REAL["time"], REAL["sleep"]
    assert seen() == real
    source = Source()
    with source.activate():
        assert Timer().plain() == Timer().clock() == 1_000_000_000
        assert Timer().static() == 0
        Timer().sleep(2)
    assert source.slept == [2_000_000_000]
    assert seen() == real


def test_all_is_undone_also_after_an_exception():
    with pytest.raises(ZeroDivisionError), Source().activate():
        assert time.time is not REAL["time"]
        1 // 0
    assert {name: getattr(time, name) for name in REAL} == REAL
    assert datetime.datetime.__module__ == "datetime"
    assert type(datetime.datetime.now()) is datetime.datetime
    assert virtual_time.current() is None


def test_other_threads_keep_the_real_time():
    source, seen = Source(), []
    with source.activate():
        thread = threading.Thread(target=lambda: seen.append((time.time(), datetime.date.today())))
        thread.start()
        thread.join()
    assert seen[0][0] > 1_700_000_000
    assert seen[0][1].year > 2020


def test_worlds_nest_and_a_thread_can_leave():
    outer, inner = Source(), Source()
    inner.now = 5_000_000_000
    with outer.activate():
        with inner.activate(), inner.activate():
            assert time.monotonic() == 5
        assert time.monotonic() == 0
        with virtual_time.real_time():
            assert time.time() > 1_700_000_000
        assert virtual_time.current() is outer
    assert time.time is REAL["time"]


def test_stand_in_classes_make_genuine_objects():
    before = datetime.datetime(2020, 1, 2, 3, 4, 5)
    with Source().activate():
        now = datetime.datetime.now()
        assert isinstance(now, datetime.datetime)
        assert isinstance(before, datetime.datetime)
        assert isinstance(before, datetime.date)
        assert not isinstance(datetime.date.today(), datetime.datetime)
        assert datetime.datetime(2020, 1, 2, 3, 4, 5) == before
        assert datetime.datetime.strptime("2020-01-02", "%Y-%m-%d").day == 2
        assert datetime.datetime.fromisoformat("2020-01-02T03:04:05") == before
        assert datetime.datetime.combine(before.date(), before.time()) == before
        assert now - before < datetime.timedelta(0)
        assert pickle.loads(pickle.dumps(now)) == copy.deepcopy(now) == now

        class Own(datetime.datetime):
            pass

        assert type(Own(2020, 1, 1)) is Own
        assert type(Own.now()) is Own
        assert isinstance(Own.now(), datetime.datetime)
        assert not isinstance(before, Own)
    assert type(now) is datetime.datetime


def test_a_stand_in_that_somebody_kept_tells_the_real_time():
    with Source().activate():
        module = types.ModuleType("imported_while_a_world_ran")
        exec("from time import time\nfrom datetime import datetime", vars(module))
    assert module.time() > 1_700_000_000
    assert module.datetime.now().year > 2020


def test_without_a_world_locks_are_genuine():
    source = Source()
    with source.activate():
        assert not threading.Event().wait(0.001)
    assert source.slept == []


def test_garbage_is_collected_less_often_while_a_world_runs():
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), virtual_time.running(Source()):
        assert gc.get_threshold()[0] > before[0]
        1 / 0
    assert gc.get_threshold() == before
    with virtual_time.running(Source()):
        gc.set_threshold(5000, 5, 5)
    assert gc.get_threshold() == (5000, 5, 5)  # the program's own wish stays
    gc.set_threshold(*before)


def test_garbage_is_collected_less_often_while_a_large_world_is_built():
    before = gc.get_threshold()
    world = World(1)
    for n in range(100):
        world.link(world.host(f"a{n}"), world.host(f"b{n}"))
    assert gc.get_threshold()[0] > before[0]
    world.prepare()
    assert gc.get_threshold() == before
