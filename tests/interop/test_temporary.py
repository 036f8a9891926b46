# SPDX-License-Identifier: Apache-2.0
"""The kernel and a host of ours hear the same router advertisements: which addresses they make."""

import json
import socket
import time
from collections.abc import Callable

from capas.base.config import HostConfig
from capas.base.frame import Frame
from capas.host import status, sysctl
from capas.sim.world import World
from capas.wire.address import ALL_NODES6, parse
from capas.wire.icmp import Message
from capas.wire.ipv6 import Ipv6Header
from capas.wire.ndp import INFINITY, Options, PrefixInfo, RouterAdvertisement

from .lab import Lab

ROUTER, ROUTER_MAC = parse("fe80::1"), b"\x02\0\0\0\xaa\xaa"
SETTINGS = {
    "use_tempaddr": 2,
    "temp_valid_lft": 5000,
    "temp_prefered_lft": 600,
    "max_desync_factor": 0,
    "dad_transmits": 0,
}
#: Prefix, valid and preferred lifetime, one advertisement after the other.
SAID = (
    ("2001:db8:1::", 1000, 500),
    ("2001:db8:1::", 100_000, 50_000),
    ("2001:db8:1::", 7300, 20),
    ("2001:db8:1::", INFINITY, INFINITY),
    ("2001:db8:1::", 0, 0),
    ("2001:db8:1::", 9000, 300),
    ("2001:db8:2::", 10_000, 2),  # less than it takes to make one
    ("2001:db8:3::", 10_000, 0),
    ("2001:db8:4::", 10_000, 400),
)
Row = tuple[str, bool, bool, int, int]


def advertisement(prefix: str, valid: int, preferred: int) -> bytes:
    info = PrefixInfo(parse(prefix), 64, valid=valid, preferred=preferred)
    message = RouterAdvertisement(options=Options(prefixes=(info,)), lifetime=1800)
    data = Message(134, 0, *message.build()).build6(ROUTER, ALL_NODES6)
    header = Ipv6Header(ROUTER, ALL_NODES6, 58, len(data), hop_limit=255).build()
    return b"\x33\x33\0\0\0\1" + ROUTER_MAC + b"\x86\xdd" + header + data


def rows(found: list[dict[str, object]]) -> list[Row]:
    """(prefix, temporary, deprecated, valid, preferred), of global addresses."""
    made = []
    for one in found:
        if one.get("scope") == "global" and one.get("family") == "inet6":
            prefix = str(one["local"]).split(":")[2]
            valid, preferred = one["valid_life_time"], one["preferred_life_time"]
            assert isinstance(valid, int) and isinstance(preferred, int)
            assert bool(one.get("mngtmpaddr")) is not bool(one.get("temporary"))
            flags = bool(one.get("temporary")), bool(one.get("deprecated"))
            made.append((prefix, *flags, valid, preferred))
    return sorted(made)


def kernel(lab: Lab) -> Callable[[bytes], list[Row]]:
    lab.run("ip", "link", "add", "vk", "type", "veth", "peer", "name", "vr")
    for name, value in {**SETTINGS, "accept_ra": 2}.items():
        lab.run("sysctl", "-w", f"net.ipv6.conf.vk.{name}={value}")
    lab.addresses("vr")
    lab.addresses("vk")
    wire = lab.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    wire.bind(("vr", 0))

    def hear(frame: bytes) -> list[Row]:
        wire.send(frame)
        time.sleep(0.1)
        shown = json.loads(lab.run("ip", "-j", "address", "show", "dev", "vk").stdout)
        return rows(shown[0]["addr_info"])

    return hear


def ours() -> Callable[[bytes], list[Row]]:
    world = World(seed=1)
    config = HostConfig(dad_transmits=0)
    host = world.host("a", config=config)
    world.link(host, world.host("b"))
    for name, value in SETTINGS.items():
        assert name == "dad_transmits" or sysctl.apply(
            host.config, f"net.ipv6.conf.all.{name}", str(value)
        )
    card = host.interfaces[1]
    for own in list(card.addresses):
        if own.origin == "static" and len(own.address) == 16:
            host.nd.remove(card, own.address, 0)

    def hear(frame: bytes) -> list[Row]:
        card.receive(Frame(frame), world.now)
        found = next(r for r in status.addresses(host, world.now) if r["ifname"] == card.name)
        return rows(found["addr_info"])

    return hear


def test_the_kernel_makes_the_same_of_the_same_advertisements(lab: Lab) -> None:
    theirs, mine = kernel(lab), ours()
    for said in SAID:
        frame = advertisement(*said)
        there, here = theirs(frame), mine(frame)
        assert [row[:3] for row in here] == [row[:3] for row in there], said
        for one, other in zip(here, there, strict=True):
            assert abs(one[3] - other[3]) <= 3 and abs(one[4] - other[4]) <= 3, (said, one, other)
