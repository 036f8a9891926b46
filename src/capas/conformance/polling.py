# SPDX-License-Identifier: Apache-2.0
"""poll(2), epoll(7), recvmsg(2) and sendmsg(2) of scripts: calls that take structures."""

import errno
from typing import Final

from capas.conformance import values
from capas.conformance.ast import Array, Call, Expression, Struct, SystemCall
from capas.conformance.calls import Calls, Running, deadline_after
from capas.conformance.errors import Failed, NotApplicable
from capas.conformance.files import EpollFile, Interest, SocketFile

_ALWAYS: Final = 0x18  # POLLERR | POLLHUP
_EPOLLET: Final = 1 << 31
_EPOLLONESHOT: Final = 1 << 30
_DATA_MEMBERS: Final = ("fd", "ptr", "u32", "u64")
_TCP_CM_INQ: Final = 36


class StructuredCalls(Calls):
    """`Calls` and those that take structures."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.table.update(
            poll=self._poll,
            epoll_create=self._epoll_create,
            epoll_create1=self._epoll_create,
            epoll_ctl=self._epoll_ctl,
            epoll_wait=self._epoll_wait,
            recvmsg=self._recvmsg,
            sendmsg=self._sendmsg,
            readv=self._readv,
            writev=self._writev,
        )

    # -- poll -------------------------------------------------------------------------------------

    def _poll(self, call: SystemCall) -> Running:
        entries, _, timeout = call.arguments
        if not isinstance(entries, Array):
            raise values.Unknown("poll() wants [{fd=..., events=...}]")
        deadline = deadline_after(self.network.now, values.integer(timeout))
        while True:
            found = [self._revents(entry) for entry in entries.items]
            ready = sum(1 for mask in found if mask)
            if ready or self.network.now >= deadline:
                break
            yield deadline
        for entry, mask in zip(entries.items, found, strict=True):
            members = entry.members if isinstance(entry, Struct) else {}
            expected = values.integer(members["revents"]) if "revents" in members else 0
            if mask != expected:
                raise Failed("poll(): revents", f"{expected:#x}", f"{mask:#x}")
        return ready

    def _revents(self, entry: Expression) -> int:
        file = self.socket_of(values.member(entry, "fd"))
        events = values.integer(values.member(entry, "events"))
        return file.poll() & (events | _ALWAYS)

    # -- epoll ------------------------------------------------------------------------------------

    def _epoll_create(self, call: SystemCall) -> Running:
        return self.new_fd(call, EpollFile())
        yield 0

    def _epoll(self, value: Expression) -> EpollFile:
        found = self.file(value)
        if not isinstance(found, EpollFile):
            raise OSError(errno.EINVAL, "Invalid argument")
        return found

    def _epoll_ctl(self, call: SystemCall) -> Running:
        instance, operation, target, event = call.arguments
        epoll = self._epoll(instance)
        fd = values.integer(target)
        wanted = values.integer(operation)
        if wanted == 2:
            if epoll.interests.pop(fd, None) is None:
                raise OSError(errno.ENOENT, "No such file or directory")
            return 0
        if (wanted == 1) == (fd in epoll.interests):
            number = errno.EEXIST if wanted == 1 else errno.ENOENT
            raise OSError(number, "epoll_ctl")
        events = values.integer(values.member(event, "events"))
        epoll.interests[fd] = Interest(self.socket_of(target), events, _data(event))
        return 0
        yield 0

    def _epoll_wait(self, call: SystemCall) -> Running:
        instance, expected, most, timeout = call.arguments
        epoll = self._epoll(instance)
        deadline = deadline_after(self.network.now, values.integer(timeout))
        limit = values.integer(most)
        while True:
            found = [
                (interest, mask)
                for interest in epoll.interests.values()
                if (mask := _epoll_events(interest))
            ][:limit]
            if found or self.network.now >= deadline:
                break
            yield deadline
        for interest, _ in found:
            interest.seen = interest.file.edges
            if interest.events & _EPOLLONESHOT:
                interest.armed = False
        if found:
            interest, mask = found[0]
            wanted = values.integer(values.member(expected, "events"))
            if (mask, interest.data) != (wanted, _data(expected)):
                raise Failed(
                    "epoll_wait(): the event",
                    f"{wanted:#x} of {_data(expected)}",
                    f"{mask:#x} of {interest.data}",
                )
        return len(found)

    # -- messages ---------------------------------------------------------------------------------

    def _vectors(self, message: Expression) -> tuple[list[int], Struct]:
        if not isinstance(message, Struct):
            raise values.Unknown("expected {msg_name(...)=..., msg_iov(n)=[...], ...}")
        return _sizes(message.members.get("msg_iov")), message

    def _readv(self, call: SystemCall) -> Running:
        fd, vectors, _ = call.arguments
        return (yield from self._receive(self.socket_of(fd), sum(_sizes(vectors)), 0))

    def _writev(self, call: SystemCall) -> Running:
        fd, vectors, _ = call.arguments
        return (yield from self._transmit(fd, Array(()), sum(_sizes(vectors)), 0))

    def _recvmsg(self, call: SystemCall) -> Running:
        fd, message, flags = call.arguments
        sizes, struct_ = self._vectors(message)
        file = self.socket_of(fd)
        bits = values.integer(flags)
        if bits & 0x2000:
            raise NotApplicable("the error queue (MSG_ERRQUEUE)")
        got = yield from self._receive(file, sum(sizes), bits)
        wanted = struct_.members.get("msg_flags")
        if wanted is not None and values.integer(wanted) != 0:
            raise Failed("recvmsg(): msg_flags", values.describe(wanted), "0")
        self._check_control(file, struct_)
        return got

    def _check_control(self, file: SocketFile, message: Struct) -> None:
        control = message.members.get("msg_control")
        if control is None:
            return
        if not isinstance(control, Array):
            raise values.Unknown("msg_control is [{cmsg_level=..., ...}]")
        have: list[tuple[int, int, int]] = []
        if file.inq:
            left = file.description.unread()
            connection = file.description.connection
            if not left and connection is not None and connection.receive_ended():
                left = 1
            have.append((6, _TCP_CM_INQ, left))
        expected = [
            tuple(
                values.integer(values.member(item, name))
                for name in ("cmsg_level", "cmsg_type", "cmsg_data")
            )
            for item in control.items
        ]
        if expected != have:
            raise Failed("recvmsg(): ancillary data", str(expected), str(have))

    def _sendmsg(self, call: SystemCall) -> Running:
        fd, message, flags = call.arguments
        sizes, struct_ = self._vectors(message)
        if "msg_control" in struct_.members:
            raise NotApplicable("ancillary data of sendmsg()")
        bits = values.integer(flags)
        fast = bool(bits & 0x20000000)
        return (yield from self._transmit(fd, Array(()), sum(sizes), bits, fast))


def _sizes(vectors: Expression | None) -> list[int]:
    if not isinstance(vectors, Array):
        raise values.Unknown("a vector is [{..., length}, ...]")
    sizes = []
    for vector in vectors.items:
        if not isinstance(vector, Struct) or len(vector.members) != 2:
            raise values.Unknown("an iovec is {..., length}")
        sizes.append(values.integer(vector.members["1"]))
    return sizes


def _data(event: Expression) -> int:
    if isinstance(event, Struct):
        for name in _DATA_MEMBERS:
            if name in event.members:
                return values.integer(event.members[name])
    if isinstance(event, Call):
        return 0
    raise values.Unknown("an epoll event is {events=..., fd=...}")


def _epoll_events(interest: Interest) -> int:
    if not interest.armed:
        return 0
    if interest.events & _EPOLLET and interest.seen == interest.file.edges:
        return 0
    return interest.file.poll() & (interest.events | _ALWAYS) & ~(_EPOLLET | _EPOLLONESHOT)
