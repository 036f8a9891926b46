# SPDX-License-Identifier: Apache-2.0
"""A host as tests use it: programs are started on it, and it is killed, paused and booted."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, final

from capas.base.clock import NEVER
from capas.errors import CapasError, ConfigurationError
from capas.host.host import Host
from capas.sim import rules
from capas.sim.direction import DOWN
from capas.sim.process import Process
from capas.sim.rules import Applied
from capas.sockets.current import context_of, use_host
from capas.wire.address import text

if TYPE_CHECKING:
    from capas.testing.fixture import Internet


_SOON: Final = 1e-6  # s, in which a server listens if it does not run for ever


class HostDiedError(CapasError):
    """A program ended because its host lost power, or could not begin because it had none."""


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _label(station: "Station", coroutine: Any) -> str:
    return f"{station.name}:{getattr(coroutine, '__name__', 'task')}"


@final
class Program:
    """A blocking program on a host; await it inside an event loop, or ask for `result`."""

    def __init__(self, internet: "Internet", process: Process) -> None:
        self._internet: Internet = internet
        self.process: Process = process
        process.finished.append(lambda _: internet.world.engine.wake())

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.process.done

    def result(self) -> Any:
        """Let the world run until the program has ended; what it returned or raised.

        `HostDiedError` if its host lost power.
        """
        process, internet = self.process, self._internet
        process.report = False
        if (
            internet.world.engine.current is None
            and not process.done
            and not internet.drive(NEVER, lambda: process.done)
        ):
            raise internet.world.engine.deadlock()
        return self._outcome()

    def _outcome(self) -> Any:
        process = self.process
        if process.killed and process.done:
            raise HostDiedError(f"{process.name} ended with its host")
        return process.result()

    def __await__(self) -> Generator[Any, None, Any]:
        process = self.process
        process.report = False
        if not process.done:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            process.finished.append(lambda _: _settle(future))
            yield from future.__await__()
        return self._outcome()

    def __repr__(self) -> str:
        return f"<Program {self.process.name}{' done' if self.done else ''}>"


@final
class Station:
    """A host or router of an `Internet`."""

    def __init__(self, internet: "Internet", host: Host) -> None:
        self.internet: Internet = internet
        self.host: Host = host
        self._boot: list[Callable[[], object]] = []
        self._deaths: int = 0
        internet.world.on_kill(host, self._died)

    def _died(self) -> None:
        self._deaths += 1

    @property
    def name(self) -> str:
        """The host's name, which other hosts can connect to."""
        return self.host.name

    @property
    def addresses(self) -> list[str]:
        """All addresses the plan knows, as text."""
        return [text(address) for address in self.internet.world.names[self.name]]

    @property
    def address(self) -> str:
        """The first IPv4 address, or the first of all."""
        found = self.addresses
        if not found:
            raise ConfigurationError(f"{self.name!r} has no address yet: link it to something")
        return next((one for one in found if ":" not in one), found[0])

    @property
    def address6(self) -> str:
        """The first IPv6 address."""
        for one in self.addresses:
            if ":" in one:
                return one
        raise ConfigurationError(f"{self.name!r} has no IPv6 address")

    @property
    def down(self) -> bool:
        """Whether it has lost power."""
        return self.internet.world.node(self.host).condition == DOWN

    def _check_power(self, starting: Any) -> None:
        ours = self.internet.stations.get(self.name) is self
        if ours and not self.down:
            return
        if inspect.iscoroutine(starting):
            starting.close()
        if not ours:
            raise ConfigurationError(
                f"{self.name!r} is a host of an earlier example: each has an internet of its own,"
                " so make hosts in the test, not in a fixture"
            )
        raise HostDiedError(f"{self.name!r} is down: restart() it first")

    # -- programs -------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, Any] | Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine on this host to its end; inside an event loop: a task to await."""
        coroutine = coroutine_of(main, f"{self.name}.run")
        self._check_power(coroutine)
        if asyncio._get_running_loop() is not None:
            return asyncio.get_running_loop().create_task(self.guard(coroutine))
        return self.internet.complete(coroutine, self.host)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None
    ) -> "asyncio.Task[Any]":
        """Start a coroutine on this host; it goes on whenever the test lets time go on."""
        self._check_power(coroutine)
        loop = asyncio._get_running_loop() or self.internet.loop
        label = name or _label(self, coroutine)
        task = loop.create_task(coroutine, name=label, context=context_of(self.host))
        self.internet.world.engine.wake()
        return task

    async def guard(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it on the host and give its result; `HostDiedError` if the host loses power."""
        deaths = self._deaths
        task = self.spawn(coroutine)
        try:
            return await task
        except asyncio.CancelledError:
            if self._deaths == deaths:
                raise
            what = getattr(coroutine, "__qualname__", "a program")
            raise HostDiedError(f"{what} ended with its host {self.name!r}") from None

    def serve(self, what: Any, port: int | None = None, **settings: Any) -> Any:
        """Start a server on this host, now and whenever it boots; inside an event loop: await it.

        ``what`` is a handler ``async def handle(reader, writer)`` with its ``port`` (``settings``
        go to `asyncio.start_server`), a function that makes a coroutine that serves or starts a
        server, or such a coroutine itself, which cannot start again after a restart.
        """
        if inspect.iscoroutine(what):
            return self._begin(what)
        rules.callable_(what, f"{self.name}.serve")
        if port is None and _needs_arguments(what):
            raise ConfigurationError(
                f"{self.name}.serve: a handler of connections needs a port: serve(handler, port=80)"
            )
        if port is not None:

            def make() -> Any:
                return asyncio.start_server(what, port=port, **settings)
        else:
            make = what
        self._boot.append(lambda: _made(make))
        return self._begin(make())

    def _begin(self, made: Any) -> Any:
        """Run the world until a server listens; a server that runs for ever just starts."""
        self._check_power(made)
        task = self.spawn(_keep(made), name=f"{self.name}:serve")
        if asyncio._get_running_loop() is not None:
            return asyncio.get_running_loop().create_task(_begun(task))
        if self.internet.world.engine.current:
            return task
        self.internet.run_for(_SOON)
        return task.result() if task.done() else task

    def thread(self, function: Callable[..., object], *args: object, name: str = "") -> Program:
        """Start blocking code on this host."""
        if inspect.iscoroutine(function) or inspect.iscoroutinefunction(function):
            if inspect.iscoroutine(function):
                function.close()
            raise ConfigurationError(
                f"{self.name}.thread is for blocking code: a coroutine is for {self.name}.run"
            )
        rules.callable_(function, f"{self.name}.thread")
        self._check_power(None)
        return Program(
            self.internet, self.internet.world.thread(self.host, function, *args, name=name)
        )

    def on_boot(self, start: Callable[[], object]) -> None:
        """Call ``start()`` now and after each restart; a coroutine it gives becomes a task."""
        self._boot.append(rules.callable_(start, f"{self.name}.on_boot"))
        if not self.down:
            self._start(start)

    def start(self) -> None:
        """What the host does when it boots."""
        for start in self._boot:
            self._start(start)

    def _start(self, start: Callable[[], object]) -> None:
        made = start()
        if inspect.iscoroutine(made):
            self.spawn(made)

    def __enter__(self) -> "Station":
        self._use: AbstractContextManager[Host | None] = use_host(self.host)
        self._use.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._use.__exit__(*error)

    # -- faults ---------------------------------------------------------------------------------

    def kill(self) -> Applied:
        """Lose power, until `restart` or the end of the fault."""
        return self.internet.kill(self.host)

    def restart(self) -> None:
        """Boot anew, killing first if need be."""
        self.internet.restart(self.host)

    def pause(self) -> Applied:
        """Stand still until the end of the fault."""
        return self.internet.pause(self.host)

    def isolate(self) -> Applied:
        """Cables out until the end of the fault."""
        return self.internet.isolate(self.host)

    def __repr__(self) -> str:
        return f"<Station {self.name}>"


async def _begun(task: "asyncio.Task[Any]") -> Any:
    """What starting a server gave, or the task of one that runs for ever."""
    await asyncio.wait({task}, timeout=_SOON)
    return task.result() if task.done() else task


def coroutine_of(main: Any, what: str) -> Coroutine[Any, Any, Any]:
    """A coroutine, or what a function makes; ConfigurationError if it is none."""
    made = main() if callable(main) else main
    if inspect.iscoroutine(made):
        return made
    if inspect.isawaitable(made):
        return _keep(made)
    raise ConfigurationError(f"{what}: {main!r} is no coroutine, nor a function that makes one")


def _needs_arguments(function: Any) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:
        pass  # it does not say
    return False


async def _made(make: Callable[[], Any]) -> Any:
    """What ``make`` gives, when it comes to that: the host may die before."""
    return await _keep(make())


async def _keep(made: Any) -> Any:
    """A coroutine of whatever starts a server."""
    return await made if inspect.isawaitable(made) else made
