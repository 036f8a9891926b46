# SPDX-License-Identifier: Apache-2.0
"""The states of RFC 4861 §7.3, appendix C, one row of the table each."""

import pytest

from capas.base.clock import MS, NEVER, SECOND, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.rng import Rng
from capas.link.neighbor import (
    DELAY,
    INCOMPLETE,
    PERMANENT,
    PROBE,
    QUEUE_BYTES,
    REACHABLE,
    STALE,
    TABLE_BYTES,
    NeighborTable,
    Pending,
)

MAC, OTHER, OURS = b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\0\x0b", b"\x02\0\0\0\0\x01"
X = bytes((192, 0, 2, 9))


class Table:
    """A table whose callbacks are lists."""

    def __init__(self, config: HostConfig | None = None) -> None:
        self.counters = Counters()
        self.scheduler = Scheduler()
        self.config = config or HostConfig()
        self.table = NeighborTable(OURS, 0x0800, self.config, self.counters, self.scheduler, Rng(1))
        self.asked: list[tuple[bytes, bytes | None, int]] = []
        self.sent: list[tuple[bytes, bytes]] = []
        self.lost: list[bytes] = []
        self.failed: list[bytes] = []
        self.table.solicit = lambda target, mac, now: self.asked.append((target, mac, now))
        self.table.failed = lambda target, now: self.failed.append(target)
        self.table.release = lambda header, packets, now: self.sent.extend(
            (header, p.packet) for p in packets
        )
        self.table.lost = lambda packets, now: self.lost.extend(p.packet for p in packets)

    def wait(self, packet: bytes, target: bytes = X, now: int = 0) -> None:
        entry = self.table.resolve(target, now)
        self.table.wait(entry, Pending(packet, None))
        self.table.header(entry, now)

    def learn(self, mac: bytes | None = MAC, now: int = 0, **flags: object) -> bool:
        options = {"solicited": True, "override": True, **flags}
        return self.table.learned(X, mac, now, **options)  # type: ignore[arg-type]

    def state(self, now: int = 0) -> int:
        return self.table.table[X].state_at(now)

    def run(self, until: int) -> None:
        while self.scheduler.next_deadline() <= until:
            self.scheduler.run_due(self.scheduler.next_deadline())


def reachable() -> Table:
    t = Table()
    t.table.lookup(X, 0)
    t.learn()
    t.asked.clear()
    return t


def stale() -> Table:
    t = Table()
    t.learn(solicited=False)
    assert t.state() == STALE
    return t


@pytest.mark.rfc("4861", "7.2.2")
def test_unknown_neighbour_is_asked_for_three_times_then_packets_come_back() -> None:
    t = Table()
    t.wait(b"one")
    t.wait(b"two")
    assert t.state() == INCOMPLETE
    t.run(10 * SECOND)
    assert t.asked == [(X, None, n * SECOND) for n in range(3)]
    assert t.lost == [b"one", b"two"]
    assert t.failed == [X]
    assert t.table.entries() == []
    assert t.counters.get("link.neighbor_failed") == 1
    assert t.table.waiting_bytes == 0


@pytest.mark.rfc("4861", "7.2.5")
def test_an_answer_releases_what_waits_in_order() -> None:
    t = Table()
    t.wait(b"one")
    t.wait(b"two")
    t.learn(now=MS)
    assert t.state(MS) == REACHABLE
    assert t.sent == [(MAC + OURS + b"\x08\x00", b"one"), (MAC + OURS + b"\x08\x00", b"two")]
    t.run(10 * SECOND)
    assert len(t.asked) == 1
    assert t.table.lookup(X, 2 * MS) == MAC


def test_unsolicited_answer_makes_it_stale_and_the_released_packets_start_the_delay() -> None:
    t = Table()
    t.wait(b"one")
    t.learn(solicited=False)
    assert t.state() == DELAY
    assert [p for _, p in t.sent] == [b"one"]


@pytest.mark.rfc("4861", "7.3.3")
def test_reachable_grows_stale_then_delay_then_probe_then_gone() -> None:
    t = reachable()
    limit = t.table.reachable
    assert t.state(limit - 1) == REACHABLE
    assert t.state(limit) == STALE
    assert t.table.lookup(X, limit) == MAC  # still used while it is delayed
    assert t.state(limit) == DELAY
    assert t.asked == []
    delay = limit + 5 * SECOND
    t.run(delay)
    assert t.state() == PROBE
    assert t.asked == [(X, MAC, delay)]
    assert t.table.lookup(X, delay) == MAC
    t.run(NEVER - 1)
    assert t.asked == [(X, MAC, delay + n * SECOND) for n in range(3)]
    assert t.failed == [X]
    assert t.table.entries() == []


