# SPDX-License-Identifier: Apache-2.0
"""The send sequence space and the send buffer (RFC 9293 §3.3.1, SND.*).

All sequence variables of a connection are *unwrapped*: the ISS plus the octets since, growing
without bound, so that ``<`` means what it says; ``& M32`` happens at the wire only.

The buffer is a list of chunks.  Large writes are held by reference, views of bytes too (the rest of
a write that found no room), small ones gathered, so a super-frame is a handful of pieces that are
joined once, at the interface.
"""

from bisect import bisect_right
from typing import Final, final

Buffer = bytes | bytearray | memoryview

_GATHER: Final = 8192  # writes below this are copied together
_SEAL: Final = 65_536  # gathered bytes become a chunk at this size
_COMPACT: Final = 64  # released chunks before the lists are cut

#: The queue of a connection that never sent; nobody adds to it.
_NO_CHUNKS: Final[list[bytes | memoryview]] = []
_NO_STARTS: Final[list[int]] = []


def _kept(data: Buffer) -> bytes | memoryview:
    """``data``, or a copy if it may change or be released."""
    if isinstance(data, memoryview) and isinstance(data.obj, bytes) and data.c_contiguous:
        return data[:]
    return bytes(data)


@final
class Sender:
    """SND variables and user data not yet acknowledged.

    ``iss``        ISS; ``snd_una``, ``snd_nxt``: SND.UNA, SND.NXT
    ``snd_wnd``    SND.WND in bytes, scaled; ``max_wnd``: the largest seen
    ``snd_wl1``    unwrapped SEG.SEQ of the last window update; ``snd_wl2``: its SEG.ACK
    ``snd_wscale`` Snd.Wind.Shift (RFC 7323)
    ``mss``        payload bytes per wire segment, options subtracted (Eff.snd.MSS)
    ``base``       the first byte still held; ``len()`` counts from there
    ``queue_end``  the sequence number after the last byte the user queued
    ``fin_queued`` the user closed: FIN follows ``queue_end``
    ``snd_up``     SND.UP, -1 without urgent data
    ``small_end``  end of the last segment sent that was not full-sized (Minshall's Nagle)
    ``push_end``   end of what the user wrote without announcing more (MSG_MORE)
    ``push_now``   send the short rest once, whatever Nagle and TCP_CORK say
    ``eor``        ends of records (MSG_EOR) not yet sent: no segment crosses one
    ``limit``      cap of the buffer, bytes
    """

    __slots__ = (
        "_chunks",
        "_head",
        "_sealed_end",
        "_starts",
        "_tail",
        "auto_max",
        "base",
        "eor",
        "fin_queued",
        "iss",
        "limit",
        "max_wnd",
        "mss",
        "push_end",
        "push_now",
        "queue_end",
        "small_end",
        "snd_nxt",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "snd_wscale",
    )

    def __init__(self, iss: int, mss: int, limit: int, auto_max: int = 0) -> None:
        self.iss: int = iss
        self.snd_una: int = iss
        self.snd_nxt: int = iss
        self.snd_wnd: int = 0
        self.max_wnd: int = 0
        self.snd_wl1: int = 0
        self.snd_wl2: int = 0
        self.snd_wscale: int = 0
        self.mss: int = mss
        self.queue_end: int = iss + 1
        self.fin_queued: bool = False
        self.snd_up: int = -1
        self.small_end: int = iss
        self.push_end: int = iss
        self.push_now: bool = False
        self.eor: list[int] = []
        self.limit: int = limit
        self.auto_max: int = auto_max  # 0: the user fixed the buffer
        self._chunks: list[bytes | memoryview] = _NO_CHUNKS
        self._starts: list[int] = _NO_STARTS
        self._head: int = 0
        self._tail: bytearray | None = None
        self._sealed_end: int = iss + 1
        self.base: int = iss + 1

    def __len__(self) -> int:
        """Bytes held: sent but unacknowledged, and not yet sent."""
        return self.queue_end - self.base

    def room(self) -> int:
        """How many bytes `append` would take."""
        room = self.limit - (self.queue_end - self.base)
        return room if room > 0 else 0

    def append(self, data: Buffer) -> int:
        """Queue as much of ``data`` as there is room for; return how much."""
        n = len(data)
        room = self.limit - (self.queue_end - self.base)
        if n > room:
            if room <= 0:
                return 0
            data = memoryview(data)[:room]
            n = room
        if n < _GATHER:
            tail = self._tail
            if tail is None:
                tail = self._tail = bytearray()
            tail += data
            if len(tail) >= _SEAL:
                self._seal()
        elif n:
            if self._tail is not None:
                self._seal()
            self._push(_kept(data))
        self.queue_end += n
        return n

    def _push(self, chunk: bytes | memoryview) -> None:
        if self._starts is _NO_STARTS:
            self._starts = []
            self._chunks = []
        self._starts.append(self._sealed_end)
        self._chunks.append(chunk)
        self._sealed_end += len(chunk)

    def _seal(self) -> None:
        tail = self._tail
        if tail is not None:
            self._tail = None
            self._push(bytes(tail))

    def pieces(self, seq: int, n: int) -> tuple[Buffer, ...]:
        """The ``n`` queued bytes from ``seq`` on, as buffers to be joined."""
        end = seq + n
        if end > self._sealed_end:
            tail = self._tail
            if tail is not None and n == len(tail) and seq == self._sealed_end:
                self._tail = None  # as `_seal`: one small write, sent at once
                whole = bytes(tail)
                self._push(whole)
                return (whole,)
            self._seal()
        starts, chunks = self._starts, self._chunks
        i = bisect_right(starts, seq, self._head) - 1
        chunk = chunks[i]
        offset = seq - starts[i]
        if offset + n <= len(chunk):
            if n == len(chunk):
                return (chunk,)
            return (memoryview(chunk)[offset : offset + n],)
        out: list[Buffer] = [memoryview(chunk)[offset:] if offset else chunk]
        left = n - (len(chunk) - offset)
        while left:
            i += 1
            chunk = chunks[i]
            if len(chunk) > left:
                out.append(memoryview(chunk)[:left])
                break
            out.append(chunk)
            left -= len(chunk)
        return tuple(out)

    def release(self, seq: int) -> None:
        """Everything below ``seq`` is acknowledged: forget it."""
        if seq > self.queue_end:
            seq = self.queue_end
        if seq <= self.base:
            return
        self.base = seq
        if seq > self._sealed_end:
            self._seal()
        head, starts, chunks = self._head, self._starts, self._chunks
        count = len(starts)
        while head < count and starts[head] + len(chunks[head]) <= seq:
            chunks[head] = b""
            head += 1
        if head > _COMPACT or head == count:
            del starts[:head]
            del chunks[:head]
            head = 0
        self._head = head

    def drop(self) -> None:
        """Nothing will ever be sent again."""
        self._chunks.clear()
        self._starts.clear()
        self._head = 0
        self._tail = None
        self._sealed_end = self.base = self.queue_end

    def tune(self, cwnd: int) -> None:
        """Room for twice the window, so that it can always be filled (Linux tcp_sndbuf_expand)."""
        if self.auto_max and 2 * cwnd > self.limit:
            self.limit = max(self.limit, min(2 * cwnd, self.auto_max))

    def update_window(self, seq: int, ack: int, wnd: int) -> bool:
        """SND.WND from a segment if it is news (RFC 9293 §3.10.7.4, fifth); True if taken.

        What acknowledges more was sent later, also if it repeats old data: by the letter of the RFC
        its window would not count, and we would send into one that has shut (so Linux, too).
        """
        if ack > self.snd_wl2 or (ack == self.snd_wl2 and seq >= self.snd_wl1):
            self.snd_wl1 = seq
            self.snd_wl2 = ack
            self.snd_wnd = wnd
            if wnd > self.max_wnd:
                self.max_wnd = wnd
            return True
        return False
