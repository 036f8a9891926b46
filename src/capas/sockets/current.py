# SPDX-License-Identifier: Apache-2.0
"""The current host: on whose stack the sockets of the running code live.

A context variable, so each task (and each program of a virtual world) has its own and hands it on
to what it starts.  Outside any host Python's own sockets are meant.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, final

from capas.errors import ConfigurationError
from capas.host.host import Host


@final
class _Default:
    """The host of code whose context names none; itself the mark of such contexts."""

    host: Host | None = None


_DEFAULT: Final = _Default()
_CURRENT: Final[ContextVar[Host | _Default | None]] = ContextVar("capas_host", default=_DEFAULT)


def current_host() -> Host | None:
    """The host the running code is on; None: this machine."""
    host = _CURRENT.get()
    return host.host if isinstance(host, _Default) else host


def set_default_host(host: Host | None) -> None:
    """The host of all code whose context names none, threads included; None: this machine."""
    _DEFAULT.host = host


def require_host() -> Host:
    """The current host; ConfigurationError if there is none."""
    host = current_host()
    if host is None:
        raise ConfigurationError(
            "no current host: run this by capas.run(...), or inside `with capas.use_host(host):`"
        )
    return host


@contextmanager
def use_host(host: Host | None) -> Iterator[Host | None]:
    """Make ``host`` the current one in the body (None: this machine)."""
    token = _CURRENT.set(host)
    try:
        yield host
    finally:
        _CURRENT.reset(token)


def context_of(host: Host | None) -> Context:
    """A copy of the running context with ``host`` as its current one."""
    context = copy_context()
    context.run(_CURRENT.set, host)
    return context


def _leave() -> None:
    _CURRENT.set(None)
    _DEFAULT.host = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)  # another process is on no host


def in_our_loop() -> bool:
    """Whether an event loop of ours runs in the calling thread: nothing in it may block.

    Another loop, of a class of somebody's own, is a blocking program like others.
    """
    return hasattr(asyncio._get_running_loop(), "driver")


def dispatch(real: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """``ours(host, ...)`` on a host, ``real(...)`` elsewhere."""

    def call(*args: Any, **kwargs: Any) -> Any:
        host = current_host()
        if host is None:
            return real(*args, **kwargs)
        return ours(host, *args, **kwargs)

    call.__name__ = call.__qualname__ = getattr(real, "__name__", "call")
    call.__doc__ = real.__doc__
    return call
