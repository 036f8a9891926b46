# SPDX-License-Identifier: Apache-2.0
"""ARP for IPv4 over Ethernet: answers, questions, announcements, conflicts (RFC 826, RFC 5227).

Reachability states are the neighbour table's (`capas.link.neighbor`); this is the protocol that
feeds it.  Duplicate address detection is RFC 5227's: `address_added` probes (``config.arp_probes``
times, none by default) and announces; afterwards the address is defended, at most once per
DEFEND_INTERVAL, and never given up (RFC 5227 §2.4 c).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from capas.base.clock import NEVER, SECOND, Timer
from capas.base.frame import Frame
from capas.link.parts import PREFERRED, TENTATIVE, InterfaceAddress, NetworkHandler
from capas.wire.address import ANY4, BROADCAST_MAC, ZERO_MAC, Prefix, text
from capas.wire.ethernet import ARP_REPLY, ARP_REQUEST, TYPE_ARP, Arp, is_group

if TYPE_CHECKING:
    from capas.link.interface import Interface

PROBE_WAIT: Final = SECOND  # RFC 5227 §1.1: initial random delay, at most
PROBE_MIN: Final = SECOND  # between probes, at least
PROBE_MAX: Final = 2 * SECOND
ANNOUNCE_WAIT: Final = 2 * SECOND  # after the last probe
ANNOUNCE_INTERVAL: Final = 2 * SECOND
DEFEND_INTERVAL: Final = 10 * SECOND


@final
class AddressWatch(Timer):
    """The life of one own address: probes, announcements, the last defence."""

    __slots__ = ("address", "announcements", "arp", "defended", "probes")

    def __init__(self, arp: "ArpLayer", address: InterfaceAddress) -> None:
        super().__init__()
        self.arp: ArpLayer = arp
        self.address: InterfaceAddress = address
        self.probes: int = 0  # left to send
        self.announcements: int = 0  # left to send
        self.defended: int = -NEVER  # ns, when last

    def fire(self, now: int) -> None:
        """The next probe or announcement is due."""
        self.arp.step(self, now)


@final
class ArpLayer(NetworkHandler):
    """ARP on one interface, which makes it: handler of EtherType 0x0806 and solicitor for IPv4.

    ``conflict(address, now)``  told when another station uses one of our addresses
    ``assigned(address, now)``  told when the probes for an address stayed unanswered
    """

    def __init__(self, interface: "Interface") -> None:
        self.interface: Interface = interface
        self.watches: dict[bytes, AddressWatch] = {}
        self.conflict: Callable[[InterfaceAddress, int], None] | None = None
        self.assigned: Callable[[InterfaceAddress, int], None] | None = None
        if interface.ethernet:
            interface.handlers[TYPE_ARP] = self
            interface.neighbors4.solicit = self.solicit

    # -- own addresses ----------------------------------------------------------------------------

    def address_added(self, address: InterfaceAddress, now: int, probes: int = 0) -> None:
        """Probe for and announce an address of the interface, as the configuration says.

        With probes (at least ``probes``) it is TENTATIVE until they stay unanswered.
        """
        if len(address.address) != 4 or not self.interface.ethernet:
            return
        config = self.interface.config
        watch = self.watches[address.address] = AddressWatch(self, address)
        watch.announcements = config.arp_announcements
        watch.probes = max(probes, config.arp_probes)
        if watch.probes:
            address.state = TENTATIVE
            delay = self.interface.rng.stream(f"arp:{text(address.address)}").below(PROBE_WAIT)
            self.interface.scheduler.at(now + delay, watch)
        else:
            self.step(watch, now)

    def address_removed(self, address: bytes) -> None:
        """Stop caring about an address."""
        watch = self.watches.pop(address, None)
        if watch is not None:
            self.interface.scheduler.cancel(watch)

    def announce(self, address: bytes, now: int) -> None:
        """A gratuitous request: everybody's cache learns our MAC (RFC 5227 §2.3)."""
        self._send(
            "announce", Arp.request(self.interface.mac, address, address), BROADCAST_MAC, now
        )

    def step(self, watch: AddressWatch, now: int) -> None:
        """Send the next probe or announcement of ``watch`` and arm its timer."""
        interface = self.interface
        at = interface.scheduler.at
        if watch.probes:
            watch.probes -= 1
            probe = Arp.request(interface.mac, ANY4, watch.address.address)
            self._send("probe", probe, BROADCAST_MAC, now)
            wait = interface.rng.between(PROBE_MIN, PROBE_MAX) if watch.probes else ANNOUNCE_WAIT
            at(now + wait, watch)
            return
        if watch.address.state == TENTATIVE:
            watch.address.state = PREFERRED
            if self.assigned is not None:
                self.assigned(watch.address, now)
        if watch.announcements:
            watch.announcements -= 1
            self.announce(watch.address.address, now)
            if watch.announcements:
                at(now + ANNOUNCE_INTERVAL, watch)

    # -- questions --------------------------------------------------------------------------------

    def solicit(self, target: bytes, mac: bytes | None, now: int) -> None:
        """Ask for ``target``: broadcast, or unicast to where it was (RFC 1122 §2.3.2.1)."""
        sender = self._sender(target)
        self.interface.counters.add("arp.requests")
        question = Arp.request(self.interface.mac, sender, target)
        self._send("poll" if mac else "request", question, mac or BROADCAST_MAC, now)

    def _sender(self, target: bytes) -> bytes:
        """The own address to ask with: on the target's prefix if possible."""
        best = ANY4
        for own in self.interface.addresses:
            if len(own.address) != 4 or own.state == TENTATIVE:
                continue
            if Prefix(own.address, own.prefix_length).contains(target):
                return own.address
            if best == ANY4:
                best = own.address
        return best

    # -- answers ----------------------------------------------------------------------------------

    def receive(self, interface: "Interface", frame: Frame, l3: int, now: int) -> None:
        """An ARP message (untrusted) starts at ``l3``."""
        message = Arp.parse(frame.data, l3)
        if message is None:
            self._drop(now, "arp.malformed", "RFC 826")
            return
        sender = message.sender
        if is_group(message.sender_mac) or message.sender_mac == ZERO_MAC:
            self._drop(now, "arp.bad_sender", "RFC 1812 §3.3.2")
            return
        if sender[0] >= 224 or sender[0] == 127 or interface.is_broadcast(sender):
            self._drop(now, "arp.bad_sender", "RFC 1122 §3.2.1.3")
            return
        if message.sender_mac == interface.mac:
            return  # our own broadcast came back
        if self._conflicts(message, now):
            return
        ours = self._ours(message.target)
        is_reply = message.operation == ARP_REPLY
        if sender != ANY4:
            addressed = ours and not message.is_announcement()
            solicited = is_reply and addressed and not is_group(frame.data[:6])
            # RFC 826: merge if known, add only if the message is for us
            interface.neighbors4.learned(
                sender,
                message.sender_mac,
                now,
                solicited=solicited,
                override=True,
                create=addressed and not is_reply,
            )
        if ours and message.operation == ARP_REQUEST:
            interface.counters.add("arp.replies")
            self._send("reply", message.reply(interface.mac), message.sender_mac, now)

    def _ours(self, address: bytes) -> bool:
        for own in self.interface.addresses:
            if own.address == address:
                return own.state != TENTATIVE
        return False

    def _watch(self, address: bytes) -> AddressWatch | None:
        """What is known about an own address; None for the addresses of others."""
        watch = self.watches.get(address)
        if watch is None:
            for own in self.interface.addresses:
                if own.address == address:
                    watch = self.watches[address] = AddressWatch(self, own)
        return watch

    def _conflicts(self, message: Arp, now: int) -> bool:
        """RFC 5227 §2.1.1 and §2.4; True if nothing else should be done with the message."""
        watch = self._watch(message.sender)
        if watch is None and message.is_probe():
            # somebody probes for what we probe for: both must step back
            watch = self.watches.get(message.target)
            if watch is None or watch.address.state != TENTATIVE:
                return False
        if watch is None:
            return False
        interface = self.interface
        interface.counters.add("arp.conflict")
        if interface.trace is not None:
            interface.trace.dropped(now, "arp.conflict", "RFC 5227 §2.4")
        if watch.address.state == TENTATIVE:
            interface.scheduler.cancel(watch)
            watch.probes = watch.announcements = 0
        elif now - watch.defended >= DEFEND_INTERVAL:
            watch.defended = now
            interface.counters.add("arp.defended")
            self.announce(watch.address.address, now)
        if self.conflict is not None:
            self.conflict(watch.address, now)
        return True

    def _send(self, event: str, message: Arp, mac: bytes, now: int) -> None:
        interface = self.interface
        if interface.trace is not None:
            interface.trace.decided(now, f"arp.{event}", str(message))
        interface.send_to_mac(mac, TYPE_ARP, (message.build(),), now)

    def _drop(self, now: int, counter: str, clause: str) -> None:
        self.interface.counters.add(counter)
        if self.interface.trace is not None:
            self.interface.trace.dropped(now, counter, clause)
