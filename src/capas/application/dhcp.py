# SPDX-License-Identifier: Apache-2.0
"""A DHCP client: the address, routes and name servers of a host from the network (RFC 2131).

    client = await dhcp.configure()        # returns when the host has its address
    ...
    client.close()                         # gives it back

It is a program over a UDP socket like any other, in virtual or real time.  The states of RFC 2131
figure 5 are the steps of one coroutine, `Client._live`.  An offered address is probed for by ARP
before it is used (§3.1 step 5, RFC 5227); a second owner is told about by DHCPDECLINE.  What
servers send is untrusted: it is counted, never raises, and waits in a queue of `MAILBOX` messages.
"""

import asyncio
import math
import socket
from collections.abc import Iterable
from typing import Any, Final, final

from capas.application import dhcp_lease
from capas.application.dhcp_lease import Lease, lease_of
from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.link.interface import TENTATIVE, Interface
from capas.link.link import Medium
from capas.sockets import options
from capas.sockets.current import require_host
from capas.sockets.driver import driver_of
from capas.sockets.socket import Socket
from capas.wire import dhcp4
from capas.wire.address import ANY4, BROADCAST4, parse, text
from capas.wire.dhcp4 import Dhcp

# States of RFC 2131 §4.4.
INIT: Final = "INIT"
INIT_REBOOT: Final = "INIT-REBOOT"
SELECTING: Final = "SELECTING"
REQUESTING: Final = "REQUESTING"
CHECKING: Final = "CHECKING"  # the address is probed for; no state of the RFC's
BOUND: Final = "BOUND"
RENEWING: Final = "RENEWING"
REBINDING: Final = "REBINDING"
STOPPED: Final = "STOPPED"

MAILBOX: Final = 16  # messages waiting to be looked at
WAITS: Final = (4.0, 8.0, 16.0, 32.0, 64.0)  # s between transmissions, RFC 2131 §4.1
_REQUESTS: Final = 4  # of WAITS: tries of a DHCPREQUEST before beginning anew, §3.1 step 5
_REBOOTS: Final = 2
_FUZZ: Final = 1.0  # s, either way, of each wait
_PAUSE: Final = 10.0  # s before beginning anew after a failure, §3.1 step 5
_LEAST: Final = 60.0  # s between renewals, §4.4.5
_PROBES: Final = 1  # ARP requests for an offered address, unless `HostConfig.arp_probes` says more
_MAX_SIZE: Final = 1472  # bytes: a datagram that fits Ethernet
BIND_TO_DEVICE: Final = options.number("SO_BINDTODEVICE", 25)

#: What we ask for, in this order (RFC 3442 wants its routes before the routers).
_WANTED: Final = bytes(
    (
        dhcp4.ROUTES, dhcp4.MASK, dhcp4.ROUTERS, dhcp4.NAMESERVERS, dhcp4.DOMAIN, dhcp4.MTU,
        dhcp4.LEASE, dhcp4.RENEWAL, dhcp4.REBINDING,
    )
)  # fmt: skip


