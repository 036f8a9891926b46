# SPDX-License-Identifier: Apache-2.0
"""What a descriptor stands for: POSIX's "open file description", here of one socket on one host.

Several descriptors (`dup`) can share one description; it lives until the last is closed.  It owns
the endpoint whose readiness selectors and blocked programs wait for, and it outlives the exchange
of that endpoint when an idle socket becomes a connection or a listener.  Addresses are packed in
here; `capas.sockets.addresses` turns Python's tuples into them.
"""

import errno
import socket
import sys
from abc import ABC, abstractmethod
from typing import Final, final

from capas.base.checksum import Buffer
from capas.base.clock import SECOND
from capas.base.native import mypyc_attr
from capas.host.host import Host
from capas.sockets import options, preferences
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_PEEK
from capas.transport.endpoint import HANGUP, Endpoint, Watcher
from capas.wire import address as addr

_MOST: Final = 1 << 30  # bytes; more than any socket holds
#: option -> the host's setting it begins with (-1: has again), the unit of the option in that
_SETTINGS: Final = {
    "ttl": ("default_ttl", 1),
    "hops": ("hop_limit", 1),
    "keepidle": ("tcp_keepalive_time", SECOND),
    "keepintvl": ("tcp_keepalive_interval", SECOND),
    "keepcnt": ("tcp_keepalive_probes", 1),
    "syncnt": ("tcp_syn_retries", 1),
    "linger2": ("tcp_fin_timeout", SECOND),
    "connect_timeout": ("tcp_connect_timeout", SECOND),
}

#: A socket address inside: packed address, port, interface index of a scoped address.
Address = tuple[bytes, int, int]
#: Ancillary data as recvmsg and sendmsg have it: (level, type, bytes).
Ancillary = list[tuple[int, int, bytes]]


@final
class Received:
    """What one receive call got: ``data``, where from, flags and ancillary data.

    ``whole``  bytes of the datagram, though ``data`` may be less of it
    """

    __slots__ = ("ancillary", "data", "flags", "source", "whole")

    def __init__(
        self,
        data: bytes,
        source: Address | None = None,
        flags: int = 0,
        ancillary: Ancillary | None = None,
    ) -> None:
        self.data: bytes = data
        self.whole: int = len(data)
        self.source: Address | None = source
        self.flags: int = flags
        self.ancillary: Ancillary = ancillary if ancillary is not None else []


