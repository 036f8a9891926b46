# SPDX-License-Identifier: Apache-2.0
"""Congestion control: what an algorithm sees, what it answers, and the registry by name.

RFC 5681 (terms), RFC 6928 (initial window), RFC 2861 and RFC 7661 (idle and application-limited
senders).  An algorithm sees ints only: no socket, no segment, no clock.  It writes ``cwnd``,
``ssthresh`` and ``pacing_rate``; proportional rate reduction (RFC 9937) lives in `recovery`, which
writes ``cwnd`` while it runs, unless the algorithm opts out (``uses_prr`` False).

Units: bytes, ns, bytes per second.  Growth is by byte counting (RFC 3465): an acknowledgement of a
super-frame counts for all it covers, so one ACK of 45 segments equals 45 ACKs.
"""

from collections.abc import Callable
from typing import ClassVar, Final, final

from capas.base.native import mypyc_attr

INFINITE_SSTHRESH: Final = 1 << 30  # bytes: "slow start until the first loss", RFC 5681 §3.1
MIN_CWND_SEGMENTS: Final = 2  # RFC 5681 eq. 4: ssthresh is at least 2 segments

OPEN: Final = 0  # phases of `CongestionControl.phase`
RECOVERY: Final = 1  # after on_loss or on_ecn: the window is being reduced
LOSS: Final = 2  # after on_rto: slow start from one segment


@final
class AckSample:
    """What one acknowledgement taught the sender; all ints, reusable (one per connection).

    ``acked``            bytes newly delivered by this ACK, cumulatively or by SACK
    ``lost``             bytes newly marked lost
    ``in_flight``        bytes in flight after this ACK; ``prior_in_flight`` before it
    ``rtt``              ns, -1: none from this ACK; ``min_rtt`` windowed minimum, -1: none yet
    ``delivered``        bytes delivered on the connection in total
    ``prior_delivered``  ``delivered`` when the newest segment this ACK acknowledges was sent, -1:
                         unknown
    ``rate``             delivery rate, bytes/s, 0: no sample; ``app_limited`` whether it is bounded
                         by the application
    ``snd_una, snd_nxt`` raw sequence numbers, for counting rounds
    ``in_recovery``      1 while fast recovery or window reduction runs (not after a timeout)
    ``advanced``         1 if SND.UNA moved: what SACK alone delivered opens no window (Linux)
    ``ecn_bytes``        bytes of this ACK that came with a congestion echo
    """

    __slots__ = (
        "acked",
        "advanced",
        "app_limited",
        "delivered",
        "ecn_bytes",
        "in_flight",
        "in_recovery",
        "lost",
        "min_rtt",
        "now",
        "prior_delivered",
        "prior_in_flight",
        "rate",
        "rtt",
        "snd_nxt",
        "snd_una",
    )

    def __init__(
        self,
        now: int = 0,
        acked: int = 0,
        lost: int = 0,
        in_flight: int = 0,
        prior_in_flight: int = 0,
        rtt: int = -1,
        min_rtt: int = -1,
        delivered: int = 0,
        rate: int = 0,
        app_limited: int = 0,
        snd_una: int = 0,
        snd_nxt: int = 0,
        in_recovery: int = 0,
        ecn_bytes: int = 0,
        prior_delivered: int = -1,
        advanced: int = 1,
    ) -> None:
        self.now: int = now
        self.acked: int = acked
        self.lost: int = lost
        self.in_flight: int = in_flight
        self.prior_in_flight: int = prior_in_flight
        self.rtt: int = rtt
        self.min_rtt: int = min_rtt
        self.delivered: int = delivered
        self.rate: int = rate
        self.app_limited: int = app_limited
        self.snd_una: int = snd_una
        self.snd_nxt: int = snd_nxt
        self.in_recovery: int = in_recovery
        self.ecn_bytes: int = ecn_bytes
        self.prior_delivered: int = prior_delivered
        self.advanced: int = advanced


