# SPDX-License-Identifier: Apache-2.0
"""The event loop of a test, and others in the same thread.

A loop of the machine there (`asyncio.run` on no host) would wait by the machine's clock for a time
that only the world makes go on: for ever.  It may do what needs no waiting; then it is told so.
"""

import asyncio
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

from capas.aio.loop import CapasEventLoop
from capas.errors import BlockingInLoopError
from capas.sim import virtual_time
from capas.sim.world import World

Watcher = Callable[[], None]


@final
class InternetLoop(CapasEventLoop):
    """The one event loop of a test; ``watchers`` are called after each of its turns."""

    def __init__(self, world: World) -> None:
        self.watchers: list[Watcher] = []
        super().__init__(world.driver)

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.watchers:
            for watcher in tuple(self.watchers):
                watcher()


@contextmanager
def genuine_refused() -> Iterator[None]:
    """While the block runs, `BlockingInLoopError` instead of waiting for ever."""
    genuine = asyncio.BaseEventLoop.run_forever

    def run_forever(self: Any) -> None:
        if virtual_time.current() is None or isinstance(self, CapasEventLoop):
            genuine(self)
            return
        once = self._run_once
        self._run_once = functools.partial(_run_once, self, once)
        try:
            genuine(self)
        finally:
            self._run_once = once

    asyncio.BaseEventLoop.run_forever = run_forever  # type: ignore[method-assign]
    try:
        yield
    finally:
        asyncio.BaseEventLoop.run_forever = genuine  # type: ignore[method-assign]


def _run_once(loop: Any, once: Any) -> None:
    if not loop._ready and not loop._stopping and virtual_time.current() is not None:
        raise BlockingInLoopError(
            "an event loop on no host would wait here for ever, since the time is the world's: use"
            " host.run(main()), internet.run(main()), or host.thread(asyncio.run, main())"
        )
    once()
