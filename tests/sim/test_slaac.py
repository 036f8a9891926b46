# SPDX-License-Identifier: Apache-2.0
"""Addresses by router advertisement in a whole world, and echoes over what came of them."""

import pytest

from capas.aio.run import run_on
from capas.application.diagnostics import ping
from capas.base.config import HostConfig
from capas.internet.ra_sender import RaConfig
from capas.link.interface import PREFERRED
from capas.sim.world import World


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
