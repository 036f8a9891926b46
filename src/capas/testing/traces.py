# SPDX-License-Identifier: Apache-2.0
"""Tracebacks as the author of a test wants them: the test's own frames, not what runs them.

Between a test and the program it runs lie the frames of capas and of asyncio's event loop.  They
are taken out, unless the error comes out of capas itself and is none that users are meant to get.
"""

import types
from typing import Final

from capas.errors import CapasError

_RUNNERS: Final = ("capas", "asyncio", "_pytest", "pluggy", "pytest_asyncio")
_TOLD: Final = (CapasError, OSError, AssertionError)  # their text says it all


def shorten(error: BaseException) -> None:
    """Take such frames out of the traceback of ``error`` and of its causes."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = _shortened(one)
            todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _shortened(error: BaseException) -> types.TracebackType | None:
    entries: list[types.TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    owners = [_owner(entry) for entry in entries]
    last = max((i for i, owner in enumerate(owners) if owner not in _RUNNERS), default=-1)
    rest = entries[last + 1 :]
    if "capas" in owners[last + 1 :] and isinstance(error, _TOLD):
        rest = [] if last >= 0 else entries[-1:]
    kept = [entries[i] for i in range(last + 1) if owners[i] not in _RUNNERS]
    made = None
    for entry in reversed(kept + rest):
        made = types.TracebackType(made, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return made


def _owner(entry: types.TracebackType) -> str:
    return str(entry.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
