# SPDX-License-Identifier: Apache-2.0
"""What users can catch beyond the errors of CPython's ``socket``.

Misuse of a socket raises exactly what ``socket`` raises (`OSError` with an errno and its
subclasses).  The classes here are for what ``socket`` has no word for: a world that is put together
wrongly, a program that waits for what can never happen.
"""


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
