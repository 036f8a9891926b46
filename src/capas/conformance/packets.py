# SPDX-License-Identifier: Apache-2.0
"""The packet lines of a script: ``< S 0:0(0) win 65535 <mss 1460,sackOK>``, ICMP, UDP.

Both dialects: IP conditions in ``[ect0]`` or ``(tos 0x20)``, encapsulation as ``/udp(a > b)``,
sequence numbers made absolute with ``!`` or left open with ``...(0)``.
"""

from typing import Final

from capas.conformance import lexer
from capas.conformance.ast import (
    IcmpPacket,
    IpInfo,
    Packet,
    TcpOption,
    TcpPacket,
    UdpPacket,
)
from capas.conformance.errors import NotApplicable, ScriptError
from capas.conformance.parser import Cursor

_ECN: Final = {"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3, "ect01": 4}
_FLAGS: Final = frozenset("FSRPUEWAC")
_MAX_OPTION_BYTES: Final = 40


def parse_packet(cursor: Cursor) -> Packet:
    """The packet at the cursor, which stands on ``<`` or ``>``."""
    first = cursor.next()
    inbound = first.text == "<"
    ip = _ip_info(cursor)
    if ip.ecn == 4 and inbound:
        raise cursor.bad("[ect01] can only stand before an outbound packet", first)
    ports = _ports(cursor)
    if cursor.is_word("icmp"):
        return Packet(inbound, ip, _icmp(cursor))
    if cursor.is_word("udp"):
        return Packet(inbound, ip, _udp(cursor, ports))
    if cursor.is_word("ipv4", "ipv6", "gre", "GREv0", "mpls", "encap", "sctp", "udplite"):
        name, line = cursor.token.text, cursor.token.line
        raise NotApplicable(f"line {line}: packets of, or inside, {name}")
    return Packet(inbound, ip, _tcp(cursor, inbound, ports))


def _ip_info(cursor: Cursor) -> IpInfo:
    if cursor.accept("["):
        closing = "]"
    elif cursor.accept("("):
        closing = ")"
    else:
        return IpInfo()
    found = {"ecn": -1, "tos": -1, "ttl": -1, "flow_label": -1}
    while True:
        token = cursor.next()
        if token.text in _ECN:
            found["ecn"] = _ECN[token.text]
        elif token.text in ("tos", "class"):
            found["tos"] = cursor.integer("an 8-bit value", 0, 255)
        elif token.text in ("ttl", "hlim"):
            found["ttl"] = cursor.integer("an 8-bit value", 0, 255)
        elif token.text == "flowlabel":
            found["flow_label"] = cursor.integer("a 20-bit value", 0, 0xFFFFF)
        else:
            raise cursor.fail("noecn, ect0, ect1, ect01, ce, tos, ttl or flowlabel", token)
        if not cursor.accept(","):
            break
    cursor.expect(closing)
    return IpInfo(**found)


def _ports(cursor: Cursor) -> tuple[int, int] | None:
    if cursor.token.kind == lexer.INTEGER and cursor.peek().text == ">":
        source = cursor.integer("a port", 0, 65535)
        cursor.expect(">")
        return source, cursor.integer("a port", 0, 65535)
    return None


# -- TCP ------------------------------------------------------------------------------------------


def _tcp(cursor: Cursor, inbound: bool, ports: tuple[int, int] | None) -> TcpPacket:
    flags, ace = _flags(cursor)
    token = cursor.token
    seq, length, any_seq = _sequence(cursor)
    absolute = cursor.accept("!")
    if any_seq and inbound:
        raise cursor.bad("a packet that is sent needs a sequence number", token)
    ack = window = None
    urgent = 0
    if cursor.is_word("ack"):
        cursor.next()
        ack = cursor.integer("an acknowledgement number")
    if cursor.is_word("win"):
        cursor.next()
        window = cursor.integer("a window", 0, 65535)
    if cursor.is_word("urg"):
        cursor.next()
        urgent = cursor.integer("an urgent pointer", 0, 65535)
    options: tuple[TcpOption, ...] | None = ()
    if cursor.is_mark("<"):
        token = cursor.token
        options = _options(cursor)
        if options is None and inbound:
            raise cursor.bad("<...> can only stand in an outbound packet", token)
    udp = _udp_suffix(cursor)
    return TcpPacket(
        flags, seq, length, ack, window, urgent, options, ports, udp, absolute, any_seq, ace
    )


def _flags(cursor: Cursor) -> tuple[str, int]:
    token = cursor.next()
    ace = -1
    text = token.text
    if token.kind == lexer.WORD:
        if cursor.token.kind == lexer.FLOAT and cursor.token.start == token.end:
            ace = int(cursor.next().text[1:])
            text += "."
        elif cursor.is_mark("."):
            cursor.next()
            text += "."
    elif token.kind == lexer.FLOAT and text.startswith("."):
        ace = int(text[1:])
        text = "."
    elif text == "-" and token.kind == lexer.MARK:
        return "", -1
    elif not (token.kind == lexer.MARK and text == "."):
        raise cursor.fail("TCP flags (such as S, F., P. or .), icmp or udp", token)
    letters = text.rstrip(".")
    unknown = [letter for letter in letters if letter not in _FLAGS]
    if unknown or len(set(letters)) != len(letters):
        raise cursor.fail("TCP flags out of F S R P U E W A and .", token)
    if not 0 <= max(ace, 0) <= 7:
        raise cursor.bad("the ACE field has three bits", token)
    return letters.replace("C", "W") + ("." if text.endswith(".") else ""), ace


def _sequence(cursor: Cursor) -> tuple[int, int, bool]:
    if cursor.token.kind == lexer.ELLIPSIS:
        cursor.next()
        return 0, _length(cursor), True
    token = cursor.token
    start = cursor.integer("a sequence number")
    cursor.expect(":")
    end = cursor.integer("the sequence number behind the data")
    length = _length(cursor)
    if (start + length) & 0xFFFFFFFF != end:
        raise cursor.bad(f"{start}:{end}({length}) does not add up", token)
    return start, length, False


def _length(cursor: Cursor) -> int:
    cursor.expect("(")
    length = cursor.integer("a length", 0, 65535)
    cursor.expect(")")
    return length


def _udp_suffix(cursor: Cursor) -> tuple[int, int] | None:
    if not (cursor.is_mark("/") and cursor.peek().text == "udp"):
        return None
    cursor.next()
    cursor.next()
    cursor.expect("(")
    ports = _ports(cursor)
    if ports is None:
        raise cursor.fail("two ports, a > b")
    cursor.expect(")")
    return ports


# -- TCP options ----------------------------------------------------------------------------------


def _options(cursor: Cursor) -> tuple[TcpOption, ...] | None:
    opening = cursor.expect("<")
    if cursor.token.kind == lexer.ELLIPSIS:
        cursor.next()
        cursor.expect(">")
        return None
    options = [_tcp_option(cursor)]
    while cursor.accept(","):
        options.append(_tcp_option(cursor))
    cursor.expect(">")
    if sum(option_length(option) for option in options) > _MAX_OPTION_BYTES:
        raise cursor.bad("the options take more than 40 bytes", opening)
    return tuple(options)


def option_length(option: TcpOption) -> int:
    """Bytes of the option on the wire."""
    fixed = {"nop": 1, "eol": 1, "mss": 4, "wscale": 3, "sackOK": 2, "TS": 10, "md5": 18}
    if option.kind in fixed:
        return fixed[option.kind]
    if option.kind == "sack":
        return 2 + 4 * len(option.values)
    return (4 if option.kind == "FOEXP" else 2) + len(option.data)


def _tcp_option(cursor: Cursor) -> TcpOption:
    token = cursor.next()
    name = token.text
    if name in ("nop", "eol", "sackOK"):
        return TcpOption(name)
    if name == "mss":
        return TcpOption(name, (cursor.integer("a segment size", 0, 65535),))
    if name == "wscale":
        return TcpOption(name, (cursor.integer("a shift count", 0, 255),))
    if name == "TS":
        values = []
        for part in ("val", "ecr"):
            if not cursor.is_word(part):
                raise cursor.fail(repr(part))
            cursor.next()
            values.append(cursor.integer("a timestamp"))
        return TcpOption(name, tuple(values))
    if name == "sack":
        return TcpOption(name, _sack_blocks(cursor))
    if name in ("FO", "FOEXP"):
        return TcpOption(name, (), _hex(cursor, optional=True))
    if name == "md5":
        if cursor.is_word("valid"):
            cursor.next()
            return TcpOption(name, (1,))
        if cursor.is_word("invalid"):
            cursor.next()
            return TcpOption(name, (0,))
        return TcpOption(name, (-1,), _hex(cursor, optional=False))
    raise cursor.fail("a TCP option (mss, wscale, sackOK, sack, TS, FO, FOEXP, nop, eol...)", token)


def _sack_blocks(cursor: Cursor) -> tuple[int, ...]:
    values: list[int] = []
    while True:
        values.append(cursor.integer("the left edge of a block"))
        cursor.expect(":")
        values.append(cursor.integer("the right edge of a block"))
        if cursor.token.kind != lexer.INTEGER:
            return tuple(values)


def _hex(cursor: Cursor, optional: bool) -> bytes:
    token = cursor.token
    if token.kind not in (lexer.WORD, lexer.INTEGER):
        if optional:
            return b""
        raise cursor.fail("hexadecimal digits")
    try:
        data = bytes.fromhex(token.text)
    except ValueError:
        raise cursor.fail("an even number of hexadecimal digits") from None
    cursor.next()
    return data


# -- UDP and ICMP ---------------------------------------------------------------------------------


def _udp(cursor: Cursor, ports: tuple[int, int] | None) -> UdpPacket:
    cursor.next()
    ports = _ports(cursor) or ports
    return UdpPacket(_length(cursor), ports)


def _icmp(cursor: Cursor) -> IcmpPacket:
    cursor.next()
    if cursor.token.kind != lexer.WORD:
        raise cursor.fail("an ICMP type")
    kind = cursor.next().text
    code = ""
    if cursor.token.kind == lexer.WORD and not cursor.is_word("mtu", "id"):
        code = cursor.next().text
    mtu, identifier = -1, 0
    if cursor.is_word("mtu"):
        cursor.next()
        mtu = cursor.integer("an MTU")
    if cursor.is_word("id"):
        cursor.next()
        identifier = cursor.integer("an identifier", 0, 65535)
    if not cursor.is_mark("["):
        return IcmpPacket(kind, code, mtu, identifier)
    cursor.expect("[")
    return _icmp_quoted(cursor, kind, code, mtu, identifier)


def _icmp_quoted(cursor: Cursor, kind: str, code: str, mtu: int, identifier: int) -> IcmpPacket:
    protocol, seq, length = "tcp", 0, 0
    if cursor.is_word("udp", "raw"):
        protocol = cursor.next().text
        length = _length(cursor)
    else:
        seq, length, any_seq = _sequence(cursor)
        if any_seq:
            raise ScriptError(
                cursor.path, cursor.token.line, cursor.token.column, "a quote needs a number"
            )
    udp = _udp_suffix(cursor)
    cursor.expect("]")
    return IcmpPacket(kind, code, mtu, identifier, protocol, seq, length, udp)
