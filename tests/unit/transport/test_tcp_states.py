# SPDX-License-Identifier: Apache-2.0
"""The transition table against RFC 9293 figure 5."""

import pytest

from capas.transport.tcp import states
from capas.transport.tcp.states import NAMES, TRANSITIONS

FIGURE_5 = {
    "CLOSED": ("LISTEN", "SYN-SENT"),
    "LISTEN": ("SYN-RECEIVED", "SYN-SENT", "CLOSED"),
    "SYN-SENT": ("SYN-RECEIVED", "ESTABLISHED", "CLOSED"),
    "SYN-RECEIVED": ("ESTABLISHED", "FIN-WAIT-1", "LISTEN"),
    "ESTABLISHED": ("FIN-WAIT-1", "CLOSE-WAIT"),
    "FIN-WAIT-1": ("FIN-WAIT-2", "CLOSING", "TIME-WAIT"),
    "FIN-WAIT-2": ("TIME-WAIT",),
    "CLOSE-WAIT": ("LAST-ACK",),
    "CLOSING": ("TIME-WAIT",),
    "LAST-ACK": ("CLOSED",),
    "TIME-WAIT": ("CLOSED",),
}


@pytest.mark.rfc("9293", "3.3.2", "figure 5")
@pytest.mark.parametrize("name", NAMES)
def test_every_arrow_of_the_figure_is_legal(name: str) -> None:
    legal = [NAMES[i] for i in TRANSITIONS[NAMES.index(name)]]
    assert set(FIGURE_5[name]) <= set(legal)


@pytest.mark.rfc("9293", "3.3.2", "figure 5")
def test_nothing_else_is_but_the_ways_out() -> None:
    extra = {
        (name, NAMES[new])
        for name in NAMES
        for new in TRANSITIONS[NAMES.index(name)]
        if NAMES[new] not in FIGURE_5[name] and NAMES[new] != "CLOSED"
    }
    # A child of a listener starts in CLOSED; a FIN may come with the last ACK of the handshake.
    assert extra == {("CLOSED", "SYN-RECEIVED"), ("SYN-RECEIVED", "CLOSE-WAIT")}


def test_the_tables_have_a_row_per_state() -> None:
    for table in (states.CAN_SEND, states.HAS_OUTPUT, states.CAN_RECEIVE):
        assert len(table) == len(NAMES) == len(TRANSITIONS)
