# SPDX-License-Identifier: Apache-2.0
"""A small DHCP server: a pool, addresses kept for known stations, leases (RFC 2131 §4.3).

    service = await dhcp_server.start("192.0.2.100-192.0.2.199,lease=600,router=192.0.2.1")

`Leases` decides without I/O: a message and the time in, an answer out.  Nothing grows beyond the
pool: an offer holds its address for `OFFERED` seconds, a declined one rests for `DECLINED`; what
comes while no address is free is counted.  Relays (giaddr) are not served.  A client without an
address is answered by broadcast, which all understand (§4.1).  Times are the loop's seconds.
"""

import asyncio
import ipaddress
import math
from dataclasses import dataclass, field
from typing import Any, Final, final

from capas.application.dhcp import ethernet, open_socket
from capas.application.serving import Service
from capas.base.events import Counters
from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.link.interface import Interface
from capas.sockets.current import require_host
from capas.wire import dhcp4
from capas.wire.address import ANY4, BROADCAST4, Prefix, parse, parse_mac, text
from capas.wire.dhcp4 import Dhcp

LEASE: Final = 3600  # s
SHORTEST: Final = 10  # s
LARGEST_POOL: Final = 65_536  # addresses
OFFERED: Final = 30.0  # s an offer is kept for its client
DECLINED: Final = 600.0  # s an address rests that somebody else seems to have
_CLIENT_ID: Final = 64  # bytes of an identifier; a longer one counts as its MAC address


@dataclass(slots=True)
class Pool:
    """What is given out: addresses ``first`` to ``last``, and options the same for all."""

    first: bytes
    last: bytes
    lease: int = LEASE  # s; INFINITE: for ever
    routers: list[bytes] = field(default_factory=list)
    nameservers: list[bytes] = field(default_factory=list)
    domain: str = ""
    mtu: int = 0
    fixed: dict[bytes, bytes] = field(default_factory=dict)  # MAC -> address

    @staticmethod
    def parse(words: str) -> "Pool":
        """Of "FIRST-LAST[,lease=S][,router=A][,dns=A][,domain=D][,mtu=N][,MAC=A]...".

        ConfigurationError says what cannot be.
        """
        span, *rest = [word.strip() for word in words.split(",")]
        first, dash, last = span.partition("-")
        try:
            pool = Pool(_v4(first), _v4(last if dash else first))
            for word in rest:
                key, equals, value = word.partition("=")
                if not equals:
                    raise ValueError(f"{word!r} is not KEY=VALUE")
                pool._set(key, value)
        except ValueError as error:
            raise ConfigurationError(f"DHCP pool {words!r}: {error}") from None
        if not 0 <= pool.size - 1 < LARGEST_POOL:
            raise ConfigurationError(
                f"DHCP pool {words!r}: {span} is not a range of 1 to {LARGEST_POOL} addresses"
            )
        return pool

    def _set(self, key: str, value: str) -> None:
        if key == "lease":
            self.lease = dhcp4.INFINITE if value == "infinite" else int(value)
            if not SHORTEST <= self.lease <= dhcp4.INFINITE:
                raise ValueError(f"a lease of {value} s is shorter than {SHORTEST} s")
        elif key == "router":
            self.routers.append(_v4(value))
        elif key == "dns":
            self.nameservers.append(_v4(value))
        elif key == "domain":
            self.domain = value
        elif key == "mtu":
            self.mtu = int(value)
        elif key.count(":") == 5:
            self.fixed[parse_mac(key)] = _v4(value)
        else:
            raise ValueError(
                f"{key!r} is none of lease, router, dns, domain, mtu, or a MAC address"
            )

    @property
    def size(self) -> int:
        """How many addresses there are."""
        return int.from_bytes(self.last, "big") - int.from_bytes(self.first, "big") + 1

    def address(self, number: int) -> bytes:
        """Address ``number`` of the pool, from 0."""
        return (int.from_bytes(self.first, "big") + number).to_bytes(4, "big")

    def contains(self, address: bytes) -> bool:
        """Whether it may be given to anybody."""
        return self.first <= address <= self.last


def _v4(words: str) -> bytes:
    address = parse(words)
    if len(address) != 4:
        raise ValueError(f"{words!r} is not an IPv4 address")
    return address


@dataclass(slots=True)
class Binding:
    """Who has an address: the client, until when; ``given`` False: only offered, or resting."""

    client: bytes
    until: float
    given: bool = False


