# SPDX-License-Identifier: Apache-2.0
"""What POSIX does with a descriptor, for virtual ones: read, write, close, dup, stat, flags.

Each function here takes the genuine one and gives a stand-in that passes genuine descriptors on.
Errors are those of the system call (EBADF, EINVAL).
"""

import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from capas.sockets import linger
from capas.sockets.arguments import IOV_MAX, c_int, writable
from capas.sockets.current import current_host, require_host
from capas.sockets.driver import VIRTUAL_FD, Descriptors, driver_of
from capas.sockets.failure import fail
from capas.sockets.ioctl import FIOCLEX, FIONCLEX, KNOWN, answer
from capas.sockets.polling import await_genuine
from capas.sockets.socket import Socket

_SENDFILE: Final = 1 << 16  # bytes read at once for `os.sendfile`
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL = 0, 1, 2, 3, 4  # POSIX, fcntl.h
_FD_CLOEXEC: Final = 1
_F_DUPFD_CLOEXEC: Final = 1030  # Linux 6.18, fcntl.h
_SOCKET: Final = stat.S_IFSOCK | 0o777
_DETAILS: Final = {"st_blksize": 4096, "st_blocks": 0, "st_rdev": 0}
_RDWR: Final = os.O_RDWR
_NONBLOCK: Final = int(getattr(os, "O_NONBLOCK", 0))


def _of(fd: int) -> Descriptors:
    """The descriptors of the current host's driver, ``fd`` among them (EBADF, OverflowError)."""
    c_int(fd)
    table = driver_of(require_host()).descriptors
    if fd not in table.open:
        raise fail(errno.EBADF)
    return table


def _number(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())


def _opened(fd: int, kind: type[Socket] = Socket) -> Socket:
    """A socket object for ``fd``, which blocks or not as it did."""
    description = _of(fd).open[fd]
    nonblocking = description.nonblocking
    sock = kind(fileno=fd)
    sock.settimeout(None)  # Python's default timeout is none of a system call's
    description.nonblocking = nonblocking
    return sock


def _borrowed(fd: int, call: Callable[[Socket], Any]) -> Any:
    """What ``call`` gives for a socket object of ``fd``, which stays open."""
    sock = _opened(fd)
    try:
        return call(sock)
    finally:
        sock.detach()


def dup(real: Callable[[int], int]) -> Callable[[int], int]:
    """``os.dup`` and ``socket.dup``."""

    def dup(fd: int, /) -> int:
        """Another descriptor of the same socket."""
        if fd < VIRTUAL_FD:
            return real(fd)
        table = _of(fd)
        return table.add(table.open[fd])

    return dup


def close(real: Callable[[int], None]) -> Callable[[int], None]:
    """``socket.close`` and ``os.close``."""

    def close(fd: int) -> None:
        """Close a descriptor without its socket object."""
        if fd < VIRTUAL_FD:
            real(fd)
        else:
            linger.close(driver_of(require_host()), c_int(fd))

    return close