@mypyc_attr(allow_interpreted_subclasses=True)
class Description(ABC):
    """One socket of ``host``; subclasses know its protocol.

    ``references``  descriptors that stand for it, and calls that wait: they keep it open, too
    """

    def __init__(
        self,
        host: Host,
        driver: Driver,
        family: int,
        type: int,
        proto: int,
        endpoint: Endpoint,
    ) -> None:
        self.host: Host = host
        self.driver: Driver = driver
        self.family: int = family
        self.type: int = type
        self.proto: int = proto
        self.endpoint: Endpoint = endpoint
        self.references: int = 0
        self.cookie: int = 0  # SO_COOKIE, 0: nobody has asked
        self.nonblocking: bool = False  # O_NONBLOCK, also of sockets with a timeout
        self.settings: options.Settings = options.Settings()
        self._watchers: list[Watcher] = []
        self._before: Watcher | None = None  # who watched the endpoint before us: a blocked program
        self._telling: bool = False

    # -- waiting ----------------------------------------------------------------------------------

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of each gain of readiness."""
        self._watchers.append(watcher)
        if self.endpoint.watcher is not self:
            self._before = self.endpoint.watcher
            self.endpoint.watcher = self

    def unwatch(self, watcher: Watcher) -> None:
        """Undo `watch`."""
        self._watchers.remove(watcher)
        if not self._watchers and self.endpoint.watcher is self:
            self.endpoint.watcher, self._before = self._before, None

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """The driver says the endpoint gained readiness."""
        if self._telling:  # who was there before us passes on to us as well
            return
        for watcher in tuple(self._watchers):
            watcher.endpoint_ready(endpoint)
        if self._before is not None:
            self._telling = True
            self._before.endpoint_ready(endpoint)
            self._telling = False

    def exchange(self, endpoint: Endpoint) -> None:
        """From now on ``endpoint`` is the one to wait on."""
        before = self.endpoint
        if before.watcher is self:
            before.watcher, self._before = self._before, None
        before.set_ready(HANGUP)  # who is blocked on it looks again, and waits for the new one
        endpoint.eager = before.eager
        self.endpoint = endpoint
        if self._watchers:
            endpoint.watcher = self
            if endpoint.readiness:
                self.endpoint_ready(endpoint)

    # -- what each protocol does; errors are OSError, None means "would block" --------------------

    @abstractmethod
    def bind(self, address: Address) -> None:
        """bind(2)."""

    def listen(self, backlog: int) -> None:
        """listen(2)."""
        raise fail(errno.EOPNOTSUPP)

    def accept(self) -> "Description | None":
        """accept(2): the description of the connection."""
        raise fail(errno.EOPNOTSUPP)

    @abstractmethod
    def connect(self, address: Address | None) -> bool:
        """connect(2); None is AF_UNSPEC.  False: in progress, wait for WRITE, then `connected`."""

    def connected(self) -> None:
        """A connect that was in progress has ended: raise its error, if it has one."""
        error = self.take_error()
        if error:
            raise fail(error)

    @abstractmethod
    def send(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int | None:
        """send(2), sendto(2), sendmsg(2): bytes taken."""

    @abstractmethod
    def receive(self, limit: int, flags: int) -> Received | None:
        """recv(2), recvfrom(2), recvmsg(2)."""

    @abstractmethod
    def shutdown(self, how: int) -> None:
        """shutdown(2)."""

    @abstractmethod
    def local_address(self) -> Address:
        """getsockname(2)."""

    @abstractmethod
    def remote_address(self) -> Address:
        """getpeername(2); ENOTCONN."""

    def accepted_from(self) -> Address:
        """accept(2): the peer, though it may have gone meanwhile."""
        return self.remote_address()

    def unread(self) -> int:
        """FIONREAD: bytes the next receive call could return."""
        received = self.receive(_MOST, MSG_PEEK)
        return 0 if received is None else len(received.data)

    def holds_data(self) -> bool:
        """Whether a receive call would find something."""
        return self.unread() > 0

    def at_mark(self) -> bool:
        """SIOCATMARK: the next byte is the urgent one; no protocol but TCP has such (ENOTTY)."""
        raise fail(errno.ENOTTY)

    def peer_ended(self) -> bool:
        """POLLRDHUP: nothing will be received any more."""
        return False

    @abstractmethod
    def take_error(self) -> int:
        """SO_ERROR: the pending errno, which is then forgotten."""

    def put_back(self, error: int) -> None:  # noqa: B027 - datagrams come whole
        """An errno that was raised when part of a call was done: the next call raises it."""

    @abstractmethod
    def close(self) -> None:
        """The last descriptor was closed."""

    # -- options ----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def kind(self) -> int:
        """Which options it has: those of options.STREAM, DATAGRAM or RAW."""

    def get_option(self, level: int, number: int) -> int | bytes:
        """getsockopt(2); what was never set has the host's setting."""
        family = self.family
        elsewhere = errno.ENOPROTOOPT if family == socket.AF_INET6 else errno.EOPNOTSUPP
        option = options.find(level, number, self.kind, family, elsewhere)
        if option.kind in (options.READ_ONLY, options.MEASURED):
            return self._cookie() if option.name == "cookie" else self.fact(option.name)
        source = _SETTINGS.get(option.name)
        if (
            source is not None
            and self.settings.values.get(option.name, option.besides) == option.besides
        ):
            field, unit = source
            value = int(getattr(self.host.config, field)) // unit
            return value if value <= 0x7FFFFFFF else value - (1 << 32)
        if option.kind == options.SPECIAL:
            return self.get_special(option.name)
        if option.kind == options.BUFFER and option.name not in self.settings.values:
            return self.default_buffer(option.name)
        return self.settings.show(option)

    def set_option(self, level: int, number: int, value: int | bytes) -> None:
        """setsockopt(2)."""
        option = options.find(level, number, self.kind, self.family, errno.ENOPROTOOPT)
        if not isinstance(value, int):
            options.check_size(level, option, len(value))
        self.check_option(option.name, value)
        if option.kind == options.SPECIAL:
            self.set_special(option.name, value)
        else:
            self.apply(option.name, self.settings.store(option, value, self.host.config))

    def check_option(self, name: str, value: int | bytes) -> None:
        """Whether an option can be set as things are; OSError."""
        if name == "v6only" and self.has_address():
            raise fail(errno.EINVAL)

    def fact(self, name: str) -> int:
        """An option that shows what is, not what was set."""
        if name == "error":
            return self.take_error()
        protocol = self.proto or (options.TCP if self.kind == options.STREAM else options.UDP)
        facts = {"type": self.type, "family": self.family, "protocol": protocol}
        return facts.get(name, options.DEFAULTS[name])

    def has_address(self) -> bool:
        """Whether it is too late to choose between IPv6 alone and both (IPV6_V6ONLY)."""
        return False

    @abstractmethod
    def default_buffer(self, name: str) -> int:
        """SO_RCVBUF or SO_SNDBUF ("receive_buffer", "send_buffer") while not set."""

    @abstractmethod
    def apply(self, name: str, value: int) -> None:
        """An option was set: let the transport know."""

    def get_special(self, name: str) -> int | bytes:
        """An option that is more than a number."""
        if name == "device":
            index = self.settings.values.get("device", 0)
            return self.host.interfaces[index - 1].name.encode() + b"\0" if index else b""
        if name.startswith("unicast_interface"):
            return self.settings.values.get(name, 0).to_bytes(4, "big")
        if name == "max_pacing_rate":
            return self.settings.values.get(name, options.UNLIMITED)
        if name == "prefer_source":
            return preferences.shown(self.settings.get(name))
        if name in ("filter", "group_filter", "group_filter6"):
            raise fail(errno.EINVAL)  # Python hands in no group to be asked for
        raise fail(errno.ENOPROTOOPT)

    def set_special(self, name: str, value: int | bytes) -> None:
        """Set an option that is more than a number."""
        if name == "ip_options" and value == b"":
            return
        if name.startswith("unicast_interface"):
            self._set_unicast_interface(name, options.as_bytes(value))
            return
        if name == "max_pacing_rate":
            rate = self.settings.values[name] = options.as_rate(value)
            self.apply(name, rate)
            return
        if name == "prefer_source":
            said = preferences.kept(options.as_int(value))
            self.settings.values[name] = said
            self.apply(name, said)
            return
        if name != "device":
            raise fail(errno.ENOPROTOOPT)
        packed = options.as_bytes(value)
        wanted = packed.split(b"\0")[0].decode("ascii", "replace")
        found = [link.index for link in self.host.interfaces if link.name == wanted]
        if wanted and not found:
            raise fail(errno.ENODEV)
        index = self.settings.values["device"] = found[0] if wanted else 0
        self.apply("device", index)

    def _set_unicast_interface(self, name: str, value: bytes) -> None:
        """IP_UNICAST_IF, IPV6_UNICAST_IF: an index as on the wire; 0: the route decides."""
        index = int.from_bytes(value[:4], "big")
        if index and self.host.net.interface(index) is None:
            raise fail(errno.EADDRNOTAVAIL)
        if index and self.settings.values.get("device", 0):
            raise fail(errno.EINVAL)
        self.settings.values[name] = index
        self.apply(name, index)

    def _cookie(self) -> bytes:
        """SO_COOKIE: a number that no other socket of the driver has; drawn when asked for."""
        if not self.cookie:
            self.cookie = self.driver.descriptors.draw_cookie()
        return self.cookie.to_bytes(8, sys.byteorder)

    # -- helpers ----------------------------------------------------------------------------------

    def _wildcard(self) -> bytes:
        return addr.ANY6 if self.family == socket.AF_INET6 else addr.ANY4

    def now(self) -> int:
        """The time, ns."""
        return self.driver.now()

    def kick(self) -> None:
        """Something is to be sent, or a window has opened: the driver flushes the host."""
        self.driver.kick(self.host)
