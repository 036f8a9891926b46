# SPDX-License-Identifier: Apache-2.0
"""Which packets to show: the part of tcpdump's filter language that people type.

    tcp and port 80 and not host 192.0.2.1
    icmp6 or (udp and dst portrange 5000-6000)

Primitives: ``[src|dst] host|net|port|portrange``, ``ether host``, ``vlan [N]``, ``less N``,
``greater N``, ``proto N``, the protocols ``ip ip6 arp tcp udp icmp icmp6``; ``and or not``, also
``&& || !``, and parentheses.  What cannot be read raises `ConfigurationError` naming the word.
"""

import re
from collections.abc import Callable
from typing import Final, final

from capas.application.services import WELL_KNOWN
from capas.cli.dump_packet import Packet
from capas.errors import ConfigurationError
from capas.wire.address import Prefix, parse, parse_mac
from capas.wire.ethernet import TYPE_ARP, TYPE_IPV4, TYPE_IPV6

Test = Callable[[Packet], bool]

_WORDS: Final = re.compile(r"\(|\)|&&|\|\||!|[^\s()!]+")
_ETHERTYPES: Final = {"ip": TYPE_IPV4, "ip6": TYPE_IPV6, "arp": TYPE_ARP}
_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "igmp": 2, "sctp": 132}
_DEPTH: Final = 50  # of parentheses and negations


def compile_filter(text: str) -> Test:
    """The filter as a function; an empty one lets everything pass."""
    words = _WORDS.findall(text)
    if not words:
        return lambda packet: True
    parser = _Parser(words)
    test = parser.either(0)
    if parser.words:
        raise ConfigurationError(f"filter: what does {parser.words[0]!r} mean here?")
    return test


def _of(packet: Packet, side: int) -> bytes:
    return packet.dst if side else packet.src


@final
class _Parser:
    """Recursive descent over the words; `either` is the whole expression."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def _next(self, wanted: str) -> str:
        if not self.words:
            raise ConfigurationError(f"filter: {wanted} is missing at its end")
        return self.words.pop(0)

    def either(self, depth: int) -> Test:
        """A or B ..."""
        tests = [self._both(depth)]
        while self.words and self.words[0] in ("or", "||"):
            self.words.pop(0)
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda packet: any(t(packet) for t in tests)

    def _both(self, depth: int) -> Test:
        """A and B ...; two primitives side by side mean and, too."""
        tests = [self._one(depth)]
        while self.words and self.words[0] not in ("or", "||", ")"):
            if self.words[0] in ("and", "&&"):
                self.words.pop(0)
            tests.append(self._one(depth))
        return tests[0] if len(tests) == 1 else lambda packet: all(t(packet) for t in tests)

    def _one(self, depth: int) -> Test:
        if depth > _DEPTH:
            raise ConfigurationError("filter: too deep")
        word = self._next("a condition")
        if word in ("not", "!"):
            inner = self._one(depth + 1)
            return lambda packet: not inner(packet)
        if word == "(":
            inner = self.either(depth + 1)
            if self._next("a )") != ")":
                raise ConfigurationError("filter: a ) is missing")
            return inner
        return self._primitive(word)

    def _primitive(self, word: str) -> Test:
        if word in _PROTOCOLS:
            number = _PROTOCOLS[word]
            if self.words and self.words[0] in ("port", "portrange", "src", "dst"):
                inner = self._one(0)  # "tcp port 80"
                return lambda packet: packet.protocol == number and inner(packet)
            return lambda packet: packet.protocol == number
        if word in _ETHERTYPES:
            kind = _ETHERTYPES[word]
            if self.words and self.words[0] in ("host", "net", "src", "dst", "proto"):
                inner = self._one(0)
                return lambda packet: packet.ethertype == kind and inner(packet)
            return lambda packet: packet.ethertype == kind
        if word in ("less", "greater"):
            size = self._number(word)
            if word == "less":
                return lambda packet: packet.captured.length <= size
            return lambda packet: packet.captured.length >= size
        if word == "proto":
            number = self._number(word)
            return lambda packet: packet.protocol == number
        if word == "vlan":
            if self.words and self.words[0].isdigit():
                number = self._number(word)
                return lambda packet: packet.vlan == number
            return lambda packet: packet.vlan >= 0
        if word == "ether":
            return self._ether()
        return self._ends(word)

    def _ether(self) -> Test:
        word = self._next("host, src or dst")
        side = {"src": (1,), "dst": (0,)}.get(word, (0, 1))
        if word in ("src", "dst") and self.words and self.words[0] == "host":
            self.words.pop(0)
        elif word not in ("src", "dst", "host"):
            raise ConfigurationError(f"filter: ether {word!r}: say ether host MAC")
        try:
            mac = parse_mac(self._next("a MAC address"))
        except ValueError as error:
            raise ConfigurationError(f"filter: {error}") from None
        return lambda packet: bool(packet.macs) and any(packet.macs[i] == mac for i in side)

    def _ends(self, word: str) -> Test:
        """[src|dst] host|net|port|portrange VALUE; a bare address is a host."""
        sides: tuple[int, ...] = (0, 1)
        if word in ("src", "dst"):
            sides = (0,) if word == "src" else (1,)
            word = self._next("an address or port")
        if word in ("port", "portrange"):
            low, high = self._ports(self._next("a port"))
            return lambda packet: (
                bool(packet.ports) and any(low <= packet.ports[i] <= high for i in sides)
            )
        if word in ("host", "net"):
            value = self._next("an address")
        else:
            word, value = "host", word
        try:
            prefix = Prefix.parse(value) if word == "net" or "/" in value else None
            address = b"" if prefix is not None else parse(value)
        except ValueError:
            raise ConfigurationError(f"filter: what does {value!r} mean here?") from None
        if prefix is not None:
            within = prefix
            return lambda packet: any(within.contains(_of(packet, i)) for i in sides)
        return lambda packet: any(_of(packet, i) == address for i in sides)

    def _number(self, after: str) -> int:
        word = self._next(f"a number after {after}")
        if not (word.isascii() and word.isdigit()) or len(word) > 9:
            raise ConfigurationError(f"filter: {after} {word!r}: that is no number")
        return int(word)

    def _ports(self, word: str) -> tuple[int, int]:
        first, dash, last = word.partition("-")
        found = [
            WELL_KNOWN.port(one) or WELL_KNOWN.port(one, "udp")
            for one in ((first, last) if dash else (first, first))
        ]
        if found[0] is None or found[1] is None:
            raise ConfigurationError(f"filter: {word!r} is neither a port nor a well-known name")
        return found[0], found[1]
