# SPDX-License-Identifier: Apache-2.0
"""The event loop: Python's own selector loop on our selector and our time.

What creates sockets or looks names up goes to the stack of the *current host*
(`capas.sockets.current`); everything else is the standard loop's.  Outside any host the loop
behaves as the standard one (real sockets, in a real selector beside).

asyncio makes its sockets in functions that name the module ``socket``.  Those functions are taken
as they are and given other globals (`_on_our_sockets`), so each Python's own behaviour, happy
eyeballs included, is kept without a copy of its text.  `tests/unit/aio/test_private.py` pins what
is used of asyncio's private parts.
"""

import asyncio
import contextlib
import signal
import socket as std
import sys
import threading
import types
from asyncio import base_events
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from capas.aio import names
from capas.aio.selector import LoopSelector
from capas.aio.transport import StreamTransport
from capas.base.clock import SECOND
from capas.errors import DeadlockError, DeviceError
from capas.sockets.current import context_of, current_host
from capas.sockets.driver import Driver, driver_of
from capas.sockets.failure import ProcessKilled
from capas.sockets.files import Positioned, positioned
from capas.sockets.modules import make_socket
from capas.sockets.socket import Socket
from capas.sockets.stream import StreamDescription

_AWAITS: Final = 16  # times that a coroutine may await something on its way out


class _SocketModule(types.ModuleType):
    """The module ``socket`` with `make_socket` in place of its class."""

    socket = staticmethod(make_socket)

    def __getattr__(self, name: str) -> Any:
        return getattr(std, name)


_SOCKETS: Final = _SocketModule("socket")


