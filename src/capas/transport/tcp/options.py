# SPDX-License-Identifier: Apache-2.0
"""What a user can set on a connection, and what the two ends agreed on.

`UserOptions` is written by `setsockopt`; `Negotiated` by the handshake.  Times ns, sizes bytes.
"""

from typing import Final, final

from capas.base.config import HostConfig

#: The options, by name: a compiled class has no slots to list.
_OPTIONS: Final = (
    "connect_timeout",
    "cork",
    "defer_accept",
    "dont_route",
    "keepalive",
    "keepcnt",
    "keepidle",
    "keepintvl",
    "linger",
    "linger2",
    "max_pacing_rate",
    "maxseg",
    "min_hops",
    "min_ttl",
    "no_options",
    "nodelay",
    "notsent_lowat",
    "oobinline",
    "quickack",
    "reuse_address",
    "rcvlowat",
    "syncnt",
    "user_timeout",
    "window_clamp",
)


@final
class UserOptions:
    """Socket options of one connection (Linux's names in lower case, without the prefix).

    The connections of a listener share its options: who changes one changes a `copy`.

    ``nodelay`` ``cork``    TCP_NODELAY, TCP_CORK
    ``quickack``            TCP_QUICKACK: -1 the stack decides, 0 delay, 1 at once
    ``keepalive`` ``keepidle`` ``keepintvl`` ``keepcnt``  SO_KEEPALIVE and its ns and count
    ``user_timeout``        TCP_USER_TIMEOUT, 0: off
    ``linger``              SO_LINGER: -1 off, 0 reset on close, else ns
    ``maxseg``              TCP_MAXSEG, 0: from the route
    ``syncnt``              TCP_SYNCNT: SYN retransmissions
    ``defer_accept``        TCP_DEFER_ACCEPT: SYN-ACKs to repeat while no data comes
    ``notsent_lowat``       TCP_NOTSENT_LOWAT: unsent bytes above which the socket is not writable
    ``linger2``             TCP_LINGER2: FIN-WAIT-2 of a closed socket, -1: none
    ``rcvlowat``            SO_RCVLOWAT: unread bytes from which on the socket is readable
    ``window_clamp``        TCP_WINDOW_CLAMP: the most to offer, bytes; 0: what the buffer allows
    ``oobinline``           SO_OOBINLINE (RFC 6093 recommends it)
    ``connect_timeout``     TCP_KEEPINIT: ns for the handshake, 0: by ``syncnt`` alone
    ``reuse_address``       SO_REUSEADDR: others that have it, too, may be bound beside it
    ``dont_route``          SO_DONTROUTE: only neighbours on the link are reached (IPv4, as Linux)
    ``min_ttl`` ``min_hops``  IP_MINTTL, IPV6_MINHOPCOUNT: of what is heard (RFC 5082)
    ``max_pacing_rate``     SO_MAX_PACING_RATE: bytes/s, 0: no limit
    ``no_options``          TCP_NOOPT: send and accept no options
    """

    __slots__ = ("_config", *_OPTIONS)

    def __init__(self, config: HostConfig) -> None:
        self._config: HostConfig = config
        self.nodelay: bool = False
        self.no_options: bool = False
        self.connect_timeout: int = config.tcp_connect_timeout
        self.cork: bool = False
        self.quickack: int = -1
        self.keepalive: bool = False
        self.keepidle: int = config.tcp_keepalive_time
        self.keepintvl: int = config.tcp_keepalive_interval
        self.keepcnt: int = config.tcp_keepalive_probes
        self.user_timeout: int = config.tcp_user_timeout
        self.linger: int = -1
        self.linger2: int = config.tcp_fin_timeout
        self.maxseg: int = config.tcp_mss_default
        self.syncnt: int = config.tcp_syn_retries
        self.defer_accept: int = 0
        self.notsent_lowat: int = config.tcp_notsent_lowat
        self.oobinline: bool = False
        self.reuse_address: bool = False
        self.rcvlowat: int = 1
        self.window_clamp: int = 0
        self.dont_route: bool = False
        self.min_ttl: int = 0
        self.min_hops: int = 0
        self.max_pacing_rate: int = 0

    def copy(self) -> "UserOptions":
        """Another with the same settings, to be changed before it takes the place of this one."""
        other = UserOptions(self._config)
        for name in _OPTIONS:
            setattr(other, name, getattr(self, name))
        return other


@final
class Negotiated:
    """What both SYNs agreed on.

    ``ts_ok`` ``sack_ok`` ``wscale_ok`` ``ecn_ok``  the option is in use
    ``ts_offset``  added to the millisecond clock in TSval (RFC 7323 §7.1), raw
    ``peer_mss``   the peer's MSS option (536 or 1220 without one, RFC 9293 §3.7.1)
    ``active``     our SYN came first
    """

    __slots__ = ("active", "ecn_ok", "peer_mss", "sack_ok", "ts_offset", "ts_ok", "wscale_ok")

    def __init__(self, ts_offset: int) -> None:
        self.active: bool = False
        self.ts_ok: bool = False
        self.sack_ok: bool = False
        self.wscale_ok: bool = False
        self.ecn_ok: bool = False
        self.ts_offset: int = ts_offset
        self.peer_mss: int = 536
