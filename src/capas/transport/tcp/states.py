# SPDX-License-Identifier: Apache-2.0
"""The connection states and their legal transitions, as data (RFC 9293 §3.3.2, figure 5).

`TcpConnection.set_state` checks every change against `TRANSITIONS`; the diagram in the documents is
drawn from it.
"""

from typing import Final

CLOSED: Final = 0
LISTEN: Final = 1
SYN_SENT: Final = 2
SYN_RECEIVED: Final = 3
ESTABLISHED: Final = 4
FIN_WAIT_1: Final = 5
FIN_WAIT_2: Final = 6
CLOSE_WAIT: Final = 7
CLOSING: Final = 8
LAST_ACK: Final = 9
TIME_WAIT: Final = 10

NAMES: Final = (
    "CLOSED",
    "LISTEN",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
)

#: state -> the states that may follow.  CLOSED may follow any (RST, ABORT, timeout).
TRANSITIONS: Final[dict[int, tuple[int, ...]]] = {
    CLOSED: (LISTEN, SYN_SENT, SYN_RECEIVED),
    LISTEN: (SYN_SENT, SYN_RECEIVED, CLOSED),
    SYN_SENT: (SYN_RECEIVED, ESTABLISHED, CLOSED),
    SYN_RECEIVED: (ESTABLISHED, FIN_WAIT_1, CLOSE_WAIT, LISTEN, CLOSED),
    ESTABLISHED: (FIN_WAIT_1, CLOSE_WAIT, CLOSED),
    FIN_WAIT_1: (FIN_WAIT_2, CLOSING, TIME_WAIT, CLOSED),
    FIN_WAIT_2: (TIME_WAIT, CLOSED),
    CLOSE_WAIT: (LAST_ACK, CLOSED),
    CLOSING: (TIME_WAIT, CLOSED),
    LAST_ACK: (CLOSED,),
    TIME_WAIT: (CLOSED,),
}

#: States in which the user may still queue data (RFC 9293 §3.10.2).
CAN_SEND: Final = (False, False, True, True, True, False, False, True, False, False, False)
#: States in which data may still leave or be repeated.
HAS_OUTPUT: Final = (False, False, False, False, True, True, False, True, True, True, False)
#: States in which arriving data is for the user (RFC 9293 §3.10.7.4, seventh).
CAN_RECEIVE: Final = (False, False, False, False, True, True, True, False, False, False, False)
