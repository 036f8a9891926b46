# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md, written by ``capas bench all``: figures, plots, and where the time goes."""

import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from capas.base.config import HostConfig
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.bench.report import Report, machine
from capas.host.host import Host
from capas.link.link import ALL_GSO, Link, LinkCaps, Medium
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.wire.address import ANY4

_COMPILED = """## Compiled

`CAPAS_COMPILE=1 pip install .` compiles the modules named in `hatch_build.py` by mypyc, the way of
a packet from the wire to the user and back; it needs a C compiler, and is never needed.  One seed
gives the same capture to the byte, on CPython 3.11 and 3.13.  CPU time on CPython 3.11, by turns
with the interpreted ones, medians of 2 or 3 on a busy machine (trust the ratios), compiled with
-O1:

| what | interpreted | compiled | ratio |
| --- | ---: | ---: | ---: |
| 1-byte exchange, one host | 72 us | 15 us | 0.22 |
| 1,500 bytes received | 14.1 us | 10.4 us | 0.73 |
| 1,500 bytes sent | 17.6 us | 11.8 us | 0.67 |
| super-frame received | 20.5 us | 16.1 us | 0.78 |
| super-frame sent | 43.7 us | 37.1 us | 0.85 |
| S1, two simulated seconds | 0.80 s | 0.29 s | 0.36 |
| S2, 50 MB | 0.32 s | 0.11 s | 0.34 |
| S3, 90 hosts, two simulated seconds | 0.58 s | 0.39 s | 0.67 |
"""

_LAYERS = ("link", "internet", "transport", "host", "base", "wire")


class _Cable(Link):
    """Keeps what is sent."""

    def __init__(self, offload: bool) -> None:
        self.caps = LinkCaps(1500, Medium.IP, offload, ALL_GSO if offload else ())
        self.sink = None
        self.out: list[Frame] = []

    def transmit(self, frame: Frame) -> bool:
        self.out.append(frame)
        return True


class _Profile:
    """Python calls of the watched host, by layer, while it is entered."""

    def __init__(self) -> None:
        self.layers: Counter[str] = Counter()

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            _, found, path = frame.f_code.co_filename.replace("\\", "/").rpartition("/capas/")
            layer = path.partition("/")[0] if found else ""
            if layer in _LAYERS:
                self.layers[layer] += 1

    def __enter__(self) -> "_Profile":
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def calls_per_frame(offload: bool, sending: bool) -> tuple[dict[str, float], float]:
    """(Python calls per frame by layer, bytes per frame) of bulk data."""
    config = HostConfig(dad_transmits=0)
    peer, host = (Host(name, config, Rng(1).stream(name)) for name in ("peer", "host"))
    cables = {peer: _Cable(offload), host: _Cable(offload)}
    peer.attach(cables[peer], addresses=("192.0.2.1/24",))
    host.attach(cables[host], addresses=("192.0.2.2/24",))
    now = 1_000_000_000
    profile = _Profile()
    frames = size = 0

    def turn(one: Host, other: Host) -> None:
        arrived, cables[other].out = cables[other].out, []
        sink = cables[one].sink
        assert sink is not None
        for frame in arrived:
            sink.receive(frame, now)
        one.advance(now)
        one.flush(now)
        one.take_ready()

    def read(connection: TcpConnection) -> None:
        while connection.receive(1 << 18, now):
            pass

    listener = host.tcp.listen(host.tcp.bindings.bind(Binding(ANY4, 80)), 1, now)
    client = peer.tcp.connect(Binding(b"", 0), bytes((192, 0, 2, 2)), 80, now)
    for _ in range(3):
        turn(peer, host)
        turn(host, peer)
    server = listener.accept(now)
    assert server is not None
    sender, receiver = (server, client) if sending else (client, server)
    block = bytes(63_720)
    for step in range(40):
        now += 100_000
        counting = step >= 20
        while sender.send(block, now) == len(block):
            pass
        turn(peer, host)
        arrived = cables[peer].out
        if counting:
            with profile:
                turn(host, peer)
                if not sending:
                    read(receiver)
        else:
            turn(host, peer)
        read(receiver)
        if counting:
            counted = cables[host].out if sending else arrived
            frames += len(counted)
            size += sum(len(frame.data) for frame in counted)
    return {name: calls / max(frames, 1) for name, calls in profile.layers.items()}, size / max(
        frames, 1
    )


def where_the_time_goes() -> str:
    """A section: Python calls per frame, by layer."""
    lines = [
        "## Where the time goes",
        "",
        "Python calls of one host per frame of bulk data, counted (its share of acknowledgements"
        " included), by layer. A Python stack pays for calls, hardly for bytes.",
        "",
        "| frame | " + " | ".join(_LAYERS) + " | together |",
        "| --- |" + " ---: |" * (len(_LAYERS) + 1),
    ]
    for name, offload, sending in (
        ("super-frame received", True, False),
        ("super-frame sent", True, True),
        ("1,500 bytes received", False, False),
        ("1,500 bytes sent", False, True),
    ):
        layers, _ = calls_per_frame(offload, sending)
        cells = [f"{layers.get(layer, 0.0):.1f}" for layer in _LAYERS]
        lines.append(f"| {name} | {' | '.join(cells)} | {sum(layers.values()):.1f} |")
    return "\n".join(lines) + "\n"


def document(directory: Path, reports: list[Report]) -> None:
    """Write performance.md and one SVG for each report."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = machine()
    text = [
        "# Performance\n",
        "Written by `capas bench all docs`; do not edit by hand. Medians of interleaved runs, the"
        " spread is minimum to maximum. Machines differ and are noisy: trust ratios taken in one"
        " run.\n",
        f"Measured on {time.strftime('%Y-%m-%d', time.gmtime())}: {facts['processor']},"
        f" {facts['cores']} cores, {facts['system']}, {facts['python']}"
        + (", hot modules compiled by mypyc.\n" if facts["compiled"] else ", nothing compiled.\n"),
    ]
    for report in reports:
        picture = f"performance-{report.name}.svg"
        (directory / picture).write_text(report.svg())
        text.append(report.markdown(picture))
    text += [where_the_time_goes(), _COMPILED]
    (directory / "performance.md").write_text("\n".join(text))
