# SPDX-License-Identifier: Apache-2.0
"""Requirements of RFC 9293's appendix B that no other script happens to show."""

import errno
from struct import pack

import pytest
from tcp_states import established, state, syn_sent

from capas.base.checksum import checksum
from capas.base.clock import MS, SECOND
from capas.testing.script import Script
from capas.transport.ports import Binding
from capas.wire.tcp import ACK, RST, SYN


@pytest.mark.rfc("9293", "3.1", "MUST-1")
@pytest.mark.rfc("9293", "3.1", "REC-1")
def test_windows_are_unsigned_and_wider_than_the_field() -> None:
    script = Script(tcp_initial_window=100)
    c, peer = script.passive(wnd=0xFFFF)
    script.send(c, b"x" * 70_000)
    assert sum(len(seen.data) for seen in peer.drain()) == 65_535 // 1460 * 1460
    other = Script()
    c, peer = other.passive(wscale=14, wnd=0xFFFF << 14)
    peer.send(ACK, wnd=0xFFFF)
    assert c.tx.snd_wnd == 0xFFFF << 14


@pytest.mark.rfc("9293", "3.1", "MUST-5")
@pytest.mark.rfc("9293", "3.1", "MUST-64")
def test_options_may_come_in_any_segment_and_anywhere_in_it() -> None:
    script = Script()
    c, peer = script.passive(ts=True, sack_ok=True)
    # A timestamp that begins on an odd octet.
    stamp = b"\x01" + b"\x08\x0a" + pack("!LL", 1000 + script.now // MS + 5, peer.ts_recent)
    peer.send(ACK, b"x", ts=False, extra=stamp)
    assert c.rx.ts_recent == 1000 + script.now // MS + 5


@pytest.mark.rfc("9293", "3.1", "MUST-69")
@pytest.mark.rfc("9293", "3.7.1", "MUST-65")
@pytest.mark.parametrize("order", ["linux", "freebsd"])
def test_padding_is_zero_and_the_mss_is_said_in_syns_only(order: str) -> None:
    """`capas.testing.segments` rejects any other padding."""
    script = Script(tcp_option_order=order, tcp_timestamps=False)
    c, peer = script.connect()
    assert 2 in peer.expect(SYN).order
    peer.send(SYN | ACK, mss=1000)
    assert peer.expect(ACK).order == []
    script.send(c, b"x" * 5000)
    assert all(2 not in seen.order for seen in peer.drain())


@pytest.mark.rfc("9293", "3.4.1", "MUST-9")
def test_the_iss_tells_nothing_without_the_secret() -> None:
    numbers = set()
    for seed in range(8):
        script = Script(seed=seed)
        script.listen()
        peer = script.peer()
        peer.send(SYN)
        numbers.add(peer.expect(SYN | ACK).seq)
    assert len(numbers) == 8


@pytest.mark.rfc("9293", "3.8.3", "MUST-23")
def test_a_syn_may_be_repeated_for_three_minutes() -> None:
    """By ``tcp_syn_retries`` 7; the default of 6 is Linux's and ends after 127 s."""
    script, c, _ = syn_sent(tcp_syn_retries=7)
    script.run(180 * SECOND)
    assert state(c) == "SYN-SENT"


@pytest.mark.rfc("9293", "3.9.1.1", "MUST-46")
@pytest.mark.parametrize(
    "remote", [bytes((224, 0, 0, 1)), bytes((255,) * 4), bytes((192, 0, 2, 255))]
)
def test_an_open_to_a_group_or_everybody_is_refused(remote: bytes) -> None:
    script = Script()
    with pytest.raises(OSError) as caught:
        script.host.tcp.connect(Binding(b"", 0), remote, 80, script.now)
    assert caught.value.errno in (errno.ENETUNREACH, errno.EACCES)


@pytest.mark.rfc("9293", "3.9.2.1", "MUST-50")
def test_unknown_ip_options_are_ignored() -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    packet = peer.packet(SYN)
    header = bytearray(packet[:20]) + b"\x01\xde\x02\x00"  # no-operation, an unknown one, end
    header[0] = 0x46
    header[2:4] = (len(packet) + 4).to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    script.deliver(bytes(header) + packet[20:])
    peer.expect(SYN | ACK, ack=101)


@pytest.mark.rfc("9293", "3.8.6", "MUST-35")
def test_a_window_that_opened_is_found_by_probing() -> None:
    script, c, peer = established()
    peer.send(ACK, wnd=0)
    script.send(c, b"data")
    assert script.run_until(lambda: bool(peer.queue), 5 * SECOND)
    peer.drain()
    peer.send(ACK, wnd=100)  # the answer to the probe
    peer.expect(ACK, b"data")


@pytest.mark.rfc("9293", "3.7.1", "SHLD-6")
def test_the_smallest_mtu_of_the_way_counts() -> None:
    script = Script(mtu=1500)
    script.interface.mtu = 1200
    _, peer = script.connect()
    assert peer.expect(SYN).mss == 1160


@pytest.mark.rfc("9293", "3.8.3", "SHLD-10")
def test_r1_is_three_repeats() -> None:
    script, c, peer = established()
    script.send(c, b"x" * 1460)
    peer.drain()
    route = c.path.route
    for _ in range(3):
        assert script.run_until(lambda: bool(peer.queue), 30 * SECOND)
        peer.drain()
        assert c.recovery.timeouts <= 3
    assert script.config.tcp_retries1 == 3
    assert c.path.route is route


@pytest.mark.rfc("9293", "3.8.6", "SHLD-15")
@pytest.mark.rfc("9293", "3.8.6", "SHLD-16")
@pytest.mark.rfc("9293", "3.8.6", "SHLD-17")
def test_behind_a_shrunk_window_only_old_data_moves() -> None:
    script = Script(tcp_retries2=4, tcp_tlp=False)
    c, peer = script.passive()
    script.send(c, b"x" * 14_600)
    peer.drain()
    peer.send(ACK, ack=1461, wnd=1460)
    script.send(c, b"y" * 5000)
    peer.drain()
    script.run(5 * SECOND)
    seen = peer.drain()
    assert seen
    assert all(peer.relative(one.seq) + len(one.data) <= 14_601 for one in seen)
    assert peer.relative(seen[0].seq) == 1461


@pytest.mark.rfc("9293", "3.9.1.9", "SHLD-21")
@pytest.mark.rfc("9293", "3.9.1.9", "SHLD-22")
def test_the_traffic_class_may_change_and_goes_out_as_it_is() -> None:
    script, c, peer = established()
    for tos in (0x10, 0xB8, 0):
        c.path.tos = tos
        script.send(c, b"x")
        peer.expect(ACK, tos=tos)
        peer.send(ACK)


@pytest.mark.rfc("9293", "3.9.1.2", "SHLD-27")
@pytest.mark.rfc("9293", "3.9.1.2", "SHLD-28")
def test_small_writes_make_large_segments() -> None:
    script = Script()
    c, peer = script.passive()
    for _ in range(40):
        c.send(b"x" * 100, script.now)
    script.call(lambda now: None)
    assert [len(seen.data) for seen in peer.drain()] == [1460, 1460, 1080]


@pytest.mark.rfc("9293", "3.8.2", "SHLD-8")
def test_ecn_is_there() -> None:
    """The rules are in test_recovery; here only that both ends can agree."""
    script = Script(tcp_ecn=1)
    c, peer = script.connect()
    peer.drain()
    peer.send(SYN | ACK | 0x40)
    assert c.neg.ecn_ok


@pytest.mark.rfc("9293", "3.9.1.8", "MUST-47")
@pytest.mark.rfc("9293", "3.8.3", "SHLD-9")
def test_the_status_of_a_struggling_connection_can_be_asked_for() -> None:
    script, c, peer = established()
    script.send(c, b"x")
    script.run(20 * SECOND)
    info = c.info()
    assert info.retransmits >= 3
    assert info.state_name == "ESTABLISHED"
    peer.drain()


def test_what_a_reset_ends_is_told() -> None:
    script, c, peer = established()
    peer.send(RST, seq=101)
    assert c.endpoint.readiness
    with pytest.raises(ConnectionResetError):
        script.receive(c)
