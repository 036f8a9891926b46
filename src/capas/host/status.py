# SPDX-License-Identifier: Apache-2.0
"""What a host's tables hold, as plain data: sockets, links, addresses, routes, neighbours.

Keys and words are those of iproute2's JSON and of ``ss``, so that whoever reads those reads these.
Everything is a copy made of text, numbers, lists and dicts.  ``now`` is ns; lifetimes in the result
are seconds, times of connections ms, as there.
"""

from collections.abc import Callable
from typing import Any, Final

from capas.base.clock import MS, NEVER, SECOND, US
from capas.host.host import Host
from capas.internet.route import METRIC_DEFAULT, Route
from capas.link.interface import DEPRECATED, TENTATIVE, Interface
from capas.link.link import Medium
from capas.link.neighbor import STATE_NAMES, NeighborTable
from capas.transport.tcp.congestion.base import INFINITE_SSTHRESH
from capas.transport.tcp.info import TcpInfo, snapshot
from capas.wire.address import is_link_local, is_loopback, mac_text, text

Row = dict[str, Any]
FOREVER: Final = 0xFFFFFFFF  # s, as iproute2 says it

#: ss's names of states, by ours
_STATES: Final = {"ESTABLISHED": "ESTAB", "SYN-RECEIVED": "SYN-RECV"}
_KINDS: Final = {Medium.ETHERNET: "ether", Medium.LOOPBACK: "loopback", Medium.IP: "none"}
_PROTOCOLS: Final = {"connected": "kernel", "local": "kernel", "world": "static"}


def sockets(host: Host, now: int) -> list[Row]:
    """TCP listeners and connections, UDP sockets; in order of port, then of making."""
    rows: list[Row] = []
    listeners = host.tcp.listeners
    for port in sorted(listeners.ports):
        for address, listener in listeners.on_port(port):
            queues = len(listener.queue), listener.backlog
            row = _socket("tcp", "LISTEN", queues, (address, port), (bytes(len(address)), 0))
            rows.append({**row, "half_open": listener.half_open})
    for connection in host.tcp.connections():
        info = snapshot(connection, now)
        path = connection.path
        state = _STATES.get(info.state_name, info.state_name)
        queues = info.unread, info.unacked + info.notsent
        ends = (path.local, path.local_port), (path.remote, path.remote_port)
        rows.append({**_socket("tcp", state, queues, *ends), "info": _connection(info)})
    for port in sorted(host.udp.sockets):
        for one in host.udp.sockets[port]:
            peer = (one.remote, one.remote_port) if one.remote else (bytes(len(one.local)), 0)
            state = "ESTAB" if one.remote else "UNCONN"
            row = _socket("udp", state, (one.queued, 0), (one.local, port), peer)
            rows.append({**row, "dropped": one.dropped})
    return rows


def _socket(
    netid: str,
    state: str,
    queues: tuple[int, int],
    local: tuple[bytes, int],
    peer: tuple[bytes, int],
) -> Row:
    return {
        "netid": netid, "state": state, "recv_q": queues[0], "send_q": queues[1],
        "local": text(local[0]), "local_port": local[1],
        "peer": text(peer[0]), "peer_port": peer[1],
    }  # fmt: skip


