# SPDX-License-Identifier: Apache-2.0
"""Running coroutines on hosts.

`run_on` is `asyncio.run` on a host: in virtual time if the host's driver is virtual, then also
``time`` and ``socket`` are the world's for the program while it runs.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, TypeVar

from capas.aio.loop import new_event_loop
from capas.host.host import Host
from capas.sockets import modules
from capas.sockets.current import context_of, use_host
from capas.sockets.driver import driver_of

T = TypeVar("T")

Main = Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]]


def run_on(host: Host, main: Main[T], *, debug: bool | None = None) -> T:
    """Run ``main`` (a coroutine, or a function that makes one) on ``host`` until it ends."""
    driver = driver_of(host)
    with ExitStack() as stack:
        if driver.virtual:
            stack.enter_context(driver.activate())
            stack.enter_context(modules.installed())
        stack.enter_context(use_host(host))
        coroutine = main if asyncio.iscoroutine(main) else main()
        runner = asyncio.Runner(debug=debug, loop_factory=lambda: new_event_loop(driver))
        try:
            stack.enter_context(runner)
        except BaseException:
            coroutine.close()
            raise
        return runner.run(coroutine)


def spawn(
    host: Host, coroutine: Coroutine[Any, Any, T], *, name: str | None = None
) -> "asyncio.Task[T]":
    """A task of the running loop that lives on ``host``."""
    loop = asyncio.get_running_loop()
    if name is None:
        name = f"{host.name}:{getattr(coroutine, '__name__', 'task')}"
    return loop.create_task(coroutine, name=name, context=context_of(host))
