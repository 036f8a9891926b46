# SPDX-License-Identifier: Apache-2.0
"""Connections brought to each state by segments, for the tests beside this file.

The peer's ISS is 100; so RCV.NXT is 101, or 102 once its FIN has come.  The host's ISS counts as 0;
SND.NXT is 1, or 2 once its FIN has left.
"""

from typing import Any

from capas.testing.script import Peer, Script
from capas.transport.tcp import states
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, FIN, SYN

At = tuple[Script, TcpConnection, Peer]


def only(script: Script) -> TcpConnection:
    """The host's only connection."""
    (c,) = script.host.tcp.connections()
    return c


def syn_sent(**settings: Any) -> At:
    script = Script(**settings)
    c, peer = script.connect(80)
    peer.expect(SYN, seq=0)
    return script, c, peer


def syn_received(**settings: Any) -> At:
    """By a passive OPEN."""
    script = Script(**settings)
    script.listen(80)
    peer = script.peer()
    peer.send(SYN, mss=1460)
    peer.expect(SYN | ACK, seq=0, ack=101)
    return script, only(script), peer


def syn_received_active(**settings: Any) -> At:
    """By simultaneous OPENs (RFC 9293 figure 8)."""
    script, c, peer = syn_sent(**settings)
    peer.send(SYN, mss=1460)
    peer.expect(SYN | ACK, seq=0, ack=101)
    return script, c, peer


def established(**settings: Any) -> At:
    script = Script(**settings)
    c, peer = script.passive()
    return script, c, peer


def fin_wait_1(**settings: Any) -> At:
    script, c, peer = established(**settings)
    script.shutdown(c)
    peer.expect(FIN | ACK, seq=1, ack=101)
    return script, c, peer


def fin_wait_2(**settings: Any) -> At:
    script, c, peer = fin_wait_1(**settings)
    peer.send(ACK, ack=2)
    return script, c, peer


def close_wait(**settings: Any) -> At:
    script, c, peer = established(**settings)
    peer.send(FIN | ACK)
    peer.expect(ACK, seq=1, ack=102)
    return script, c, peer


def closing(**settings: Any) -> At:
    script, c, peer = fin_wait_1(**settings)
    peer.send(FIN | ACK, ack=1)
    peer.expect(ACK, seq=2, ack=102)
    return script, c, peer


def last_ack(**settings: Any) -> At:
    script, c, peer = close_wait(**settings)
    script.shutdown(c)
    peer.expect(FIN | ACK, seq=1, ack=102)
    return script, c, peer


def time_wait(**settings: Any) -> At:
    script, c, peer = fin_wait_2(**settings)
    peer.send(FIN | ACK)
    peer.expect(ACK, seq=2, ack=102)
    return script, c, peer


BUILDERS = {
    "SYN-RECEIVED": syn_received,
    "SYN-RECEIVED-ACTIVE": syn_received_active,
    "ESTABLISHED": established,
    "FIN-WAIT-1": fin_wait_1,
    "FIN-WAIT-2": fin_wait_2,
    "CLOSE-WAIT": close_wait,
    "CLOSING": closing,
    "LAST-ACK": last_ack,
    "TIME-WAIT": time_wait,
}
#: What §3.10.7.4 calls "other states", each by every way there is to reach it.
OTHER = tuple(BUILDERS)
SYNCHRONIZED = tuple(name for name in BUILDERS if not name.startswith("SYN"))


def in_state(name: str, **settings: Any) -> At:
    script, c, peer = BUILDERS[name](**settings)
    assert state(c) == name.removesuffix("-ACTIVE")
    peer.expect_nothing()
    return script, c, peer


def state(c: TcpConnection) -> str:
    return states.NAMES[c.state]


def rcv_nxt(name: str) -> int:
    """RCV.NXT in the peer's numbers."""
    return 102 if name in ("CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT") else 101


def snd_nxt(name: str) -> int:
    """SND.NXT counted from the host's ISS."""
    return 2 if name in ("FIN-WAIT-1", "FIN-WAIT-2", "CLOSING", "LAST-ACK", "TIME-WAIT") else 1
