# SPDX-License-Identifier: Apache-2.0
"""What a connection remembers about its two ends beyond sequence numbers.

RFC 9293 §3.8.4 (keep-alive), RFC 5961 §7 (rate limits), RFC 3168 §6.1.3 (echo).  Times ns.
"""

from typing import Final, final

from capas.base.clock import NEVER

_LONG_AGO: Final = -NEVER


@final
class Life:
    """Marks of one connection.

    ``heard``          when the peer was last heard; ``data_heard``: when data last came
    ``probes``         unanswered keep-alive or window probes in a row
    ``persist_backoff``  doublings of the zero-window probe interval
    ``orphan``         the user closed the socket: nobody takes data or errors any more
    ``read_shut``      SHUT_RD: reads end when the buffer is empty
    ``reader_gone``    nobody reads: data that arrives now is answered with a reset
    ``ecn_echo``       send ECE until the peer answers CWR
    ``pace_next``      when pacing allows the next segment
    ``pingpong``       the user answers what comes: delay acknowledgements to ride on answers
    ``soft_error``     errno of the last ICMP error, reported if the connection times out
    ``answered``       when an invalid segment was last answered
    ``confirmed``      when the next hop was last told that it works
    """

    __slots__ = (
        "answered",
        "confirmed",
        "data_heard",
        "ecn_echo",
        "heard",
        "orphan",
        "pace_next",
        "persist_backoff",
        "pingpong",
        "probes",
        "read_shut",
        "reader_gone",
        "soft_error",
    )

    def __init__(self, now: int) -> None:
        self.heard: int = now
        self.data_heard: int = _LONG_AGO
        self.probes: int = 0
        self.persist_backoff: int = 0
        self.orphan: bool = False
        self.reader_gone: bool = False
        self.read_shut: bool = False
        self.ecn_echo: bool = False
        self.pace_next: int = 0
        self.pingpong: bool = False
        self.soft_error: int = 0
        self.answered: int = _LONG_AGO
        self.confirmed: int = _LONG_AGO

    def may_answer_invalid(self, now: int, interval: int) -> bool:
        """One answer per ``interval`` to segments outside the window (Linux invalid_ratelimit)."""
        if now - self.answered < interval:
            return False
        self.answered = now
        return True
