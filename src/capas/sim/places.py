# SPDX-License-Identifier: Apache-2.0
"""Where programs wait, in words: for deadlocks."""

import asyncio
import sys
from types import FrameType
from typing import Any, Final

_OWN: Final = ("asyncio", "capas")  # modules whose frames tell nobody where a program waits


def task_order(task: "asyncio.Task[object]") -> tuple[int, str]:
    """Sorts tasks by name, the numbered ones by number: `asyncio` keeps them in sets."""
    name = task.get_name()
    return len(name), name


def task_place(task: "asyncio.Task[object]") -> str:
    """Where a task stands, in its outermost and innermost frame that are not capas's or asyncio's.

    Empty for tasks that have none: they pass on what others wait for.
    """
    frames: list[FrameType] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        kind = next((k for k in ("cr", "gi", "ag") if hasattr(awaited, f"{k}_frame")), "")
        frame = getattr(awaited, f"{kind}_frame", None)
        if frame is not None and frame.f_globals.get("__name__", "").split(".")[0] not in _OWN:
            frames.append(frame)
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
    name = getattr(task.get_coro(), "__qualname__", "?")
    places = list(dict.fromkeys(frame_place(frame) for frame in (frames[:1] + frames[-1:])))
    return f"{name}, {', and there '.join(places)}" if places else ""


def frame_place(frame: FrameType) -> str:
    """Where a Python frame stands."""
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


def thread_place(ident: int) -> str:
    """Where a blocked thread stands, in the innermost frame that is not capas's or threading's."""
    frame = sys._current_frames().get(ident)
    own = __name__.partition(".")[0] + "."
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(own) and module != "threading" and module != "socket":
            return frame_place(frame)
        frame = frame.f_back
    return "?"
