# SPDX-License-Identifier: Apache-2.0
"""Arguments of socket calls, checked as CPython's C code checks them."""

import errno
import math
import operator
from collections.abc import Iterable
from typing import Any

from capas.sockets.description import Ancillary
from capas.sockets.failure import fail

INT_MAX = 0x7FFFFFFF
IOV_MAX = 1024  # buffers of one call; Linux 6.18, uio.h
TIME_MAX = 2.0**63 / 1e9  # seconds of 64 bits of ns


def c_int(value: Any) -> int:
    """A C int: TypeError, OverflowError."""
    number = operator.index(value)
    if not -INT_MAX - 1 <= number <= INT_MAX:
        raise OverflowError("Python int too large to convert to C int")
    return number


def c_size(value: Any) -> int:
    """A Py_ssize_t: TypeError."""
    return value if type(value) is int else operator.index(value)


def seconds(value: Any) -> float:
    """A timeout: TypeError, ValueError, OverflowError."""
    if not isinstance(value, float):
        value = operator.index(value)
    elif math.isnan(value):
        raise ValueError("Invalid value NaN (not a number)")
    if abs(value) >= TIME_MAX:
        raise OverflowError("timestamp out of range for platform time_t")
    return float(value)


def c_ints(one: Any, other: Any) -> tuple[int, int]:
    """Two of `c_int`."""
    if type(one) is type(other) is int and -INT_MAX <= one <= INT_MAX and abs(other) <= INT_MAX:
        return one, other
    return c_int(one), c_int(other)


def option(value: Any) -> int | bytes:
    """The value of an option: a C int, or bytes."""
    if type(value) is int and -INT_MAX <= value <= INT_MAX:
        return value
    try:
        return c_int(value)
    except (TypeError, OverflowError):
        return bytes(readable(value))


def readable(data: Any) -> bytes | memoryview:
    """The bytes of a bytes-like object."""
    if type(data) is bytes:
        return data
    try:
        view = memoryview(data)
    except TypeError:
        kind = type(data).__name__
        raise TypeError(f"a bytes-like object is required, not '{kind}'") from None
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view.cast("B")


def writable(buffer: Any, what: str) -> memoryview:
    """The room of a writable bytes-like object."""
    try:
        view = memoryview(buffer).cast("B")
    except TypeError:
        view = None
    if view is None or view.readonly:
        kind = type(buffer).__name__
        raise TypeError(f"{what} must be read-write bytes-like object, not {kind}")
    return view


def gathered(buffers: Iterable[Any]) -> bytes | memoryview:
    """The buffers of sendmsg as one; EMSGSIZE if they are too many."""
    pieces = [readable(buffer) for buffer in buffers]
    if len(pieces) > IOV_MAX:
        raise fail(errno.EMSGSIZE)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def control(messages: Iterable[Any]) -> Ancillary:
    """The control messages of sendmsg."""
    found: Ancillary = []
    for message in messages:
        if not isinstance(message, tuple | list) or len(message) != 3:
            raise TypeError("sendmsg() argument 2 must be an iterable of 3-tuples")
        level, kind, data = message
        found.append((c_int(level), c_int(kind), bytes(readable(data))))
    return found
