# SPDX-License-Identifier: Apache-2.0
"""Runs one script against one host in virtual time.

Semantics of packetdrill: relative times count from the moment the previous event was over; inbound
packets, calls, commands and code happen at their time; outbound packets must come at theirs, within
the tolerance, and in order; a blocking call runs beside the events that follow it.  At the end
nothing may be left over that the script did not ask for: a call still running fails the script.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from capas.base.clock import NEVER, SECOND
from capas.base.config import HostConfig
from capas.conformance import ast, values
from capas.conformance.ast import Event, Script, SystemCall
from capas.conformance.calls import Running
from capas.conformance.code import CodeRunner
from capas.conformance.commands import Commands
from capas.conformance.errors import Failed
from capas.conformance.exchange import Exchange
from capas.conformance.files import SocketFile
from capas.conformance.network import Network
from capas.conformance.polling import StructuredCalls
from capas.conformance.recording import recording
from capas.conformance.segments import text
from capas.conformance.settings import RunSettings, run_settings
from capas.conformance.symbols import errno_name, errno_number, is_errno
from capas.sockets import options

PATIENCE: Final = 2 * SECOND  # how long to look for a packet that is late, for the report's sake
TCP_INFO: Final = options.number("TCP_INFO", 11)


@dataclass(slots=True)
class Pending:
    """A blocking call in progress."""

    event: Event
    call: SystemCall
    running: Running
    wake: int
    finish: int  # when the script says it ends, -1: at once


class Runner:
    """One run of ``script`` over one IP version."""

    def __init__(self, script: Script, config: HostConfig, settings: RunSettings) -> None:
        self.script = script
        self.settings = settings
        self.network = Network(config, settings)
        self.calls = StructuredCalls(self.network)
        self.commands = Commands(Path(script.path), self.network, self.calls)
        self.exchange = Exchange(self.network, self.calls, settings)
        self.code = CodeRunner()
        self.pending: Pending | None = None
        self.last_event: int = 0  # script time of the event before this one
        self.event: Event | None = None
        self.warnings: list[str] = []

    def run(self) -> None:
        """Run the script to its end; `Failed` or `NotApplicable` otherwise."""
        if self.script.init is not None:
            self.commands.run(self.script.init.text, setting_up=True)
        for event in self.script.events:
            self.event = event
            self._run_event(event)
        if self.pending is not None:
            self._finish_pending(self.pending)
        if self.script.cleanup is not None:
            self.commands.run(self.script.cleanup.text)

    # -- time -------------------------------------------------------------------------------------

    def _advance(self, until: int) -> None:
        """Let virtual time pass to ``until``, serving a blocking call meanwhile."""
        network = self.network
        while True:
            pending = self.pending
            if pending is None:
                network.run(until, lambda: False)
                return
            self._resume(pending)
            if self.pending is None:
                continue
            before = network.now
            step = min(until, max(pending.wake, before))
            network.run(step, partial(self._later_than, before))
            self._resume(pending)
            if network.now >= until:
                return

    def _absolute(self, event: Event) -> tuple[int, int]:
        """Start and end of the event's time on the script's clock."""
        time = event.time
        base = self.network.now if time.kind != ast.ABSOLUTE else 0
        return base + time.start, base + max(time.end, time.start)

    def _tolerance(self, when: int) -> int:
        share = int(self.settings.tolerance_percent * (when - self.last_event) / 100)
        return max(self.settings.tolerance, share)

    def _check_time(self, start: int, end: int, seen: int, what: str) -> None:
        slack = self._tolerance(start)
        if not start - slack <= seen <= end + slack:
            wanted = _seconds(start) if start == end else f"{_seconds(start)}~{_seconds(end)}"
            raise Failed(f"{what} at the wrong time", f"at {wanted} s", f"at {_seconds(seen)} s")

    # -- events -----------------------------------------------------------------------------------

    def _run_event(self, event: Event) -> None:
        start, end = self._absolute(event)
        action = event.action
        if isinstance(action, ast.Packet) and not action.inbound:
            try:
                self._expect_packet(event, action, start, end)
            except Failed as failure:
                if not self.settings.packets_not_fatal:
                    raise
                self.warnings.append(f"line {event.line}: {failure}")
        else:
            self._advance(start)
            self._check_time(start, start, self.network.now, "the event could only happen")
            self._act(event, action, start)
        self.last_event = max(start, self.last_event) if event.time.kind != ast.ANY else (
            self.network.now
        )  # fmt: skip

    def _act(self, event: Event, action: ast.Action, start: int) -> None:
        if isinstance(action, ast.Packet):
            self.exchange.inject(action)
            if self.pending is not None:
                self._resume(self.pending)
        elif isinstance(action, SystemCall):
            try:
                self._call(event, action, start)
            except Failed as failure:
                if not self.settings.calls_not_fatal:
                    raise
                self.warnings.append(f"line {event.line}: {failure}")
        elif isinstance(action, ast.Command):
            self.commands.run(action.text)
            self.network.settle()
        else:
            self._code(event, action)

    def _expect_packet(self, event: Event, packet: ast.Packet, start: int, end: int) -> None:
        exchange = self.exchange
        flow = exchange.expecting(packet)
        if event.time.kind == ast.ANY:
            limit = self.network.now + 3600 * SECOND
        else:
            limit = end + self._tolerance(start) + PATIENCE
        wait = partial(exchange.available, flow, packet)
        self._wait(wait, limit)
        if not wait():
            begun = exchange.partial(flow)
            if begun is not None:
                seen = text(begun)
                raise Failed("not all of the expected segment was sent", event.text, seen)
            raise Failed("the expected packet was not sent", event.text, "nothing")
        seen_packet = exchange.take(flow, packet)
        exchange.check(flow, packet, seen_packet, event.text)
        if event.time.kind != ast.ANY:
            self._check_time(start, end, seen_packet.time, f"{event.text}: the packet was sent")

    def _later_than(self, moment: int) -> bool:
        return self.network.now > moment

    def _done_or_later(self, done: Callable[[], bool], moment: int) -> bool:
        return done() or self.network.now > moment

    def _wait(self, done: Callable[[], bool], limit: int) -> None:
        network = self.network
        while not done() and network.now < limit:
            pending = self.pending
            if pending is None:
                network.run(limit, done)
                return
            self._resume(pending)
            before = network.now
            step = min(limit, max(pending.wake, before)) if self.pending is pending else limit
            network.run(step, partial(self._done_or_later, done, before))
            if self.pending is pending:
                self._resume(pending)

    # -- system calls -----------------------------------------------------------------------------

    def _call(self, event: Event, call: SystemCall, start: int) -> None:
        if self.pending is not None:
            self._finish_pending(self.pending)
        finish = -1
        if call.end >= 0:
            # The end counts from where the beginning counts from.
            relative = event.time.kind == ast.RELATIVE
            finish = call.end + (start - event.time.start if relative else 0)
        running = self.calls.start(call)
        pending = Pending(event, call, running, NEVER, finish)
        self.pending = pending
        self._resume(pending)
        if self.pending is pending and finish < 0:
            self._finish_pending(pending)

    def _resume(self, pending: Pending) -> None:
        """Run the call on until it blocks again or ends."""
        try:
            pending.wake = next(pending.running)
        except StopIteration as stop:
            self._ended(pending, int(stop.value), 0)
        except OSError as error:
            self._ended(pending, -1, error.errno or 0)
        else:
            if pending.wake < self.network.now:
                pending.wake = self.network.now
            return
        self.network.settle()

    def _finish_pending(self, pending: Pending) -> None:
        """Nothing else happens until the call is over."""
        due = pending.finish if pending.finish >= 0 else self.network.now
        limit = due + self._tolerance(due) + PATIENCE
        self._wait(lambda: self.pending is not pending, limit)
        if self.pending is pending:
            self.pending = None
            raise Failed(f"{pending.call.name}() blocks", pending.event.text, "still waiting")

    def _ended(self, pending: Pending, result: int, number: int) -> None:
        self.pending = None
        call = pending.call
        seen = str(result) if result >= 0 or not number else f"-1 {errno_name(number)}"
        expected = pending.event.text
        if not values.is_ellipsis(call.result):
            wanted = values.integer(call.result)
            if result != wanted:
                raise Failed(f"{call.name}() returned {seen}", expected, seen)
        if call.errno:
            if not is_errno(call.errno):
                raise values.Unknown(f"unknown error {call.errno}")
            if number != errno_number(call.errno):
                raise Failed(f"{call.name}() failed with {errno_name(number)}", expected, seen)
        elif number and values.is_ellipsis(call.result):
            raise Failed(f"{call.name}() failed with {errno_name(number)}", expected, seen)
        if pending.finish >= 0:
            self._check_time(
                pending.finish, pending.finish, self.network.now, f"{call.name}() returned"
            )

    # -- code -------------------------------------------------------------------------------------

    def _code(self, event: Event, action: ast.Code) -> None:
        self.code.run(action.text, self._info(), event.line, self.script.path)

    def _info(self) -> bytes:
        flow = self.calls.current
        file = self.calls.files.get(flow.fd) if flow is not None else None
        if file is None and flow is not None:
            file = next((f for f in self.calls.files.values() if isinstance(f, SocketFile)), None)
        if not isinstance(file, SocketFile):
            raise Failed("%{ }% before there is a socket")
        try:
            info = file.description.get_option(options.TCP, TCP_INFO)
        except OSError as error:
            raise Failed(f"TCP_INFO: {errno.errorcode.get(error.errno or 0)}") from None
        assert isinstance(info, bytes)
        return info


def _seconds(ns: int) -> str:
    return f"{ns / SECOND:.6f}"


def run(
    script: Script,
    config: HostConfig,
    version: str,
    mtu: int = 0,
    pcap_directory: Path | None = None,
) -> Runner:
    """Run ``script`` over ``version``; raises `Failed` or `NotApplicable`.

    With ``pcap_directory`` the exchange is written there, one file per script and version.
    """
    runner = Runner(script, config, run_settings(script, version, mtu))
    try:
        with recording(runner.network, script.path, version, pcap_directory):
            runner.run()
    except Exception as error:
        error.add_note(str(runner.event.line) if runner.event is not None else "0")
        raise
    return runner
