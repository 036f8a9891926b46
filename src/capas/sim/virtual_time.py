# SPDX-License-Identifier: Apache-2.0
"""The time that programs see: ``time``, ``datetime`` and ``time.sleep`` in a virtual world.

While at least one world runs, the functions of ``time`` and two methods of ``datetime`` are
replaced by ones that ask which world the calling *thread* belongs to, and give the real time to
threads that belong to none.  Names that modules took by ``from time import ...`` are found and
replaced too, except in modules that wait on real locks.  When the last world stops running all is
as before, also after an exception; a stand-in that somebody kept goes on working and tells the real
time.
"""

import ctypes
import datetime
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, Final, Protocol

from capas.sockets.garbage import collect_as_before, collect_seldom

_SECOND: Final = 1_000_000_000


class TimeSource(Protocol):
    """A world, seen by its programs."""

    epoch: int  # ns since the Unix epoch at time 0 of the world

    def read(self) -> int:
        """The time of the world, ns, for a program that asks."""

    def sleep(self, deadline: int) -> None:
        """Block the calling program."""

    def adopt_thread(self) -> None:
        """The calling thread belongs to this world."""

    def activate(self) -> Any:
        """A context manager: this world runs in the calling thread."""


class _Here(threading.local):
    source: TimeSource | None = None
    forking: TimeSource | None = None


_here: Final = _Here()

_real_time: Final = time.time
_real_time_ns: Final = time.time_ns
_real_monotonic: Final = time.monotonic
_real_monotonic_ns: Final = time.monotonic_ns
_real_perf_counter: Final = time.perf_counter
_real_perf_counter_ns: Final = time.perf_counter_ns
_real_sleep: Final = time.sleep
_real_gmtime: Final = time.gmtime
_real_localtime: Final = time.localtime
_real_ctime: Final = time.ctime
_real_asctime: Final = time.asctime
_real_strftime: Final = time.strftime
_real_gettime_ns: Final = getattr(time, "clock_gettime_ns", None)
_real_gettime: Final = getattr(time, "clock_gettime", None)


def current() -> TimeSource | None:
    """The world that the calling thread belongs to."""
    return _here.source


def _wall_ns(source: TimeSource) -> int:
    return source.epoch + source.read()


def _time() -> float:
    source = _here.source
    return _real_time() if source is None else _wall_ns(source) / _SECOND


def _time_ns() -> int:
    source = _here.source
    return _real_time_ns() if source is None else _wall_ns(source)


def _monotonic() -> float:
    source = _here.source
    return _real_monotonic() if source is None else source.read() / _SECOND


def _monotonic_ns() -> int:
    source = _here.source
    return _real_monotonic_ns() if source is None else source.read()


def _perf_counter() -> float:
    source = _here.source
    return _real_perf_counter() if source is None else source.read() / _SECOND


def _perf_counter_ns() -> int:
    source = _here.source
    return _real_perf_counter_ns() if source is None else source.read()


#: clocks of ``clock_gettime`` that are the world's; those of processor time are not.
_WALL_CLOCKS: Final = tuple(
    getattr(time, name) for name in ("CLOCK_REALTIME", "CLOCK_TAI") if hasattr(time, name)
)
_UPTIME_CLOCKS: Final = tuple(
    getattr(time, name)
    for name in ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME", "CLOCK_UPTIME")
    if hasattr(time, name)
)


def _clock_gettime_ns(clock: int) -> int:
    source = _here.source
    if source is not None and clock in _WALL_CLOCKS:
        return _wall_ns(source)
    if source is not None and clock in _UPTIME_CLOCKS:
        return source.read()
    assert _real_gettime_ns is not None
    return int(_real_gettime_ns(clock))


def _clock_gettime(clock: int) -> float:
    if _here.source is None or clock not in _WALL_CLOCKS + _UPTIME_CLOCKS:
        assert _real_gettime is not None
        return float(_real_gettime(clock))
    return _clock_gettime_ns(clock) / _SECOND


