# SPDX-License-Identifier: Apache-2.0
"""Faults as data: what a strategy draws, a report describes and a replay line carries.

A `FaultPlan` is a sequence of `Fault`s.  Packets are the TCP segments and UDP datagrams that leave
a host, counted from 1 from the moment the plan is applied.  A fault of a host happens ``after`` ms,
counted from the packet fault before it in the plan when that strikes, else from the beginning.

    FaultPlan.parse("lose(server,3)+restart(server,200ms,100ms)").apply(internet)

Times are milliseconds, as people write them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, final

from capas.base.clock import MS, Timer
from capas.base.frame import Frame
from capas.errors import ConfigurationError
from capas.sim.direction import DROP, PASS, TAKEN, Direction
from capas.sim.rules import Applied, Rule, apply, together
from capas.sim.trains import packets_of
from capas.testing.faultlog import is_transport, transport_of

if TYPE_CHECKING:
    from capas.testing.fixture import Internet

#: kind -> names of its numbers after the host's name
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "lose": ("n",),
    "duplicate": ("n",),
    "delay": ("n", "ms"),
    "hold": ("n", "ms"),
    "die": ("after",),
    "restart": ("after", "ms"),
    "pause": ("after", "ms"),
    "isolate": ("after", "ms"),
}
PACKET_KINDS: Final = ("lose", "duplicate", "delay", "hold")
_TEXT: Final = re.compile(r"(\w+)\(([^()]*)\)")
_ORDINALS: Final = (
    "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    "tenth", "eleventh", "twelfth",
)  # fmt: skip


def ordinal(n: int) -> str:
    """ "third", "13th"."""
    if n < len(_ORDINALS):
        return _ORDINALS[n]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{ending}"


class Fault(NamedTuple):
    """One thing that goes wrong; see `KINDS` for which numbers it has."""

    kind: str
    host: str
    n: int = 0
    after: int = 0
    ms: int = 0

    def __str__(self) -> str:
        numbers = [
            str(self.n) if name == "n" else f"{getattr(self, name)}ms" for name in KINDS[self.kind]
        ]
        return f"{self.kind}({','.join([self.host, *numbers])})"

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """The inverse of ``str``."""
        found = _TEXT.fullmatch(text.strip())
        names = KINDS.get(found[1]) if found else None
        words = [word.strip() for word in found[2].split(",")] if found else []
        if found is None or names is None or len(words) != len(names) + 1:
            kinds = ", ".join(f"{kind}(host,{','.join(n)})" for kind, n in KINDS.items())
            raise ConfigurationError(f"{text!r} is not a fault; there are {kinds}")
        numbers = {}
        for name, word in zip(names, words[1:], strict=True):
            digits = word.removesuffix("ms") if name != "n" else word
            if not digits.isdigit() or (name == "n" and digits == "0"):
                raise ConfigurationError(f"{text!r}: {word!r} is no {name}")
            numbers[name] = int(digits)
        return cls(found[1], words[0], **numbers)

    def describe(self, what: str = "packet") -> str:
        """A clause for people."""
        packet = f"the {ordinal(self.n)} {what} from {self.host}"
        return {
            "lose": f"{packet} is lost",
            "duplicate": f"{packet} comes twice",
            "delay": f"{packet} is {self.ms} ms late",
            "hold": f"from the {ordinal(self.n)} on, {what}s from {self.host}"
            f" are held for {self.ms} ms",
            "die": f"{self.host} dies {self.after} ms",
            "restart": f"{self.host} restarts {self.after} ms",
            "pause": f"{self.host} stands still for {self.ms} ms, {self.after} ms",
            "isolate": f"{self.host} is cut off for {self.ms} ms, {self.after} ms",
        }[self.kind]


@final
class FaultPlan:
    """Faults, in order; immutable.

    ``single``  faults any of which alone would be a simpler plan, for one that was drawn
    """

    __slots__ = ("faults", "single")

    def __init__(self, faults: Iterable[Fault] = (), single: Sequence[Fault] = ()) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        self.single: Sequence[Fault] = single

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """The inverse of ``str``."""
        if text.strip() in ("", "none"):
            return cls()
        return cls(Fault.parse(part) for part in text.split("+"))

    def __str__(self) -> str:
        return "+".join(map(str, self.faults)) or "none"

    def __repr__(self) -> str:
        return f"FaultPlan.parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaultPlan) and self.faults == other.faults

    def __hash__(self) -> int:
        return hash(self.faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __len__(self) -> int:
        return len(self.faults)

    def describe(self, what: str = "packet") -> str:
        """A sentence: "the third segment from server is lost and server restarts 200 ms later"."""
        clauses: list[str] = []
        struck = False
        for fault in self.faults:
            clause = fault.describe(what)
            if fault.kind in PACKET_KINDS:
                struck = True
            else:
                clause += " later" if struck else " after the beginning"
            clauses.append(clause)
        if not clauses:
            return "no fault at all"
        return " and ".join([", ".join(clauses[:-1]), clauses[-1]] if clauses[1:] else clauses)

    def apply(self, internet: "Internet") -> Applied:
        """Begin; ``with plan.apply(internet):`` ends it early."""
        internet.plan = self
        strikers: dict[str, _Striker] = {}
        applied: list[Applied] = []
        before: tuple[_Striker, int] | None = None
        for fault in self.faults:
            if fault.host not in internet.world.nodes:
                known = ", ".join(internet.world.nodes)
                raise ConfigurationError(f"{fault}: no host {fault.host!r}; there are {known}")
            if fault.kind in PACKET_KINDS:
                striker = strikers.get(fault.host)
                if striker is None:
                    striker = strikers[fault.host] = _Striker(internet, fault.host)
                    ports = internet.world.ports[fault.host]
                    ways = [port.out for port in ports if port.out is not None]
                    applied.append(apply(striker, ways))
                striker.faults.setdefault(fault.n, []).append(fault)
                before = striker, fault.n
                continue
            call = _host_fault(internet, fault)
            if before is None:
                call.arm()
            else:
                before[0].then.setdefault(before[1], []).append(call)
            applied.append(Applied(call.disarm))
        return together(applied)


@final
class _Later(Timer):
    """Calls something in so many ms of virtual time."""

    __slots__ = ("_call", "_internet", "_ms", "_off")

    def __init__(self, internet: "Internet", ms: int, call: Callable[[], None]) -> None:
        super().__init__()
        self._internet: Internet = internet
        self._ms: int = ms
        self._call: Callable[[], None] = call
        self._off: bool = False

    def arm(self) -> None:
        """Count from now on."""
        if not self._off:
            world = self._internet.world
            world.engine.scheduler.at(world.now + self._ms * MS, self)

    def disarm(self) -> None:
        """It will not happen any more."""
        self._off = True
        self._internet.world.engine.scheduler.cancel(self)

    def fire(self, now: int) -> None:
        """The time has come."""
        self._call()


def _host_fault(internet: "Internet", fault: Fault) -> _Later:
    def begin() -> None:
        if fault.kind == "pause":
            ended = internet.pause(fault.host)
        elif fault.kind == "isolate":
            ended = internet.isolate(fault.host)
        else:
            ended = internet.kill(fault.host)
        if fault.kind != "die":
            _Later(internet, fault.ms, ended.remove).arm()

    return _Later(internet, fault.after, begin)


@final
class _Striker(Rule):
    """The packet faults of one host, as a rule on everything that leaves it."""

    def __init__(self, internet: "Internet", host: str) -> None:
        super().__init__(lambda _frame, _now: PASS, name=f"faults of {host}")
        self.faults: dict[int, list[Fault]] = {}
        self.then: dict[int, list[_Later]] = {}
        self._internet: Internet = internet
        self._host: str = host
        self._seen: int = 0
        self._held: list[tuple[Direction, Frame]] | None = None

    def judge(self, direction: Direction, frame: Frame, now: int) -> int:
        """The verdict about one packet."""
        if not is_transport(frame):
            return PASS
        self._seen += 1
        n = self._seen
        verdict = PASS
        for fault in self.faults.get(n, ()):
            what = "segment" if transport_of(frame)[0] == 6 else "datagram"
            self._internet.moment(fault.describe(what), [self._host])
            verdict = self._strike(fault, direction, frame, verdict)
        for later in self.then.get(n, ()):
            later.arm()
        if self._held is not None and verdict == PASS:
            self._held.append((direction, frame))
            return TAKEN
        return verdict

    def _strike(self, fault: Fault, direction: Direction, frame: Frame, verdict: int) -> int:
        if fault.kind == "lose":
            return DROP
        if verdict == DROP:
            return verdict
        if fault.kind == "duplicate":
            _enter(direction, frame.with_data(frame.data))
        elif fault.kind == "delay":
            _Later(self._internet, fault.ms, lambda: _enter(direction, frame)).arm()
            return TAKEN
        elif self._held is None:
            self._held = []
            _Later(self._internet, fault.ms, self._release).arm()
        return verdict

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for direction, frame in held:
            _enter(direction, frame)

    def removed(self) -> None:
        """Send on what is held."""
        self._release()


def _enter(direction: Direction, frame: Frame) -> None:
    packets, header = packets_of(frame)
    direction.enter(frame, packets, header, direction.clock.time)
