# SPDX-License-Identifier: Apache-2.0
"""The selector below an event loop: virtual descriptors by watching, genuine ones by the kernel.

Nothing is scanned: an endpoint that gains readiness puts its entry on a list, and only entries on
that list are looked at; they stay while they are ready (level-triggered) and leave when they are
not.  Waiting is `Driver.turn`.  Order of results: order of becoming ready.
"""

import math
import os
import selectors
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, final

from capas.base.clock import NEVER, SECOND
from capas.sockets.current import use_host
from capas.sockets.description import Description
from capas.sockets.driver import VIRTUAL_FD, Driver
from capas.transport.endpoint import ERROR, HANGUP, READ, WRITE, Endpoint, Watcher

READABLE: Final = READ | HANGUP | ERROR  # what epoll and `selectors` count as readable
WRITABLE: Final = WRITE | HANGUP | ERROR
_POLL_EVERY: Final = 64  # turns between looks at a self-pipe that nobody should write to


@final
class _Entry(Watcher):
    """A registered virtual descriptor; the watcher of its endpoint."""

    __slots__ = ("description", "hot", "key", "mask")

    def __init__(
        self, description: Description, key: selectors.SelectorKey, hot: "dict[int, _Entry]"
    ) -> None:
        self.description: Description = description
        self.key: selectors.SelectorKey = key
        self.hot: dict[int, _Entry] = hot
        self.mask: int = 0

    def set_key(self, key: selectors.SelectorKey) -> None:
        """New events or data."""
        self.key = key
        self.mask = (READABLE if key.events & selectors.EVENT_READ else 0) | (
            WRITABLE if key.events & selectors.EVENT_WRITE else 0
        )
        if self.description.endpoint.readiness & self.mask:
            self.hot[key.fd] = self

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """The driver says the endpoint gained readiness."""
        if endpoint.readiness & self.mask:
            self.hot[self.key.fd] = self

    def events(self) -> int:
        """The selector events that are ready now."""
        ready = self.description.endpoint.readiness
        events = 0
        if ready & READABLE:
            events = selectors.EVENT_READ
        if ready & WRITABLE:
            events |= selectors.EVENT_WRITE
        return events & self.key.events


@final
class _Map(Mapping[Any, selectors.SelectorKey]):
    """All registered descriptors, virtual and genuine."""

    def __init__(self, selector: "LoopSelector") -> None:
        self._selector = selector

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.get_key(fileobj)

    def __iter__(self) -> Iterator[Any]:
        yield from self._selector.entries
        yield from self._selector.real.get_map() or ()

    def __len__(self) -> int:
        return len(self._selector.entries) + len(self._selector.real.get_map() or ())


