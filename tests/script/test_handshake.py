# SPDX-License-Identifier: Apache-2.0
"""Handshakes: options agreed on, repeated SYNs, queues and their caps, SYN cookies."""

import errno

import pytest
from tcp_states import only, state, syn_sent

from capas.base.clock import MS, SECOND
from capas.testing.script import Script
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN

# -- options -----------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.7.1", "MUST-14")
@pytest.mark.rfc("9293", "3.7.1", "SHLD-5")
@pytest.mark.rfc("9293", "3.7.1", "MUST-67")
@pytest.mark.parametrize(
    ("family", "mtu", "mss"),
    [(4, 1500, 1460), (4, 9000, 8960), (4, 576, 536), (6, 1500, 1440), (6, 1280, 1220)],
)
def test_the_mss_option_says_what_fits_the_interface(family: int, mtu: int, mss: int) -> None:
    script = Script(family=family, mtu=mtu)
    _, peer = script.connect()
    peer.expect(SYN, mss=mss)
    script.listen(81)
    other = script.peer(to=81)
    other.send(SYN)
    other.expect(SYN | ACK, mss=mss)


@pytest.mark.rfc("9293", "3.7.1", "MUST-15")
@pytest.mark.parametrize(("family", "mss"), [(4, 536), (6, 1220)])
def test_without_an_mss_option_the_default_holds(family: int, mss: int) -> None:
    script = Script(family=family)
    c, peer = script.passive(mss=-1)
    script.send(c, b"x" * 3000)
    peer.expect(ACK, length=mss)


@pytest.mark.rfc("9293", "3.7.1", "MUST-16")
def test_options_are_subtracted_from_the_segment() -> None:
    script = Script()
    c, peer = script.passive(mss=1460, ts=True)
    script.send(c, b"x" * 3000)
    peer.expect(ACK, length=1448)


@pytest.mark.rfc("9293", "3.7.1", "MUST-16")
def test_the_smaller_of_both_mss_counts() -> None:
    script = Script()
    c, peer = script.passive(mss=8000)
    script.send(c, b"x" * 9000)
    peer.expect(ACK, length=1460)
    peer.send(ACK)
    other = Script()
    c, peer = other.passive(mss=600)
    other.send(c, b"x" * 9000)
    peer.expect(ACK, length=600)


@pytest.mark.parametrize("mss", [0, 1, 40, 63])
def test_a_tiny_mss_cannot_make_us_send_crumbs(mss: int) -> None:
    """Otherwise a peer multiplies our packets (Linux tcp_min_snd_mss, CVE-2019-11479)."""
    script = Script()
    c, peer = script.passive(mss=mss)
    script.send(c, b"x" * 1000)
    assert len(peer.expect(ACK).data) >= 48


@pytest.mark.rfc("9293", "3.1", "MUST-6")
@pytest.mark.rfc("9293", "3.1", "MUST-7")
@pytest.mark.rfc("9293", "3.1", "MUST-68")
@pytest.mark.parametrize(
    "extra",
    [
        b"\xfd\x04ab",
        b"\x01\x01\x01\x01",
        b"\xc8\x02\x01\x01",
        b"\x02\x04\x05\xb4",
        b"\x13\x12" + bytes(16),
    ],
)
def test_unknown_options_are_skipped(extra: bytes) -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(SYN, extra=extra + b"\x04\x02\x01\x01")
    peer.expect(SYN | ACK, sack_ok=True)
    peer.send(ACK | PSH, b"x", extra=extra)  # MUST-6: in any segment
    peer.expect(ACK, ack=102)


@pytest.mark.rfc("9293", "3.1", "MUST-7")
@pytest.mark.parametrize(
    "extra", [b"\x02\x00\x05\xb4", b"\x03\x01\x01\x01", b"\x08\xff\x01\x01", b"\x05\x03\x00\x00"]
)
def test_illegal_option_lengths_do_no_harm(extra: bytes) -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(SYN, extra=extra)
    peer.expect(SYN | ACK)
    peer.send(ACK | PSH, b"x", extra=extra)
    peer.expect(ACK, ack=102)