@final
class Leases:
    """The server without its socket; ``own`` is its address in ``prefix``."""

    def __init__(self, pool: Pool, own: bytes, prefix: Prefix, counters: Counters) -> None:
        self.pool: Pool = pool
        self.own: bytes = own
        self.prefix: Prefix = prefix
        self.bindings: dict[bytes, Binding] = {}  # by address: at most the pool and the fixed ones
        self._of: dict[bytes, bytes] = {}  # client -> the address it has, or had last
        self._counters: Counters = counters
        self._next: int = 0  # of the pool, where to look for a free one
        self._full_until: float = 0.0  # a search found none; before this time none comes free

    def respond(self, message: Dhcp, now: float) -> Dhcp | None:
        """The answer to a message of a client; None: there is none."""
        if message.op != dhcp4.REQUEST:
            self._count("not_a_request")
            return None
        if message.relay != ANY4:
            self._count("relayed")
            return None
        server = message.address(dhcp4.SERVER)
        kind = message.kind
        self._count(dhcp4.KINDS[kind].lower())
        if kind == dhcp4.DISCOVER:
            return self._discovered(message, now)
        if kind == dhcp4.REQUEST_ADDRESS:
            return self._requested(message, server, now)
        if kind == dhcp4.INFORM:
            return self._answer(message, dhcp4.ACK, ANY4)
        if server == self.own:
            if kind == dhcp4.DECLINE:
                self._declined(message, now)
            elif kind == dhcp4.RELEASE:
                self._released(message, now)
        return None

    # -- each message type ------------------------------------------------------------------------

    def _discovered(self, message: Dhcp, now: float) -> Dhcp | None:
        """RFC 2131 §4.3.1."""
        client = _client(message)
        address = self._choose(client, message, now)
        if address is None:
            self._count("pool_exhausted")
            return None
        held = self.bindings.get(address)
        if held is None or held.client != client or held.until < now + OFFERED:
            self._hold(address, client, now + OFFERED, given=False)
        return self._answer(message, dhcp4.OFFER, address)

    def _requested(self, message: Dhcp, server: bytes, now: float) -> Dhcp | None:
        """RFC 2131 §4.3.2: SELECTING, INIT-REBOOT, RENEWING and REBINDING."""
        client = _client(message)
        if server and server != self.own:  # it chose another: what we offered is free
            self._forget_offer(client)
            return None
        address = message.address(dhcp4.REQUESTED) or message.client
        if not self.prefix.contains(address):
            self._count("wrong_network")
            return self._answer(message, dhcp4.NAK, ANY4)
        if not server and client not in self._of:  # never heard of it, §4.3.2
            if message.client == ANY4 or not self.pool.contains(address):
                return None  # another server may have
            self._count("unknown_renewal")  # we may have restarted: it keeps what is free
        if not self._is_free(address, client, message, now):
            self._count("not_available")
            return self._answer(message, dhcp4.NAK, ANY4)
        lasts = math.inf if self.pool.lease == dhcp4.INFINITE else float(self.pool.lease)
        self._hold(address, client, now + lasts, given=True)
        return self._answer(message, dhcp4.ACK, address)

    def _declined(self, message: Dhcp, now: float) -> None:
        """Somebody else has the address (§4.3.3): it rests, unless the client never had it."""
        address = message.address(dhcp4.REQUESTED)
        held = self.bindings.get(address)
        if held is None or held.client != _client(message):
            self._count("bad_decline")
            return
        del self._of[held.client]
        self.bindings[address] = Binding(b"", now + DECLINED)

    def _released(self, message: Dhcp, now: float) -> None:
        """The address is free, and kept for its client as long as nobody needs it (§4.3.4)."""
        held = self.bindings.get(message.client)
        if held is None or held.client != _client(message):
            self._count("bad_release")
            return
        held.until = now
        self._full_until = 0.0

    # -- addresses --------------------------------------------------------------------------------

    def _choose(self, client: bytes, message: Dhcp, now: float) -> bytes | None:
        """RFC 2131 §4.3.1: its own, the one it had, the one it wants, any free, the oldest."""
        asked = message.address(dhcp4.REQUESTED)
        fixed = self.pool.fixed.get(message.mac)
        for address in (fixed, self._of.get(client), asked):
            if address and self._is_free(address, client, message, now):
                return address
        if now < self._full_until:
            return None
        reusable: bytes | None = None
        for _ in range(self.pool.size):
            address = self.pool.address(self._next)
            self._next = (self._next + 1) % self.pool.size
            if self._is_free(address, client, message, now):
                if address not in self.bindings:
                    return address
                reusable = reusable or address
                if len(self.bindings) >= self.pool.size:
                    break  # no address was never used: an expired one will do
        if reusable is None and fixed is None:
            self._full_until = min((held.until for held in self.bindings.values()), default=now)
        return reusable

    def _is_free(self, address: bytes, client: bytes, message: Dhcp, now: float) -> bool:
        """Whether ``client`` may have ``address`` now."""
        fixed = self.pool.fixed.get(message.mac)
        if fixed is not None:
            if address != fixed:
                return False
        elif not self.pool.contains(address) or address in self.pool.fixed.values():
            return False
        if address in (self.own, self.prefix.address, self.prefix.broadcast()):
            return False
        held = self.bindings.get(address)
        return held is None or held.client == client or held.until <= now

    def _hold(self, address: bytes, client: bytes, until: float, given: bool) -> None:
        held = self.bindings.get(address)
        if held is not None and held.client != client:
            self._of.pop(held.client, None)
        before = self._of.get(client)
        if before is not None and before != address:
            self.bindings.pop(before, None)  # one client, one address
            self._full_until = 0.0
        self.bindings[address] = Binding(client, until, given)
        self._of[client] = address

    def _forget_offer(self, client: bytes) -> None:
        address = self._of.get(client)
        if address is not None and not self.bindings[address].given:
            del self.bindings[address], self._of[client]
            self._full_until = 0.0

    # -- answers ----------------------------------------------------------------------------------

    def _answer(self, message: Dhcp, kind: int, address: bytes) -> Dhcp:
        told = {dhcp4.SERVER: self.own}
        client = message.options.get(dhcp4.CLIENT)
        if client:
            told[dhcp4.CLIENT] = client  # RFC 6842
        if kind != dhcp4.NAK:
            told |= self._options(leased=address != ANY4)
        own = message.client if kind == dhcp4.ACK else ANY4
        return Dhcp(
            dhcp4.REPLY, kind, message.xid, message.mac, own, address,
            broadcast=message.broadcast, options=told,
        )  # fmt: skip

    def _options(self, leased: bool) -> dict[int, bytes]:
        pool = self.pool
        told: dict[int, bytes] = {}
        if leased:
            told[dhcp4.LEASE] = pool.lease.to_bytes(4, "big")
        told[dhcp4.MASK] = dhcp4.mask_number(self.prefix.length).to_bytes(4, "big")
        if pool.routers:
            told[dhcp4.ROUTERS] = b"".join(pool.routers)
        if pool.nameservers:
            told[dhcp4.NAMESERVERS] = b"".join(pool.nameservers)
        if pool.domain:
            told[dhcp4.DOMAIN] = pool.domain.encode("ascii", "ignore")[:255]
        if pool.mtu:
            told[dhcp4.MTU] = pool.mtu.to_bytes(2, "big")
        return told

    def _count(self, what: str) -> None:
        self._counters.add(f"dhcpd.{what}")


