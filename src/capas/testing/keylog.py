# SPDX-License-Identifier: Apache-2.0
"""TLS secrets of a test's programs, for its capture: what ``SSLKEYLOGFILE`` makes OpenSSL write.

Contexts made by ``ssl.create_default_context`` while a `KeyLog` is open write their secrets to its
file, unless the variable was set already; then that file is left alone.
"""

import os
import tempfile
from typing import Final, final

from capas.link.pcapng import CaptureWriter

_NAME: Final = "SSLKEYLOGFILE"


@final
class KeyLog:
    """A file for secrets; a context manager."""

    def __init__(self) -> None:
        self._path: str = ""
        self._last: bytes = b""  # what was in it when it went

    def __enter__(self) -> "KeyLog":
        if _NAME not in os.environ:
            handle, self._path = tempfile.mkstemp(prefix="capas-", suffix=".keys")
            os.close(handle)
            os.environ[_NAME] = self._path
        return self

    def __exit__(self, *_: object) -> None:
        if self._path:
            if os.environ.get(_NAME) == self._path:
                del os.environ[_NAME]
            self._last = self.read()
            os.unlink(self._path)
            self._path = ""

    def read(self) -> bytes:
        """The secrets so far (all of them, once it is closed), without OpenSSL's comments."""
        if not self._path:
            return self._last
        with open(self._path, "rb") as file:
            return b"".join(line for line in file if not line.startswith(b"#"))


def with_secrets(capture: bytes, keylog: bytes) -> bytes:
    """A pcapng file with a block of secrets behind its section header, where readers need them."""
    if not keylog:
        return capture
    written: list[bytes] = []
    writer = CaptureWriter(lambda data: written.append(bytes(data)))
    before = len(written)
    writer.secrets(keylog)
    header = int.from_bytes(capture[4:8], "little")
    return capture[:header] + b"".join(written[before:]) + capture[header:]
