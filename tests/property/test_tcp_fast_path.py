# SPDX-License-Identifier: Apache-2.0
"""The fast paths change nothing: with and without them a host sends the same at the same time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from capas.base.clock import MS
from capas.testing.script import Script
from capas.wire.tcp import ACK, FIN, PSH, URG

Step = tuple[int, int, int]
steps = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 30), st.integers(0, 4000)), max_size=40
)


def play(fast: bool, plan: list[Step], ts: bool, sack: bool, gso: bool) -> tuple[object, ...]:
    """Everything the host sent and delivered, with times."""
    script = Script(tcp_fast_path=fast, super_frames=gso, tcp_receive_buffer=20_000)
    frames: list[tuple[int, bytes, int]] = []

    c, peer = script.passive(ts=ts or None, sack_ok=sack, wscale=2)
    read = b""
    for kind, a, b in plan:
        if c.state == 0:
            break
        if kind <= 2:
            peer.send(ACK | (PSH if a & 1 else 0), bytes((b & 255,)) * min(b, 1448))
        elif kind == 3:
            peer.send(ACK, b"o" * (1 + b % 500), seq=peer.nxt + a)
        elif kind <= 5:
            script.send(c, bytes((a,)) * b)
        elif kind == 6:
            peer.send(ACK, ack=peer.rcv if a & 1 else max(1, peer.rcv - b))
        elif kind == 7:
            script.run(a * a * MS)
        elif kind == 8:
            read += script.receive(c, b) or b""
        elif kind == 9 and sack and peer.rcv > 3000:
            peer.send(ACK, ack=peer.rcv - 3000, sack=((peer.rcv - 1500, peer.rcv - a),))
        elif kind == 10:
            peer.send(ACK | (URG if a & 1 else FIN if a > 28 else 0), wnd=b, up=a)
        elif kind == 11:
            peer.send(ACK, b"e" * (a + 1), ecn=a % 4)
        for seen in peer.drain():
            frames.append((seen.time, seen.data, seen.gso_size))
            frames.append((seen.seq, str(seen).encode(), seen.up))
    script.run(1000 * MS)
    frames += [(seen.time, str(seen).encode(), 0) for seen in peer.drain()]
    numbers = (
        c.tx.snd_una, c.tx.snd_nxt, c.tx.snd_wnd, c.rx.rcv_nxt, c.rx.rcv_adv, c.state,
        c.rtt.srtt, c.rtt.rto, c.cc.cwnd, c.cc.ssthresh, sack and (c.rack.xmit_ts, c.rack.end_seq),
        c.rack.reordering_seen, c.board.rate.delivered, tuple(c.timers.deadlines), c.rx.ts_recent,
        c.rx.ack, c.rx.quick, c.life.pingpong, c.recovery.dup_acks, c.recovery.phase,
    )  # fmt: skip
    return frames, read, bytes(peer.stream), numbers


@settings(max_examples=150)
@given(steps, st.booleans(), st.booleans(), st.booleans())
def test_the_fast_paths_change_nothing(plan: list[Step], ts: bool, sack: bool, gso: bool) -> None:
    assert play(True, plan, ts, sack, gso) == play(False, plan, ts, sack, gso)