def test_a_probe_answered_makes_it_reachable() -> None:
    t = stale()
    t.table.lookup(X, 0)
    t.run(5 * SECOND)
    assert t.state() == PROBE
    t.learn(now=5 * SECOND)
    assert t.state(5 * SECOND) == REACHABLE
    t.run(NEVER - 1)
    assert t.failed == []


@pytest.mark.rfc("4861", "7.3.1")
@pytest.mark.parametrize("begin", [STALE, DELAY, PROBE, REACHABLE])
def test_progress_above_confirms(begin: int) -> None:
    t = reachable() if begin == REACHABLE else stale()
    now = 0
    if begin in (DELAY, PROBE):
        t.table.lookup(X, 0)
    if begin == PROBE:
        now = 5 * SECOND
        t.run(now)
    assert t.state(now) == begin
    t.table.confirm(X, now + 1)
    assert t.state(now + 1) == REACHABLE
    assert t.table.table[X].fresh_until == now + 1 + t.table.reachable
    t.run(now + 100 * SECOND)
    assert t.state(now + 1) == REACHABLE


def test_progress_about_strangers_changes_nothing() -> None:
    t = Table()
    t.table.confirm(X, 0)
    assert t.table.entries() == []
    t.wait(b"p")
    t.table.confirm(X, 0)
    assert t.state() == INCOMPLETE


# -- RFC 4861 appendix C: what an advertisement does to each state --------------------------------


@pytest.mark.rfc("4861", "7.2.5")
@pytest.mark.parametrize(
    ("solicited", "override", "mac", "state", "kept"),
    [
        (True, False, MAC, REACHABLE, MAC),
        (False, False, MAC, REACHABLE, MAC),
        (True, False, OTHER, STALE, MAC),  # §7.2.5: not overridden, but doubted
        (False, False, OTHER, STALE, MAC),
        (True, True, OTHER, REACHABLE, OTHER),
        (False, True, OTHER, STALE, OTHER),
        (False, True, MAC, REACHABLE, MAC),
        (True, True, None, REACHABLE, MAC),
    ],
)
def test_advertisement_to_a_reachable_entry(
    solicited: bool, override: bool, mac: bytes | None, state: int, kept: bytes
) -> None:
    t = reachable()
    t.learn(mac, solicited=solicited, override=override, create=False)
    assert (t.state(), t.table.table[X].mac) == (state, kept)


@pytest.mark.rfc("4861", "7.2.5")
@pytest.mark.parametrize(
    ("solicited", "override", "mac", "state", "kept"),
    [
        (False, False, OTHER, STALE, MAC),
        (True, False, OTHER, STALE, MAC),
        (True, False, MAC, REACHABLE, MAC),
        (False, False, MAC, STALE, MAC),
        (True, True, OTHER, REACHABLE, OTHER),
        (False, True, OTHER, STALE, OTHER),
    ],
)
def test_advertisement_to_a_stale_entry(
    solicited: bool, override: bool, mac: bytes | None, state: int, kept: bytes
) -> None:
    t = stale()
    t.learn(mac, solicited=solicited, override=override, create=False)
    assert (t.state(), t.table.table[X].mac) == (state, kept)


def test_an_advertisement_creates_nothing_and_a_solicitation_a_stale_entry() -> None:
    t = Table()
    t.learn(create=False)
    assert t.table.entries() == []
    t.learn(None)
    assert t.table.entries() == []
    t.learn(solicited=False)
    assert t.state() == STALE


def test_router_flag_is_kept_and_its_loss_is_told() -> None:
    t = reachable()
    assert not t.learn(is_router=True)
    assert t.table.table[X].is_router
    assert not t.learn(is_router=None)
    assert not t.learn(OTHER, override=False, is_router=False)  # ignored as a whole
    assert t.table.table[X].is_router
    assert t.learn(is_router=False)
    assert not t.table.table[X].is_router


