# SPDX-License-Identifier: Apache-2.0
"""Probes of the path MTU by data (RFC 4821): when one leaves, and what its fate teaches."""

from typing import Any

import pytest
from tcp_states import state

from capas.base.clock import MS, SECOND
from capas.base.config import HostConfig
from capas.testing.pair import Pair
from capas.testing.script import Peer, Script
from capas.testing.segments import Seen
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, SYN

HALF = (552 + 1500) // 2 - 40  # bytes of data: between tcp_base_mss and what the peer takes
RTT = 20 * MS
DATA = bytes(range(256)) * 80


def searching(**settings: Any) -> tuple[Script, TcpConnection, Peer]:
    """A connection that the host opened: it begins with 512 bytes, and may reach 1460."""
    settings = {"tcp_mtu_probing": 2, "tcp_base_mss": 512, "tcp_initial_window": 20} | settings
    script = Script(**settings)
    c, peer = script.connect(80)
    peer.expect(SYN, seq=0)
    script.run(RTT)
    peer.send(SYN | ACK, mss=1460, sack_ok=True)
    peer.expect(ACK, seq=1)
    return script, c, peer


def sizes(segments: list[Seen]) -> list[int]:
    return [len(seen.data) for seen in segments]


def written(script: Script, c: TcpConnection, peer: Peer, size: int) -> list[int]:
    """How the host cuts ``size`` bytes."""
    assert script.send(c, DATA[:size]) == size
    return sizes(peer.drain())


@pytest.mark.rfc("4821", "7.3")
@pytest.mark.rfc("4821", "7.5")
def test_a_probe_goes_first_and_the_rest_as_before() -> None:
    script, c, peer = searching()
    assert c.tx.mss == 512
    cut = written(script, c, peer, 4000)
    assert cut == [HALF, *[512] * 5, 4000 - HALF - 5 * 512]
    assert bytes(peer.stream) == DATA[:4000]


@pytest.mark.rfc("4821", "7.6.1")
def test_what_arrives_is_in_force() -> None:
    script, c, peer = searching()
    written(script, c, peer, 4000)
    peer.send(ACK)
    assert c.tx.mss == HALF
    assert script.counter("tcp.mtu_probe_success") == 1
    assert written(script, c, peer, 2 * HALF) == [HALF, HALF]


@pytest.mark.rfc("4821", "7.6.2")
@pytest.mark.parametrize("sack", [True, False])
def test_a_probe_lost_alone_is_no_congestion(sack: bool) -> None:
    script, c, peer = searching(tcp_sack=sack)
    written(script, c, peer, 4000)
    window = c.cc.cwnd
    script.run(RTT)
    for i in range(1, 7):
        end = min(1 + HALF + 512 * i, 4001)
        peer.send(ACK, ack=1, sack=((1 + HALF, end),) if sack else ())
    script.run(RTT)
    assert sizes(peer.drain()) == [512, HALF - 512]  # its data again, cut as before
    assert c.cc.cwnd >= window
    assert script.counter("tcp.mtu_probe_failed") == 1
    assert not script.counter("tcp.fast_recovery")
    peer.send(ACK, ack=4001)
    assert c.tx.mss == 512
    smaller = (552 + HALF + 39) // 2 - 40
    assert written(script, c, peer, 4000)[0] == smaller


@pytest.mark.rfc("4821", "7.6.4")
def test_more_losses_than_the_probe_are_congestion_and_prove_nothing() -> None:
    script, c, peer = searching()
    written(script, c, peer, 4000)
    window = c.cc.cwnd
    hole = 1 + HALF + 512
    script.run(RTT)
    for i in range(1, 5):
        peer.send(ACK, ack=1, sack=((hole, min(hole + 512 * i, 4001)),))
    script.run(RTT)
    assert script.counter("tcp.fast_recovery") == 1
    assert c.cc.ssthresh < window
    assert not script.counter("tcp.mtu_probe_failed")
    peer.drain()
    peer.send(ACK, ack=4001)
    c.cc.cwnd = window
    assert written(script, c, peer, 8000)[0] == HALF  # the same size again


@pytest.mark.rfc("4821", "7.6.3")
def test_a_timeout_proves_nothing() -> None:
    script, c, peer = searching()
    written(script, c, peer, 4000)
    script.run(2 * SECOND)
    assert script.counter("tcp.rto")
    peer.drain()
    peer.send(ACK, ack=4001)
    assert c.tx.mss == 512
    assert c.path.search is not None
    assert (c.path.search.search_low, c.path.search.search_high) == (552, 1500)


