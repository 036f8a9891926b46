# SPDX-License-Identifier: Apache-2.0
"""The files that a failed test leaves: one pcapng and one HTML page."""

import gc
import hashlib
import os
import re
import socket
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from capas.testing import report

if TYPE_CHECKING:
    from capas.testing.fixture import Internet

_LONGEST: Final = 120  # characters of a file's name


class Left(NamedTuple):
    """What was written, and a text that says so."""

    text: str
    capture: str
    page: str


def file_name(node: str, seed: int | str) -> str:
    """A file name for a run of a test: readable, and its own."""
    path, _, test = node.partition("::")
    words = f"{Path(path).stem}-{test}-seed{seed}"
    plain = re.sub(r"[^\w.-]+", "_", words).strip("_")
    if len(plain) > _LONGEST or "[" in node:
        digest = hashlib.blake2b(f"{node} {seed}".encode(), digest_size=4).hexdigest()
        plain = f"{plain[:_LONGEST]}-{digest}"
    return plain


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def advice(error: BaseException | None) -> str:
    """A line for a name that the machine was asked for, by code on no host; or ""."""
    while error is not None:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if isinstance(error, socket.gaierror) and frames:
            if frames[-1].f_globals.get("__name__", "").startswith("capas."):
                return ""
            return (
                "hint: the machine was asked for this name, since the code ran on no host:"
                " use host.run, host.thread, or `with host:`"
            )
        error = error.__cause__ or error.__context__
    return ""


def leave(
    internet: "Internet",
    directory: Path,
    *,
    node: str,
    error: str,
    command: str,
    said: str = "",
    hint: str = "",
    files: bool = True,
) -> Left:
    """Write both files, unless ``files`` is False, and say what a reader of the failure needs."""
    gc.collect()  # what the failure left open is closed now, in every run alike
    lines = [f"seed {internet.seed}, {internet.now:.6f} s of virtual time"]
    plan = internet.plan
    if plan is not None:
        lines.append(f"faults: {plan.describe()}")
    else:
        marks = [str(mark.text) for mark in internet.marks]
        if marks:
            more = f" and {len(marks) - 8} more" if len(marks) > 8 else ""
            lines.append("faults: " + "; ".join(marks[:8]) + more)
    for complaint in internet.complaints[:5]:
        lines.append(f"meanwhile: {complaint}")
    lines += [hint] if hint else []
    lines.append(f"replay: {command}")
    capture = page = ""
    if files and internet.has_capture:
        name = file_name(node, internet.seed)
        pcapng, html = directory / f"{name}.pcapng", directory / f"{name}.html"
        text = report.page(internet, node=node, error=error, command=command, said=said)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _write(pcapng, internet.capture_bytes())
            _write(html, text.encode())
        except OSError as problem:
            lines.append(f"no files could be left: {problem}")
        else:
            capture, page = _shown(pcapng), _shown(html)
            lines += [f"capture: {capture}", f"page: {page}"]
    return Left("\n".join(lines), capture, page)


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing."""
    part = path.with_name(path.name + f".{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)
