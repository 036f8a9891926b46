# SPDX-License-Identifier: Apache-2.0
"""Segments, one after another, into a connection of each state: nothing raises, nothing grows.

The first byte chooses the state and the settings; then come records of (flags, offset of SEQ, of
ACK, window, length, options...), so mutated inputs stay near what a connection would look at.  The
rest is parsed as plain bytes too.
"""

from struct import pack, unpack_from

from capas.base.checksum import checksum, pseudo_sum
from capas.base.clock import MS
from capas.testing.script import Peer, Script
from capas.testing.segments import build, ip_header
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, FIN, SYN, parse

RECORD = 12

SEEDS = [
    bytes((state,)) + pack("!BBhhHBBH", flags, 0, 0, 0, 1000, 10, option, 0)
    for state in range(11)
    for flags, option in ((ACK, 0), (ACK | FIN, 1), (SYN, 2), (4, 0), (SYN | ACK, 3), (ACK | 32, 4))
]

OPTIONS = (
    b"",
    b"\x01\x01\x08\x0a\x00\x00\x10\x00\x00\x00\x00\x01",
    b"\x02\x04\x00\x00\x03\x03\xff\x01",
    b"\x01\x01\x05\x0a\x00\x00\x00\x01\xff\xff\xff\xff",
    b"\x01\x01\x05\x12" + bytes(range(16)),
    b"\x22\x06abcd\x01\x01",
    b"\x05\x00\x00\x00",
    b"\x02\x01\x01\x01",
)


def connection(which: int) -> tuple[Script, TcpConnection | None, Peer]:
    """A host with a connection in one of the states."""
    script = Script(
        tcp_receive_buffer=8000,
        tcp_receive_buffer_max=8000,
        tcp_sack=bool(which & 16),
        tcp_timestamps=bool(which & 32),
        tcp_ecn=1,
        tcp_rack=bool(which & 64),
        tcp_out_of_order_ranges=8,
        tcp_manners="freebsd" if which & 128 else "linux",
    )
    state = which % 16 % 11
    if state == 0:
        script.listen()
        return script, None, script.peer()
    if state == 1:
        c, peer = script.connect()
        return script, c, peer
    script_listener = script.listen()
    peer = script.peer()
    peer.send(SYN | 0xC0, mss=1000, wscale=3, sack_ok=True, ts=True)
    c = script.host.tcp.connections()[0]
    if state == 2:
        return script, c, peer
    peer.send(ACK)
    script_listener.accept(script.now)
    if state in (4, 5, 8, 10):
        script.send(c, b"data" * 2000)
        peer.send(ACK)
    if state in (5, 6, 8, 10):
        script.shutdown(c)
    if state in (6, 10):
        peer.send(ACK)
    if state in (7, 9, 10):
        peer.send(ACK | FIN)
    if state == 8:
        peer.send(ACK | FIN, ack=1)
    if state == 9:
        script.shutdown(c)
    return script, c, peer


def test(data: bytes) -> None:
    parse(data, 0, len(data), 0)
    which = data[0] if data else 0
    script, c, peer = connection(which)
    for at in range(1, len(data) - RECORD + 1, RECORD):
        flags, ecn, dseq, dack, wnd, length, option, up = unpack_from("!BBhhHBBH", data, at)
        seq = (c.rx.rcv_nxt if c is not None and c.rx.rcv_nxt else peer.nxt) + dseq
        ack = (c.tx.snd_una if c is not None else 0) + dack
        packet = build(
            script.remote, script.local, peer.port, peer.to, seq, ack, flags, wnd, up,
            OPTIONS[option % len(OPTIONS)], bytes(length), ecn & 3,
        )  # fmt: skip
        script.deliver(packet)
        if option & 64:
            script.run((option >> 3) * 10 * MS)
    segment = data[1:60]
    if len(segment) >= 20:
        # The same bytes as they are, with a checksum that lets them in.
        segment = pack("!HH", peer.port, peer.to) + segment[4:16] + bytes(2) + segment[18:]
        total = checksum(segment, pseudo_sum(script.remote, script.local, 6, len(segment)))
        segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
        script.deliver(ip_header(script.remote, script.local, 6, len(segment)) + segment)
    script.run(3000 * MS)
    for each in script.host.tcp.connections():
        assert each.rx.buffered <= 8000
        assert each.rx.ooo is None or len(each.rx.ooo) <= 9
        assert 0 <= each.tx.snd_una - each.tx.iss <= each.tx.snd_nxt - each.tx.iss
    assert len(script.host.tcp.connections()) <= 3
