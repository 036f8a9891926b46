# SPDX-License-Identifier: Apache-2.0
"""Arguments of system calls as Python values."""

import struct

from capas.conformance import symbols
from capas.conformance.ast import Anything, Array, Expression, Integer, Or, String, Struct, Word
from capas.conformance.errors import Failed, NotApplicable


class Unknown(Failed):
    """A symbol or form of argument that is not understood."""


def integer(value: Expression) -> int:
    """A number, a symbol, or symbols joined by ``|``."""
    if isinstance(value, Integer):
        return value.value
    if isinstance(value, Word):
        if value.name in symbols.FOREIGN:
            raise NotApplicable(symbols.FOREIGN[value.name])
        number = symbols.constant(value.name)
        if number is None:
            raise Unknown(f"unknown symbol {value.name}")
        return number
    if isinstance(value, Or):
        return integer(value.left) | integer(value.right)
    raise Unknown(f"expected a number, found {describe(value)}")


def single(value: Expression) -> Expression:
    """The one item of ``[x]``."""
    if isinstance(value, Array) and len(value.items) == 1:
        return value.items[0]
    raise Unknown(f"expected [value], found {describe(value)}")


def option_value(value: Expression) -> int | bytes:
    """What setsockopt is given: a number, a string, or struct linger."""
    if isinstance(value, Array):
        value = single(value)
    if isinstance(value, String):
        return value.value.encode("latin-1", "replace")
    if isinstance(value, Struct):
        members = value.members
        if set(members) == {"onoff", "linger"}:
            return struct.pack("@ii", integer(members["onoff"]), integer(members["linger"]))
        if "function_set_name" in members:
            raise NotApplicable(symbols.FOREIGN["TCP_FUNCTION_BLK"])
        raise Unknown(f"unknown structure with {', '.join(members)}")
    return integer(value)


def member(value: Expression, name: str) -> Expression:
    """A member of a structure."""
    if isinstance(value, Struct) and name in value.members:
        return value.members[name]
    raise Unknown(f"expected a structure with {name}, found {describe(value)}")


def is_ellipsis(value: Expression) -> bool:
    """``...``."""
    return isinstance(value, Anything)


def describe(value: Expression) -> str:
    """An argument for messages."""
    if isinstance(value, Anything):
        return "..."
    if isinstance(value, Integer):
        return str(value.value)
    if isinstance(value, Word):
        return value.name
    if isinstance(value, String):
        return f'"{value.value}"'
    if isinstance(value, Array):
        return "[" + ", ".join(map(describe, value.items)) + "]"
    if isinstance(value, Or):
        return f"{describe(value.left)} | {describe(value.right)}"
    if isinstance(value, Struct):
        return "{" + ", ".join(f"{k}={describe(v)}" for k, v in value.members.items()) + "}"
    return f"{value.name}(...)"