@pytest.mark.rfc("7323", "2.2")
@pytest.mark.rfc("7323", "3.2")
@pytest.mark.rfc("2018", "2")
@pytest.mark.parametrize("wscale", [-1, 7])
@pytest.mark.parametrize("sack_ok", [False, True])
@pytest.mark.parametrize("ts", [None, True])
def test_a_syn_ack_offers_only_what_the_syn_did(
    wscale: int, sack_ok: bool, ts: bool | None
) -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(SYN, mss=1460, wscale=wscale, sack_ok=sack_ok, ts=ts)
    seen = peer.expect(SYN | ACK, sack_ok=sack_ok)
    assert (seen.wscale >= 0) == (wscale >= 0)
    assert (seen.ts_val >= 0) == bool(ts)
    if ts:
        assert seen.ts_ecr == 1000 + script.now // MS


@pytest.mark.rfc("7323", "2.2")
def test_an_active_open_offers_everything() -> None:
    _, peer = Script().connect()
    seen = peer.expect(SYN, sack_ok=True, ts_ecr=0)
    assert seen.wscale >= 0
    assert seen.order == [2, 4, 8, 3]


@pytest.mark.rfc("7323", "2.2")
def test_nothing_is_offered_that_is_switched_off() -> None:
    script = Script(tcp_sack=False, tcp_timestamps=False, tcp_window_scaling=False)
    _, peer = script.connect()
    assert peer.expect(SYN).order == [2]


@pytest.mark.rfc("7323", "2.2")
def test_the_window_of_a_syn_is_never_scaled() -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(SYN, wscale=10, wnd=500)
    peer.expect(SYN | ACK)
    c = only(script)
    assert c.tx.snd_wnd == 500
    peer.send(ACK, wnd=500)
    assert c.tx.snd_wnd == 500 << 10


@pytest.mark.rfc("7323", "2.3")
def test_a_shift_above_14_counts_as_14() -> None:
    script = Script()
    c, peer = script.passive(wscale=200)
    peer.send(ACK, wnd=1)
    assert c.tx.snd_wnd == 1 << 14


@pytest.mark.rfc("7323", "2.3")
def test_our_shift_fits_the_largest_buffer_and_never_exceeds_14() -> None:
    for limit, shift in ((6_291_456, 7), (65_535, 0), (1 << 34, 14)):
        script = Script(tcp_receive_buffer_max=limit, tcp_receive_buffer=min(limit, 65_535))
        _, peer = script.connect()
        peer.expect(SYN, wscale=shift)


@pytest.mark.rfc("9293", "3.1", "MUST-8")
@pytest.mark.rfc("9293", "3.4.1", "SHLD-1")
@pytest.mark.rfc("6528", "3")
def test_the_iss_follows_a_clock_and_a_secret() -> None:
    def iss(seed: int, now: int, port: int) -> int:
        script = Script(seed=seed, now=now)
        script.listen()
        peer = script.peer(port=port)
        peer.send(SYN)
        return peer.expect(SYN | ACK).seq

    assert (iss(1, SECOND + 4000, 9) - iss(1, SECOND, 9)) & 0xFFFFFFFF == 1
    assert len({iss(1, SECOND, 9), iss(2, SECOND, 9), iss(1, SECOND, 10)}) == 3


# -- repetition --------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.8.3", "MUST-22")
@pytest.mark.rfc("6298", "5", "5.5")
def test_a_syn_is_repeated_with_doubled_timeouts_and_given_up() -> None:
    script, c, peer = syn_sent(tcp_syn_retries=3)
    for seconds in (1, 2, 4):
        peer.expect(SYN, seq=0, after=seconds * SECOND)
    script.run(8 * SECOND)
    peer.expect_nothing()
    assert state(c) == "CLOSED"
    assert c.take_error() == errno.ETIMEDOUT


@pytest.mark.rfc("9293", "3.8.3", "MUST-22")
def test_a_syn_ack_is_repeated_and_forgotten() -> None:
    script = Script(tcp_synack_retries=2)
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN)
    peer.expect(SYN | ACK, seq=0)
    for seconds in (1, 2):
        peer.expect(SYN | ACK, seq=0, after=seconds * SECOND)
    script.run(4 * SECOND)
    peer.expect_nothing()
    assert not script.host.tcp.table
    assert not listener.half_open