@mypyc_attr(allow_interpreted_subclasses=True)
class CongestionControl:
    """Base of all algorithms: bookkeeping that all share, Reno-neutral defaults.

    ``cwnd, ssthresh``   bytes
    ``pacing_rate``      bytes/s, 0: the algorithm does not pace
    ``max_pacing_rate``  what the user allows, bytes/s, 0: anything; kept by who sends
    ``paces``            the algorithm sets ``pacing_rate`` by itself
    ``cwnd_limited``     1 if cwnd, not the application or the peer's window, stopped the last
                         output; written by output.  Windows do not grow while it is 0 (RFC 7661)
    ``max_in_flight``    most bytes in flight in this round trip
    ``phase``            OPEN, RECOVERY or LOSS
    ``credit``           acknowledged bytes not yet turned into window (Reno's way, which most take)
    """

    __slots__ = (
        "_usage_end",
        "credit",
        "cwnd",
        "cwnd_limited",
        "initial_window",
        "last_sent",
        "max_in_flight",
        "max_pacing_rate",
        "mss",
        "pacing_rate",
        "phase",
        "prior_cwnd",
        "prior_ssthresh",
        "ssthresh",
    )

    name: ClassVar[str] = ""
    uses_prr: ClassVar[bool] = True
    paces: ClassVar[bool] = False

    def __init__(self, mss: int, initial_window: int, now: int) -> None:
        self.mss: int = mss
        self.initial_window: int = initial_window
        self.cwnd: int = initial_window
        self.ssthresh: int = INFINITE_SSTHRESH
        self.pacing_rate: int = 0
        self.max_pacing_rate: int = 0
        self.cwnd_limited: int = 1
        self.max_in_flight: int = 0
        self.phase: int = OPEN
        self.prior_cwnd: int = 0
        self.prior_ssthresh: int = 0
        self.last_sent: int = now
        self.credit: int = 0
        self._usage_end: int = 0  # snd_nxt when max_in_flight was last reset

    def limit_pacing(self, rate: int) -> None:
        """SO_MAX_PACING_RATE: who does not pace by itself is paced at that rate."""
        self.max_pacing_rate = rate
        if not self.paces:
            self.pacing_rate = rate

    # -- events -----------------------------------------------------------------------------------

    def on_sent(self, now: int, size: int, in_flight: int) -> None:
        """``size`` bytes left; ``in_flight`` counts them already."""
        self.last_sent = now
        if in_flight > self.max_in_flight:
            self.max_in_flight = in_flight

    def on_ack(self, s: AckSample) -> None:
        """An acknowledgement came."""
        self.note_round(s)

    def on_loss(self, now: int, in_flight: int) -> None:
        """Fast recovery begins: ssthresh falls; cwnd too, unless PRR brings it down."""
        self._save()
        self.ssthresh = self.reduced(now, in_flight)
        self.phase = RECOVERY
        if not self.uses_prr and self.cwnd > self.ssthresh:
            self.cwnd = self.ssthresh

    def on_ecn(self, now: int, ce_bytes: int) -> None:
        """The peer echoed congestion, once per round trip: as a loss (RFC 3168 §6.1.2)."""
        self.on_loss(now, self.cwnd)

    def on_rto(self, now: int, in_flight: int) -> None:
        """The retransmission timer fired: one segment, and slow start (RFC 5681 §3.1).

        ssthresh falls only for the first timeout of an episode, and not again when fast recovery
        had reduced it already.
        """
        if self.phase == OPEN:
            self._save()
            self.ssthresh = self.reduced(now, in_flight)
        self.phase = LOSS
        self.cwnd = self.mss

    def on_recovery_exit(self, now: int) -> None:
        """All that was outstanding when the episode began is acknowledged."""
        if self.phase == RECOVERY and self.uses_prr and self.ssthresh < INFINITE_SSTHRESH:
            self.cwnd = self.ssthresh
        self.phase = OPEN

    def undo(self) -> None:
        """The reduction was for nothing (D-SACK, Eifel, F-RTO): restore what it cost."""
        if self.prior_cwnd:
            self.cwnd = max(self.cwnd, self.prior_cwnd)
            self.ssthresh = max(self.ssthresh, self.prior_ssthresh)
        self.phase = OPEN
        self.prior_cwnd = 0

    def set_mss(self, mss: int) -> None:
        """The sending MSS changed: the window keeps its number of segments if it grows no byte."""
        if mss < self.mss and self.phase == OPEN:
            self.cwnd = max(self.cwnd // self.mss, 1) * mss
        self.mss = mss

    def idle_restart(self, now: int, rto: int) -> None:
        """Nothing was in flight for longer than ``rto``: decay towards the restart window.

        RFC 2861 §3 and RFC 5681 §4.1: half for every RTO idle, not below the initial window, and
        ssthresh remembers three quarters of what was.
        """
        idle = now - self.last_sent
        if idle <= rto or rto <= 0:
            return
        floor = min(self.initial_window, self.cwnd)
        self.ssthresh = self.current_ssthresh()
        cwnd = self.cwnd
        idle -= rto
        while idle > 0 and cwnd > floor:
            cwnd >>= 1
            idle -= rto
        self.cwnd = max(cwnd // self.mss * self.mss, floor)
        self.last_sent = now

    # -- shared arithmetic ------------------------------------------------------------------------

    def reduced(self, now: int, in_flight: int) -> int:
        """ssthresh after a congestion event: half the window, at least two segments.

        Half of cwnd as Linux does, rather than of FlightSize (RFC 5681 eq. 4): the window grows
        only while it is used, so the two agree.
        """
        mss = self.mss
        return max((self.cwnd // mss >> 1) * mss, MIN_CWND_SEGMENTS * mss)

    def current_ssthresh(self) -> int:
        """ssthresh worth remembering: not below three quarters of a window in use."""
        if self.phase == RECOVERY:
            return self.ssthresh
        return max(self.ssthresh, (self.cwnd >> 1) + (self.cwnd >> 2))

    def in_slow_start(self) -> bool:
        """RFC 5681 §3.1."""
        return self.cwnd < self.ssthresh

    def may_grow(self) -> bool:
        """Whether the window is used enough to deserve growth (RFC 7661; Linux's rule).

        In slow start a window of which more than half was in flight may double.
        """
        if self.cwnd_limited:
            return True
        return self.cwnd < self.ssthresh and self.cwnd < 2 * self.max_in_flight

    def slow_start(self, acked: int) -> int:
        """Grow by what was acknowledged, up to ssthresh; return the bytes left over."""
        cwnd = min(self.cwnd + acked, max(self.ssthresh, self.cwnd))
        left = acked - (cwnd - self.cwnd)
        self.cwnd = cwnd
        return left

    def note_round(self, s: AckSample) -> None:
        """Start ``max_in_flight`` anew once per round trip."""
        if ((s.snd_una - self._usage_end) & 0xFFFFFFFF) < 0x80000000:
            self._usage_end = s.snd_nxt
            self.max_in_flight = max(s.prior_in_flight, s.in_flight)

    def _save(self) -> None:
        self.prior_cwnd = self.cwnd
        self.prior_ssthresh = self.current_ssthresh()


Factory = Callable[[int, int, int], CongestionControl]  # (mss, initial_window, now)

#: Algorithms by name.  Append-only: a name once registered keeps its meaning.
_registry: Final[dict[str, Factory]] = {}
#: Asked, in order, for names the registry lacks (entry points, above the core).
_finders: Final[list[Callable[[str], Factory | None]]] = []


def register(name: str, factory: Factory) -> None:
    """Make an algorithm known as ``name``; ValueError if the name means another one already."""
    known = _registry.get(name)
    if known is not None and known is not factory:
        raise ValueError(f"congestion control {name!r} is registered already")
    _registry[name] = factory


def add_finder(finder: Callable[[str], Factory | None]) -> None:
    """Let ``finder`` look up names that nobody registered (called once per unknown name)."""
    if finder not in _finders:
        _finders.append(finder)


def known(name: str) -> bool:
    """Whether `create` would find ``name``."""
    return _find(name) is not None


def create(name: str, mss: int, initial_window: int, now: int) -> CongestionControl:
    """A new instance of the algorithm called ``name``; KeyError if there is none."""
    factory = _registry.get(name) or _find(name)
    if factory is None:
        raise KeyError(name)
    return factory(mss, initial_window, now)


def available() -> tuple[str, ...]:
    """Names registered so far, in order of registration."""
    return tuple(_registry)


def _find(name: str) -> Factory | None:
    factory = _registry.get(name)
    if factory is None:
        for finder in _finders:
            factory = finder(name)
            if factory is not None:
                _registry[name] = factory
                break
    return factory
