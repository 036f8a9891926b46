# SPDX-License-Identifier: Apache-2.0
"""A direction: queue, line, trains, order."""

import pytest
from sim_bench import Bench, number_of, plain, tcp

from capas.base.clock import MS, SECOND, US
from capas.sim.rules import DROP, PASS, cut, deliver_in, drop_nth, hold, script


def test_a_frame_takes_its_time_on_the_line_and_then_the_delay():
    bench = Bench(rate="8Mbit", delay="10ms")  # 1 byte per us
    bench.send(plain(1), plain(2))
    bench.run()
    assert bench.b.times == [1000 * US + 10 * MS, 2000 * US + 10 * MS]
    assert [number_of(f) for f in bench.b.frames] == [1, 2]
    assert bench.a.frames == []
    assert bench.counts.packets == bench.counts.delivered == 2
    assert bench.counts.bytes == 2000


def test_nothing_is_delivered_inside_transmit():
    bench = Bench()
    bench.send(plain(1))
    assert bench.b.frames == []
    bench.run(0)
    assert bench.b.times == [0]


def test_ethernet_overhead_counts_for_every_packet_of_a_train():
    payload = bytes(5000)
    plain_wire, counted = Bench(rate="8Mbit"), Bench(rate="8Mbit", overhead=24)
    for bench in (plain_wire, counted):
        bench.send(tcp(payload))
        bench.run()
    assert plain_wire.b.times[-1] == (5000 + 5 * 54) * US
    assert counted.b.times[-1] == (5000 + 5 * (54 + 24)) * US
    short = Bench(rate="8Mbit", overhead=24)
    short.send(plain(1, 18))
    short.run()
    assert short.b.times == [84 * US]


def test_a_train_passes_whole_in_one_event():
    bench = Bench(rate="1Gbit", delay="1ms")
    frame = tcp(bytes(44_000))
    bench.send(frame)
    bench.run()
    assert bench.b.frames == [frame]
    assert bench.counts.packets == 44
    assert bench.counts.delivered == 1
    assert bench.counts.splits == 0


@pytest.mark.parametrize(("rate", "each"), [("80Mbit", 5), ("8Mbit", 1)])
def test_a_train_that_a_slow_line_stretches_arrives_in_pieces(rate, each):
    pieces, exact = Bench(rate=rate, delay="1ms"), Bench(rate=rate, delay="1ms", exact=True)
    for bench in (pieces, exact):
        bench.send(tcp(bytes(range(250)) * 48))
        bench.run()
    assert pieces.counts.packets == exact.counts.packets == 12
    assert pieces.b.times == sorted({*exact.b.times[each - 1 :: each], exact.b.times[-1]})
    both = [b"".join(d[54:] for d in bench.b.data) for bench in (pieces, exact)]
    assert both[0] == both[1] == bytes(range(250)) * 48


def test_exact_splits_at_the_sender_and_ends_at_the_same_time():
    train, exact = Bench(rate="1Gbit", delay="1ms"), Bench(rate="1Gbit", delay="1ms", exact=True)
    for bench in (train, exact):
        bench.send(tcp(bytes(range(250)) * 40))
        bench.run()
    assert len(exact.b.frames) == 10
    assert exact.b.times[-1] == train.b.times[-1]
    assert b"".join(d[54:] for d in exact.b.data) == train.b.data[0][54:]