def _client(message: Dhcp) -> bytes:
    """What tells clients apart: the identifier they gave, else the MAC address (§4.2)."""
    given = message.options.get(dhcp4.CLIENT, b"")
    return given if 2 <= len(given) <= _CLIENT_ID else b"\1" + message.mac


@final
class _Server(asyncio.DatagramProtocol):
    """`Leases` on a socket."""

    transport: asyncio.DatagramTransport

    def __init__(self, leases: Leases, counters: Counters) -> None:
        self._leases = leases
        self._counters = counters

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        message = Dhcp.parse(data)
        if message is None:
            self._counters.add("dhcpd.malformed")
            return
        answer = self._leases.respond(message, asyncio.get_running_loop().time())
        if answer is not None:
            # whoever has its address already is asked where it is; the others hear a broadcast
            to = message.client if answer.kind == dhcp4.ACK else ANY4
            if not self._leases.prefix.contains(to):
                to = BROADCAST4
            self.transport.sendto(answer.build(), (text(to), dhcp4.CLIENT_PORT))


async def start(pool: Pool | str, port: int = dhcp4.SERVER_PORT) -> Service:
    """Serve ``pool`` on the current host, on the interface whose prefix the pool lies in.

    ConfigurationError if there is none.  A router serves itself as the router unless told others.
    """
    host = require_host()
    wanted = Pool.parse(pool) if isinstance(pool, str) else pool
    interface, own, prefix = _place(host, wanted)
    ethernet(host, interface.name)
    if not wanted.routers and host.config.forwarding:
        wanted.routers.append(own)
    service = Service("dhcp", port)
    leases = Leases(wanted, own, prefix, host.counters)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Server(leases, host.counters), sock=open_socket(host, interface, port)
    )
    service.transports.append(transport)
    return service


def _place(host: Host, pool: Pool) -> tuple[Interface, bytes, Prefix]:
    """(interface, its address, its prefix) whose network the pool belongs to."""
    span = f"{ipaddress.ip_address(pool.first)}-{ipaddress.ip_address(pool.last)}"
    for interface in host.interfaces[1:]:
        for own in interface.addresses:
            prefix = own.prefix()
            if prefix.contains(pool.first) and prefix.contains(pool.last):
                for address in pool.fixed.values():
                    if not prefix.contains(address):
                        raise ConfigurationError(
                            f"DHCP pool {span}: {text(address)} is not in {prefix}"
                        )
                return interface, own.address, prefix
    raise ConfigurationError(f"DHCP pool {span}: no interface of {host.name!r} is in that network")