def test_who_has_nothing_to_say_is_asked_once_more() -> None:
    """TCP_DEFER_ACCEPT: no repeats meanwhile, and one at the end (Linux syn_ack_recalc)."""
    script = Script()
    listener = script.listen()
    listener.options.defer_accept = 2
    peer = script.peer()
    peer.send(SYN)
    peer.expect(SYN | ACK, seq=0)
    peer.send(ACK)
    script.run(2 * SECOND)
    peer.expect_nothing()
    assert not listener.queue
    assert script.counter("tcp.deferred_accept") == 1
    script.run(SECOND)
    peer.expect(SYN | ACK, seq=0)
    peer.send(ACK)
    assert listener.queue
    assert not listener.deferred


@pytest.mark.rfc("6298", "5", "5.7")
def test_after_a_lost_syn_the_rto_is_three_seconds() -> None:
    script, c, peer = syn_sent(tcp_timestamps=False)
    peer.expect(SYN, after=SECOND)
    peer.send(SYN | ACK, mss=1460)
    peer.expect(ACK)
    script.send(c, b"x")
    peer.expect(ACK, b"x")
    peer.expect(ACK, b"x", after=3 * SECOND)


@pytest.mark.rfc("6298", "3")
@pytest.mark.rfc("7323", "4.1")
def test_the_timestamp_of_a_repeated_syn_is_a_sample() -> None:
    script, c, peer = syn_sent()
    peer.expect(SYN, after=SECOND)
    script.run(30 * MS)
    peer.send(SYN | ACK, mss=1460, ts=True)
    assert c.rtt.srtt == 30 * MS


@pytest.mark.rfc("6298", "3", "Karn")
def test_an_answer_to_the_first_of_two_syns_is_told_by_its_timestamp() -> None:
    script, c, peer = syn_sent()
    first = peer.ts_recent
    peer.expect(SYN, after=SECOND)
    script.run(30 * MS)
    peer.send(SYN | ACK, mss=1460, ts=(5, first))
    assert c.rtt.srtt == SECOND + 30 * MS


@pytest.mark.rfc("5681", "3.1")
@pytest.mark.parametrize(("lost", "segments"), [(0, 10), (1, 10), (2, 1)])
def test_the_initial_window(lost: int, segments: int) -> None:
    """RFC 6928 §2; after more than one lost SYN Linux starts with one segment."""
    script, c, peer = syn_sent()
    for _ in range(lost):
        script.run(2 * SECOND)
    peer.drain()
    peer.send(SYN | ACK, mss=1000)
    peer.expect(ACK)
    script.send(c, b"x" * 20_000)
    assert len(peer.drain()) == segments if lost < 2 else len(peer.drain()) <= 1


def test_the_user_timeout_limits_the_handshake() -> None:
    script = Script()

    def setup(c: object) -> None:
        c.options.user_timeout = 5 * SECOND  # type: ignore[attr-defined]

    c, _ = script.connect(80, setup)
    script.run(5 * SECOND)
    assert state(c) == "CLOSED"
    assert c.take_error() == errno.ETIMEDOUT


# -- queues ------------------------------------------------------------------------------------


@pytest.mark.rfc("4987", "3.3")
def test_half_open_connections_are_capped() -> None:
    script = Script(tcp_max_syn_backlog=4, tcp_syncookies=0)
    listener = script.listen()
    for port in range(1, 20):
        script.peer(port=port).send(SYN)
    assert listener.half_open == 4
    assert len(script.host.tcp.table) == 4
    assert script.counter("tcp.syn_queue_full") == 15