def _sleep(seconds: float) -> None:
    source = _here.source
    if source is None:
        _real_sleep(seconds)
        return
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if seconds:
        source.sleep(source.read() + round(seconds * _SECOND))


def _gmtime(seconds: float | None = None) -> time.struct_time:
    return _real_gmtime(_time() if seconds is None else seconds)


def _localtime(seconds: float | None = None) -> time.struct_time:
    return _real_localtime(_time() if seconds is None else seconds)


def _ctime(seconds: float | None = None) -> str:
    return _real_ctime(_time() if seconds is None else seconds)


def _asctime(t: Any = None) -> str:
    return _real_asctime(_localtime() if t is None else t)


def _strftime(format: str, t: Any = None) -> str:
    return _real_strftime(format, _localtime() if t is None else t)


def _now(cls: Any, tz: datetime.tzinfo | None = None) -> Any:
    """The time of the world the thread belongs to (``datetime.datetime.now``)."""
    if _here.source is None:
        return _genuine["now"].__get__(None, cls)(tz)
    return cls.fromtimestamp(_time(), tz)


def _utcnow(cls: Any) -> Any:
    """As `_now`, in UTC without saying so (``datetime.datetime.utcnow``)."""
    if _here.source is None:
        return _genuine["utcnow"].__get__(None, cls)()
    return cls.fromtimestamp(_time(), datetime.UTC).replace(tzinfo=None)


#: The class ``datetime`` itself stays, since compiled code compares it by identity: two of its
#: methods read the machine's clock themselves, and are exchanged in the class's own dictionary.
_METHODS: Final[dict[str, Any]] = {"now": classmethod(_now), "utcnow": classmethod(_utcnow)}
_genuine: Final[dict[str, Any]] = {name: vars(datetime.datetime)[name] for name in _METHODS}


def _replace_methods(methods: dict[str, Any]) -> None:
    for inside in gc.get_referents(vars(datetime.datetime)):
        if isinstance(inside, dict) and inside.keys() >= methods.keys():
            inside.update(methods)
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))


_STAND_INS: Final[list[tuple[ModuleType | type, str, Any, Any]]] = [
    (time, "time", _real_time, _time),
    (time, "time_ns", _real_time_ns, _time_ns),
    (time, "monotonic", _real_monotonic, _monotonic),
    (time, "monotonic_ns", _real_monotonic_ns, _monotonic_ns),
    (time, "perf_counter", _real_perf_counter, _perf_counter),
    (time, "perf_counter_ns", _real_perf_counter_ns, _perf_counter_ns),
    (time, "sleep", _real_sleep, _sleep),
    (time, "gmtime", _real_gmtime, _gmtime),
    (time, "localtime", _real_localtime, _localtime),
    (time, "ctime", _real_ctime, _ctime),
    (time, "asctime", _real_asctime, _asctime),
    (time, "strftime", _real_strftime, _strftime),
]
if _real_gettime is not None:  # not on Windows
    _STAND_INS.append((time, "clock_gettime", _real_gettime, _clock_gettime))
    _STAND_INS.append((time, "clock_gettime_ns", _real_gettime_ns, _clock_gettime_ns))

#: Modules that measure real waiting, or must not notice: by name, with all below them.
_LEFT_ALONE: Final = (
    "_pydatetime",
    "_pytest",
    "_strptime",
    "_thread",
    "capas",
    "coverage",
    "datetime",
    "execnet",
    "faulthandler",
    "hypothesis",
    "multiprocessing",
    "pluggy",
    "pytest",
    "pytest_timeout",
    "selectors",
    "time",
    "xdist",
)

_lock: Final = threading.Lock()
_users: Final[list[TimeSource]] = []  # one entry per world and thread that runs
_known: dict[str, ModuleType] = {}  # modules looked through
_taken: list[tuple[Any, str, Any, Any]] = []  # (where, name, genuine, stand-in) found in them


