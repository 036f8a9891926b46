# SPDX-License-Identifier: Apache-2.0
"""What a connection remembers about its two ends beyond sequence numbers.

RFC 9293 §3.8.4 (keep-alive), RFC 5961 §7 (rate limits), RFC 3168 §6.1.3 (echo).  Times ns.
"""

from typing import Final, final

from capas.base.clock import NEVER

_LONG_AGO: Final = -NEVER

NONE: Final = 0  # what `Chrono` measures
BUSY: Final = 1
RWND_LIMITED: Final = 2
SNDBUF_LIMITED: Final = 3


#: What a connection that never sent has spent; nobody writes to it.
_NO_TIME: Final[list[int]] = [0, 0, 0, 0]


@final
class Chrono:
    """How long the sender was busy, and with what in its way (tcp_info's busy_time and others).

    Being limited is being busy too, so the total of BUSY counts all three.
    """

    __slots__ = ("_since", "_spent", "kind")

    def __init__(self) -> None:
        self.kind: int = NONE
        self._since: int = 0
        self._spent: list[int] = _NO_TIME

    def switch(self, kind: int, now: int) -> None:
        """From now on ``kind`` is what holds the sender."""
        if kind != self.kind:
            if self._spent is _NO_TIME:
                self._spent = [0, 0, 0, 0]
            self._spent[self.kind] += now - self._since
            self.kind = kind
            self._since = now

    def total(self, kind: int, now: int) -> int:
        """Time spent so far, ns."""
        spent = self._spent.copy()
        spent[self.kind] += now - self._since
        if kind == BUSY:
            return spent[BUSY] + spent[RWND_LIMITED] + spent[SNDBUF_LIMITED]
        return spent[kind]


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
    ``charged``        bytes of this connection in the host's account of memory
    ``soft_error``     errno of the last ICMP error, reported if the connection times out
    ``answered``       when an invalid segment was last answered
    ``confirmed``      when the next hop was last told that it works
    ``born``           when the connection began; ``data_sent``: when data last left
    ``chrono``         where the sender's time went
    ``retransmitted``  bytes sent again; ``advmss``: the MSS option announced
    ``writer_waits``   a blocked writer waits for the handshake (Linux sk_write_pending)
    ``segs_out``       segments sent, repeats included; ``data_segs_out``: those with data
    ``syn_data_acked``  the peer took the data in our SYN (RFC 7413)
    """

    __slots__ = (
        "advmss",
        "answered",
        "born",
        "charged",
        "chrono",
        "confirmed",
        "data_heard",
        "data_segs_out",
        "data_sent",
        "ecn_echo",
        "heard",
        "orphan",
        "pace_next",
        "persist_backoff",
        "pingpong",
        "probes",
        "read_shut",
        "reader_gone",
        "retransmitted",
        "segs_out",
        "soft_error",
        "syn_data_acked",
        "writer_waits",
    )

    def __init__(self, now: int) -> None:
        self.heard: int = now
        self.data_heard: int = _LONG_AGO
        self.probes: int = 0
        self.charged: int = 0
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
        self.born: int = now
        self.data_sent: int = now
        self.chrono: Chrono = Chrono()
        self.retransmitted: int = 0
        self.advmss: int = 0
        self.segs_out: int = 0
        self.data_segs_out: int = 0
        self.syn_data_acked: bool = False
        self.writer_waits: bool = False

    def may_answer_invalid(self, now: int, interval: int) -> bool:
        """One answer per ``interval`` to segments outside the window (Linux invalid_ratelimit)."""
        if now - self.answered < interval:
            return False
        self.answered = now
        return True