@pytest.mark.rfc("9293", "3.9.1.1")
def test_the_accept_queue_is_capped() -> None:
    script = Script()
    listener = script.listen(backlog=1)
    peers = [script.peer(port=port) for port in range(1, 4)]
    for peer in peers:
        peer.send(SYN)
        peer.expect(SYN | ACK)
    for peer in peers:
        peer.send(ACK)
    # Linux takes one more than the backlog; the third handshake's last ACK is as if lost.
    assert [len(listener.queue), listener.half_open] == [2, 1]
    late = script.peer(port=9)
    late.send(SYN)
    late.expect_nothing()
    assert script.counter("tcp.accept_queue_full") == 2
    assert listener.accept(script.now) is not None
    peers[2].expect(SYN | ACK, after=SECOND)
    peers[2].send(ACK)
    assert len(listener.queue) == 2


def test_connections_are_capped() -> None:
    script = Script(tcp_connections=3)
    listener = script.listen()
    for port in range(1, 6):
        script.peer(port=port).send(SYN)
    assert listener.half_open == 3
    assert script.counter("tcp.connections_full") == 2
    with pytest.raises(OSError, match="buffer space"):
        script.call_connect(81)


# -- cookies -----------------------------------------------------------------------------------


@pytest.mark.rfc("4987", "3.6")
@pytest.mark.parametrize("family", [4, 6])
def test_a_cookie_keeps_no_state_and_completes(family: int) -> None:
    script = Script(family=family, tcp_syncookies=2)
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, mss=1440, wscale=7, sack_ok=True)
    peer.expect(SYN | ACK, ack=101, wscale=-1, sack_ok=False, ts_val=-1)
    assert not script.host.tcp.table
    script.run(5 * SECOND)
    peer.expect_nothing()
    peer.send(ACK | PSH, b"hello", wnd=1000)
    c = listener.accept(script.now)
    assert c is not None
    assert script.receive(c) == b"hello"
    assert (c.tx.mss, c.tx.snd_wnd) == (1440, 1000)
    assert c.rtt.srtt == 0
    assert c.rtt.min_rtt == -1


@pytest.mark.rfc("4987", "3.6")
@pytest.mark.parametrize("wscale", [-1, 0, 7, 14])
@pytest.mark.parametrize("sack_ok", [False, True])
def test_a_cookie_with_timestamps_remembers_options(wscale: int, sack_ok: bool) -> None:
    script = Script(tcp_syncookies=2)
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, mss=1460, wscale=wscale, sack_ok=sack_ok, ts=True)
    seen = peer.expect(SYN | ACK, sack_ok=sack_ok)
    peer.send(ACK, wnd=100)
    c = listener.accept(script.now)
    assert c is not None
    assert (c.neg.ts_ok, c.neg.sack_ok, c.neg.wscale_ok) == (True, sack_ok, wscale >= 0)
    assert c.tx.snd_wnd == 100 << max(wscale, 0)
    script.send(c, b"x")
    assert (peer.expect(ACK).ts_val - seen.ts_val) & 0xFFFFFFFF < 100


@pytest.mark.rfc("4987", "3.6")
def test_a_forged_or_late_cookie_is_reset() -> None:
    script = Script(tcp_syncookies=2)
    script.listen()
    peer = script.peer()
    peer.send(SYN)
    peer.expect(SYN | ACK)
    peer.send(ACK, ack=2)
    peer.expect(RST, seq=2)
    peer.send(ACK, seq=102, ack=1)
    peer.expect(RST, seq=1)
    script.run(200 * SECOND)
    peer.send(ACK, seq=101, ack=1)
    peer.expect(RST, seq=1)
    assert script.counter("tcp.cookies_failed") == 3
    assert not script.host.tcp.table


@pytest.mark.rfc("4987", "3.6")
def test_cookies_begin_when_the_queue_is_full() -> None:
    script = Script(tcp_max_syn_backlog=2)
    listener = script.listen()
    peers = [script.peer(port=port) for port in range(1, 6)]
    for peer in peers:
        peer.send(SYN)
        peer.expect(SYN | ACK)
    assert listener.half_open == 2
    for peer in reversed(peers):
        peer.send(ACK)
    assert len(listener.queue) == 5


def test_an_ack_without_any_cookie_sent_is_reset() -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(ACK, ack=1)
    peer.expect(RST, seq=1)
    peer.send(FIN | ACK, ack=1)
    peer.expect(RST, seq=1)
