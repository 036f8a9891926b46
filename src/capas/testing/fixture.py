# SPDX-License-Identifier: Apache-2.0
"""An internet in a test: a `World` with one event loop, programs on its hosts, and faults.

`Internet` is what the fixture ``internet`` gives, and works without pytest as a context manager:

    with Internet(seed=7) as internet:
        client, server = internet.host("client"), internet.host("server")
        internet.link(client, server, delay="20ms", loss="1%")
        server.serve(echo, port=7)
        assert client.run(ask()) == b"hello"

While it is open, ``time``, ``datetime``, ``random`` and ``socket`` are the world's for its programs
and for the thread that opened it, and are given back on `close`, whatever happened.
"""

import asyncio
import gc
import io
import random
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import IO, Any, TypeVar, cast, final

from capas.base.clock import NEVER, SECOND
from capas.base.config import HostConfig
from capas.errors import BlockingInLoopError, ConfigurationError, DeadlockError
from capas.host.host import Host
from capas.sim.capture import WorldCapture
from capas.sim.nat import Nat
from capas.sim.switch import Switch
from capas.sim.units import Time, time_ns
from capas.sim.wire import Wire
from capas.sim.world import World
from capas.sockets import modules
from capas.testing import nameserver
from capas.testing.chance import seeded
from capas.testing.faultlog import FaultLog, Place
from capas.testing.keylog import KeyLog, with_secrets
from capas.testing.loops import InternetLoop, genuine_refused
from capas.testing.station import Program, Station, coroutine_of
from capas.testing.tracks import Tracks

T = TypeVar("T")

_SPOOL = 8 << 20  # bytes of a capture kept in memory before it goes to a file
_TIDY = 600 * SECOND  # between collections of garbage
_QUIET_IDLE = 60.0  # s without anything due after which an internet counts as quiet


