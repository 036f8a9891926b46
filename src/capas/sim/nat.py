# SPDX-License-Identifier: Apache-2.0
"""NAT44 with ports on a simulated router (RFC 3022, 4787, 5382, 5508).

    nat = world.nat(router, wire_to_outside, forward={80: ("10.0.0.2", 8080)})

What the router forwards from inside to outside leaves with the router's own outside address.  The
mapping is endpoint-independent and so is the filtering (RFC 4787 REQ-1, REQ-8): what comes to a
mapped port goes to the inside host, whoever sent it.  A port is kept if it is free.  Fragments are
put together first (REQ-14).  TCP, UDP, ICMP echo and the packets quoted in ICMP errors are
translated, other protocols dropped.  Mappings are capped and run out without a timer: they are
looked at when they are asked for.

Checksums are updated, not computed anew (RFC 1624); a CSUM_PARTIAL field holds the pseudo-header's
sum and only the addresses change it.  Counters: ``nat.*``.  Not done: application gateways, and the
router's own sockets do not know which ports are mapped.  A SYN from outside that nobody waits for
is dropped without an answer (RFC 5382 REQ-4): both ends behind NATs may open at once.
"""

from collections.abc import Mapping as MappingOf
from typing import Final, final

from capas.base.checksum import checksum, verify
from capas.base.clock import NEVER
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.internet.forward import forward4
from capas.internet.types import TIME_EXCEEDED, ErrorSender
from capas.link.interface import Interface
from capas.sim.bindings import ICMP, TCP, UDP, Binding, Bindings, rewrite, swap
from capas.sim.wire import Wire
from capas.transport.demux import arriving_key
from capas.wire.address import is_link_local, is_unspecified, parse
from capas.wire.tcp import ACK, RST, SYN

_LEAST: Final = {TCP: 20, UDP: 8, ICMP: 8}
_FRAGMENT: Final = 0x3FFF
_REPLY: Final = 0
_REQUEST: Final = 8
_ERRORS: Final = (3, 4, 11, 12)


def interface_of(host: Host, where: Wire | Interface | str) -> Interface:
    """The interface of a host on a wire, or of a name."""
    for interface in host.interfaces:
        if isinstance(where, Wire):
            if interface.link is where.a or interface.link is where.b:
                return interface
        elif interface is where or interface.name == where:
            return interface
    raise ConfigurationError(f"NAT on {host.name!r}: it has no interface on {where!r}")