def _on_our_sockets(function: Any) -> Any:
    """The same function, but ``socket`` in its globals is ours."""
    moved = types.FunctionType(
        function.__code__,
        {**function.__globals__, "socket": _SOCKETS},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    moved.__kwdefaults__ = function.__kwdefaults__
    moved.__doc__ = function.__doc__
    moved.__qualname__ = function.__qualname__
    return moved


class CapasEventLoop(asyncio.SelectorEventLoop):
    """A selector event loop on the network and the time of ``driver``."""

    def __init__(self, driver: Driver) -> None:
        self.driver: Driver = driver
        self._loop_selector: LoopSelector = LoopSelector(driver)
        self._unheard: set[int] = set()  # signals with a handler that is never called
        super().__init__(self._loop_selector)
        self._clock_resolution: float = 1e-9

    def time(self) -> float:
        """The driver's time in seconds."""
        return self.driver.now() / SECOND

    def create_task(self, coro: Any, **settings: Any) -> Any:
        """As the standard loop; a task on a host is known to the driver."""
        task = super().create_task(coro, **settings)
        context = settings.get("context")
        host = current_host() if context is None else context.run(current_host)
        if host is not None:
            self.driver.started(host, task)
        return task

    def run_forever(self) -> None:
        """Run until `stop`; in virtual time the program's ``time`` and ``datetime`` are too."""
        try:
            with self.driver.activate():
                super().run_forever()
        except ProcessKilled:
            self._bury()
            raise
        finally:
            self.driver.release()

    def close(self) -> None:
        """Close; the driver is free for another loop."""
        if isinstance(sys.exc_info()[1], DeadlockError):  # of a task that waits in its cleanup
            self._bury()
        super().close()
        self._loop_selector.close()

    def _bury(self) -> None:
        """Nobody waits for what tasks would still do: their coroutines end now, without a word.

        Later it would be the garbage collector that ends them, and complains of what they await.
        """
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            for _ in range(_AWAITS):
                with contextlib.suppress(BaseException):
                    coroutine.close()
                    break

    # -- connections ------------------------------------------------------------------------------

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        """Our own transport for a connection of ours."""
        description = sock.description if isinstance(sock, Socket) else None
        if not isinstance(description, StreamDescription) or description.connection is None:
            return super()._make_socket_transport(  # type: ignore[misc]
                sock, protocol, waiter, extra=extra, server=server
            )
        self._ensure_fd_no_transport(sock)  # type: ignore[attr-defined]
        base_events._set_nodelay(sock)  # type: ignore[attr-defined]
        host = description.host
        return StreamTransport(
            self,
            host,
            description.connection,
            protocol,
            copy_context() if host is current_host() else context_of(host),
            sock=sock,
            waiter=waiter,
            extra=extra,
            server=server,
        )

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *limits: Any,
    ) -> None:
        if sslcontext is None and isinstance(sock, Socket):
            fd = sock.fileno()
            description = sock.description
            if isinstance(description, StreamDescription) and sock.proto == std.IPPROTO_TCP:
                description.set_children_nodelay()
            self._add_reader(fd, self._accept, protocol_factory, sock, server, backlog)
        else:
            super()._start_serving(protocol_factory, sock, sslcontext, server, backlog, *limits)  # type: ignore[misc]

    def _accept(self, factory: Any, sock: Socket, server: Any, backlog: int) -> None:
        """A listener is ready: begin all connections that wait, without a task for each."""
        listening = sock.description
        assert isinstance(listening, StreamDescription)
        for _ in range(backlog):
            with self.driver.lock:
                connection = listening.take()
            if connection is None:
                return
            try:
                protocol = factory()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                with self.driver.lock:
                    connection.close(self.driver.now())
                    self.driver.kick(listening.host)
                if self._debug:  # type: ignore[attr-defined]
                    message = "Error on transport creation for incoming connection"
                    self.call_exception_handler({"message": message, "exception": error})
                continue
            StreamTransport(
                self,
                listening.host,
                connection,
                protocol,
                copy_context(),
                listening=listening,
                server=server,
            ).begin()

    # -- sockets of the current host --------------------------------------------------------------

    _connect_sock = _on_our_sockets(base_events.BaseEventLoop._connect_sock)  # type: ignore[attr-defined]
    create_server = _on_our_sockets(base_events.BaseEventLoop.create_server)
    create_datagram_endpoint = _on_our_sockets(base_events.BaseEventLoop.create_datagram_endpoint)

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Of the current host."""
        current = current_host()
        if current is None:
            return await super().getaddrinfo(
                host, port, family=family, type=type, proto=proto, flags=flags
            )
        return await names.getaddrinfo(current, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """Of the current host."""
        current = current_host()
        if current is None:
            return await super().getnameinfo(sockaddr, flags)
        return await names.getnameinfo(current, sockaddr, flags)

    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        """As the standard loop, but the callback runs on the socket's host."""
        return self._on_host(fd, super()._add_reader, callback, args)  # type: ignore[misc]

    def _add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:
        """As the standard loop, but the callback runs on the socket's host."""
        return self._on_host(fd, super()._add_writer, callback, args)  # type: ignore[misc]

    def _on_host(self, fd: Any, add: Callable[..., Any], callback: Any, args: Any) -> Any:
        number = fd if isinstance(fd, int) else fd.fileno()
        description = self.driver.descriptors.open.get(number)
        if description is None or description.host is current_host():
            return add(fd, callback, *args)
        return context_of(description.host).run(add, fd, callback, *args)

    async def _sock_sendfile_native(self, sock: Any, file: Any, offset: int, count: Any) -> Any:
        if not isinstance(sock, Socket):
            return await super()._sock_sendfile_native(sock, file, offset, count)  # type: ignore[misc]
        source = _source(file, offset)
        return await self._sock_sendfile_fallback(sock, source, offset, count) if source else 0  # type: ignore[attr-defined]

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: Any) -> Any:
        if not isinstance(transp, StreamTransport):
            return await super()._sendfile_native(transp, file, offset, count)  # type: ignore[misc]
        source = _source(file, offset)
        return await self._sendfile_fallback(transp, source, offset, count) if source else 0  # type: ignore[attr-defined]

    # -- signals ----------------------------------------------------------------------------------

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """As the standard loop; a program in a thread of a virtual world never gets a signal."""
        if not self.driver.virtual:
            super().add_signal_handler(sig, callback, *args)
        elif threading.current_thread() is not threading.main_thread():
            self._unheard.add(sig)  # a program's own main thread, for all it knows
        else:
            super().add_signal_handler(sig, callback, *args)
            call = partial(self.call_soon_threadsafe, callback, *args, context=copy_context())
            signal.set_wakeup_fd(-1)  # time would not wait for a byte in the self-pipe
            signal.signal(sig, lambda *_: call())
            signal.siginterrupt(sig, False)

    def remove_signal_handler(self, sig: int) -> bool:
        """As the standard loop."""
        if sig in self._unheard:
            self._unheard.remove(sig)
            return True
        return super().remove_signal_handler(sig)

    # -- threads ----------------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Any, *args: Any
    ) -> Any:
        """In virtual time ``func`` runs as a program of the world, whatever the executor."""
        host = current_host()
        call = partial(func, *args)
        if not self.driver.virtual:
            if host is not None and not _other_process(executor):
                call = partial(copy_context().run, call)
            return super().run_in_executor(executor, call)
        self._check_closed()  # type: ignore[attr-defined]
        future = self.create_future()

        def done(result: object, error: BaseException | None) -> None:
            if not self.is_closed():  # else the world ended the program, after its loop
                self.call_soon_threadsafe(_settle, future, result, error)

        if not self.driver.run_blocking(host, call, done):
            return super().run_in_executor(executor, call)
        return future

    def _write_to_self(self) -> None:
        self._loop_selector.wake()
        if not self.driver.virtual or self.driver.asleep:
            super()._write_to_self()  # type: ignore[misc]


def _source(file: Any, offset: int) -> Positioned | None:
    try:
        return positioned(file, offset)
    except std._GiveupOnSendfile as error:  # type: ignore[attr-defined]
        raise asyncio.SendfileNotAvailableError("not a regular file") from error


def _other_process(executor: Executor | None) -> bool:
    return executor is not None and "Process" in type(executor).__name__


def _settle(future: "asyncio.Future[object]", result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError(f"the function raised {error!r}"))
    else:
        future.set_exception(error)


def new_event_loop(driver: Driver | None = None) -> asyncio.AbstractEventLoop:
    """A loop on ``driver``, by default that of the current host; without a host, a standard one."""
    if driver is None:
        host = current_host()
        if host is None:
            return asyncio.new_event_loop()
        driver = driver_of(host)
    if driver.closed:
        raise DeviceError("the driver of this host is closed: make another, and its hosts anew")
    return CapasEventLoop(driver)