@final
class LoopSelector(selectors.BaseSelector):
    """A selector on the time and the network of ``driver``."""

    def __init__(self, driver: Driver) -> None:
        self.driver: Driver = driver
        self.entries: dict[int, _Entry] = {}
        self._hot: dict[int, _Entry] = {}
        self._map: _Map = _Map(self)
        self._own: bool = driver.real_selector is None
        if driver.real_selector is None:
            with use_host(None):  # where `capas.sockets.modules` is installed: a genuine one
                driver.real_selector = selectors.DefaultSelector()
        self.real: selectors.BaseSelector = driver.real_selector
        self._genuine: list[int] = []  # our descriptors in `real`
        self._processes: set[int] = set()  # those of them that may be a process's: no sockets
        self._helper: object | None = None  # the thread that ``_outside`` was made for, if any
        self._outside: AbstractContextManager[object] = nullcontext()
        self._told: bool = False  # that a genuine descriptor is ready
        self._turns: int = 0
        self._woken: bool = False
        self._closed: bool = False

    # -- registration -----------------------------------------------------------------------------

    def _fd(self, fileobj: Any) -> int:
        if isinstance(fileobj, int):
            return fileobj
        fd = int(fileobj.fileno())
        if fd >= 0:
            return fd
        for entry in self.entries.values():  # closed already: find it by identity
            if entry.key.fileobj is fileobj:
                return entry.key.fd
        raise ValueError(f"Invalid file object: {fileobj!r}")

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch a descriptor or an object with one."""
        fd = self._fd(fileobj)
        if fd < VIRTUAL_FD:
            key = self.real.register(fileobj, events, data)
            self._genuine.append(fd)
            if self.driver.virtual and not stat.S_ISSOCK(os.fstat(fd).st_mode):
                self._processes.add(fd)
                self._outside = self.driver.outside(self._look_outside, only=True)
            return key
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        if fd in self.entries:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        description = self.driver.descriptors.open.get(fd)
        if description is None:
            raise ValueError(f"Invalid file descriptor: {fd}")
        key = selectors.SelectorKey(fileobj, fd, events, data)
        entry = self.entries[fd] = _Entry(description, key, self._hot)
        description.watch(entry)
        entry.set_key(key)  # only now: what comes in between must not be lost
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Watch it no more."""
        fd = self._fd(fileobj)
        if fd < VIRTUAL_FD:
            key = self.real.unregister(fileobj)
            self._genuine.remove(fd)
            self._processes.discard(fd)
            return key
        entry = self.entries.pop(fd, None)
        if entry is None:
            raise KeyError(f"{fileobj!r} is not registered")
        self._hot.pop(fd, None)
        entry.description.unwatch(entry)
        return entry.key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Change what is watched for, or the data."""
        fd = self._fd(fileobj)
        if fd < VIRTUAL_FD:
            return self.real.modify(fileobj, events, data)
        entry = self.entries.get(fd)
        if entry is None:
            raise KeyError(f"{fileobj!r} is not registered")
        entry.set_key(entry.key._replace(events=events, data=data))
        return entry.key

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """What was registered; KeyError."""
        fd = self._fd(fileobj)
        entry = self.entries.get(fd)
        if entry is not None:
            return entry.key
        if fd < VIRTUAL_FD:
            return self.real.get_key(fileobj)
        raise KeyError(f"{fileobj!r} is not registered")

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """All that is registered."""
        return self._map

    # -- waiting ----------------------------------------------------------------------------------

    def wake(self) -> None:
        """End a wait at once; from any thread."""
        self._woken = True
        self.driver.wake()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the network run until something is ready; (key, events) pairs."""
        driver = self.driver
        hot = self._hot
        if self._woken or (timeout is not None and timeout <= 0) or (hot and self._is_ready()):
            deadline = driver.now()
        elif timeout is None:
            deadline = NEVER
        else:
            deadline = min(driver.now() + math.ceil(timeout * SECOND), NEVER)
        self._woken = self._told = False
        if self._processes or (driver.helpers and self._has_helper()):
            with self._outside:
                driver.turn(deadline)
        else:
            driver.turn(deadline)
        found: list[tuple[selectors.SelectorKey, int]] = []
        if driver.genuine_ready and self._genuine and self._look_at_genuine():
            found.extend(self.real.select(0))
        if hot:
            for fd, entry in tuple(hot.items()):
                events = entry.events()
                if events:
                    found.append((entry.key, events))
                else:
                    hot.pop(fd, None)
        return found

    def _has_helper(self) -> bool:
        """Whether a genuine thread waits for a process: asyncio's before Python 3.12."""
        helper = self.driver.helper()
        if helper is not None and helper is not self._helper:
            self._outside = self.driver.outside(self._look_outside, only=True)
        self._helper = helper
        return helper is not None

    def _look_outside(self, seconds: float) -> bool:
        """Wait for genuine descriptors before virtual time goes on; True if one is ready."""
        driver = self.driver
        driver.asleep = True  # who wakes us from now on writes to the self-pipe
        try:
            ready = self._woken or self.real.select(None if seconds == math.inf else seconds)
        finally:
            driver.asleep = False
        if self._told or not ready:
            return False
        self._told = True
        driver.wake()
        return True

    def _is_ready(self) -> bool:
        return any(entry.events() for entry in tuple(self._hot.values()))

    def _look_at_genuine(self) -> bool:
        """In virtual time the self-pipe alone is hardly worth a system call."""
        self._turns += 1
        return not self.driver.virtual or len(self._genuine) > 1 or self._turns % _POLL_EVERY == 0

    def close(self) -> None:
        """Forget everything; the driver's own selector stays if it had one."""
        if self._closed:
            return
        self._closed = True
        for entry in self.entries.values():
            entry.description.unwatch(entry)
        self.entries.clear()
        self._hot.clear()
        if self._own:
            self.real.close()
            self.driver.real_selector = None
        else:
            for fd in self._genuine:
                self.real.unregister(fd)
        self._genuine.clear()
        self.driver.release()
