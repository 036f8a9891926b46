# SPDX-License-Identifier: Apache-2.0
"""Places in a TOML file, for messages: "world.toml:7: hosts.web.serve".

`tomllib` tells the line of what is no TOML, but not where a key it has read stood; `lines_of` finds
that out when a message needs it.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from capas.errors import ConfigurationError

Keys = tuple[str | int, ...]


@final
class Place:
    """A key of a file, or the whole file; ``place["hosts"]["web"]`` is the key below."""

    __slots__ = ("file", "keys", "text")

    def __init__(self, file: Path, text: str, keys: Keys = ()) -> None:
        self.file: Path = file
        self.text: str = text
        self.keys: Keys = keys

    def __getitem__(self, key: str | int) -> "Place":
        return Place(self.file, self.text, (*self.keys, key))

    def line(self) -> int:
        """The line of the key, else of the nearest thing around it; 0: the file has no such."""
        lines = lines_of(self.text)
        keys = self.keys
        while keys and keys not in lines:
            keys = keys[:-1]
        return lines.get(keys, 0)

    def __str__(self) -> str:
        words = ""
        for key in self.keys:
            if isinstance(key, int):
                words += f", number {key + 1}: "
            else:
                words += key if words.endswith(": ") or not words else f".{key}"
        line = self.line()
        where = f"{self.file}:{line}" if line else str(self.file)
        return f"{where}: {words.removesuffix(': ')}" if words else where

    def error(self, text: object) -> ConfigurationError:
        """What is wrong here."""
        return ConfigurationError(f"{self}: {text}")


def lines_of(text: str) -> dict[Keys, int]:
    """The line on which each table and key of a valid TOML text begins.

    Each statement (a header, or a key with its value) is TOML by itself, and no beginning of a
    statement of several lines is.
    """
    found: dict[Keys, int] = {}
    counts: dict[Keys, int] = {}  # of the tables in each array of tables
    table: Keys = ()
    statement, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            start = number
        statement += line + "\n"
        try:
            value = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = _header(value, counts)
            for length in range(1, len(table) + 1):
                found.setdefault(table[:length], start)
        else:
            _note(value, table, start, found)
        statement = ""
    return found


def _header(value: Any, counts: dict[Keys, int]) -> Keys:
    """The table that ``[a.b]`` or ``[[a.b]]`` begins; a table of an array is its last so far."""
    keys: Keys = ()
    while value:
        ((key, value),) = value.items()
        keys = (*keys, key)
        if isinstance(value, list):
            value = value[0]
            counts[keys] = counts.get(keys, 0) + 1
        if keys in counts:
            keys = (*keys, counts[keys] - 1)
    return keys


def _note(value: Any, keys: Keys, line: int, found: dict[Keys, int]) -> None:
    """Note ``line`` for all that is in ``value``."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, inner in items:
        found.setdefault((*keys, key), line)
        if isinstance(inner, (dict, list)):
            _note(inner, (*keys, key), line, found)