def test_incomplete_ignores_messages_without_an_address() -> None:
    t = Table()
    t.wait(b"p")
    t.learn(None)
    assert t.state() == INCOMPLETE


# -- bounds ---------------------------------------------------------------------------------------


def test_queue_of_one_neighbour_drops_the_oldest() -> None:
    t = Table(HostConfig(neighbor_queue=3))
    for n in range(5):
        t.wait(b"%d" % n)
    assert t.counters.get("link.neighbor_queue_full") == 2
    t.learn()
    assert [p for _, p in t.sent] == [b"2", b"3", b"4"]


def test_queue_of_one_neighbour_is_bounded_in_bytes() -> None:
    t = Table()
    for _ in range(20):
        t.wait(bytes(60_000))
    assert t.table.table[X].queue_bytes <= QUEUE_BYTES
    assert t.table.waiting_bytes == t.table.table[X].queue_bytes


def test_queues_of_all_neighbours_are_bounded_in_bytes() -> None:
    t = Table()
    for n in range(200):
        t.wait(bytes(60_000), bytes((10, 0, 0, n)))
    assert t.table.waiting_bytes <= TABLE_BYTES
    assert t.counters.get("link.neighbor_queue_full") > 0


def test_no_queue_at_all() -> None:
    t = Table(HostConfig(neighbor_queue=0))
    t.wait(b"p")
    assert t.counters.get("link.neighbor_queue_full") == 1


def test_table_is_bounded_and_the_least_recently_used_go() -> None:
    t = Table(HostConfig(neighbor_entries=32))
    t.table.add_permanent(b"\x0a\0\0\xff", MAC, 0)
    for n in range(31):
        t.table.learned(bytes((10, 0, 0, n)), MAC, n, solicited=True, override=True)
    t.table.lookup(bytes((10, 0, 0, 0)), 100)  # the oldest, but in use
    t.table.learned(X, MAC, 101, solicited=True, override=True)
    assert len(t.table.entries()) == 31
    assert t.counters.get("link.neighbor_evicted") == 2
    left = list(t.table.table)
    assert bytes((10, 0, 0, 0)) in left
    assert b"\x0a\0\0\xff" in left
    assert bytes((10, 0, 0, 1)) not in left
    assert bytes((10, 0, 0, 2)) not in left


def test_a_flood_of_addresses_stays_within_the_bound() -> None:
    t = Table(HostConfig(neighbor_entries=64))
    for n in range(1000):
        t.wait(b"p", n.to_bytes(4, "big"), n)
    assert len(t.table.entries()) <= 64
    assert t.table.waiting_bytes <= 64


# -- by hand --------------------------------------------------------------------------------------


def test_permanent_entries_are_not_changed_by_messages_or_time() -> None:
    t = Table()
    t.wait(b"p")
    t.table.add_permanent(X, MAC, 0)
    assert [p for _, p in t.sent] == [b"p"]
    t.learn(OTHER)
    t.table.confirm(X, 0)
    t.run(NEVER - 1)
    assert t.state(NEVER - 1) == PERMANENT
    assert t.table.lookup(X, NEVER - 2) == MAC
    t.table.flush()
    assert t.state() == PERMANENT
    t.table.remove(X)
    assert t.table.entries() == []


def test_flush_forgets_all_and_drops_what_waits() -> None:
    t = Table()
    t.wait(b"p")
    t.table.flush()
    t.run(NEVER - 1)
    assert t.table.entries() == t.lost == t.failed == []


def test_the_prompting_packet_is_there_when_the_question_is_asked() -> None:
    t = Table()
    seen: list[bytes | None] = []
    t.table.solicit = lambda target, mac, now: seen.append(t.table.prompting(target))
    t.wait(b"first")
    assert seen == [b"first"]
    assert t.table.prompting(b"\x0a\0\0\1") is None


@pytest.mark.rfc("4861", "6.3.2")
def test_reachable_time_is_random_between_half_and_three_halves() -> None:
    t = Table()
    for n in range(1, 50):
        base = n * SECOND
        t.table.set_reachable_time(base)
        assert base // 2 <= t.table.reachable <= base * 3 // 2


def test_without_a_solicitor_nothing_breaks() -> None:
    t = Table()
    t.table.solicit = t.table.failed = t.table.lost = t.table.release = None
    t.wait(b"p")
    t.run(NEVER - 1)
    t.wait(b"p")
    t.learn()
