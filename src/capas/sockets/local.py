# SPDX-License-Identifier: Apache-2.0
"""Unix sockets of programs in virtual time: the machine's, but they wait in the world's time.

A genuine call that blocks would stop the one thread that runs, and with it whoever could end the
wait.  So each call waits here first, until the genuine one does not block.
"""

import socket as std
from typing import Any, Final, final

from capas.sockets.current import current_host, in_our_loop
from capas.sockets.polling import POLLIN, POLLOUT, Poll

_DONTWAIT: Final = int(getattr(std, "MSG_DONTWAIT", 0x40))


@final
class LocalSocket(std.socket):
    """A genuine socket whose blocking calls let virtual time go on; without a host, genuine."""

    def _await(self, event: int, flags: int = 0) -> int:
        """Wait for readiness; the flags for the genuine call.  TimeoutError."""
        timeout = self.gettimeout()
        if timeout == 0 or flags & _DONTWAIT or current_host() is None or in_our_loop():
            return flags
        poll = Poll()
        poll.register(self, event)
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError("timed out")
        return flags | _DONTWAIT

    def accept(self) -> tuple[std.socket, Any]:
        """As `socket.socket`."""
        self._await(POLLIN)
        return super().accept()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As `socket.socket`."""
        return super().recv(bufsize, self._await(POLLIN, flags))

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """As `socket.socket`."""
        return super().recvfrom(bufsize, self._await(POLLIN, flags))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `socket.socket`."""
        return super().recv_into(buffer, nbytes, self._await(POLLIN, flags))

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `socket.socket`."""
        return super().recvfrom_into(buffer, nbytes, self._await(POLLIN, flags))

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """As `socket.socket`."""
        return super().recvmsg(bufsize, ancbufsize, self._await(POLLIN, flags))

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """As `socket.socket`."""
        return super().recvmsg_into(buffers, ancbufsize, self._await(POLLIN, flags))

    def send(self, data: Any, flags: int = 0, /) -> int:
        """As `socket.socket`, but it takes what there is room for."""
        return super().send(data, self._await(POLLOUT, flags))

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """As `socket.socket`."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self.send(view, flags) :]

    def sendto(self, data: Any, *args: Any) -> int:
        """As `socket.socket`."""
        self._await(POLLOUT)
        return super().sendto(data, *args)

    def sendmsg(
        self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """As `socket.socket`."""
        return super().sendmsg(buffers, ancdata, self._await(POLLOUT, flags), address)