@pytest.mark.parametrize("family", [4, 6])
def test_loss_takes_single_packets_out_of_a_train(family):
    whole, exact = Bench(loss=0.1, rate="8Mbit"), Bench(loss=0.1, rate="8Mbit", exact=True)
    for bench in (whole, exact):
        for _ in range(20):
            bench.send(tcp(bytes(10_000), family=family))
        bench.run()
        assert bench.counts.packets == 200
        arrived = sum(max(1, (len(f.data) - f.csum_start - 20) // 1000) for f in bench.b.frames)
        assert arrived == 200 - bench.counts.lost
    assert 0 < whole.counts.lost == exact.counts.lost < 60
    assert whole.b.times[-1] == exact.b.times[-1]


def test_packets_of_a_split_train_keep_their_own_times():
    bench = Bench(rate="8Mbit", delay="1ms")
    script(lambda _frame, _now: PASS, [bench.up])
    exact = Bench(rate="8Mbit", delay="1ms", exact=True)
    lossy = Bench(rate="8Mbit", delay="1ms", loss=0.3, seed=3)
    for b in (bench, exact, lossy):
        b.send(tcp(bytes(10_000)))
        b.run()
    assert bench.b.times == exact.b.times
    assert set(lossy.b.times) < set(exact.b.times)


def test_tail_drop_takes_what_fits_and_counts_the_rest():
    bench = Bench(rate="8Mbit", queue=5)
    bench.send(*[plain(i) for i in range(10)])
    bench.run()
    assert [number_of(f) for f in bench.b.frames] == [0, 1, 2, 3, 4, 5]  # one on the line
    assert bench.counts.queue_drops == 4


def test_tail_drop_cuts_a_train_like_single_packets():
    train, exact = Bench(rate="8Mbit", queue=5), Bench(rate="8Mbit", queue=5, exact=True)
    for bench in (train, exact):
        bench.send(tcp(bytes(10_000)))
        bench.run()
        bench.send(plain(1))
        bench.run()
    assert train.counts.queue_drops == exact.counts.queue_drops == 4
    assert train.b.times == exact.b.times


def test_a_queue_limited_in_bytes():
    bench = Bench(rate="8Mbit", queue="3000B")
    bench.send(*[plain(i) for i in range(10)])
    bench.run()
    assert bench.counts.queue_drops == 6


def test_the_queue_drains_while_time_passes():
    bench = Bench(rate="8Mbit", queue=1)
    for i in range(4):
        bench.send(plain(i))
        bench.run(bench.clock.time + 1000 * US)
    bench.run()
    assert bench.counts.queue_drops == 0
    assert len(bench.b.frames) == 4


def test_rule_verdicts_first_answer_counts():
    bench = Bench(delay="5ms")
    answers = {1: DROP, 2: deliver_in("1ms"), 3: PASS}
    with script(lambda frame, now: answers[number_of(frame)], [bench.up]):
        with script(lambda frame, now: DROP, [bench.up]):
            bench.send(plain(3))
        bench.send(plain(1), plain(3), plain(2))
    bench.send(plain(1))
    bench.run()
    assert [(number_of(f), t) for f, t in zip(bench.b.frames, bench.b.times, strict=True)] == [
        (2, MS),
        (3, 5 * MS),
        (1, 5 * MS),
    ]
    assert bench.counts.rule_drops == 2
    assert bench.up.rules == []


def test_rules_see_the_packets_of_a_train():
    bench = Bench()
    with drop_nth([bench.up], 3):
        bench.send(tcp(bytes(5000)))
    bench.run()
    assert len(bench.b.frames) == 4
    assert bench.counts.rule_drops == 1


def test_a_rule_that_raises_says_where():
    bench = Bench()

    def broken(frame, now):
        raise ZeroDivisionError("oops")

    script(broken, [bench.up])
    with pytest.raises(ZeroDivisionError) as caught:
        bench.send(plain(1))
    assert "broken" in caught.value.__notes__[0]
    assert "a>b" in caught.value.__notes__[0]


@pytest.mark.parametrize("answer", [None, True, -7])
def test_a_rule_must_answer_with_a_verdict(answer):
    bench = Bench()
    script(lambda frame, now: answer, [bench.up])
    with pytest.raises(ValueError, match="PASS, DROP or deliver_in"):
        bench.send(plain(1))


def test_cut_loses_what_is_under_way():
    bench = Bench(delay="5ms")
    bench.send(plain(1))
    with cut([bench.up], in_flight=True):
        bench.send(plain(2), tcp(bytes(5000)))
        bench.run()
    bench.send(plain(3))
    bench.run()
    assert [number_of(f) for f in bench.b.frames] == [3]
    assert bench.counts.rule_drops == 7


def test_hold_releases_in_order():
    bench = Bench(delay="5ms")
    with hold([bench.up]) as held:
        bench.send(plain(1), tcp(bytes(5000)), plain(2))
        bench.run(SECOND)
        assert bench.b.frames == []
        assert held.active
    bench.run()
    assert bench.b.times == [SECOND + 5 * MS] * 3
    assert number_of(bench.b.frames[0]) == 1
    assert len(bench.b.frames[1].data) == 5054


def test_hold_is_bounded():
    bench = Bench()
    with hold([bench.up], limit=3):
        bench.send(*[plain(i) for i in range(5)])
    bench.run()
    assert len(bench.b.frames) == 3
    assert bench.counts.rule_drops == 2


def test_nobody_at_the_far_end():
    bench = Bench()
    bench.wire.b.sink = None
    bench.send(plain(1))
    bench.run()
    assert bench.counts.undeliverable == 1
    assert bench.counts.snapshot()["undeliverable"] == 1
