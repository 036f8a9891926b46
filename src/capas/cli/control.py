# SPDX-License-Identifier: Apache-2.0
"""Asking a running ``capas up`` what it knows: a Unix socket beside it, for its own user only.

One line of JSON asks ({"want": "sockets"}, a name of `capas.host.status.TABLES`, or "capture"), the
answer is one line of JSON, or a pcapng stream until the asker leaves.  Nothing can be changed this
way.  The socket is ``capas-UID/DEVICE-PID.sock`` in the user's runtime directory, mode 0600 in a
directory of mode 0700.  Caps: `REQUEST` bytes, `ASKERS` at a time, `BEHIND` bytes of a capture that
nobody reads.
"""

import asyncio
import contextlib
import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, final

from capas.base.events import Tracer
from capas.base.frame import Frame
from capas.errors import CapasError, ConfigurationError
from capas.host import status
from capas.host.host import Host
from capas.link.interface import Interface
from capas.link.pcapng import Capture, CaptureWriter
from capas.sockets.current import use_host
from capas.sockets.driver import Driver

REQUEST: Final = 4096  # bytes of a question
ASKERS: Final = 16
BEHIND: Final = 8 << 20  # bytes of a capture waiting for its reader; beyond, frames are left out
_FLUSH: Final = 0.2  # s a captured frame waits for comments
_PATIENCE: Final = 5.0  # s for the question, or an answer


def folder() -> Path:
    """The directory of this user's sockets, made if absent; CapasError if it cannot be trusted."""
    uid = os.getuid() if hasattr(os, "getuid") else 0
    base = os.environ.get("XDG_RUNTIME_DIR") or (
        "/run" if uid == 0 and Path("/run").is_dir() else tempfile.gettempdir()
    )
    path = Path(base) / f"capas-{uid}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise CapasError(f"{path} is not a directory of this user alone")
    return path


# -- the running host ---------------------------------------------------------------------------


@final
class _Asker:
    """The tap of one asker: its capture leaves out what it does not read in time."""

    def __init__(self, writer: asyncio.StreamWriter, driver: Driver) -> None:
        self.left_out: int = 0
        self._writer = writer
        epoch = time.time_ns() - driver.now()
        self.capture: Capture = Capture(CaptureWriter(writer.write, epoch=epoch))

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        """A frame passed an interface."""
        if self._writer.transport.get_write_buffer_size() > BEHIND:
            self.left_out += 1
            return
        self.capture.captured(interface, frame, outgoing, now)


@final
class ControlServer:
    """Answers about ``host``; a context manager around its life."""

    def __init__(self, host: Host, driver: Driver, name: str) -> None:
        self.host: Host = host
        self.driver: Driver = driver
        self.path: Path = folder() / f"{name}-{os.getpid()}.sock"
        self._server: asyncio.AbstractServer | None = None
        self._askers: int = 0
        self._capturing: list[_Asker] = []
        self._before: Tracer | None = None  # who heard the host's decisions before

    async def start(self) -> None:
        """Listen."""
        self.path.unlink(missing_ok=True)
        before = os.umask(0o177)  # so that it is nobody else's from its first moment
        try:
            with use_host(None):
                self._server = await asyncio.start_unix_server(
                    self._asked, str(self.path), limit=REQUEST
                )
        finally:
            os.umask(before)

    def close(self) -> None:
        """Stop, and take the socket away."""
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._askers += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await reader.readline()
            if self._askers > ASKERS:
                writer.write(b'{"error": "too many ask at once"}\n')
                return
            want = _wanted(line)
            if want == "capture":
                await self._capture(reader, writer)
                return
            table = status.TABLES.get(want)
            if table is None:
                answer: Any = {"error": f"there is no {want!r}"}
            else:
                answer = {want: table(self.host, self.driver.now()), "host": self.host.name}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError):  # whoever asked has left, or asks too much
            pass
        finally:
            self._askers -= 1
            writer.close()

    async def _capture(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Frames and what the host decided about them, until the asker leaves."""
        asker = _Asker(writer, self.driver)
        cards = self.host.interfaces[1:]
        if not self._capturing:
            self._before = self.host.trace
        self._capturing.append(asker)
        self._trace()
        for card in cards:
            card.taps.append(asker)
        try:
            while not writer.transport.is_closing():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FLUSH):
                        if not await reader.read(REQUEST):
                            return
                asker.capture.flush()  # what waits for comments has waited long enough
        finally:
            for card in cards:
                card.taps.remove(asker)
            self._capturing.remove(asker)
            self._trace()

    def _trace(self) -> None:
        """Everybody who captures hears the host's decisions, one behind the other."""
        trace = self._before
        for asker in self._capturing:
            mine = asker.capture.tracer(self.host.name)
            mine.then, trace = trace, mine
        self.host.set_trace(trace)


def _wanted(line: bytes) -> str:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    want = told.get("want", "") if isinstance(told, dict) else ""
    return want if isinstance(want, str) else ""


# -- who asks -----------------------------------------------------------------------------------


def _connect(path: Path) -> socket.socket | None:
    """A connection; None (and the socket is gone) if nobody is behind it any more."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(_PATIENCE)
    try:
        found.connect(str(path))
    except OSError:
        found.close()
        path.unlink(missing_ok=True)
        return None
    return found


def find(name: str | None) -> socket.socket:
    """A connection to the running host on device ``name`` (None: the only one).

    CapasError if there is none; ConfigurationError if there are several.
    """
    if name is not None and "/" in name:
        paths = [Path(name)]
    else:
        pattern = "*.sock" if name is None else f"{name}*.sock"
        paths = sorted(folder().glob(pattern))
        if name is not None:
            paths = [p for p in paths if p.stem == name or p.stem.rpartition("-")[0] == name]
    alive = [(path, found) for path in paths if (found := _connect(path)) is not None]
    if len(alive) == 1:
        return alive[0][1]
    for _, found in alive:
        found.close()
    if alive:
        names = ", ".join(path.stem for path, _ in alive)
        raise ConfigurationError(f"several hosts run: say --on with one of {names}")
    what = "no host runs" if name is None else f"no host runs on {name!r}"
    raise CapasError(f"{what}: start one with `capas up`")


def ask(name: str | None, want: str) -> Any:
    """The table ``want`` of a running host."""
    with find(name) as connection:
        connection.sendall(json.dumps({"want": want}).encode() + b"\n")
        data = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    try:
        answer = json.loads(data)
    except ValueError:
        raise CapasError("the running host did not answer") from None
    if want not in answer:
        raise CapasError(f"the running host answers: {answer.get('error')}")
    return answer[want]


def stream(name: str | None) -> Iterator[bytes]:
    """The capture of a running host, in pieces, until it ends."""
    with find(name) as connection:
        connection.sendall(b'{"want": "capture"}\n')
        connection.settimeout(None)
        while data := connection.recv(1 << 16):
            yield data
