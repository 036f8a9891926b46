# SPDX-License-Identifier: Apache-2.0
"""What users can catch beyond the errors of CPython's ``socket``.

Misuse of a socket raises exactly what ``socket`` raises (`OSError` with an errno and its
subclasses).  The classes here are for what ``socket`` has no word for: a world that is put together
wrongly, a program that waits for what can never happen.
"""

import errno


class CapasError(Exception):
    """Base of all errors that are capas's own."""


class ConfigurationError(CapasError, ValueError):
    """A host, link, world or setting that cannot be: the text says what and what to do."""


class DeadlockError(CapasError, RuntimeError):
    """Virtual time cannot go on: every program waits and nothing is scheduled."""


class BlockingInLoopError(CapasError, RuntimeError):
    """A blocking socket call was made inside a running virtual event loop."""


class DeviceError(CapasError, OSError):
    """A TAP, TUN or pipe could not be opened: the text says why and what to do."""


_MESSAGES = {
    errno.EPIPE: "Broken pipe",
    errno.ECONNRESET: "Connection reset by peer",
    errno.ECONNREFUSED: "Connection refused",
    errno.ECONNABORTED: "Software caused connection abort",
    errno.ETIMEDOUT: "Connection timed out",
    errno.EHOSTUNREACH: "No route to host",
    errno.ENETUNREACH: "Network is unreachable",
    errno.EADDRINUSE: "Address already in use",
    errno.EADDRNOTAVAIL: "Cannot assign requested address",
    errno.ENOBUFS: "No buffer space available",
    errno.EMSGSIZE: "Message too long",
    errno.EACCES: "Permission denied",
    errno.EAGAIN: "Resource temporarily unavailable",
    errno.EDESTADDRREQ: "Destination address required",
    errno.EINVAL: "Invalid argument",
    errno.ENODEV: "No such device",
    errno.ENOPROTOOPT: "Protocol not available",
    errno.ENOTCONN: "Transport endpoint is not connected",
    errno.EOPNOTSUPP: "Operation not supported",
    errno.EPROTO: "Protocol error",
}


def os_error(number: int) -> OSError:
    """The OSError (subclass) that CPython's ``socket`` would raise for this errno."""
    return OSError(number, _MESSAGES.get(number, errno.errorcode.get(number, "error")))