@final
class Internet(FaultLog):
    """A world for one test.

    ``seed``     of everything random, also of ``random`` and ``os.urandom`` in the test
    ``record``   keep a capture and the tracks of frames, for the files of a failure
    ``stations`` hosts and routers by name
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        record: bool = True,
        start: float | None = None,
        exact: bool = False,
        config: HostConfig | None = None,
    ) -> None:
        super().__init__()
        self.seed: int | str = seed
        self.record: bool = record
        self.plan: Any = None  # the last `capas.testing.faultplan.FaultPlan` applied
        self.complaints: list[str] = []  # errors that tasks and callbacks died of, unasked
        self.stations: dict[str, Station] = {}
        self._settings: dict[str, Any] = {"start": start, "exact": exact, "config": config}
        self._stack: ExitStack = ExitStack()
        self._open: bool = False
        self._file: IO[bytes] | None = None  # the capture, while it can be read
        self._chance: Any = None  # the state of ``random`` to be given back
        self.world = World(seed, **self._settings)

    # -- life -----------------------------------------------------------------------------------

    def open(self) -> "Internet":
        """Begin: time, sockets and chance of this thread are the world's."""
        if self._open:
            raise ConfigurationError("this internet is open already")
        self.close()  # a capture that was kept
        self._open = True
        self._runner: asyncio.Runner | None = None
        self._loop: InternetLoop | None = None
        self._dns: Host | None = None
        self._file = file = cast("IO[bytes]", tempfile.SpooledTemporaryFile(_SPOOL))  # noqa: SIM115
        self.tracks: Tracks = Tracks()
        stack = self._stack
        if self.record:
            self.world.capture(file)
            self.world.captures.append(cast(WorldCapture, self.tracks))
        if gc.isenabled():  # a socket that is collected says goodbye: not at a moment of chance
            gc.disable()
            stack.callback(gc.enable)
        self._next_tidy: int = _TIDY
        self.world.engine.checks.append(self._tidy)
        self._keylog = stack.enter_context(KeyLog())
        stack.enter_context(self.world.driver.activate())
        stack.enter_context(modules.installed())
        stack.enter_context(genuine_refused())
        if self._chance is None:
            self._chance = random.getstate()
        stack.callback(random.setstate, self._chance)
        random.seed(f"capas:{self.seed}")
        stack.enter_context(seeded(self.world.rng.stream("urandom"), self.world.driver))
        stack.callback(self._stop)
        return self

    def close(self, *, keep: bool = False) -> None:
        """End all programs; this thread's time, sockets and chance are the machine's again.

        ``keep``: the capture can still be read, until it is closed again.
        """
        try:
            if self._open:
                self._open = False
                self._stack.close()
        finally:
            if self._file is not None and not keep:
                self._file.close()
                self._file = None

    @property
    def has_capture(self) -> bool:
        """Whether there is a capture that can still be read."""
        return self.record and self._file is not None

    def _tidy(self) -> None:
        """Collect garbage at moments of virtual time, so that every run does it alike."""
        now = self.world.engine.clock.time
        if now >= self._next_tidy:
            self._next_tidy = now + _TIDY
            gc.collect()

    def _stop(self) -> None:
        self.world.engine.checks.clear()
        for process in self.world.engine.processes:
            process.report = False  # it is over: what a program dies of now has no test to fail
        try:
            if self._runner is not None:
                self._runner.close()
        except DeadlockError:
            pass  # a task that waits for ever in its cleanup: nobody is left to hear of it
        finally:
            self.world.close()

    def reset(self) -> None:
        """Close, and open a new world of the same seed: one of hypothesis's examples is over."""
        self.close()
        self._stack = ExitStack()
        self.world = World(self.seed, **self._settings)
        self.marks = []
        self.complaints = []
        self.stations = {}
        self.plan = None
        self.open()

    def __repr__(self) -> str:
        return f"<Internet seed {self.seed}>"

    def __enter__(self) -> "Internet":
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- building -------------------------------------------------------------------------------

    def host(
        self,
        name: str,
        *,
        addresses: Sequence[str] | None = (),
        config: HostConfig | None = None,
    ) -> Station:
        """A new host; ``addresses`` None: it has none until DHCP or a router gives it one."""
        return self._station(self.world.host(name, addresses=addresses, config=config))

    def hosts(self, *names: str) -> tuple[Station, ...]:
        """Several new hosts."""
        return tuple(self.host(name) for name in names)

    def router(self, name: str, *, config: HostConfig | None = None) -> Station:
        """A new host that forwards."""
        return self._station(self.world.router(name, config=config))

    def switch(self, name: str = "switch", *places: Place, **settings: Any) -> Switch:
        """A new learning switch, with a link of ``settings`` to each of ``places``."""
        switch = self.world.switch(name)
        for place in places:
            self.link(place, switch, **settings)
        return switch

    def link(self, a: Place, b: Place, **settings: Any) -> Wire:
        """Wire two places: ``rate= delay= jitter= loss= reorder= duplicate= corrupt= queue= mtu=``.

        See `World.link`.
        """
        first = self.stations[a].host if isinstance(a, str) and a in self.stations else a
        second = self.stations[b].host if isinstance(b, str) and b in self.stations else b
        return self.world.link(
            getattr(first, "host", first), getattr(second, "host", second), **settings
        )

    def nat(self, place: Place, outside: Wire, **settings: Any) -> Nat:
        """Have a router translate what leaves by ``outside``, also after a restart: `World.nat`."""
        nat = self.world.nat(self.place(place), outside, **settings)
        self.stations[self.place(place).name].on_boot(nat.install)
        return nat

    def dns(self, place: Place) -> Station:
        """Have ``place`` answer DNS for all names; the others ask it instead of a hosts table."""
        host = self.place(place)
        if not self.world.names[host.name]:
            raise ConfigurationError(f"{host.name!r} has no address yet: link it first")
        self._dns = host
        for other in self.world.hosts.values():
            self._ask_dns(other)
        station = self.stations[host.name]
        station.on_boot(lambda: station.thread(nameserver.serve, self.world.names))
        return station

    def _ask_dns(self, host: Host) -> None:
        if self._dns is not None and host is not self._dns:
            host.names = {}
            host.nameservers = [a for a in self.world.names[self._dns.name] if len(a) == 4]

    def _station(self, host: Host) -> Station:
        station = self.stations[host.name] = Station(self, host)
        self._ask_dns(host)
        return station

    def booted(self, host: Host) -> None:
        """Start again what a host starts when it boots."""
        self._ask_dns(host)
        self.stations[host.name].start()

    # -- time and programs ----------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual time, seconds."""
        return self.world.time

    @property
    def loop(self) -> InternetLoop:
        """The event loop of the test, made when it is first asked for."""
        if not self._open:
            raise ConfigurationError("this internet is closed")
        if self._loop is None:
            self._runner = asyncio.Runner(loop_factory=lambda: InternetLoop(self.world))
            self._loop = cast(InternetLoop, self._runner.get_loop())
            self.world.driver.main_loop = self._loop
            self._loop.set_exception_handler(self._complain)
        return self._loop

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, asyncio.CancelledError):
            return  # streams of Python 3.11 say so of a handler that died with its host
        self.complaints.append(f"{context.get('message')}: {error!r}")

    def complete(self, main: Coroutine[Any, Any, T], host: Host | None = None) -> T:
        """Run a coroutine on the event loop (on ``host``, if given) until it ends."""
        self._forbid_in_loop(main)
        assert self.loop is not None
        assert self._runner is not None
        if host is not None:
            main = self.stations[host.name].guard(main)
        return self._runner.run(main)

    def run(self, main: Coroutine[Any, Any, T] | None = None, *, until: Any = None) -> Any:
        """Run a coroutine to its end, or let time go on.

        ``until`` is a time ("5s", seconds), a function asked after each event, a `Program` or a
        task; None means until nothing is scheduled any more.
        """
        if main is not None:
            if isinstance(main, int | float | str):
                raise ConfigurationError(f"internet.run: say until={main!r}")
            return self.complete(coroutine_of(main, "internet.run"))
        if isinstance(until, Program):
            return until.result()
        if isinstance(until, asyncio.Future):
            self.run(until=until.done)
            return until.result()
        if callable(until):
            if not self.drive(NEVER, until):
                raise self.world.engine.deadlock()
        elif until is None:
            self.drive(NEVER, None)
        else:
            self.drive(time_ns(until, "until"), None)
        return None

    def run_for(self, duration: Time) -> None:
        """Let time go on for so long."""
        self.drive(self.world.now + time_ns(duration, "duration"), None)

    def drive(self, deadline: int, stop: Callable[[], bool] | None) -> bool:
        """Let the world and the event loop run to ``deadline`` (ns) or until ``stop()`` is true.

        False if ``stop()`` did not come true.
        """
        self._forbid_in_loop(None)
        if self._loop is None:
            return self.world._run(deadline, stop)
        if stop is not None and stop():
            return True
        return self._drive_loop(self._loop, deadline, stop)

    def _drive_loop(
        self, loop: InternetLoop, deadline: int, stop: Callable[[], bool] | None
    ) -> bool:
        done: asyncio.Future[bool] = loop.create_future()
        engine = self.world.engine

        def settle(value: bool) -> None:
            if not done.done():
                done.set_result(value)
                engine.wake()

        def look() -> None:
            if stop is not None and not done.done() and stop():
                settle(True)

        timer = None
        if deadline != NEVER:
            timer = loop.call_at(deadline / SECOND, settle, False)
        if stop is not None:
            loop.watchers.append(look)
            engine.checks.append(look)
        try:
            return loop.run_until_complete(done)
        except DeadlockError:
            if stop is not None or deadline != NEVER:
                raise
            return False
        finally:
            done.cancel()
            if timer is not None:
                timer.cancel()
            if stop is not None:
                loop.watchers.remove(look)
                if look in engine.checks:
                    engine.checks.remove(look)

    def quiet(self, *, idle: Time = _QUIET_IDLE, limit: Time = 3600) -> bool:
        """Run until nothing is under way and nothing is due for ``idle``; False at ``limit``."""
        if self._loop is None:
            return self.world.run_until_quiet(idle=idle, limit=limit)
        gap, end = time_ns(idle, "idle"), self.world.now + time_ns(limit, "limit")
        self.run_for(0)
        while self.world.now < end:
            due = self._next_deadline(self._loop)
            if due > self.world.now + gap:
                return True
            self.drive(min(max(due, self.world.now + 1), end), None)
        return False

    def _next_deadline(self, loop: InternetLoop) -> int:
        engine = self.world.engine
        if engine.touched or engine.runnable or loop._ready:  # type: ignore[attr-defined]
            return self.world.now
        due = engine.scheduler.next_deadline()
        for timer in loop._scheduled:  # type: ignore[attr-defined]
            if not timer.cancelled():
                due = min(due, round(timer.when() * SECOND))
        return due

    def _forbid_in_loop(self, main: Any) -> None:
        if asyncio._get_running_loop() is not None:
            if main is not None:
                main.close()
            raise BlockingInLoopError(
                "internet.run inside a running event loop: the loop makes the world go already;"
                " await what you wait for (host.run gives a task here)"
            )

    # -- for the files of a failure -------------------------------------------------------------

    def capture_bytes(self) -> bytes:
        """The capture so far, as a pcapng file of its own, TLS secrets first."""
        for capture in self.world.captures:
            if isinstance(capture, WorldCapture):
                capture.capture.flush()
        assert self._file is not None
        self._file.flush()
        self._file.seek(0)
        data = self._file.read()
        self._file.seek(0, io.SEEK_END)
        return with_secrets(data, self._keylog.read()) if self.record else data
