# SPDX-License-Identifier: Apache-2.0
"""Calls of blocking sockets that end when all is done: connect, send of a stream, MSG_WAITALL.

With a timeout of Python's a socket does not block in the kernel's sense (O_NONBLOCK): then
`connect` leaves the outcome to the next call, and `send` takes what fits.
"""

import errno
from functools import partial
from typing import Any

from capas.base.clock import NEVER
from capas.sockets import peeking
from capas.sockets.description import Address, Ancillary, Received
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_DONTWAIT, MSG_ERRQUEUE, MSG_FASTOPEN, MSG_OOB, MSG_PEEK
from capas.sockets.handle import Handle
from capas.transport.endpoint import ERROR, HANGUP, READ, WRITE


class BlockingHandle(Handle):
    """What `Socket` does in more than one step."""

    __slots__ = ()

    def _waits_for_all(self, flags: int) -> bool:
        """Whether a call does all its work before it returns (Linux)."""
        return self._timeout is None and not self._never_waits() and not flags & MSG_DONTWAIT

    def _await_connection(self) -> None:
        """Until the handshake is over; OSError if it failed, or took too long."""
        description = self._description
        limit = self._limit(WRITE)
        deadline = self._driver.now() + limit if limit else self._deadline()
        if not self._driver.wait(description.endpoint, WRITE | ERROR | HANGUP, deadline):
            raise fail(errno.EINPROGRESS) if limit else TimeoutError("timed out")
        with self._driver.lock:
            if self._timeout is None:
                description.connected()
                return
            error = description.take_error()  # CPython asks no more: the next `connect` tells
        if error:
            raise fail(error)

    def _send_rest(self, rest: memoryview, flags: int) -> int:
        """A blocking stream takes all, or what it could until something failed (Linux)."""
        description = self.description
        limit = self._limit(WRITE)
        deadline = self._driver.now() + limit if limit else NEVER
        sent = 0
        while sent < len(rest):
            send = partial(description.send, rest[sent:], flags, None, [])
            try:
                sent += self._retry(send, WRITE, flags, deadline)
            except OSError as error:
                self._put_back(error)
                break
        return sent

    def _send_opening(self, view: Any, flags: int, to: Address | None) -> int:
        """MSG_FASTOPEN where one may wait: the handshake is over when it returns (Linux)."""
        sent = 0
        try:
            with self._driver.lock:
                sent = self.description.send(view, flags, to, []) or 0
        except OSError as error:
            if error.errno != errno.EINPROGRESS:  # without a cookie the data follows
                raise
        self._await_connection()
        rest = memoryview(view)[sent:]
        return sent + self._send_rest(rest, flags & ~MSG_FASTOPEN)

    # -- SO_RCVLOWAT and MSG_WAITALL --------------------------------------------------------------

    def _receive_enough(self, limit: int, flags: int) -> Received:
        """As SO_RCVLOWAT says; with a timeout what poll(2) says, which is asked first, counts."""
        description = self.description

        def readable() -> Received | None:
            ready = description.endpoint.readiness & (READ | ERROR | HANGUP)
            return description.receive(limit, flags) if ready else None

        if flags & (MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE) or self._never_waits():
            return self._retry(lambda: description.receive(limit, flags), READ, flags)
        if self._timeout is not None or flags & MSG_PEEK or not limit:
            return self._retry(readable, READ, flags)
        least = description.settings.get("receive_low")
        return self._receive_all(limit, flags, min(limit, least))

    def _receive_all(self, limit: int, flags: int, least: int) -> Received:
        """Some of it again and again, until it is ``least`` bytes or nothing more comes."""
        deadline = -1 if self._timeout == 0 else self._deadline()
        parts: list[bytes] = []
        ancillary: Ancillary = []
        rest = limit - least
        while limit > rest:
            receive = partial(self.description.receive, limit, flags)
            try:
                received = self._retry(receive, READ, flags, deadline)
            except OSError as error:
                if not parts:
                    raise
                self._put_back(error)
                break
            if not received.data:
                break
            parts.append(received.data)
            ancillary = received.ancillary  # TCP_INQ: of the last
            limit -= len(received.data)
        return Received(b"".join(parts), ancillary=ancillary)

    def _put_back(self, error: OSError) -> None:
        """An error that came when some was done: of the next call; a time that is up, of none."""
        if error.errno not in (None, errno.EAGAIN):
            with self._driver.lock:
                self.description.put_back(error.errno)

    def _peek_all(self, limit: int, flags: int) -> Received:
        """As `_receive_all`, and all stays: what is there already must not wake us again."""
        description = self.description

        def look() -> Received | None:
            received = description.receive(limit, flags)
            if received is None or len(received.data) >= limit or description.peer_ended():
                return received
            description.endpoint.clear(READ)
            peeking.moved(description.settings, -len(received.data))  # it is looked at once more
            return None

        try:
            return self._retry(look, READ, flags)
        except (BlockingIOError, TimeoutError):
            with self._driver.lock:
                received = description.receive(limit, flags)
            if received is None:
                raise
            return received
        finally:
            self._show_again()

    def _peek_beyond(self, limit: int, flags: int) -> Received:
        """MSG_PEEK with SO_PEEK_OFF: what is before that is there already, and must not wake us."""
        description = self.description

        def look() -> Received | None:
            received = description.receive(limit, flags)
            if received is None:
                description.endpoint.clear(READ)
            return received

        try:
            return self._retry(look, READ, flags)
        finally:
            self._show_again()

    def _show_again(self) -> None:
        """Who peeked in vain had made the socket look as if it had nothing to read."""
        with self._driver.lock:
            if self.description.holds_data():
                self.description.endpoint.set_ready(READ)
