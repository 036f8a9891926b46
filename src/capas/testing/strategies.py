# SPDX-License-Identifier: Apache-2.0
"""Network faults for hypothesis: failing tests shrink to the smallest set of faults that fails.

    @given(faults=network_faults("client", "server"))
    def test_survives(internet, faults):
        ...                             # hosts, links, servers
        faults.apply(internet)
        ...                             # the program, and what must hold

Simpler comes first, so shrinking ends with few faults, losses rather than delays, early packets and
round times.  Shrinking takes faults away, and does not exchange two for another one: where it ends
with several, the plugin tries each single packet lost or doubled, too.  A plan drawn is a
`capas.testing.faultplan.FaultPlan`; it replays without hypothesis.
"""

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from capas.errors import ConfigurationError
from capas.testing.faultplan import KINDS, PACKET_KINDS, Fault, FaultPlan

#: ms, from short to long
TIMES: Final = (0, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)


def network_faults(
    *hosts: str,
    kinds: Sequence[str] = ("lose", "duplicate", "delay", "hold", "restart"),
    packets: int = 20,
    most: int = 4,
    times: Sequence[int] = TIMES,
) -> st.SearchStrategy[FaultPlan]:
    """Plans of up to ``most`` faults, striking the first ``packets`` packets of ``hosts``.

    ``kinds`` are taken from `capas.testing.faultplan.KINDS`; ``times`` (ms) are those of delays,
    of outages and between faults.
    """
    if not hosts:
        raise ConfigurationError("network_faults: of which hosts?")
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigurationError(
                f"network_faults: no kind {kind!r}; there are {', '.join(KINDS)}"
            )
    one = st.one_of([_fault(kind, hosts, packets, times) for kind in kinds])
    single = [
        Fault(kind, host, n=n)
        for n in range(1, packets + 1)
        for kind in kinds
        for host in hosts
        if KINDS[kind] == ("n",)
    ]
    plans = st.lists(one, max_size=most, unique_by=_target)
    return plans.map(lambda faults: FaultPlan(faults, single))


def _fault(
    kind: str, hosts: Sequence[str], packets: int, times: Sequence[int]
) -> st.SearchStrategy[Fault]:
    fields = KINDS[kind]
    moments = st.sampled_from(list(times))
    nothing = st.just(0)  # named: `builds` draws any number for a field it is not told of
    number, after, ms = nothing, nothing, nothing
    if "n" in fields:
        number = st.integers(1, packets)
    if "after" in fields:
        after = moments
    if "ms" in fields:
        later = st.sampled_from([time for time in times if time] or [1])
        ms = later if kind in PACKET_KINDS else moments
    host = st.sampled_from(list(hosts))
    return st.builds(Fault, st.just(kind), host, n=number, after=after, ms=ms)


def _target(fault: Fault) -> tuple[object, ...]:
    """One fault for each packet, and one of a kind for each host."""
    if fault.kind in PACKET_KINDS:
        return fault.host, fault.n
    return fault.host, fault.kind
