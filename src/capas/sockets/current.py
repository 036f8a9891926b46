# SPDX-License-Identifier: Apache-2.0
"""The current host: on whose stack the sockets of the running code live.

A context variable, so each task (and each program of a virtual world) has its own and hands it on
to what it starts.  Outside any host Python's own sockets are meant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Final

from capas.errors import ConfigurationError
from capas.host.host import Host

_CURRENT: Final[ContextVar[Host | None]] = ContextVar("capas_host", default=None)


def current_host() -> Host | None:
    """The host the running code is on; None: this machine."""
    return _CURRENT.get()


def require_host() -> Host:
    """The current host; ConfigurationError if there is none."""
    host = _CURRENT.get()
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
