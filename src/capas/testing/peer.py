# SPDX-License-Identifier: Apache-2.0
"""The far end of a segment script: what it sends, what it expects (see `capas.testing.script`).

It has no protocol of its own: it remembers only what a test would otherwise repeat in every line.
Sequence numbers are its own, and the host's counted from the host's ISS.  Times ns.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, final

from capas.base.seq import M32, diff
from capas.testing.segments import Seen, build, letters, options
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN

if TYPE_CHECKING:
    from capas.testing.script import Script


@final
class Peer:
    """The other end of one connection, played by the test.

    ``iss`` ``nxt``   its own sequence numbers: the first, the next; ``wnd``: bytes it offers
    ``scale``     its window shift once the handshake is over
    ``rcv``       what it has of the host's stream, counted from the host's ISS (``host_iss``)
    ``ts``        its timestamp clock's offset in ms, None without timestamps
    """

    def __init__(self, script: "Script", port: int, to: int, iss: int) -> None:
        self.script: Script = script
        self.port: int = port
        self.to: int = to
        self.iss: int = iss
        self.nxt: int = iss
        self.wnd: int = 65_535
        self.scale: int = 0
        self.host_iss: int = -1
        self.rcv: int = 0
        self.ts: int | None = None
        self.ts_recent: int = 0
        self.stream: bytearray = bytearray()
        self.queue: deque[Seen] = deque()
        self.mark: int = script.now
        script.peers[port, to] = self

    # -- what comes -----------------------------------------------------------------------------

    def arrived(self, seen: Seen) -> None:
        """The host sent a segment to this peer."""
        self.queue.append(seen)
        if seen.flags & RST:
            return
        if seen.flags & SYN:
            self.host_iss = seen.seq
            self.rcv = max(self.rcv, 1)
        if self.host_iss < 0:
            return
        if seen.ts_val >= 0:
            self.ts_recent = seen.ts_val
        seq = self.relative(seen.seq)
        if not seen.flags & SYN and seq <= self.rcv < seq + len(seen.data):
            self.stream += seen.data[self.rcv - seq :]
            self.rcv = seq + len(seen.data)
        if seen.flags & FIN and seq + len(seen.data) == self.rcv:
            self.rcv += 1

    def relative(self, seq: int) -> int:
        """A raw number of the host's, counted from its ISS."""
        return diff(seq, self.host_iss) if self.host_iss >= 0 else seq

    # -- what goes ------------------------------------------------------------------------------

    def packet(
        self,
        flags: int = ACK,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        wnd: int | None = None,
        up: int = 0,
        mss: int = -1,
        wscale: int = -1,
        sack_ok: bool = False,
        ts: int | tuple[int, int] | bool | None = None,
        sack: tuple[tuple[int, int], ...] = (),
        extra: bytes = b"",
        ecn: int = 0,
    ) -> bytes:
        """The IP packet of a segment; ``wnd`` is the field as it stands on the wire.

        ``ts``  True: timestamps from now on; an int: TSval; a pair: (TSval, TSecr); False: none
        ``ack`` ``sack``  counted from the host's ISS
        """
        script = self.script
        if seq is None:
            seq = self.nxt
        if ack is None:
            ack = self.rcv if flags & ACK else 0
        base = max(self.host_iss, 0) if flags & ACK else 0
        if wnd is None:
            wnd = min(self.wnd >> (0 if flags & SYN else self.scale), 65_535)
        stamp = self._stamp(ts)
        end = seq + len(data) + (flags & SYN != 0) + (flags & FIN)
        if not flags & RST and end > self.nxt and seq <= self.nxt:
            self.nxt = end
        blocks = tuple((base + left, base + right) for left, right in sack)
        option_bytes = options(mss, wscale, sack_ok, stamp, blocks, extra)
        return build(
            script.remote,
            script.local,
            self.port,
            self.to,
            seq,
            base + ack,
            flags,
            wnd,
            up,
            option_bytes,
            data,
            ecn,
        )

    def _stamp(self, ts: int | tuple[int, int] | bool | None) -> tuple[int, int] | None:
        if isinstance(ts, tuple):
            return ts
        if ts is True:
            self.ts = 1000
        elif ts is False:
            return None
        elif ts is not None:
            return ts, self.ts_recent
        if self.ts is None:
            return None
        return (self.ts + self.script.now // 1_000_000) & M32, self.ts_recent

    def send(self, flags: int = ACK, data: bytes = b"", **fields: Any) -> None:
        """Send a segment to the host; see `packet`."""
        packet = self.packet(flags, data, **fields)
        self.mark = self.script.now
        self.script.deliver(packet)

    def expect(
        self,
        flags: int = ACK,
        data: bytes | None = None,
        *,
        after: int | None = None,
        slack: int = 0,
        **fields: Any,
    ) -> Seen:
        """The next segment the host sent; PSH is compared only if ``push`` is given.

        ``after``   it leaves that many ns after the last `send` or `expect` (give or take
        ``slack``); without it, it must have left already
        ``seq``     counted from the host's ISS; ``ack`` and ``sack`` in the peer's numbers
        ``length``  of the data; other fields are those of `Seen`
        """
        wanted = letters(flags & ~PSH)
        if after is not None:
            until = self.mark + after + slack - self.script.now
            self.script.run_until(lambda: bool(self.queue), max(until, 0))
        assert self.queue, f"[{wanted}] expected, the host sent nothing"
        seen = self.queue.popleft()
        where = f"the host sent {seen}"
        assert letters(seen.flags & ~PSH) == wanted, f"[{wanted}] expected, {where}"
        if after is not None:
            came = seen.time - self.mark
            assert abs(came - after) <= slack, f"after {came} ns instead of {after}: {where}"
        self.mark = seen.time
        if data is not None:
            assert seen.data == data, f"{data!r} expected, {where}: {seen.data[:60]!r}"
        for name, value in fields.items():
            found = self._field(seen, name)
            assert found == value, f"{name} {value!r} expected, not {found!r}: {where}"
        return seen

    def _field(self, seen: Seen, name: str) -> object:
        if name == "seq":
            return self.relative(seen.seq)
        if name == "length":
            return len(seen.data)
        if name == "push":
            return bool(seen.flags & PSH)
        return getattr(seen, name)

    def expect_nothing(self, during: int = 0) -> None:
        """The host has sent nothing more, nor will it for ``during`` ns."""
        if during:
            self.script.run(during)
        assert not self.queue, f"nothing expected, the host sent {self.queue[0]}"

    def drain(self) -> list[Seen]:
        """Everything the host sent, unexamined."""
        out = list(self.queue)
        self.queue.clear()
        return out