def read(real: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    """``os.read``."""

    def read(fd: int, length: int, /) -> bytes:
        """At most ``length`` bytes."""
        if fd < VIRTUAL_FD:
            await_genuine(fd)
            return real(fd, length)
        received: bytes = _borrowed(fd, lambda sock: sock.recv(length))
        return received

    return read


def write(real: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
    """``os.write``."""

    def write(fd: int, data: Any, /) -> int:
        """The number of bytes taken."""
        if fd < VIRTUAL_FD:
            return real(fd, data)
        taken: int = _borrowed(fd, lambda sock: sock.send(data))
        return taken

    return write


def readv(real: Callable[..., int]) -> Callable[..., int]:
    """``os.readv``."""

    def readv(fd: int, buffers: Sequence[Any], /) -> int:
        """The number of bytes scattered into ``buffers``."""
        if fd < VIRTUAL_FD:
            await_genuine(fd)
            return real(fd, buffers)
        if not _has_room(fd, buffers):
            return 0
        received: int = _borrowed(fd, lambda sock: sock.recvmsg_into(buffers)[0])
        return received

    return readv


def writev(real: Callable[..., int]) -> Callable[..., int]:
    """``os.writev``."""

    def writev(fd: int, buffers: Sequence[Any], /) -> int:
        """The number of bytes taken from ``buffers``."""
        if fd < VIRTUAL_FD:
            return real(fd, buffers)
        if not _has_room(fd, buffers):
            return 0
        taken: int = _borrowed(fd, lambda sock: sock.sendmsg(buffers))
        return taken

    return writev


def _has_room(fd: int, buffers: Sequence[Any]) -> bool:
    """Whether there are buffers at all; EINVAL if they are too many."""
    _of(fd)
    if len(buffers) > IOV_MAX:
        raise fail(errno.EINVAL)
    return len(buffers) > 0


def fstat(real: Callable[[int], os.stat_result]) -> Callable[[int], os.stat_result]:
    """``os.fstat``."""

    def fstat(fd: int) -> os.stat_result:
        """Of a socket; st_ino is the lowest of its descriptors."""
        if fd < VIRTUAL_FD:
            return real(fd)
        table = _of(fd)
        same = [other for other, kept in table.open.items() if kept is table.open[fd]]
        owner = os.getuid(), os.getgid()
        return os.stat_result((_SOCKET, min(same), 0, 1, *owner, 0, 0, 0, 0), _DETAILS)

    return fstat


class _Lent(Socket):
    """A socket object whose descriptor stays open."""

    __slots__ = ()

    def _real_close(self, *_: Any) -> None:
        self._fd = -1


def fdopen(real: Callable[..., Any]) -> Callable[..., Any]:
    """``os.fdopen``."""

    def fdopen(
        fd: int,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """A file object on a descriptor."""
        if fd < VIRTUAL_FD:
            return real(fd, mode, buffering, encoding, errors, newline, closefd, opener)
        _check_mode(mode, encoding, errors, newline)
        both = "+" in mode
        if both and buffering != 0:
            raise io.UnsupportedOperation("File or stream is not seekable.")
        ways = ("r" if both or "r" in mode else "") + ("w" if both or "r" not in mode else "")
        with _opened(fd, Socket if closefd else _Lent) as sock:  # until the file is closed
            return sock.makefile(
                ways + ("b" if "b" in mode else ""),  # type: ignore[call-overload]
                None if buffering < 0 else buffering,
                encoding=encoding,
                errors=errors,
                newline=newline,
            )

    return fdopen


def _check_mode(mode: str, *of_text: str | None) -> None:
    """As `io.open`: ValueError, while the descriptor is still the caller's."""
    letters = set(mode)
    if letters - set("rwaxbt+") or len(letters) < len(mode):
        raise ValueError(f"invalid mode: {mode!r}")
    if {"b", "t"} <= letters:
        raise ValueError("can't have text and binary mode at once")
    if len(letters & set("rwax")) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if "b" in letters and any(word is not None for word in of_text):
        raise ValueError("binary mode doesn't take an encoding, errors or newline argument")


def fork(real: Callable[[], int]) -> Callable[[], int]:
    """``os.fork``."""

    def fork() -> int:
        """For `multiprocessing` only, whose children are the machine's."""
        caller = sys._getframe(1).f_globals.get("__name__")
        if current_host() is not None and caller != "multiprocessing.popen_fork":
            raise NotImplementedError(
                "a process that a program of a host forks would be no part of its world: use"
                " threads (in socketserver ThreadingMixIn), or multiprocessing for what needs no"
                " network"
            )
        return real()

    return fork


def _send_file(sock: Socket, in_fd: int, offset: int | None, count: int) -> int:
    """All of ``count`` bytes of a file if the socket blocks, else what there is room for."""
    try:
        begin = os.lseek(in_fd, 0, os.SEEK_CUR) if offset is None else offset
    except OSError as error:
        raise fail(errno.EINVAL if error.errno == errno.ESPIPE else errno.EBADF) from None
    sent = 0
    try:
        while sent < count:
            data = os.pread(in_fd, min(count - sent, _SENDFILE), begin + sent)
            if not data:
                break
            sent += sock.send(data)
    except OSError:
        if not sent:
            raise
    if offset is None:
        os.lseek(in_fd, begin + sent, os.SEEK_SET)
    return sent


def sendfile(real: Callable[..., int]) -> Callable[..., int]:
    """``os.sendfile``."""

    def sendfile(
        out_fd: int, in_fd: int, offset: int | None, count: int, *args: Any, **kwargs: Any
    ) -> int:
        """Into a virtual descriptor by reading and sending; the number of bytes it took."""
        if out_fd < VIRTUAL_FD:
            return real(out_fd, in_fd, offset, count, *args, **kwargs)
        sent: int = _borrowed(out_fd, lambda sock: _send_file(sock, in_fd, offset, count))
        return sent

    return sendfile


def get_inheritable(real: Callable[[int], bool]) -> Callable[[int], bool]:
    """``os.get_inheritable``."""
    return lambda fd, /: real(fd) if fd < VIRTUAL_FD else fd in _of(fd).inheritable


def set_inheritable(real: Callable[[int, bool], None]) -> Callable[[int, bool], None]:
    """``os.set_inheritable``."""

    def set_inheritable(fd: int, inheritable: bool, /) -> None:
        """Only remembered: virtual descriptors stay in this process."""
        if fd < VIRTUAL_FD:
            real(fd, inheritable)
        else:
            _of(fd).mark(fd, inheritable)

    return set_inheritable


def get_blocking(real: Callable[[int], bool]) -> Callable[[int], bool]:
    """``os.get_blocking``."""
    return lambda fd, /: real(fd) if fd < VIRTUAL_FD else not _of(fd).open[fd].nonblocking


def set_blocking(real: Callable[[int, bool], None]) -> Callable[[int, bool], None]:
    """``os.set_blocking``."""

    def set_blocking(fd: int, blocking: bool, /) -> None:
        """O_NONBLOCK off or on."""
        if fd < VIRTUAL_FD:
            real(fd, blocking)
        else:
            _of(fd).open[fd].nonblocking = not blocking

    return set_blocking


def fcntl(real: Callable[..., Any]) -> Callable[..., Any]:
    """``fcntl.fcntl``: flags of the descriptor and of the socket, and duplicates."""

    def fcntl(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
        """As POSIX says; EINVAL for other commands."""
        number = _number(fd)
        if number < VIRTUAL_FD:
            return real(fd, cmd, arg)
        table = _of(number)
        description = table.open[number]
        if cmd == _F_GETFD:
            return 0 if number in table.inheritable else _FD_CLOEXEC
        if cmd == _F_SETFD:
            table.mark(number, not arg & _FD_CLOEXEC)
        elif cmd == _F_GETFL:
            return _RDWR | (_NONBLOCK if description.nonblocking else 0)
        elif cmd == _F_SETFL:
            description.nonblocking = bool(arg & _NONBLOCK)
        elif cmd in (_F_DUPFD, _F_DUPFD_CLOEXEC):
            copy = table.add(description)
            table.mark(copy, cmd == _F_DUPFD)
            return copy
        else:
            raise fail(errno.EINVAL)
        return 0

    return fcntl


def ioctl(real: Callable[..., Any]) -> Callable[..., Any]:
    """``fcntl.ioctl``: what `capas.sockets.ioctl` answers, and FD_CLOEXEC."""

    def ioctl(fd: Any, request: int, arg: Any = 0, mutate_flag: bool = True, /) -> Any:
        """As in Linux; ENOTTY for other requests."""
        number = _number(fd)
        if number < VIRTUAL_FD:
            return real(fd, request, arg, mutate_flag)
        table = _of(number)
        if request in (FIOCLEX, FIONCLEX):
            table.mark(number, request == FIONCLEX)
            return arg if isinstance(arg, bytes) else 0
        if isinstance(arg, int):
            raise fail(errno.EFAULT if request in KNOWN else errno.ENOTTY)
        passed = arg.encode() if isinstance(arg, str) else bytes(arg)
        found = answer(table.open[number], request, passed)
        found = (found + passed[len(found) :])[: len(passed)]
        if isinstance(arg, bytes | str) or not mutate_flag:
            return found
        writable(arg, "ioctl() argument 3")[:] = found
        return 0

    return ioctl
