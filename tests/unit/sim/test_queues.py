# SPDX-License-Identifier: Apache-2.0
"""Queues: what they drop and mark, against their RFCs and against a queue that is really run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_bench import Bench, plain, tcp

from capas.base.checksum import verify
from capas.base.clock import MS, SECOND, US
from capas.base.rng import Rng
from capas.errors import ConfigurationError
from capas.sim.codel import CoDel, FqCoDel
from capas.sim.marking import ecn_of, mark_ce
from capas.sim.queues import DropTail, Queue, Red, TailDropServer, parse_queue
from capas.sim.rates import ConstantRate, TokenBucket, TraceRate


class Plain(Queue):
    """Tail drop that the wire does not know for one, and so really runs."""

    def __init__(self, packets: int) -> None:
        self.inner = DropTail(packets)

    def enqueue(self, frame, now):
        taken = self.inner.enqueue(frame, now)
        if not taken:
            self._drop()
        return taken

    def dequeue(self, now):
        return self.inner.dequeue(now)

    def __len__(self):
        return len(self.inner)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(60, 1500)), min_size=1, max_size=80),
    st.integers(1, 6),
)
def test_the_computed_queue_equals_one_that_is_run(arrivals, packets):
    results = []
    for queue in (DropTail(packets), Plain(packets)):
        bench = Bench(rate="8Mbit")
        bench.up.configure(ConstantRate("8Mbit"), queue)
        for i, (gap, size) in enumerate(arrivals):
            bench.run(bench.clock.time + gap * US + 1)  # never at the very instant of a departure
            bench.send(plain(i, size))
        bench.run()
        results.append((bench.b.times, bench.b.data, bench.counts.queue_drops))
    assert results[0] == results[1]


def test_waiting_packets_of_a_train_leave_one_by_one():
    server = TailDropServer(DropTail(100), ConstantRate(1_000_000))
    assert server.accept(10, 10_000, 0) == 10 * MS
    assert server.waiting(0) == 9
    assert server.waiting(MS - 1) == 9
    assert server.waiting(MS) == 8
    assert server.waiting(9 * MS) == 0
    assert server.room(5, 5000, 3 * MS) == 5


def overload(queue, *, ecn=0, seconds=5, load=1.5, ports=(1000,)):
    """``load`` times what the line carries; (bench, queueing delays in order of arrival)."""
    bench = Bench()
    bench.up.configure(ConstantRate("8Mbit"), queue)
    queue.seed(Rng(1))
    step = int(1054 * US / load)
    sent = {}
    for i in range(seconds * SECOND // step):
        bench.run(i * step)
        frame = tcp(
            i.to_bytes(4, "big") + bytes(996), mss=2000, ecn=ecn, port=ports[i % len(ports)]
        )
        sent[i] = bench.clock.time
        bench.send(frame)
    bench.run()
    delays = [
        t - sent[int.from_bytes(f.data[54:58], "big")]
        for f, t in zip(bench.b.frames, bench.b.times, strict=True)
    ]
    return bench, delays


@pytest.mark.slow
@pytest.mark.rfc("8289", "5")
def test_codel_drops_from_a_standing_queue_but_not_from_a_burst():
    bench, delays = overload(CoDel(packets=100_000), load=1.02, seconds=20)
    assert bench.counts.queue_drops > 10
    tail = sorted(delays[len(delays) // 2 :])
    assert tail[len(tail) // 2] < 40 * MS  # a tail-drop queue would stand at 400 ms
    burst = Bench()
    burst.up.configure(ConstantRate("8Mbit"), CoDel())
    burst.send(*[plain(i) for i in range(90)])
    burst.run()
    assert burst.counts.queue_drops == 0


@pytest.mark.slow
@pytest.mark.rfc("8289", "5")
def test_codel_marks_instead_of_dropping():
    bench, _ = overload(CoDel(packets=100_000), ecn=2, load=1.02, seconds=20)
    assert bench.counts.queue_drops == 0
    assert bench.counts.marked == sum(ecn_of(f) == 3 for f in bench.b.frames) > 10


def test_codel_is_bounded():
    bench, _ = overload(CoDel(packets=50), load=3, seconds=1)
    assert len(bench.up.queue) == 0
    assert bench.counts.queue_drops + len(bench.b.frames) == bench.counts.packets


@pytest.mark.rfc("8290", "4")
def test_fq_codel_shares_by_flow():
    queue = FqCoDel()
    bench = Bench()
    bench.up.configure(ConstantRate("8Mbit"), queue)
    queue.seed(Rng(1))
    for i in range(4000):  # one flow offers four times the line, the other a quarter
        bench.run(i * 263 * US)
        bench.send(tcp(bytes(1000), mss=2000, port=1))
        if i % 16 == 0:
            bench.send(tcp(bytes(1000), mss=2000, port=2))
    bench.run(4000 * 263 * US)
    thin = sum(f.data[34:36] == b"\x00\x02" for f in bench.b.frames)
    assert thin >= 248  # all of the thin flow's, but for what is still under way
    bench.run()
    assert len(queue) == 0


@pytest.mark.rfc("8290", "4.1.3")
def test_fq_codel_drops_from_the_fattest_flow():
    queue = FqCoDel(packets=10)
    for _ in range(9):
        assert queue.enqueue(tcp(bytes(1000), mss=2000, port=1), 0)
    for _ in range(3):
        assert queue.enqueue(tcp(bytes(100), mss=2000, port=2), 0)
    assert queue.drops == 2
    assert len(queue) == 10
    left = [queue.dequeue(0) for _ in range(10)]
    assert sum(f.data[34:36] == b"\x00\x02" for f in left) == 3
    assert queue.dequeue(0) is None


@given(st.binary(max_size=80))
def test_fq_codel_takes_any_bytes(data):
    queue = FqCoDel()
    for frame in (plain(1), tcp(b"")):
        queue.enqueue(frame.with_data(data), 0)
    assert queue.dequeue(0).data == data


@pytest.mark.slow
@pytest.mark.rfc("2309", "3")
def test_red_drops_more_the_longer_the_queue():
    rates = []
    for load in (0.8, 1.05, 1.3):
        bench, _ = overload(Red(ecn=False, weight=0.02), load=load, seconds=10)
        rates.append(bench.counts.queue_drops / bench.counts.packets)
    assert rates[0] < 0.001
    assert 0.03 < rates[1] < rates[2]
    assert abs(rates[2] - (1 - 1 / 1.3)) < 0.03  # what does not fit the line


def test_red_opens_again_after_a_drop_from_an_empty_queue():
    """Floyd and Jacobson 1993 §11: the average decays by (1 - weight) a packet time of idleness."""
    queue = Red(weight=0.01)
    queue.average = 1e9  # far above twice the maximum: every packet is dropped
    arrivals = [i * SECOND for i in range(10)]
    taken = [queue.enqueue(plain(i), now) for i, now in enumerate(arrivals)]
    decayed = 1e9
    expected = []
    for _ in arrivals:
        decayed *= 0.99
        expected.append(decayed < 5)  # below the minimum nothing is dropped
        decayed *= 0.99**1000
    assert taken[: expected.index(True) + 1] == expected[: expected.index(True) + 1]


@pytest.mark.rfc("3168", "5")
@pytest.mark.parametrize("family", [4, 6])
def test_a_mark_keeps_the_header_checksum_right(family):
    frame = tcp(b"hello", family=family, ecn=2)
    marked = mark_ce(frame)
    assert ecn_of(marked) == 3
    assert mark_ce(marked) is marked
    assert mark_ce(tcp(b"hello", family=family, ecn=0)) is None
    if family == 4:
        assert verify(marked.data[14:34])
    assert marked.data[40:] == frame.data[40:]


@given(st.binary(max_size=60))
def test_marking_takes_any_bytes(data):
    mark_ce(plain(1).with_data(data))


def test_token_bucket_lets_a_burst_go_and_then_keeps_the_rate():
    bucket = TokenBucket(1_000_000, 10_000)
    assert bucket.finish(0, 10_000) == 0
    assert bucket.finish(0, 1000) == MS
    assert bucket.finish(MS, 1000) == 2 * MS
    assert bucket.finish(SECOND, 10_000) == SECOND
    peaked = TokenBucket(1_000_000, 10_000, peak=10_000_000)
    assert peaked.finish(0, 10_000) == MS


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 20_000)), min_size=1, max_size=50))
def test_token_bucket_never_beats_burst_plus_rate(bursts):
    bucket, now, total = TokenBucket(1_000_000, 10_000), 0, 0
    for gap, size in bursts:
        now += gap * US
        now = bucket.finish(now, size)
        total += size
        assert total <= 10_000 + now * 1_000_000 / SECOND + 1


def test_trace_driven_rate():
    trace = TraceRate([(0, "8Mbit"), ("1ms", None), ("2ms", "16Mbit")])
    assert trace.finish(0, 500) == 500 * US
    assert trace.finish(0, 1000) == MS
    assert trace.finish(0, 1500) == 2250 * US
    assert trace.finish(1500 * US, 2000) == 3 * MS
    again = TraceRate([(0, "8Mbit"), ("1ms", 0)], repeat="2ms")
    assert again.finish(0, 2500) == 4500 * US
    assert again.finish(2 * MS, 1000) == 3 * MS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TraceRate([]), "start at 0"),
        (lambda: TraceRate([(1, "1Mbit")]), "start at 0"),
        (lambda: TraceRate([(0, "1Mbit"), (1, None)]), "for ever"),
        (lambda: TraceRate([(0, "1Mbit"), (1, None)], repeat=0.5), "repeat"),
        (lambda: TokenBucket("1Mbit", 0), "token bucket"),
        (lambda: ConstantRate(None), "constant rate"),
        (lambda: DropTail(-1), "queue"),
        (lambda: CoDel(target=0.2), "CoDel"),
        (lambda: FqCoDel(flows=0), "FQ-CoDel"),
        (lambda: Red(low=20), "RED"),
        (lambda: parse_queue(None), "queue"),
        (lambda: parse_queue(True), "queue"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_queues_by_name():
    assert isinstance(parse_queue("fq_codel"), FqCoDel)
    assert isinstance(parse_queue("CoDel"), CoDel)
    assert parse_queue("64KiB").size == 65536
    assert parse_queue(7).packets == 7
