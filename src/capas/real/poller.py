# SPDX-License-Identifier: Apache-2.0
"""Waiting for descriptors, without an object for each event.

Where the system has epoll it is asked directly: what `selectors` makes of the answer costs more
than the question.  Elsewhere `selectors` does it.
"""

import contextlib
import select
import selectors
from typing import Final, final

READ: Final = 1  # EPOLLIN
WRITE: Final = 4  # EPOLLOUT; any other bit, a hang-up or an error, is for who reads to see
_MOST: Final = 64  # events at a time; more wait in the kernel


@final
class EpollPoller:
    """A set of descriptors and what is wanted of each: READ, WRITE or both."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int, mask: int) -> None:
        """Wait for ``fd`` from now on."""
        self._epoll.register(fd, mask)

    def change(self, fd: int, mask: int) -> None:
        """Want something else of ``fd``."""
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Wait for ``fd`` no more; if it is closed, the kernel has forgotten it already."""
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """(descriptor, READ | WRITE) of those ready within ``timeout`` s; None: without end."""
        return self._epoll.poll(timeout, _MOST)

    def close(self) -> None:
        """Give the set's own descriptor back."""
        self._epoll.close()


@final
class SelectorPoller:
    """The same by whatever `selectors` finds."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, fd: int, mask: int) -> None:
        """As `EpollPoller.add`."""
        self._selector.register(fd, _events(mask))

    def change(self, fd: int, mask: int) -> None:
        """As `EpollPoller.change`."""
        self._selector.modify(fd, _events(mask))

    def remove(self, fd: int) -> None:
        """As `EpollPoller.remove`."""
        self._selector.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """As `EpollPoller.poll`."""
        return [(key.fd, _mask(events)) for key, events in self._selector.select(timeout)]

    def close(self) -> None:
        """As `EpollPoller.close`."""
        self._selector.close()


def _events(mask: int) -> int:
    read = selectors.EVENT_READ if mask & READ else 0
    return read | (selectors.EVENT_WRITE if mask & WRITE else 0)


def _mask(events: int) -> int:
    read = READ if events & selectors.EVENT_READ else 0
    return read | (WRITE if events & selectors.EVENT_WRITE else 0)


def make_poller() -> EpollPoller | SelectorPoller:
    """The best there is here."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()