def open_socket(host: Host, interface: Interface, port: int) -> Socket:
    """A UDP socket for broadcasts of one interface."""
    sock = Socket(socket.AF_INET, socket.SOCK_DGRAM, host=host)
    sock.setblocking(False)
    sock.setsockopt(options.SOL_SOCKET, BIND_TO_DEVICE, interface.name.encode())
    sock.setsockopt(options.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind(("0.0.0.0", port))
    return sock


@final
class Client(asyncio.DatagramProtocol):
    """The DHCP client of one interface.

    ``state``   one of the states above
    ``lease``   what it has; None before and after
    ``bound``   set while it has one
    ``previous``: a lease to ask for again first (INIT-REBOOT)
    """

    def __init__(
        self,
        host: Host,
        interface: Interface,
        *,
        hostname: str = "",
        previous: bytes = b"",
    ) -> None:
        self.host: Host = host
        self.interface: Interface = interface
        self.state: str = INIT
        self.lease: Lease | None = None
        self.bound: asyncio.Event = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._hostname: bytes = hostname.encode("ascii", "ignore")[:63]
        self._previous: bytes = previous
        self._driver = driver_of(host)
        self._rng = host.rng.stream(f"dhcp:{interface.name}")
        self._transport: asyncio.DatagramTransport | None = None
        self._inbox: asyncio.Queue[Dhcp] = asyncio.Queue(MAILBOX)
        self._xid: int = 0
        self._began: float = 0.0

    # -- beginning and end ------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin, in a task that ends with `close`."""
        loop = asyncio.get_running_loop()
        sock = open_socket(self.host, self.interface, dhcp4.CLIENT_PORT)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
        self.task = loop.create_task(self._live(), name=f"{self.host.name}:dhcp")

    def close(self) -> None:
        """Give the address back (DHCPRELEASE, RFC 2131 §4.4.6) and stop; idempotent."""
        if self.task is not None:
            self.task.cancel()
        if self.state == STOPPED:
            return
        self.state = STOPPED
        lease = self.lease
        if lease is not None:
            told = {dhcp4.SERVER: lease.server, **self._identity()}
            self._send(self._message(dhcp4.RELEASE, told, lease.address), lease.server)
            self._count("released")
            self._unbind()
        if self._transport is not None:
            self._transport.close()

    async def _live(self) -> None:
        """RFC 2131 figure 5."""
        try:
            while True:
                lease = await self._acquire()
                if lease is not None and await self._is_free(lease):
                    self._bind(lease)
                    await self._keep(lease)
                    self._unbind()
                    continue
                await asyncio.sleep(_PAUSE)
        finally:
            self.close()

    # -- getting a lease --------------------------------------------------------------------------

    async def _acquire(self) -> Lease | None:
        """INIT-REBOOT or INIT to an acknowledged lease; None: begin anew."""
        self._began = self._now()
        if self._previous:
            wanted, self._previous = self._previous, b""
            self.state = INIT_REBOOT
            request = self._message(dhcp4.REQUEST_ADDRESS, {dhcp4.REQUESTED: wanted})
            found = await self._ask(request, WAITS[:_REBOOTS], (dhcp4.ACK, dhcp4.NAK))
            if found is not None and found[0].kind == dhcp4.ACK:
                return found[1]
        self.state = INIT
        discover = self._message(dhcp4.DISCOVER, {})
        self.state = SELECTING
        while True:  # for ever, at last once in 64 s
            offer = await self._ask(discover, WAITS, (dhcp4.OFFER,))
            if offer is not None and offer[1] is not None:
                break
        self.state = REQUESTING
        told = {dhcp4.REQUESTED: offer[1].address, dhcp4.SERVER: offer[1].server}
        request = self._message(dhcp4.REQUEST_ADDRESS, told)
        found = await self._ask(request, WAITS[:_REQUESTS], (dhcp4.ACK, dhcp4.NAK))
        if found is None or found[0].kind == dhcp4.NAK:
            self._count("refused" if found is not None else "unanswered")
            return None
        return found[1]

    async def _ask(
        self,
        message: Dhcp,
        waits: Iterable[float],
        kinds: tuple[int, ...],
        to: bytes = BROADCAST4,
    ) -> tuple[Dhcp, Lease | None] | None:
        """Send, wait for an answer of ``kinds``, send again; (answer, its lease), None: nobody."""
        self._xid = message.xid
        while not self._inbox.empty():
            self._inbox.get_nowait()
        for wait in waits:
            asked = self._now()
            self._send(message, to)
            end = asked + wait
            while (left := end - self._now()) > 0:
                try:
                    async with asyncio.timeout(left):
                        answer = await self._inbox.get()
                except TimeoutError:
                    break
                if answer.kind not in kinds:
                    continue
                lease = lease_of(answer, asked) if answer.kind != dhcp4.NAK else None
                if answer.kind == dhcp4.NAK or lease is not None:
                    return answer, lease
                self._count("bad_lease")
        return None

    async def _is_free(self, lease: Lease) -> bool:
        """Put the address on the interface and probe for it; DHCPDECLINE if somebody has it."""
        self.state = CHECKING
        if self.host.net.is_local(lease.address):
            self._count("own_address")
            return False
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[bool] = loop.create_future()

        def settle(ours: bool) -> None:
            if not settled.done():
                settled.set_result(ours)

        def tell(ours: bool) -> None:  # from inside the stack: the loop must be woken
            loop.call_soon_threadsafe(settle, ours)

        now = self._driver.now()
        own = self.host.stack.add_address(
            self.interface, lease.address, lease.length, now, "dhcp", probes=_PROBES
        )
        self._driver.kick(self.host)
        if own.state != TENTATIVE:
            return True
        own.settled = tell
        try:
            free = await settled
        except asyncio.CancelledError:
            self.host.stack.remove_address(self.interface, lease.address, self._driver.now())
            raise
        finally:
            own.settled = None
        if not free:
            self._count("declined")
            told = {dhcp4.REQUESTED: lease.address, dhcp4.SERVER: lease.server}
            self._send(self._message(dhcp4.DECLINE, told), BROADCAST4)
        return free

    # -- having one -------------------------------------------------------------------------------

    def _bind(self, lease: Lease) -> None:
        self.state, self.lease = BOUND, lease
        dhcp_lease.assign(self.host, self.interface, lease)
        dhcp_lease.extend(self.interface, lease, self._driver.now(), lease.until - self._now())
        self._meet(lease.server)
        self._driver.kick(self.host)
        self._count("bound")
        if self.host.trace is not None:
            self.host.trace.decided(self._driver.now(), "dhcp.bound", str(lease))
        self.bound.set()

    def _meet(self, server: bytes) -> None:
        """Learn the way to the server now: a release cannot wait for it (only broadcasts went)."""
        route = self.host.net.routes.lookup(server)
        if route is not None and route.interface is self.interface:
            next_hop = route.gateway or server
            self.interface.neighbors4.lookup(next_hop, self._driver.now())

    def _unbind(self) -> None:
        lease, self.lease = self.lease, None
        self.bound.clear()
        if lease is not None:
            dhcp_lease.remove(self.host, self.interface, lease, self._driver.now())
            self._driver.kick(self.host)

    async def _keep(self, lease: Lease) -> None:
        """BOUND, RENEWING, REBINDING; returns when the lease is lost (RFC 2131 §4.4.5)."""
        while True:
            self.state = BOUND
            if math.isinf(lease.renew_at):
                await asyncio.get_running_loop().create_future()  # for ever
            await asyncio.sleep(max(0.0, lease.renew_at - self._now()))
            self._began = self._now()
            found = None
            for self.state, to, end in (
                (RENEWING, lease.server, lease.rebind_at),
                (REBINDING, BROADCAST4, lease.until),
            ):
                request = self._message(dhcp4.REQUEST_ADDRESS, {}, lease.address)
                found = await self._ask(request, self._waits(end), (dhcp4.ACK, dhcp4.NAK), to)
                if found is not None:
                    break
            renewed = found[1] if found is not None else None
            if renewed is None or renewed.address != lease.address:
                self._count("lost")
                return
            lease = renewed
            self._count("renewed")
            self._bind(lease)

    def _waits(self, end: float) -> Iterable[float]:
        """Half of what is left each time, at least a minute, together up to ``end``."""
        while (left := end - self._now()) > 0:
            yield min(left, max(left / 2, _LEAST))

    # -- messages ---------------------------------------------------------------------------------

    def _identity(self) -> dict[int, bytes]:
        return {dhcp4.CLIENT: b"\1" + self.interface.mac}

    def _message(self, kind: int, told: dict[int, bytes], own: bytes = ANY4) -> Dhcp:
        """A message of a new transaction, or of that of the offer it answers."""
        if kind != dhcp4.RELEASE and kind != dhcp4.DECLINE:
            told = {
                **self._identity(), **told,
                dhcp4.WANTED: _WANTED, dhcp4.MAX_SIZE: _MAX_SIZE.to_bytes(2, "big"),
                **({dhcp4.HOSTNAME: self._hostname} if self._hostname else {}),
            }  # fmt: skip
        secs = min(0xFFFF, int(self._now() - self._began)) if self._began else 0
        xid = self._xid if self.state == REQUESTING else self._rng.u32()
        return Dhcp(
            dhcp4.REQUEST, kind, xid, self.interface.mac, own,
            secs=secs, broadcast=own == ANY4, options=told,
        )  # fmt: skip

    def _send(self, message: Dhcp, to: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._count(dhcp4.KINDS[message.kind].lower())
        self._transport.sendto(message.build(), (text(to), dhcp4.SERVER_PORT))

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Anything that comes to port 68."""
        message = Dhcp.parse(data)
        if message is None:
            self._count("malformed")
        elif (message.op, message.mac, message.xid) != (
            dhcp4.REPLY, self.interface.mac, self._xid,
        ):  # fmt: skip
            self._count("not_for_us")
        elif self._inbox.full():
            self._count("queue_full")
        else:
            self._inbox.put_nowait(message)

    def error_received(self, exc: Exception) -> None:
        """A server is gone: the next try, or the next state, will tell."""

    def _count(self, what: str) -> None:
        self.host.counters.add(f"dhcp.{what}")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def configure(
    interface: str = "", *, hostname: str | None = None, previous: str = "", timeout: float = 0
) -> Client:
    """Give the current host's ``interface`` (the first Ethernet one) its address, and keep it.

    Returns when there is one; TimeoutError after ``timeout`` seconds (0: waits for ever).
    ``previous`` is an address the host once had and asks for again.
    """
    host = require_host()
    card = ethernet(host, interface)
    name = host.name if hostname is None else hostname
    client = Client(host, card, hostname=name, previous=parse(previous) if previous else b"")
    await client.start()
    try:
        async with asyncio.timeout(timeout or None):
            await client.bound.wait()
    except BaseException:
        client.close()
        raise
    return client


def ethernet(host: Host, name: str = "") -> Interface:
    """The interface called ``name``, else the first; it must be Ethernet."""
    if name:
        found = [host.interface(name)]
    else:
        found = [i for i in host.interfaces if i.caps.medium is Medium.ETHERNET]
    if not found or found[0].caps.medium is not Medium.ETHERNET:
        raise ConfigurationError(f"host {host.name!r}: DHCP needs an Ethernet interface")
    return found[0]
