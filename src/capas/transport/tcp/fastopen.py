# SPDX-License-Identifier: Apache-2.0
"""TCP Fast Open, both ends (RFC 7413): data in the SYN, for peers that hold a cookie.

A client remembers per server the cookie, the MSS it announced and which form of the option it
speaks (the assigned number 34, or the experimental one of RFC 6994).  A server hands out keyed
hashes of the two addresses (SipHash-2-4, as Linux, so that hosts with one key share cookies).
Data in a SYN may be replayed: only those who ask for it get it (RFC 7413 §6).
"""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, final

from capas.base.rng import Rng
from capas.base.siphash import siphash
from capas.wire.tcp import SYN, Segment

if TYPE_CHECKING:
    from capas.base.config import HostConfig
    from capas.transport.tcp.connection import TcpConnection
    from capas.transport.tcp.listener import TcpListener

CLIENT: Final = 1  # bits of HostConfig.tcp_fastopen (Linux tcp_fastopen)
SERVER: Final = 2
CLIENT_NO_COOKIE: Final = 4
SERVER_NO_COOKIE: Final = 0x200
ALL_LISTENERS: Final = 0x400  # without TCP_FASTOPEN

OPTION_SPACE: Final = 40  # bytes kept free of data for options of middleboxes
_ENTRIES: Final = 1024  # servers remembered, the least recently used go first
KEY_BYTES: Final = 16


@final
class ServerMemory:
    """What a client knows of one server.

    ``mss``       the MSS it announced, 0: not known; ``cookie``: b"" none
    ``experimental``  it speaks the experimental option; ``tried``: 1 try that next, 2 tried
    ``disabled``  do not use Fast Open with it
    """

    __slots__ = ("cookie", "disabled", "experimental", "mss", "tried")

    def __init__(self) -> None:
        self.cookie: bytes = b""
        self.mss: int = 0
        self.experimental: bool = False
        self.tried: int = 0
        self.disabled: bool = False


@final
class FastOpen:
    """One connection's part in it.

    ``cookie``        to send in our SYN or SYN-ACK: None no option, b"" a request
    ``experimental``  in the experimental form
    ``size``          bytes of data our SYN carries (client)
    ``requested``     our SYN carried the option or data without a cookie
    ``repeated``      our SYN had to be sent again
    ``early``         a child accepted before the handshake was over (server)
    """

    __slots__ = ("cookie", "early", "experimental", "repeated", "requested", "size")

    def __init__(self) -> None:
        self.cookie: bytes | None = None
        self.experimental: bool = False
        self.size: int = 0
        self.requested: bool = False
        self.repeated: bool = False
        self.early: bool = False


@final
class FastOpenHost:
    """Keys and memory of one host."""

    __slots__ = ("_default_key", "config", "servers")

    def __init__(self, config: "HostConfig", rng: Rng) -> None:
        self.config: HostConfig = config
        self._default_key: bytes = rng.bytes(KEY_BYTES)
        self.servers: OrderedDict[bytes, ServerMemory] = OrderedDict()

    # -- server -----------------------------------------------------------------------------------

    def keys(self) -> list[bytes]:
        """The keys in force: the first makes cookies, all are good."""
        text = self.config.tcp_fastopen_key
        if not text:
            return [self._default_key]
        return [_key(part) for part in text.split(",")]

    def make(self, key: bytes, client: bytes, server: bytes) -> bytes:
        """The cookie for ``client``, eight bytes."""
        return siphash(key, client + server).to_bytes(8, "little")

    def serve(self, listener: "TcpListener", c: "TcpConnection", seg: Segment) -> None:
        """A SYN for a listener: decide on an early child, or on a cookie in the SYN-ACK."""
        bits = self.config.tcp_fastopen
        cookie = seg.cookie
        asked = cookie is not None or seg.length > 0
        if not bits & SERVER or not asked or not listener.takes_fast_open():
            return
        fast = c.fast = FastOpen()
        local, remote = c.path.local, c.path.remote
        if bits & SERVER_NO_COOKIE or listener.fastopen_no_cookie:
            fast.early = True
            return
        if cookie is None:
            return
        fast.experimental = seg.cookie_experimental
        keys = listener.fastopen_keys or self.keys()
        good = [self.make(key, remote, local) for key in keys]
        if cookie and cookie in good:
            fast.early = True
            if cookie != good[0]:
                fast.cookie = good[0]  # an old key: here is a new cookie
            return
        c.counters.add("tcp.fastopen_cookie_sent")
        fast.cookie = good[0]

    # -- client -----------------------------------------------------------------------------------

    def memory(self, server: bytes) -> ServerMemory | None:
        """What is known of ``server``."""
        found = self.servers.get(server)
        if found is not None:
            self.servers.move_to_end(server)
        return found

    def can_defer(self, server: bytes) -> bool:
        """Whether a SYN to ``server`` could carry data now (TCP_FASTOPEN_CONNECT)."""
        known = self.memory(server)
        if known is not None and known.disabled:
            return False
        return bool(self.config.tcp_fastopen & CLIENT_NO_COOKIE) or bool(known and known.cookie)

    def prepare(self, c: "TcpConnection", wanted: int) -> int:
        """Set up the SYN of an active open; how many of ``wanted`` bytes it may carry."""
        known = self.memory(c.path.remote)
        if known is not None and known.disabled:
            return 0
        fast = c.fast = FastOpen()
        fast.requested = True
        mss = c.tx.mss
        if known is not None:
            fast.experimental = known.experimental or (not known.cookie and known.tried == 1)
            if known.mss:
                mss = min(mss, known.mss)
        if self.config.tcp_fastopen & CLIENT_NO_COOKIE:
            fast.cookie = None
        elif known is not None and known.cookie:
            fast.cookie = known.cookie
        else:
            fast.cookie = b""
            return 0
        fast.size = max(min(wanted, mss - OPTION_SPACE), 0)
        return fast.size

    def answered(self, c: "TcpConnection", seg: Segment, complete: bool) -> None:
        """The SYN-ACK of a Fast Open: learn; ``complete``: it acknowledged all our data."""
        fast = c.fast
        if fast is None or not fast.requested or not seg.flags & SYN:
            return
        known = self.servers.get(c.path.remote)
        if known is None:
            known = self.servers[c.path.remote] = ServerMemory()
            if len(self.servers) > _ENTRIES:
                self.servers.popitem(last=False)
        known.mss = c.neg.peer_mss
        if seg.cookie and fast.cookie is not None:  # one that was not asked for is not kept
            known.cookie = seg.cookie
            known.experimental = seg.cookie_experimental
        elif self.config.tcp_manners == "freebsd":
            known.disabled = not (fast.size and complete)
        elif not fast.repeated and not fast.size and not known.cookie:
            known.tried = max(known.tried, 2 if fast.experimental else 1)

    def forget(self) -> None:
        """Forget all servers (``ip tcp_metrics flush``)."""
        self.servers.clear()


def _key(text: str) -> bytes:
    """A key as written in Linux's sysctl: four words, each stored little-endian."""
    words = text.strip().split("-")
    raw = bytes.fromhex("".join(words))
    return b"".join(raw[i : i + 4][::-1] for i in range(0, KEY_BYTES, 4))
