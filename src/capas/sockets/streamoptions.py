# SPDX-License-Identifier: Apache-2.0
"""What the options of a stream socket do to a connection or a listener (man 7 tcp, man 7 socket).

`capas.sockets.options` has checked the values; here they get the units of `UserOptions`: ns, bytes.
"""

import errno
from typing import TYPE_CHECKING, Final

from capas.base.clock import MS, SECOND
from capas.sockets import fastopen, options, plugins, preferences, values
from capas.sockets.description import Ancillary
from capas.sockets.failure import fail
from capas.sockets.tcpinfo import pack as pack_info
from capas.transport.ports import Binding
from capas.transport.tcp import states
from capas.transport.tcp import timers as tt
from capas.transport.tcp.congestion.base import add_finder, known
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.listener import TcpListener
from capas.transport.tcp.user import fit_receive_buffer

if TYPE_CHECKING:
    from capas.sockets.stream import StreamDescription

add_finder(plugins.find)

#: option -> what one unit of it is inside (ns), for attributes of `UserOptions`
_TIMES: Final = {
    "keepidle": SECOND,
    "keepintvl": SECOND,
    "user_timeout": MS,
    "connect_timeout": SECOND,
}
_FLAGS: Final = {
    "nodelay": "nodelay",
    "cork": "cork",
    "oob_inline": "oobinline",
    "no_options": "no_options",
    "reuse_address": "reuse_address",
    "dont_route": "dont_route",
}
#: option -> attribute of `UserOptions` in the same unit
_COUNTS: Final = {
    "keepcnt": "keepcnt",
    "syncnt": "syncnt",
    "maxseg": "maxseg",
    "window_clamp": "window_clamp",
    "min_ttl": "min_ttl",
    "min_hops": "min_hops",
    "receive_low": "rcvlowat",
}


