# SPDX-License-Identifier: Apache-2.0
"""Stand-ins in Python's own modules, for code that makes its sockets by itself.

While installed, ``socket.socket`` and the functions beside it, ``select`` and what `selectors` is
built on ask for the current host at each call: on a host they are ours, outside any host genuine.
Names that other modules took by ``from socket import ...`` are replaced too and given back on the
way out.  Installations nest; the last one out restores everything.
"""

import asyncio
import errno
import os
import select
import selectors
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, final

from capas.host.host import Host
from capas.sockets import polling, posix, resolver, tls
from capas.sockets.addresses import interface_index, interface_name, interfaces
from capas.sockets.current import current_host, dispatch
from capas.sockets.driver import VIRTUAL_FD, driver_of
from capas.sockets.epoll import DispatchingEpoll
from capas.sockets.failure import fail
from capas.sockets.foreign import FOREIGN
from capas.sockets.kinds import Kind
from capas.sockets.latecomers import Latecomers
from capas.sockets.local import LocalSocket
from capas.sockets.socket import Socket, socketpair_of

real_socket: Final = socket.socket
_UNIX: Final = getattr(socket, "AF_UNIX", None)


def make_socket(
    family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
) -> socket.socket:
    """`socket.socket` as the running code should have it: of the current host, or genuine."""
    host = current_host()
    if isinstance(fileno, int) and fileno >= VIRTUAL_FD:
        return Socket(family, type, proto, fileno)
    if host is not None and family == _UNIX and driver_of(host).virtual:
        return LocalSocket(family, type, proto, fileno)
    if host is not None and fileno is None and family in (-1, socket.AF_INET, socket.AF_INET6):
        return Socket(family, type, proto)
    return real_socket(family, type, proto, fileno)


class DispatchingSocket(real_socket, metaclass=Kind):  # type: ignore[valid-type,misc]
    """What ``socket.socket`` is while installed; calling it makes a socket of the current host."""

    genuine = real_socket

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A socket by `make_socket`; subclasses are genuine."""
        if cls is DispatchingSocket:
            return make_socket(*args, **kwargs)
        return super().__new__(cls, *args, **kwargs)


DispatchingSocket.__name__ = DispatchingSocket.__qualname__ = "socket"
DispatchingSocket.__module__ = "socket"


real_loop: Final = asyncio.SelectorEventLoop


class DispatchingLoop(real_loop, metaclass=Kind):  # type: ignore[valid-type,misc]
    """What ``asyncio.SelectorEventLoop`` is while installed; subclasses are genuine."""

    genuine = real_loop

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A loop of the world that the running program lives in, or a genuine one."""
        if cls is not DispatchingLoop:
            return super().__new__(cls)
        return _world_loop() or real_loop(*args, **kwargs)


DispatchingLoop.__name__ = DispatchingLoop.__qualname__ = "SelectorEventLoop"


def _world_loop() -> asyncio.AbstractEventLoop | None:
    host = current_host()
    return None if host is None else driver_of(host).new_event_loop()


def _sethostname(host: Host, name: Any) -> None:
    """A host keeps the name that its world knows it by."""
    raise fail(errno.EPERM)


def _socketpair(real: Callable[..., Any]) -> Callable[..., Any]:
    def socketpair(
        family: int | None = None, type: int = socket.SOCK_STREAM, proto: int = 0
    ) -> Any:
        """Of the current host for IP families, else genuine; Linux has none at all of those."""
        host = current_host()
        if host is not None and family in (socket.AF_INET, socket.AF_INET6):
            with Socket(family, type, proto) as sock:
                if sock.type != socket.SOCK_STREAM:
                    raise fail(errno.EOPNOTSUPP)
            return socketpair_of(host, int(family))
        return real(family, type, proto)

    return socketpair


def _new_event_loop(real: Callable[[], Any]) -> Callable[[], Any]:
    def new_event_loop() -> Any:
        """Of the world that the running program lives in, or genuine."""
        return _world_loop() or real()

    return new_event_loop


