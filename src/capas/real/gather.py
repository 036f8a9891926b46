# SPDX-License-Identifier: Apache-2.0
"""Reading trains off a descriptor: headers apart from payload, payload behind payload.

Each frame is read with one `readv`, its headers into a short buffer, the rest into a long one
behind what came before.  If `Train` says that the frame continues what is there, nothing more is to
be done; else it is copied out, and comes next.  How long headers are is guessed: as long as those
of the flow seen last.  A wrong guess costs a copy.

Where a program has a large buffer of its own (`Landing`), the payload is read right into it; a
small one would cut trains short, which costs more than the copy.

The payload of a train that fills a good part of its buffer is handed up as a view, and copied once
on its way, into what the program reads into; that of a shorter train is copied, so that little data
cannot pin much memory.

Budget: 1 system call and 2 us for each frame that joins.
"""

import os
import sys
from collections.abc import Callable
from typing import Final, final

from capas.base.frame import CSUM_NONE, Frame
from capas.link.train import Train
from capas.real.device import Landing

READ_MAX: Final = 65_536 + 64  # bytes: an IP packet of 64 KB, Ethernet with a VLAN tag
_BUFFER: Final = 1 << 20  # bytes of payload in one train: half of a core's cache
_PIN: Final = 4  # a view pins at most so many times its length
_POOL: Final = 4  # buffers kept for coming trains
_FRAMES: Final = 128  # of one train: about a millisecond of small ones
_SHORT: Final = 512  # bytes of payload; joining less costs more than it saves
_TRIES: Final = 8  # frames without payload that nothing joined, until fewer are tried
_GUESS: Final = 20 + 32  # bytes of headers: IPv4, TCP with timestamps
_OTHER: Final = 20  # bytes that those of IPv6 are longer

#: csum, csum_start, csum_offset, gso_type, gso_size
Facts = tuple[int, int, int, int, int]


def keep_heap() -> None:
    """Raise glibc's mmap and trim thresholds, which adapt when a large block is freed.

    Else every 64 KB buffer at the top of the heap goes back to the kernel when it is freed and is
    faulted in again when it is needed.  Harmless with other allocators.
    """
    block = bytearray(8 << 20)
    del block


@final
class Gatherer:
    """Reads a descriptor whose frames have ``prefix`` bytes before them and ``l2`` of link header.

    ``facts``  reads the prefix: the facts of a frame of so many bytes
    """

    def __init__(self, prefix: int, l2: int, facts: Callable[[bytearray, int], Facts]) -> None:
        self._facts = facts
        self._prefix: int = prefix
        self._train: Train = Train(prefix + l2, l2 > 0)
        self._head: bytearray = bytearray(prefix + l2 + _GUESS)
        self._pool: list[bytearray] = []
        #: The size of a frame that was read and did not join, and where its payload is.
        self._held: tuple[int, memoryview] | None = None
        #: The buffer of short frames, which are copied out of it; a train takes it.
        self._spare: memoryview | None = None
        self._lonely: int = 0  # frames without payload in a row that nothing joined
        self._empty: bool = False  # the last read found nothing

    def ahead(self) -> bool:
        """Whether a frame was read that belongs behind the last train."""
        return self._held is not None

    def take_ahead(self, now: int) -> Frame | None:
        """That frame, by itself."""
        held, self._held = self._held, None
        return None if held is None else self._single(self._head, held[1], held[0], now)

    def read(self, fd: int, now: int, landing: Landing | None = None) -> Frame | None:
        """The next frame or train; None: nothing there, or what `os.readv` raises."""
        if self._empty:
            self._empty = False
            if landing is None:  # nobody needs to be asked twice
                return None
        head, train = self._head, self._train
        length = len(head)
        placed = False
        if self._held is not None:
            size, room = self._held
            self._held = None
        elif landing is not None and len(landing.room) >= _BUFFER:
            placed, room = True, landing.room
            size = os.readv(fd, (head, room))
        else:
            room = memoryview(self._buffer()) if self._spare is None else self._spare
            self._spare = room
            size = os.readv(fd, (head, room))
        end = size - length
        if end < _SHORT and (end or self._is_lonely()):
            if abs(end) == _OTHER:  # or acknowledgements of the other family would never join
                self._head = bytearray(size)
            return self._single(head, room, size, now)
        self._spare = None
        facts = self._facts(head, size - self._prefix)
        if not train.begin(head, room[:end], facts[0] == CSUM_NONE):
            frame = self._single(head, room, size, now)
            if train.wanted and train.wanted != length:
                self._head = bytearray(train.wanted)
            return frame
        if placed and landing is not None and not train.is_of(landing.key, landing.seq):
            placed, guess = False, room
            room = memoryview(self._buffer())
            room[:end] = guess[:end]
        readv, joins = os.readv, train.joins
        last = len(room) - READ_MAX  # where the last frame may begin
        rest = room[end:]
        while train.count < _FRAMES and end < last:
            try:
                size = readv(fd, (head, rest))
            except BlockingIOError:
                self._empty = True
                break
            n = size - length
            if n < 0 or not joins(head, rest, n):
                self._held = size, memoryview(bytes(rest[: max(n, 0)])) if placed else rest
                break
            if n:
                end += n
                rest = room[end:]
        if train.count > 1:
            self._lonely = 0
        view = room[:end]
        body = view if placed or end * _PIN >= _BUFFER else bytes(view)
        return train.frame(self._prefix, body, facts[4], now)

    def _is_lonely(self) -> bool:
        """Whether a frame without payload is not worth trying.

        The acknowledgements of bulk data come in rows, those of many short connections one by one,
        and to try each costs as much as all the rest of reading it: then only every eighth is.
        """
        self._lonely += 1
        return self._lonely > _TRIES and self._lonely % _TRIES != 0

    def _single(self, head: bytearray, room: memoryview, size: int, now: int) -> Frame | None:
        """The frame just read, by itself."""
        prefix = self._prefix
        if size <= prefix:
            return None
        rest = size - len(head)
        data = b"".join((memoryview(head)[prefix:size], room[: rest if rest > 0 else 0]))
        return Frame(data, now, *self._facts(head, len(data)))

    def _buffer(self) -> bytearray:
        """A buffer that nothing refers to any more; another one if data waits in all."""
        for index in range(len(self._pool)):
            if _references(self._pool, index) == _IDLE:
                return self._pool[index]
        buffer = bytearray(_BUFFER)
        self._pool.insert(0, buffer)
        del self._pool[_POOL:]
        return buffer


def _references(pool: list[bytearray], index: int) -> int:
    """How many there are to a buffer, ours and `getrefcount`'s own included."""
    return sys.getrefcount(pool[index])


_IDLE: Final = _references([bytearray()], 0)  # not the same in every Python, nor compiled