def _look_through_modules() -> None:
    """Find names taken by ``from time import ...`` in modules not seen before.

    Also in their classes, and where functions take them as the defaults of arguments.
    """
    fakes = {id(real): fake for _, _, real, fake in _STAND_INS}
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or _known.get(name) is module:
            continue
        _known[name] = module
        if name.partition(".")[0] in _LEFT_ALONE:
            continue
        for attribute, value in list(vars(module).items()):
            _note(fakes, module, attribute, value)
            if isinstance(value, type) and value.__module__ == name:
                for inner, kept in list(vars(value).items()):
                    _note(fakes, value, inner, kept)


def _note(fakes: dict[int, Any], owner: Any, name: str, value: Any) -> None:
    plain = value.__func__ if isinstance(value, staticmethod) else value
    fake = fakes.get(id(plain))
    if fake is not None:  # the genuine one does not become a method either
        _taken.append((owner, name, value, staticmethod(fake) if isinstance(owner, type) else fake))
    elif isinstance(plain, FunctionType):
        by_place, by_name = plain.__defaults__, plain.__kwdefaults__
        if by_place and any(id(kept) in fakes for kept in by_place):
            moved = tuple(fakes.get(id(kept), kept) for kept in by_place)
            _taken.append((plain, "__defaults__", by_place, moved))
        if by_name and any(id(kept) in fakes for kept in by_name.values()):
            named = {key: fakes.get(id(kept), kept) for key, kept in by_name.items()}
            _taken.append((plain, "__kwdefaults__", by_name, named))


def _replace(to_virtual: bool) -> None:
    _replace_methods(_METHODS if to_virtual else _genuine)
    for owner, name, real, fake in [*_STAND_INS, *_taken]:
        old, new = (real, fake) if to_virtual else (fake, real)
        kept = vars(owner).get(name) if isinstance(owner, type) else getattr(owner, name, None)
        if kept is old:
            setattr(owner, name, new)


def _begin(source: TimeSource) -> None:
    with _lock:
        _users.append(source)
        if len(_users) == 1:
            _look_through_modules()
            _replace(True)
            collect_seldom()


def _end(source: TimeSource) -> None:
    with _lock:
        _users.remove(source)
        if not _users:
            _replace(False)
            collect_as_before()


def adopt_thread(source: TimeSource) -> None:
    """The calling thread lives by the time of ``source`` from now on."""
    _here.source = source


@contextmanager
def running(source: TimeSource) -> Iterator[None]:
    """While the block runs, the calling thread lives by the time of ``source``."""
    before = _here.source
    if before is source:
        yield
        return
    _begin(source)
    _here.source = source
    try:
        yield
    finally:
        _here.source = before
        _end(source)


@contextmanager
def real_time() -> Iterator[None]:
    """While the block runs, the calling thread lives by the machine's time."""
    before = _here.source
    _here.source = None
    try:
        yield
    finally:
        _here.source = before


def _before_fork() -> None:
    _here.forking, _here.source = _here.source, None


def _after_fork() -> None:
    _here.source = _here.forking


if hasattr(os, "register_at_fork"):  # in another process time is the machine's
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)


def add_stand_ins(more: Sequence[tuple[ModuleType | type, str, Any, Any]]) -> None:
    """Replace also these, (module or class, name, genuine, stand-in), while a world runs."""
    with _lock:
        _STAND_INS.extend(more)
        _known.clear()  # what was looked through may have taken these
        if _users:
            _look_through_modules()
            _replace(True)
        else:
            _taken.clear()


monotonic: Final = _monotonic
sleep: Final = _sleep
pause: Final = _real_sleep
Reader = Callable[[], float]
wall_clock: Final[Reader] = _real_time
stopwatch: Final[Reader] = _real_perf_counter
