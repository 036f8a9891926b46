# SPDX-License-Identifier: Apache-2.0
"""Filters of listeners, the state merged from them, and the records that tell of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.internet.membership import EXCLUDE, INCLUDE, Filter, State, reports
from capas.wire import igmp
from capas.wire.igmp import Record

GROUP = b"\xef\1\2\3"
A, B, C, D = (bytes((10, 0, 0, n)) for n in range(1, 5))
KINDS = {
    "IS_IN": igmp.IS_INCLUDE,
    "IS_EX": igmp.IS_EXCLUDE,
    "TO_IN": igmp.TO_INCLUDE,
    "TO_EX": igmp.TO_EXCLUDE,
    "ALLOW": igmp.ALLOW_NEW_SOURCES,
    "BLOCK": igmp.BLOCK_OLD_SOURCES,
}


def include(*sources: bytes) -> Filter:
    return Filter(INCLUDE, sources)


def exclude(*sources: bytes) -> Filter:
    return Filter(EXCLUDE, sources)


def named(records: list[Record]) -> list[tuple[str, set[bytes]]]:
    names = {kind: name for name, kind in KINDS.items()}
    return [(names[kind], set(sources)) for kind, _, sources in records]


def state(*filters: Filter) -> State:
    made = State(GROUP)
    for one in filters:
        made.listen(None, one, 2)
    made.forget()
    return made


@pytest.mark.rfc("3376", "3.2")
@pytest.mark.rfc("3810", "4.2")
@pytest.mark.parametrize(
    ("filters", "merged"),
    [
        ((), include()),
        ((include(A, B), include(B, C)), include(A, B, C)),
        # the examples of the clause: three sockets that exclude, then with others that include
        ((exclude(A, B, C, D), exclude(B, C, D)), exclude(B, C, D)),
        ((exclude(A, B, C), exclude(B, C, D), include(D)), exclude(B, C)),
        ((exclude(A, B, C), exclude(B, C, D), include(B, C)), exclude()),
        ((exclude(A), include(A)), exclude()),
        ((exclude(A), exclude()), exclude()),
    ],
)
def test_filters_merge(filters: tuple[Filter, ...], merged: Filter) -> None:
    found = state(*filters).filter
    assert (found.mode, set(found.sources)) == (merged.mode, set(merged.sources))


@pytest.mark.rfc("3376", "5.1")
@pytest.mark.rfc("3810", "6.1")
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (include(A, B), include(B, C), [("ALLOW", {C}), ("BLOCK", {A})]),
        (exclude(A, B), exclude(B, C), [("ALLOW", {A}), ("BLOCK", {C})]),
        (include(A), exclude(B), [("TO_EX", {B})]),
        (exclude(A), include(B), [("TO_IN", {B})]),
        (None, include(A), [("ALLOW", {A})]),
        (None, exclude(), [("TO_EX", set())]),
        (include(A), None, [("BLOCK", {A})]),
        (exclude(A), None, [("TO_IN", set())]),
        (include(A), include(A), []),
    ],
)
def test_changes_are_told_robustness_variable_times(
    before: Filter | None, after: Filter | None, told: list[tuple[str, set[bytes]]]
) -> None:
    one = state(*(() if before is None else (before,)))
    assert one.listen(before, after, 3) is bool(told)
    for _ in range(3 if told else 0):
        assert one.due()
        assert named(one.changes()) == told
    assert not one.due()


@pytest.mark.rfc("3376", "5.1")
def test_changes_meanwhile_are_told_together() -> None:
    one = state(include(A))
    one.listen(include(A), include(A, B), 2)
    assert named(one.changes()) == [("ALLOW", {B})]
    one.listen(include(A, B), include(B, C), 2)
    assert named(one.changes()) == [("ALLOW", {B, C}), ("BLOCK", {A})]
    assert named(one.changes()) == [("ALLOW", {C}), ("BLOCK", {A})]
    assert not one.due()
    one.listen(include(B, C), exclude(C), 2)
    assert named(one.changes()) == [("TO_EX", {C})]
    one.listen(exclude(C), exclude(C, D), 2)
    assert named(one.changes()) == [("TO_EX", {C, D})]  # the change of sources is in it
    assert named(one.changes()) == [("BLOCK", {D})]
    assert not one.due()


@pytest.mark.rfc("3376", "5.2")
@pytest.mark.rfc("3810", "6.2")
@pytest.mark.parametrize(
    ("listener", "asked", "told"),
    [
        (include(A, B), (), [("IS_IN", {A, B})]),
        (exclude(A), (), [("IS_EX", {A})]),
        (exclude(), (), [("IS_EX", set())]),
        (include(A, B), (B, C), [("IS_IN", {B})]),
        (include(A), (C,), []),
        (exclude(A), (A, B), [("IS_IN", {B})]),
        (exclude(A), (A,), []),
    ],
)
def test_what_is_asked_for_is_told(
    listener: Filter, asked: tuple[bytes, ...], told: list[tuple[str, set[bytes]]]
) -> None:
    assert named(state(listener).current(dict.fromkeys(asked))) == told


def test_nobody_has_nothing_to_tell() -> None:
    assert state().current({}) == []


addresses = st.integers(0, 99).map(lambda n: n.to_bytes(4, "big"))
kinds = st.sampled_from(sorted(KINDS.values()))
listed = st.lists(addresses, max_size=40, unique=True).map(tuple)


@pytest.mark.rfc("3376", "4.2.16")
@given(st.lists(st.tuples(kinds, addresses, listed), max_size=8), st.integers(36, 200))
def test_reports_fit_and_say_it_all(records: list[Record], room: int) -> None:
    found = reports(records, 4, room)
    for report in found:
        assert report
        assert len(igmp.build_records(report)) <= room
    # each record in order, in one report or several
    parts = [record for report in found for record in report]
    at = 0
    for kind, group, sources in records:
        assert parts[at][:2] == (kind, group)
        got = parts[at][2]
        at += 1
        if kind in (igmp.IS_EXCLUDE, igmp.TO_EXCLUDE):
            assert got == sources[: len(got)]
            assert len(got) == min(len(sources), (room - 8) // 4)
            continue
        while len(got) < len(sources):
            assert parts[at][:2] == (kind, group)
            got += parts[at][2]
            at += 1
        assert got == sources
    assert at == len(parts)
