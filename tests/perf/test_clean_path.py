# SPDX-License-Identifier: Apache-2.0
"""The short way of an acknowledgement on a clean connection does what the long way does."""

import pytest

from capas.transport.tcp import acknowledge
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.scoreboard import Scoreboard

from .counting import Lab


def state(c: TcpConnection) -> list[object]:
    """What the two ways must agree about."""
    parts = (c.tx, c.rtt, c.cc, c.recovery, c.rack, c.board.rate)
    found: list[object] = [
        c.state,
        list(c.timers.deadlines),
        [vars_of(r) for r in c.board.records()],
    ]
    return found + [vars_of(part) for part in parts]


def vars_of(part: object) -> dict[str, object]:
    names = list(getattr(part, "__slots__", ())) + list(getattr(part, "__dict__", ()))
    return {
        name: value
        for name in sorted(names)
        if isinstance(value := getattr(part, name), int | str | tuple | type(None))
    }


def transfer(lab: Lab) -> list[list[object]]:
    client, server = lab.connect()
    found = []
    for turn in range(60):
        size = (1, 700, 5000, 63270, 200_000)[turn % 5]
        client.send(bytes(size), lab.now)
        if turn % 3 == 0:
            server.send(bytes(100), lab.now)
        lab.step()
        while server.receive(30_000, lab.now):
            pass
        client.receive(1 << 16, lab.now)
        found.append(state(client))
        found.append(state(server))
    return found


@pytest.mark.skipif(
    not (acknowledge.__file__ or "").endswith(".py"), reason="compiled callers bypass a patch"
)
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("family", [4, 6])
def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch, offload: bool, family: int) -> None:
    taken = []
    clean = acknowledge._clean_progress

    def counted(c, seg, ack, now):
        taken.append(ack)
        clean(c, seg, ack, now)

    with monkeypatch.context() as patch:
        patch.setattr(acknowledge, "_clean_progress", counted)
        short = transfer(Lab(offload, family))
    monkeypatch.setattr(Scoreboard, "clean", lambda board, ack: False)
    assert short == transfer(Lab(offload, family))
    assert len(taken) > 50