def _wrap_socket(real: Callable[..., Any]) -> Callable[..., Any]:
    def wrap_socket(self: ssl.SSLContext, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        """TLS over a socket of ours without a kernel descriptor."""
        if not isinstance(sock, Socket) and sock.fileno() >= VIRTUAL_FD:
            timeout = sock.gettimeout()  # somebody's own wrapper around one of ours
            sock = Socket(fileno=sock.detach())
            sock.settimeout(timeout)
        if isinstance(sock, Socket):
            return tls.wrap_socket(self, sock, *args, **kwargs)
        return real(self, sock, *args, **kwargs)

    return wrap_socket


def _tls_end(real: Callable[..., Any]) -> Callable[..., Any]:
    def _wrap_socket(self: ssl.SSLContext, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        """OpenSSL's end of a connection, for `ssl.SSLSocket`."""
        if isinstance(sock, Socket):
            return tls.Engine(self, sock, *args, **kwargs)
        return real(self, sock, *args, **kwargs)

    return _wrap_socket


def _calls(module: Any, *names: str) -> list[tuple[Any, str, Any]]:
    """System calls that take any descriptor, as far as this system has them."""
    return [
        (module, name, getattr(posix, name)(getattr(module, name)))
        for name in names
        if hasattr(module, name)
    ]


def _connections(module: Any) -> list[tuple[Any, str, Any]]:
    """`multiprocessing.connection` keeps system calls as the defaults of arguments."""
    if os.name != "posix":
        return []
    kept = (("_close", "close"), ("_send", "write"), ("_recv", "read"))
    return [
        (
            getattr(module.Connection, method),
            "__defaults__",
            (getattr(posix, name)(getattr(os, name)),),
        )
        for method, name in kept
    ]


#: Stand-ins in modules that may be imported only later, while a world runs.
_LATE: Final[dict[str, Callable[[Any], list[tuple[Any, str, Any]]]]] = {
    "fcntl": lambda module: _calls(module, "fcntl", "ioctl"),
    "multiprocessing.connection": _connections,
    **FOREIGN,
}


def _stand_ins() -> list[tuple[Any, str, Any]]:
    """(module or class, name, stand-in) of all that is replaced."""
    found: list[tuple[Any, str, Any]] = [
        (socket, "socket", DispatchingSocket),
        (socket, "getaddrinfo", dispatch(socket.getaddrinfo, resolver.getaddrinfo)),
        (socket, "getnameinfo", dispatch(socket.getnameinfo, resolver.getnameinfo)),
        (socket, "gethostbyname", dispatch(socket.gethostbyname, resolver.gethostbyname)),
        (socket, "gethostbyname_ex", dispatch(socket.gethostbyname_ex, resolver.gethostbyname_ex)),
        (socket, "gethostbyaddr", dispatch(socket.gethostbyaddr, resolver.gethostbyaddr)),
        (socket, "gethostname", dispatch(socket.gethostname, lambda host: host.name)),
        (socket, "sethostname", dispatch(socket.sethostname, _sethostname)),
        (socket, "socketpair", _socketpair(socket.socketpair)),
        (socket, "if_nameindex", dispatch(socket.if_nameindex, interfaces)),
        (socket, "if_nametoindex", dispatch(socket.if_nametoindex, interface_index)),
        (socket, "if_indextoname", dispatch(socket.if_indextoname, interface_name)),
        (socket, "dup", posix.dup(socket.dup)),
        (socket, "close", posix.close(socket.close)),
        (select, "select", dispatch(select.select, lambda host, *args: polling.select(*args))),
        (
            selectors.SelectSelector,
            "_select",
            staticmethod(dispatch(select.select, lambda host, *args: polling.select(*args))),
        ),
        (asyncio, "new_event_loop", _new_event_loop(asyncio.new_event_loop)),
        (asyncio, "SelectorEventLoop", DispatchingLoop),
        (asyncio.events, "new_event_loop", _new_event_loop(asyncio.new_event_loop)),
        (ssl.SSLContext, "wrap_socket", _wrap_socket(ssl.SSLContext.wrap_socket)),
        (ssl.SSLContext, "_wrap_socket", _tls_end(ssl.SSLContext._wrap_socket)),  # type: ignore[attr-defined]
    ]
    found += _calls(os, "read", "write", "readv", "writev", "sendfile", "close", "dup", "fstat")
    found += _calls(os, "fdopen", "get_blocking", "set_blocking")
    found += _calls(os, "get_inheritable", "set_inheritable", "fork")
    for name, ours in (("poll", polling.poll), ("epoll", DispatchingEpoll)):
        if not hasattr(select, name):
            continue
        found.append((select, name, ours))
        selector = getattr(selectors, f"{name.capitalize()}Selector", None)
        if selector is not None:
            found.append((selector, "_selector_cls", staticmethod(ours)))
    return found


#: Modules that keep what they took: by name, with all below them.
_LEFT_ALONE: Final = (
    "_pytest", "_socket", "asyncio", "capas", "coverage", "execnet", "hypothesis", "logging",
    "multiprocessing", "pluggy", "pytest", "select", "selectors", "socket", "ssl", "xdist",
)  # fmt: skip


@final
class _State:
    """How often installed, and what to give back: (where, name, the genuine thing).

    ``known``  modules looked through, by name
    ``taken``  (module or class, name, genuine, stand-in) found in them
    ``late``   those of `_LATE` whose stand-ins are made
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users: int = 0
        self.replaced: list[tuple[Any, str, Any]] = []
        self.stand_ins: list[tuple[Any, str, Any]] = []
        self.originals: dict[int, tuple[Any, Any]] = {}
        self.known: dict[str, ModuleType] = {}
        self.taken: list[tuple[Any, str, Any, Any]] = []
        self.late: dict[str, ModuleType] = {}
        self.finder = Latecomers(_LATE, _imported)


def _prepare(complete: str = "") -> None:
    """Make the stand-ins not made yet; ``complete`` is a module whose import has just ended."""
    if not _state.stand_ins:
        _add(_stand_ins())
    for name, make in _LATE.items():
        module = sys.modules.get(name)
        if module is None or module is _state.late.get(name):
            continue
        if name == complete or not getattr(module.__spec__, "_initializing", False):
            _state.late[name] = module
            _add(make(module))


def _add(stand_ins: list[tuple[Any, str, Any]]) -> None:
    _state.stand_ins += stand_ins
    for owner, name, stand_in in stand_ins:
        if isinstance(owner, ModuleType):
            real = getattr(owner, name)
            _state.originals[id(real)] = real, stand_in


def _imported(name: str) -> None:
    """One of `_LATE` was imported while the others are in place."""
    with _state.lock:
        if _state.users:
            before = len(_state.stand_ins)
            _prepare(name)
            _replace(_state.stand_ins[before:])


def _replace(stand_ins: list[tuple[Any, str, Any]]) -> None:
    for owner, name, stand_in in stand_ins:
        _state.replaced.append((owner, name, _kept(owner, name)))
        setattr(owner, name, stand_in)


def _look_through_modules() -> None:
    """Find names for what is replaced in modules not seen before, and in their classes."""
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or _state.known.get(name) is module:
            continue
        _state.known[name] = module
        if name.partition(".")[0] in _LEFT_ALONE:
            continue
        for attribute, value in list(vars(module).items()):
            _note(module, attribute, value)
            if isinstance(value, type) and value.__module__ == name:
                for inner, kept in list(vars(value).items()):
                    _note(value, inner, kept)


def _note(owner: Any, name: str, value: Any) -> None:
    genuine, stand_in = _state.originals.get(id(value), (None, None))
    if genuine is not None:
        if isinstance(owner, type) and not hasattr(type(genuine), "__get__"):
            stand_in = staticmethod(stand_in)  # nor does the genuine one become a method
        _state.taken.append((owner, name, genuine, stand_in))


def _kept(owner: Any, name: str) -> Any:
    return vars(owner).get(name) if isinstance(owner, type) else getattr(owner, name, None)


_state: Final = _State()


def install() -> None:
    """Put the stand-ins in place."""
    with _state.lock:
        _state.users += 1
        if _state.users > 1:
            return
        _prepare()
        _look_through_modules()
        _replace(_state.stand_ins)
        sys.meta_path.insert(0, _state.finder)
        for owner, name, genuine, stand_in in _state.taken:
            if _kept(owner, name) is genuine:
                _state.replaced.append((owner, name, genuine))
                setattr(owner, name, stand_in)


def uninstall() -> None:
    """Undo one `install`."""
    with _state.lock:
        if _state.users == 0:
            raise RuntimeError("not installed")
        _state.users -= 1
        if _state.users == 0:
            sys.meta_path.remove(_state.finder)
            while _state.replaced:
                owner, name, real = _state.replaced.pop()
                if real is None:  # a class had it from its base
                    delattr(owner, name)
                else:
                    setattr(owner, name, real)


@contextmanager
def installed() -> Iterator[None]:
    """Installed while the body runs."""
    install()
    try:
        yield
    finally:
        uninstall()
