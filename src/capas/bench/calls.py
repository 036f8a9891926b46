# SPDX-License-Identifier: Apache-2.0
"""Python calls per frame of bulk data, by layer: counted in memory, so no machine changes them."""

import sys
from collections import Counter
from types import FrameType
from typing import Any

from capas.base.config import HostConfig
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.host.host import Host
from capas.link.link import ALL_GSO, Link, LinkCaps, Medium
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.wire.address import ANY4

_LAYERS = ("link", "internet", "transport", "host", "base", "wire")


class Cable(Link):
    """Keeps what is sent, for a peer that is no link."""

    def __init__(self, offload: bool) -> None:
        self.caps = LinkCaps(1500, Medium.IP, offload, ALL_GSO if offload else ())
        self.sink = None
        self.out: list[Frame] = []

    def transmit(self, frame: Frame) -> bool:
        """Keep ``frame``."""
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
    cables = {peer: Cable(offload), host: Cable(offload)}
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


def markdown() -> str:
    """For docs/performance.md."""
    lines = [
        "| Python calls for one | " + " | ".join(_LAYERS) + " | together |",
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
