# SPDX-License-Identifier: Apache-2.0
"""Files to be sent: what `sendfile` of sockets and of event loops read instead of the file.

As with os.sendfile what is sent begins at the offset, wherever the file's own position is, and that
follows in the end.
"""

import io
import os
import socket
from typing import Any, final


@final
class Positioned:
    """An open file read from ``offset`` on."""

    def __init__(self, file: Any, fd: int, offset: int) -> None:
        self.mode: str = getattr(file, "mode", "b")
        self._file: Any = file
        self._fd: int = fd
        self._offset: int = offset
        self._at: int = offset

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; b"" at the end of the file."""
        data = os.pread(self._fd, size, self._at)
        self._at += len(data)
        return data

    def readinto(self, room: memoryview) -> int:
        """The number of bytes read into ``room``."""
        data = self.read(len(room))
        room[: len(data)] = data
        return len(data)

    def seek(self, offset: int) -> None:
        """Where the file itself is to go on, once something was read."""
        if self._at != self._offset and hasattr(self._file, "seek"):
            self._file.seek(offset)


def positioned(file: Any, offset: int) -> Positioned | None:
    """``file`` from ``offset`` on, None if it is empty; `sendfile` gives up on what is no file."""
    try:
        fd = file.fileno()
        size = os.fstat(fd).st_size
    except (AttributeError, io.UnsupportedOperation, OSError) as error:
        raise socket._GiveupOnSendfile(error) from error  # type: ignore[attr-defined]
    if not hasattr(os, "pread"):  # Windows
        raise socket._GiveupOnSendfile("there is no os.pread()")  # type: ignore[attr-defined]
    return Positioned(file, fd, offset) if size else None
