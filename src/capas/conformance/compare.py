# SPDX-License-Identifier: Apache-2.0
"""Does what the stack sent match what the script expects, field by field?"""

from collections.abc import Iterator
from typing import Final

from capas.conformance.ast import IpInfo, TcpOption, TcpPacket
from capas.conformance.errors import Failed
from capas.conformance.flow import M32, Flow
from capas.conformance.packets import option_length
from capas.conformance.segments import (
    ACK,
    AE,
    CWR,
    ECE,
    FIN,
    PSH,
    Seen,
    flag_bits,
    flag_letters,
    option_text,
    payload,
    text,
)

ECT: Final = (1, 2)


def check_tcp(
    flow: Flow, expected: TcpPacket, ip: IpInfo, seen: Seen, line: str, ts_slack: int
) -> None:
    """Raise `Failed` unless ``seen`` (mapped) is the segment ``expected``.

    ``ts_slack`` is the tolerance of the timestamp value in ticks, -1: not checked.
    """
    if seen.problem:
        raise Failed(f"the stack sent {seen.problem}", line, text(seen))
    for name, want, have in _fields(expected, seen):
        if want != have:
            raise Failed(f"{name}: expected {want}, the stack sent {have}", line, text(seen))
    _check_ip(ip, seen, line)
    if expected.options is not None:
        _check_options(expected, seen, line, ts_slack)
    wanted = payload(flow.outbound_offset(seen), len(seen.data))
    if seen.data != wanted:
        raise Failed("the payload is not what was written", line, text(seen))


def _fields(expected: TcpPacket, seen: Seen) -> Iterator[tuple[str, object, object]]:
    bits, flags = flag_bits(expected.flags), seen.flags
    if expected.ace >= 0:
        counter = (flags & AE and 4) | (flags & CWR and 2) | (flags & ECE and 1)
        yield "the ACE counter", expected.ace, counter
        mask = ~(AE | CWR | ECE)
        bits, flags = bits & mask, flags & mask
    yield "flags", flag_letters(bits), flag_letters(flags)
    if not expected.any_seq:
        yield "sequence number", expected.seq, seen.seq
    yield "payload length", expected.length, len(seen.data)
    if bits & ACK:
        yield "acknowledgement number", expected.ack or 0, seen.ack
    if expected.window is not None:
        yield "window", expected.window, seen.window
    yield "urgent pointer", expected.urgent, seen.urgent


def _check_ip(ip: IpInfo, seen: Seen, line: str) -> None:
    if ip.ecn == 4:
        if seen.tos & 3 not in ECT:
            raise Failed(f"expected an ECT code point, the stack sent {seen.tos & 3}", line)
    elif ip.ecn >= 0 and seen.tos & 3 != ip.ecn:
        raise Failed(f"ECN: expected {ip.ecn}, the stack sent {seen.tos & 3}", line, text(seen))
    if ip.tos >= 0 and seen.tos != ip.tos:
        raise Failed(f"TOS: expected {ip.tos:#x}, the stack sent {seen.tos:#x}", line, text(seen))
    if ip.ttl >= 0 and seen.ttl != ip.ttl:
        raise Failed(f"TTL: expected {ip.ttl}, the stack sent {seen.ttl}", line, text(seen))


def _check_options(expected: TcpPacket, seen: Seen, line: str, ts_slack: int) -> None:
    wanted = padded(expected.options or ())
    kinds = [option.kind for option in wanted]
    have = [option.kind for option in seen.options]
    if kinds != have:
        raise Failed(
            f"TCP options: expected <{','.join(kinds)}>, the stack sent <{','.join(have)}>",
            line,
            text(seen),
        )
    for want, got in zip(wanted, seen.options, strict=True):
        if not _same(want, got, ts_slack):
            raise Failed(
                f"TCP option: expected {option_text(want)}, the stack sent {option_text(got)}",
                line,
                text(seen),
            )


def padded(options: tuple[TcpOption, ...]) -> tuple[TcpOption, ...]:
    """With the end-of-list bytes that fill the header up to a multiple of four."""
    length = sum(option_length(option) for option in options)
    return options + (TcpOption("eol"),) * (-length % 4)


def _same(want: TcpOption, got: TcpOption, ts_slack: int) -> bool:
    if want.kind == "TS":
        if want.values[1] != got.values[1]:  # 0 without ACK, RFC 7323 §3.2
            return False
        if ts_slack < 0:
            return True
        off = (got.values[0] - want.values[0]) & M32
        return min(off, (1 << 32) - off) <= ts_slack
    if want.kind == "md5":
        return want.values[0] < 0 and want.data == got.data
    return want == got


def mergeable(first: Seen, later: Seen) -> bool:
    """Whether ``later`` continues ``first`` as segments of one super-frame would.

    Unlike packetdrill's, a bare acknowledgement is not the beginning of the data behind it.
    """
    loose = FIN | PSH | CWR
    return (
        (first.flags | loose) == (later.flags | loose)
        and later.ack == first.ack
        and later.window == first.window
        and len(first.data) > 0
        and len(later.data) > 0
        and later.seq == (first.seq + len(first.data)) & M32
        and first.flags & FIN == 0
    )


def merge(first: Seen, later: Seen) -> Seen:
    """Both as one segment: flags of the end, options and numbers of the beginning."""
    out = first.copy()
    out.data = first.data + later.data
    out.flags = out.flags & ~(FIN | PSH) | later.flags & (FIN | PSH)
    out.time = later.time
    out.problem = first.problem or later.problem
    return out