def apply_connection(connection: TcpConnection, name: str, value: int, now: int) -> None:
    """Write an option to a connection."""
    if name == "receive_buffer":
        connection.set_receive_buffer(value // 2)  # Linux counts overhead, we count bytes
        fit_receive_buffer(connection)
    elif name == "send_buffer":
        connection.set_send_buffer(value // 2)
    elif name in ("tos", "tclass"):
        connection.path.tos = max(value, 0)
    elif name == "max_pacing_rate":
        set_user_option(connection, name, value)
        connection.cc.limit_pacing(connection.options.max_pacing_rate)
    elif name in ("ttl", "hops"):
        connection.path.ttl = max(value, 0)
    elif set_user_option(connection, name, value):
        if name in ("nodelay", "cork"):
            tx = connection.tx
            if name == "nodelay" and value and tx.snd_nxt < tx.queue_end:
                tx.push_now = True  # even what TCP_CORK holds (man 7 tcp), but nothing later
            connection.want_output()
        elif name == "dont_route":
            connection.path.on_link = bool(value)
        elif name in ("receive_low", "window_clamp"):
            fit_receive_buffer(connection)
        elif name.startswith("keep") and connection.state == states.ESTABLISHED:
            settings = connection.options
            if settings.keepalive:
                connection.timers.set(tt.KEEPALIVE, now + settings.keepidle)
            else:
                connection.timers.clear(tt.KEEPALIVE)


def apply_listener(listener: TcpListener, name: str, value: int) -> None:
    """Write an option to a listener: the connections it makes inherit it."""
    if name == "receive_buffer":
        listener.receive_buffer = value // 2
    elif name == "send_buffer":
        listener.send_buffer = value // 2
    elif name in ("tos", "tclass"):
        listener.tos = max(value, 0)
    elif name in ("ttl", "hops"):
        listener.ttl = max(value, 0)
    elif name == "fastopen":
        listener.fastopen_queue = value
    elif name == "fastopen_no_cookie":
        listener.fastopen_no_cookie = bool(value)
    else:
        set_user_option(listener, name, value)


def apply_binding(binding: Binding, name: str, value: int) -> None:
    """Write an option to who holds a port and may connect from it."""
    if name in ("reuse_address", "reuse_port"):
        setattr(binding, name, bool(value))
    elif name == "dont_route":
        binding.on_link = bool(value)
    elif name == "prefer_source":
        binding.prefer_source = preferences.age(value)


def wish(description: "StreamDescription", address: bytes, port: int) -> Binding:
    """What binding to ``address`` and ``port`` asks for, with the options set so far."""
    get = description.settings.get
    return Binding(
        address,
        port,
        bool(get("reuse_address")),
        bool(get("reuse_port")),
        bool(get("v6only")),
        description.settings.values.get("device", 0),
        get("port_range"),
        preferences.age(get("prefer_source")),
        bool(get("dont_route")),
    )


def begin_connection(description: "StreamDescription", connection: TcpConnection) -> None:
    """Write all options that were set to a connection that begins."""
    for name, value in description.settings.values.items():
        apply_connection(connection, name, value, description.now())
    if description.congestion:
        connection.set_congestion(description.congestion)


def begin_listener(description: "StreamDescription", listener: TcpListener) -> None:
    """The same for one who begins to listen."""
    for name, value in description.settings.values.items():
        apply_listener(listener, name, value)
    if description.congestion:
        listener.congestion = description.congestion
    listener.fastopen_keys = list(description.fastopen_keys)


def set_user_option(owner: TcpConnection | TcpListener, name: str, value: int) -> bool:
    """Write an option in the units of `UserOptions`; False if it is none of TCP's."""
    settings = owner.options.copy()  # others may share the one it has
    if name in _FLAGS:
        setattr(settings, _FLAGS[name], bool(value))
    elif name in _TIMES:
        setattr(settings, name, max(value, 0) * _TIMES[name])
    elif name == "linger2":
        settings.linger2 = value * SECOND if value >= 0 else -1
    elif name == "defer_accept":
        settings.defer_accept = values.repeats(value)
    elif name == "notsent_lowat":
        settings.notsent_lowat = value & 0xFFFFFFFF or 0xFFFFFFFF
    elif name in _COUNTS:
        setattr(settings, _COUNTS[name], value)
        if name.startswith("min_") and value:
            owner.env.gtsm = True
    elif name == "keepalive":
        settings.keepalive = bool(value)
    elif name == "max_pacing_rate":
        settings.max_pacing_rate = 0 if value == options.UNLIMITED else value
    elif name == "quickack":
        settings.quickack = value
    elif name == "linger":
        settings.linger = value * SECOND if value >= 0 else -1
    else:
        return False
    owner.options = settings
    return True


def check(description: "StreamDescription", name: str, value: int | bytes) -> None:
    """Whether an option can be set as things are; OSError."""
    if name in options.NO_MULTICAST:
        raise fail(options.NO_MULTICAST[name])
    connection = description.connection
    begun = connection is not None and connection.state != states.CLOSED
    if begun and name == "fastopen":
        raise fail(errno.EINVAL)
    if name == "window_clamp" and (begun or description.listener) and not options.as_int(value):
        raise fail(errno.EINVAL)
    fastopen.check_option(description, name)


def left(description: "StreamDescription", connection: TcpConnection) -> Ancillary:
    """TCP_INQ: how much more there is to read; the end of the stream counts as one."""
    if not description.settings.get("inq"):
        return []
    rest = connection.rx.buffered + connection.rx.finished()
    return [(options.TCP, options.TCP_INQ, options.as_bytes(rest))]


def kept(description: "StreamDescription", name: str, value: int) -> int:
    """What TCP makes of a value that was found good."""
    config = description.host.config
    if name in ("tos", "tclass") and config.tcp_manners != "freebsd":
        return max(value, 0) & ~3  # the ECN field is TCP's own (Linux, RFC 3168 §6.1)
    if name == "receive_low":  # half of what the buffer can be (Linux tcp_set_rcvlowat)
        fixed = description.settings.values.get("receive_buffer", 0)
        return min(value, (fixed or config.tcp_receive_buffer_max) >> 1)
    return value


def segment_size(description: "StreamDescription") -> int:
    """TCP_MAXSEG: what the connection sends at most; before it, what was set."""
    connection = description.connection
    wanted = description.settings.values.get("maxseg", 0)
    if connection is None or (wanted and connection.state == states.CLOSED):
        return wanted or options.DEFAULTS["maxseg"]
    return connection.tx.mss


def special(description: "StreamDescription", name: str) -> int | bytes | None:
    """TCP_INFO, TCP_CONGESTION, path MTU; None: it is none of TCP's."""
    connection = description.connection
    if name == "congestion":
        chosen = description.congestion or description.host.config.tcp_congestion
        return chosen.encode().ljust(16, b"\0")
    if name == "info":
        info = None if connection is None else connection.info(description.now())
        return pack_info(info, description.listener)
    if name in ("path_mtu", "path_mtu6"):
        if connection is None:
            raise fail(errno.ENOTCONN)
        return connection.path.mtu
    if name == "ip_options":
        return b""
    if name in ("multicast_interface", "multicast_interface6"):
        return 0
    return fastopen.get_key(description) if name == "fastopen_key" else None


def set_congestion(description: "StreamDescription", name: bytes) -> None:
    """TCP_CONGESTION; ENOENT: nobody knows it."""
    wanted = name.rstrip(b"\0").decode("ascii", "replace")
    if not known(wanted):
        raise fail(errno.ENOENT)
    description.congestion = wanted
    if description.connection is not None:
        description.connection.set_congestion(wanted)
    elif description.listener is not None:
        description.listener.congestion = wanted