def _connection(info: TcpInfo) -> Row:
    """The internals of a connection by the names of ``ss -i``; sizes bytes, cwnd in segments."""
    mss = max(info.snd_mss, 1)
    row: Row = {
        "congestion": info.congestion, "wscale": [info.snd_wscale, info.rcv_wscale],
        "rto": info.rto / MS, "rtt": info.rtt / MS, "rttvar": info.rttvar / MS,
        "mss": info.snd_mss, "pmtu": info.pmtu, "cwnd": info.snd_cwnd // mss,
        "bytes_acked": info.bytes_acked, "bytes_received": info.bytes_received,
        "bytes_retrans": info.total_retrans, "unacked": -(-info.unacked // mss),
        "lost": -(-info.lost // mss), "sacked": -(-info.sacked // mss),
        "delivery_rate": info.delivery_rate * 8, "pacing_rate": info.pacing_rate * 8,
        "lastsnd": info.last_data_sent // MS, "lastrcv": info.last_data_received // MS,
        "rcv_space": info.rcv_space, "minrtt": -(-info.min_rtt // US) / 1000, "timer": info.timer,
        "options": [
            name
            for name, on in (("ts", info.ts_ok), ("sack", info.sack_ok), ("ecn", info.ecn_ok))
            if on
        ],
    }  # fmt: skip
    if info.snd_ssthresh < INFINITE_SSTHRESH:
        row["ssthresh"] = info.snd_ssthresh // mss
    return row


def links(host: Host, now: int) -> list[Row]:
    """Interfaces with their counts of bytes and frames."""
    return [
        {
            **_link(interface),
            "stats64": {
                "rx": {"bytes": interface.stats.rx_bytes, "packets": interface.stats.rx_frames},
                "tx": {"bytes": interface.stats.tx_bytes, "packets": interface.stats.tx_frames},
            },
            "queued": len(interface.queue),
        }
        for interface in host.interfaces
    ]


def _link(interface: Interface) -> Row:
    medium = interface.caps.medium
    flags = {
        Medium.ETHERNET: ["BROADCAST", "MULTICAST"],
        Medium.LOOPBACK: ["LOOPBACK"],
        Medium.IP: ["POINTOPOINT", "MULTICAST", "NOARP"],
    }[medium] + (["UP", "LOWER_UP"] if interface.up else [])
    row: Row = {
        "ifindex": interface.index, "ifname": interface.name, "flags": flags,
        "mtu": interface.mtu, "operstate": "UP" if interface.up else "DOWN",
        "link_type": _KINDS[medium],
    }  # fmt: skip
    if medium is Medium.ETHERNET:
        row["address"] = mac_text(interface.mac)
    return row


def addresses(host: Host, now: int) -> list[Row]:
    """Interfaces with their addresses."""
    return [
        {**_link(interface), "addr_info": [_address(own, now) for own in interface.addresses]}
        for interface in host.interfaces
    ]


def _address(own: Any, now: int) -> Row:
    address = own.address
    scope = "host" if is_loopback(address) else "link" if is_link_local(address) else "global"
    row: Row = {
        "family": _family(address), "local": text(address), "prefixlen": own.prefix_length,
        "scope": scope, "protocol": own.origin,
    }  # fmt: skip
    if own.valid_until < NEVER:
        row["dynamic"] = True
    if own.temporary:
        row["temporary"] = True
    elif own.origin == "slaac":
        row["mngtmpaddr"] = True  # temporary ones stand beside it, if there are any (iproute2)
    if own.state == TENTATIVE:
        row["tentative"] = True
    if own.state == DEPRECATED:
        row["deprecated"] = True
    row["valid_life_time"] = _left(own.valid_until, now)
    row["preferred_life_time"] = _left(own.preferred_until, now)
    return row


def _left(until: int, now: int) -> int:
    return FOREVER if until >= NEVER else max(0, until - now) // SECOND


def _family(address: bytes) -> str:
    return "inet" if len(address) == 4 else "inet6"


def routes(host: Host, now: int) -> list[Row]:
    """The routing table without the host's own addresses and the links' groups."""
    return [
        _route(route)
        for route in host.net.routes
        if route.origin != "local"
        and not (route.origin == "connected" and _is_group(route.prefix.address))
    ]


def _is_group(address: bytes) -> bool:
    return address[0] >= 224 if len(address) == 4 else address[0] == 0xFF


def _route(route: Route) -> Row:
    prefix = route.prefix
    whole = prefix.length == len(prefix.address) * 8
    dst = text(prefix.address) if whole else str(prefix)
    row: Row = {"family": _family(prefix.address), "dst": dst if prefix.length else "default"}
    if route.gateway:
        row["gateway"] = text(route.gateway)
    row["dev"] = route.interface.name
    row["protocol"] = _PROTOCOLS.get(route.origin, route.origin)
    if route.source:
        row["prefsrc"] = text(route.source)
    if route.metric not in (0, METRIC_DEFAULT):
        row["metric"] = route.metric
    if route.mtu:
        row["mtu"] = route.mtu
    return row


def neighbours(host: Host, now: int) -> list[Row]:
    """Who is known on the links, both families."""
    rows: list[Row] = []
    for interface in host.interfaces:
        for table in (interface.neighbors4, interface.neighbors6):
            rows += _neighbours(interface, table, now)
    return rows


def _neighbours(interface: Interface, table: NeighborTable, now: int) -> list[Row]:
    rows: list[Row] = []
    for address, entry in sorted(table.table.items()):
        row: Row = {"dst": text(address), "dev": interface.name}
        if entry.mac:
            row["lladdr"] = mac_text(entry.mac)
        if entry.is_router:
            row["router"] = None  # a flag, as iproute2 writes it
        row["state"] = [STATE_NAMES[entry.state_at(now)]]
        rows.append(row)
    return rows


def counters(host: Host, now: int) -> Row:
    """All counts of events and drops, and what is held in memory."""
    return {
        "counters": host.counters.snapshot(),
        "memory": {"used": host.memory.used, "limit": host.config.memory_limit},
        "nameservers": [text(server) for server in host.nameservers],
        "search": list(host.search),
    }


#: What can be asked for by name.
TABLES: Final[dict[str, Callable[[Host, int], Any]]] = {
    "sockets": sockets,
    "links": links,
    "addresses": addresses,
    "routes": routes,
    "neighbours": neighbours,
    "counters": counters,
}