@final
class Nat:
    """The translator of one router; the `PacketFilter` of its IPv4.

    ``outside``   the wire, interface or name of interface towards the public side
    ``forward``   {outside port: (inside address, port)}, TCP and UDP
    ``limit``     mappings at most; a packet that needs one more is dropped
    ``hairpin``   inside hosts reach each other by outside ports (RFC 4787 REQ-9)
    """

    def __init__(
        self,
        host: Host,
        outside: Wire | Interface | str,
        *,
        forward: MappingOf[int, tuple[str, int]] | None = None,
        limit: int = 4096,
        hairpin: bool = True,
    ) -> None:
        if not host.config.forwarding:
            raise ConfigurationError(f"NAT on {host.name!r}: it does not forward; make it a router")
        self.host: Host = host
        self.limit: int = limit
        self.hairpin: bool = hairpin
        self._name: str = interface_of(host, outside).name
        self._forward: list[tuple[int, bytes, int]] = []
        for port, (address, inside_port) in (forward or {}).items():
            packed = parse(address)
            if len(packed) != 4 or not (0 < port < 65536 and 0 < inside_port < 65536):
                raise ConfigurationError(f"NAT on {host.name!r}: no forward {port} to {address!r}")
            self._forward.append((port, packed, inside_port))
        self.install()

    def install(self) -> None:
        """Begin with no mappings; again after the router has booted."""
        host = self.host
        self.outside: Interface = interface_of(host, self._name)
        self.bindings: Bindings = Bindings(self.limit, host.ipv4.shared.drop)
        errors = host.ipv4.errors
        if errors is not self:
            self._errors: ErrorSender | None = errors
        self._before: tuple[Frame, int] | None = None  # the packet being translated, and its l3
        self._after: Frame | None = None
        for port, address, inside in self._forward:
            for protocol in (TCP, UDP):
                self.bindings.insert(Binding(protocol, address, inside, port, NEVER))
        host.ipv4.nat = self
        host.net.routes.changed()  # what was forwarded untranslated is forgotten
        host.ipv4.errors = self

    def external(self) -> bytes:
        """The address the inside is seen by; empty while there is none."""
        for own in self.outside.addresses:
            if len(own.address) == 4:
                return own.address
        return b""

    def mappings(self, now: int) -> list[Binding]:
        """What is mapped now, port forwards left out."""
        return [b for b in self.bindings.inner.values() if now < b.expires < NEVER]

    def _drop(self, now: int, counter: str, clause: str) -> None:
        self.host.ipv4.shared.drop(now, counter, clause)

    # -- packets --------------------------------------------------------------------------------

    def passing(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        """A packet to be forwarded, its IP header checked (from `Ipv4`)."""
        ip, data, outside = self.host.ipv4, frame.data, self.outside
        src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
        route = ip.shared.routes.lookup(dst)
        if interface is outside and route is not None and route.interface is not outside:
            self._drop(now, "nat.inside_address", "RFC 3022 §5.1")
            return
        if (
            interface is outside
            or route is None
            or route.interface is not outside
            or data[l3 + 8] <= 1
            or is_link_local(src)
            or is_unspecified(src)
            or interface.is_group_frame(frame)
        ):
            forward4(ip, interface, frame, l3, now)
            return
        l4 = l3 + (data[l3] & 15) * 4
        if (data[l3 + 6] << 8 | data[l3 + 7]) & _FRAGMENT:
            end = l3 + (data[l3 + 2] << 8 | data[l3 + 3])
            whole = ip.reassembly.receive4(interface, frame, l3, l4, end, now)
            if whole is not None:
                whole, l3 = _at_l3(whole, 0, l3)
                self.passing(interface, whole, l3, now)
            return
        changed = self._source(frame, l3, l4, now)
        if changed is not None:
            self._forward_on(interface, frame, l3, changed, now)

    def arrived(self, interface: Interface, frame: Frame, l3: int, now: int) -> bool:
        """A whole packet for the router itself; True: it was for an inside host, and is done."""
        data = frame.data
        external = self.external()
        if data[l3 + 16 : l3 + 20] != external or interface is self.host.interfaces[0]:
            return False
        inside = interface is not self.outside
        l4 = l3 + (data[l3] & 15) * 4
        if inside and (not self.hairpin or l3 == 0):
            return False
        if inside and data[l3 + 9] == ICMP:
            return self._hairpin_error(interface, frame, l3, l4, now)
        found = self._destination(frame, l3, l4, now)
        if found is None:
            return not inside and self._unsolicited(frame, l3, l4, now)
        if data[l3 + 8] <= 1:
            self._drop(now, "ipv4.ttl_exceeded", "RFC 1812 §5.3.1")
            if self._errors is not None:
                self._errors.error(interface, frame, l3, TIME_EXCEEDED, now)
            return True
        if inside:
            hairpin = self._source(found, l3, l4, now)
            if hairpin is None:
                return True
            found = hairpin
        original, place = frame, l3
        if l3 == 0 and interface.ethernet:
            found, l3 = _at_l3(found, 0, 14)
            original, place = _at_l3(frame, 0, 14)
        self._forward_on(interface, original, place, found, now)
        return True

    def _hairpin_error(
        self, interface: Interface, frame: Frame, l3: int, l4: int, now: int
    ) -> bool:
        """An inside host's error about a packet of another's (RFC 5508 REQ-7)."""
        data = frame.data
        end = l3 + (data[l3 + 2] << 8 | data[l3 + 3])
        if end - l4 < _LEAST[ICMP] or data[l4] not in _ERRORS:
            return False
        if self._quoted(data, l4, end, True, now) is None:
            return False  # about a packet of the router's own
        out = self._icmp_error(frame, l3, l4, end, True, now)
        back = self._icmp_error(out, l3, l4, end, False, now) if out is not None else None
        if back is None:
            return False
        self._forward_on(interface, frame, l3, back, now)
        return True

    def _unsolicited(self, frame: Frame, l3: int, l4: int, now: int) -> bool:
        """A SYN nobody waits for: to answer would end an open that comes from inside, too."""
        data = frame.data
        if data[l3 + 9] != TCP or len(data) < l4 + 20 or data[l4 + 13] & (SYN | ACK | RST) != SYN:
            return False
        tcp = self.host.tcp
        waited = tcp.listeners.find(self.external(), data[l4 + 2] << 8 | data[l4 + 3])
        if waited or arriving_key(data, l3, l4) in tcp.table:
            return False
        self._drop(now, "nat.unsolicited", "RFC 5382 REQ-4")
        return True

    def _forward_on(
        self, interface: Interface, frame: Frame, l3: int, changed: Frame, now: int
    ) -> None:
        self._before, self._after = (frame, l3), changed
        forward4(self.host.ipv4, interface, changed, l3, now)
        self._before = self._after = None

    def error(
        self, interface: Interface, frame: Frame, l3: int, kind: int, now: int, info: int = 0
    ) -> None:
        """The router's errors quote a packet as its sender knows it."""
        if frame is self._after and self._before is not None:
            frame, l3 = self._before
        if self._errors is not None:
            self._errors.error(interface, frame, l3, kind, now, info)

    def _source(self, frame: Frame, l3: int, l4: int, now: int) -> Frame | None:
        """The packet as the outside sees it; None: dropped."""
        data, external = frame.data, self.external()
        protocol = data[l3 + 9]
        end = l3 + (data[l3 + 2] << 8 | data[l3 + 3])
        if not external or protocol not in _LEAST:
            self._drop(now, "nat.protocol", "RFC 3022 §4")
            return None
        if end - l4 < _LEAST[protocol]:
            self._drop(now, "nat.truncated", "RFC 3022 §4.1")
            return None
        if protocol == ICMP and data[l4] in _ERRORS:
            return self._icmp_error(frame, l3, l4, end, True, now)
        if protocol == ICMP and data[l4] not in (_REQUEST, _REPLY):
            self._drop(now, "nat.icmp_type", "RFC 5508 §3")
            return None
        at = l4 + (4 if protocol == ICMP else 0)
        port, src = data[at] << 8 | data[at + 1], data[l3 + 12 : l3 + 16]
        binding = self.bindings.outward(protocol, src, port, now) or self.bindings.new(
            protocol, src, port, now
        )
        if binding is None:
            return None
        binding.touch(data[l4 + 13] if protocol == TCP else 0, True, now)
        self.host.counters.add("nat.out")
        changed = bytearray(data)
        rewrite(changed, l3, l4, True, external, binding.outside, frame.csum == CSUM_PARTIAL)
        return frame.with_data(bytes(changed))

    def _destination(self, frame: Frame, l3: int, l4: int, now: int) -> Frame | None:
        """The packet as an inside host sees it; None: it is not for any."""
        data = frame.data
        protocol = data[l3 + 9]
        end = l3 + (data[l3 + 2] << 8 | data[l3 + 3])
        if protocol not in _LEAST or end - l4 < _LEAST[protocol]:
            return None
        if protocol == ICMP:
            if data[l4] in _ERRORS:
                return self._icmp_error(frame, l3, l4, end, False, now)
            if data[l4] != _REPLY:
                return None
        at = l4 + (4 if protocol == ICMP else 2)
        binding = self.bindings.inward(protocol, data[at] << 8 | data[at + 1], now)
        if binding is None:
            return None
        binding.touch(data[l4 + 13] if protocol == TCP else 0, False, now)
        self.host.counters.add("nat.in")
        partial = frame.csum == CSUM_PARTIAL
        changed = bytearray(data)
        rewrite(changed, l3, l4, False, binding.address, binding.port, partial)
        return frame.with_data(bytes(changed))

    def _icmp_error(
        self, frame: Frame, l3: int, l4: int, end: int, outgoing: bool, now: int
    ) -> Frame | None:
        """An error and the packet it quotes (RFC 5508 §4); None: not ours to translate."""
        data, external = frame.data, self.external()
        binding = self._quoted(data, l4, end, outgoing, now)
        if binding is None:
            if outgoing:
                self._drop(now, "nat.icmp_unmapped", "RFC 5508 §4.2")
            return None
        q3 = l4 + 8
        message = bytearray(data[q3:end])
        header = (message[0] & 15) * 4
        if outgoing:
            rewrite(message, 0, header, False, external, binding.outside)
        else:
            rewrite(message, 0, header, True, binding.address, binding.port)
        body = data[l4 : l4 + 2] + b"\0\0" + data[l4 + 4 : q3] + message
        value = checksum(body).to_bytes(2, "big")
        changed = bytearray(data)
        changed[l4:end] = body[:2] + value + body[4:]
        at = l3 + (12 if outgoing else 16)
        new = external if outgoing else binding.address
        head = swap(data[l3 + 10] << 8 | data[l3 + 11], data[at : at + 4], new)
        changed[at : at + 4] = new
        changed[l3 + 10 : l3 + 12] = head.to_bytes(2, "big")
        self.host.counters.add("nat.icmp_errors")
        return frame.with_data(bytes(changed))

    def _quoted(self, data: bytes, l4: int, end: int, outgoing: bool, now: int) -> Binding | None:
        """The binding that the packet quoted in an intact ICMP error belongs to."""
        q3 = l4 + 8
        if end < q3 + 28 or data[q3] >> 4 != 4 or not verify(data[l4:end]):
            return None
        header = (data[q3] & 15) * 4
        protocol = data[q3 + 9]
        first = not (data[q3 + 6] << 8 | data[q3 + 7]) & 0x1FFF
        q4 = q3 + header
        if header < 20 or end < q4 + 8 or protocol not in _LEAST or not first:
            return None
        if not verify(data[q3:q4]):
            return None  # RFC 5508 REQ-3 b
        at = q4 + (4 if protocol == ICMP else 2 if outgoing else 0)
        port = data[at] << 8 | data[at + 1]
        if outgoing:
            return self.bindings.outward(protocol, data[q3 + 16 : q3 + 20], port, now)
        if data[q3 + 12 : q3 + 16] != self.external():
            return None
        return self.bindings.inward(protocol, port, now)


def _at_l3(frame: Frame, old: int, new: int) -> tuple[Frame, int]:
    """A frame whose IP header starts at ``new``, after zeros."""
    return Frame(bytes(new) + frame.data[old:], frame.time, frame.csum), new