@pytest.mark.rfc("4821", "7.4")
@pytest.mark.parametrize(
    "why", ["little data", "little window", "small cwnd", "record", "urgent", "out of order"]
)
def test_no_probe_without_its_conditions(why: str) -> None:
    settings = {"tcp_initial_window": 10} if why == "small cwnd" else {}
    script, c, peer = searching(**settings)
    size = 4000
    if why == "little data":
        size = HALF + 4 * 512 - 1
    elif why == "little window":
        peer.send(ACK, wnd=HALF + 4 * 512 - 1)
    elif why == "out of order":
        peer.send(ACK, b"late", seq=peer.nxt + 10)
        peer.drain()
    elif why == "urgent":
        script.call(c.send, b"!")
        c.tx.snd_up = c.tx.queue_end
        size -= 1
    if why == "record":
        script.call(lambda now: c.send(DATA[:size], now, record=True))
        cut = sizes(peer.drain())
    else:
        cut = written(script, c, peer, size)
    assert max(cut) == 512
    assert not script.counter("tcp.mtu_probes")


@pytest.mark.rfc("4821", "7.4")
def test_a_probe_waits_for_room_while_data_is_out() -> None:
    script, c, peer = searching()
    assert written(script, c, peer, 20 * 512)[0] == HALF  # the window is full now
    peer.send(ACK)
    assert c.tx.mss == HALF
    peer.drain()
    c.cc.cwnd = 11 * HALF
    first = written(script, c, peer, 11 * HALF)  # more follow: the second probe is out
    assert first[0] > HALF
    peer.send(ACK, ack=peer.rcv)
    before = script.counter("tcp.mtu_probes")
    c.cc.cwnd = 12 * c.tx.mss
    script.send(c, DATA)
    full = peer.drain()
    assert script.counter("tcp.mtu_probes") == before + 1
    assert len(full[0].data) > c.tx.mss


@pytest.mark.rfc("4821", "7.7")
def test_a_black_hole_narrows_it_to_the_base_and_then_by_halves() -> None:
    script = Script(tcp_base_mss=1024)
    c, peer = script.passive()
    assert c.path.search is None  # by default it begins with a suspicion
    script.send(c, DATA[:1460])
    peer.drain()
    script.run(100 * SECOND)
    seen = sizes(peer.drain())
    assert sorted(set(seen), reverse=True) == [1460, 1024, 512]
    assert state(c) == "ESTABLISHED"


@pytest.mark.rfc("4821", "7.7")
@pytest.mark.rfc("8200", "5")
def test_no_ipv6_path_is_taken_to_carry_less_than_1280_bytes() -> None:
    script = Script(family=6, tcp_base_mss=512)
    c, peer = script.passive(mss=1440)
    script.send(c, DATA[:1440])
    script.run(100 * SECOND)
    assert set(sizes(peer.drain())) == {1440, 1280 - 60}


@pytest.mark.rfc("4821", "5.2")
def test_what_routers_told_bounds_the_search() -> None:
    script, c, peer = searching()
    script.host.net.shared.pmtu.learned(script.remote, 1000, 1500, 1500, script.now)
    assert written(script, c, peer, 4000)[0] == (552 + 1000) // 2 - 40


@pytest.mark.rfc("1191", "6.3")
def test_after_ten_minutes_larger_sizes_are_tried_again() -> None:
    script, c, peer = searching()
    search = c.path.search
    assert search is not None
    search.search_low = search.eff_pmtu = 1000
    search.search_high = 1007
    assert not search.next_size(1500, script.now + 599 * SECOND)
    assert search.next_size(1500, script.now + 600 * SECOND) == 1250
    assert not peer.queue


@pytest.mark.rfc("4821", "7.2")
def test_an_accepted_connection_keeps_its_size_until_a_probe_finds_a_larger_one() -> None:
    script = Script(tcp_mtu_probing=2, tcp_base_mss=512, tcp_initial_window=20)
    c, peer = script.passive()
    assert c.tx.mss == 1460
    assert max(written(script, c, peer, 20_000)) == 1460
    assert not script.counter("tcp.mtu_probes")  # nothing is larger


@pytest.mark.rfc("4821", "7.3")
@pytest.mark.rfc("4821", "7.7")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize(("mtu", "hole"), [(1500, 1400), (9000, 4000), (9000, 1500), (1500, 1491)])
def test_it_ends_close_below_what_a_silent_path_carries(
    family: int, sack: bool, mtu: int, hole: int
) -> None:
    config = HostConfig(tcp_sack=sack)
    pair = Pair(family=family, config=config, rate="50Mbit", delay="5ms", mtu=mtu, black_hole=hole)
    transfer = pair.start(6_000_000)
    pair.run(600, lambda: transfer.ended)
    assert transfer.result().ok
    assert hole - 8 <= transfer.connection.path.mtu <= hole
    assert pair.a.counters.values["tcp.mtu_black_hole"] == 1


@pytest.mark.rfc("4821", "7.6.2")
@pytest.mark.parametrize("family", [4, 6])
def test_the_search_costs_no_window(family: int) -> None:
    """Upwards from the base it is as fast as without."""

    def goodput(probing: int) -> float:
        config = HostConfig(tcp_mtu_probing=probing)
        pair = Pair(family=family, config=config, rate="20Mbit", delay="5ms")
        result = pair.transfer(10_000_000)
        assert result.ok
        return result.goodput

    assert goodput(2) >= 0.98 * goodput(0)
