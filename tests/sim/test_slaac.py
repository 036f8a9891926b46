# SPDX-License-Identifier: Apache-2.0
"""Addresses by router advertisement in a whole world, and echoes over what came of them."""

import contextlib
import socket

import pytest

from capas.aio.run import run_on
from capas.application.diagnostics import ping
from capas.base.config import HostConfig
from capas.internet.ra_sender import RaConfig
from capas.link.interface import PREFERRED
from capas.sim.world import World
from capas.sockets import modules
from capas.wire.address import text


@pytest.mark.rfc("4862", "5.5.3")
def test_a_host_takes_its_address_and_its_router_from_advertisements() -> None:
    world = World(seed=1)
    with world:
        router, far = world.router("router"), world.host("far")
        host = world.host("host", config=HostConfig())  # worlds' own hosts do not listen
        world.link(router, host)
        world.link(router, far)
        card, own = router.interfaces[1], host.interfaces[1]
        for address in list(own.addresses):
            if len(address.address) == 16 and address.origin == "static":
                host.nd.remove(own, address.address, 0)
        for route in [r for r in host.net.routes if r.gateway and len(r.gateway) == 16]:
            host.net.routes.remove(route.prefix)
        router.nd.advertise(card, RaConfig(), 0)
        world.run(until=30)
        made = [a for a in own.addresses if a.origin == "slaac"]
        assert len(made) == 1 and made[0].state == PREFERRED
        target = next(
            a.address
            for a in far.interfaces[1].addresses
            if len(a.address) == 16 and a.origin == "static"
        )
        echoes = run_on(host, lambda: ping(host, target, count=3, interval=0.1, timeout=2.0))
        assert [echo.answered for echo in echoes] == [True] * 3


@pytest.mark.rfc("5014", "4")
@pytest.mark.parametrize("use_tempaddr", [1, 2])
def test_a_program_says_whether_it_calls_from_a_temporary_address(use_tempaddr: int) -> None:
    world = World(seed=1)
    with world:
        router = world.router("router")
        host = world.host("host", config=HostConfig(use_tempaddr=use_tempaddr))
        world.link(router, host)
        for address in list(host.interfaces[1].addresses):
            if len(address.address) == 16 and address.origin == "static":
                host.nd.remove(host.interfaces[1], address.address, 0)
        router.nd.advertise(router.interfaces[1], RaConfig(), 0)
        world.run(until=30)
        made = {
            a.temporary: text(a.address)
            for a in host.interfaces[1].addresses
            if a.origin == "slaac"
        }
        usual = made[use_tempaddr == 2]

        def called(kind: int, *said: int) -> list[str]:
            found = []
            for preference in said:
                with socket.socket(socket.AF_INET6, kind) as sock:
                    if preference:
                        sock.setsockopt(socket.IPPROTO_IPV6, 72, preference)
                    sock.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        sock.connect((there, 9))
                    found.append(sock.getsockname()[0])
            return found

        there = next(
            text(a.address)
            for a in router.interfaces[1].addresses
            if len(a.address) == 16 and a.origin == "static"
        )
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with modules.installed():
                found = world.thread(host, called, kind, 0, 1, 2, 0x100).result()
            assert found == [usual, made[True], made[False], usual]
