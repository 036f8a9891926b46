# SPDX-License-Identifier: Apache-2.0
"""Router advertisements as a service, and name servers from several sources on one host."""

import asyncio

import pytest

import capas
from capas.aio.run import run_on
from capas.application import advertise, dhcp, dhcp_server
from capas.base.config import HostConfig
from capas.sim.world import World
from capas.wire.address import Prefix, parse, text


@pytest.mark.rfc("8106", "5.3.1")
def test_a_host_boots_itself_in_both_families() -> None:
    world = World(seed=1)
    router = world.router("router")
    host = world.host("host", addresses=None, config=HostConfig())
    world.link(router, host, addresses={"router": ["10.0.0.1/24", "fd00::1/64"]})
    host.nameservers.append(parse("9.9.9.9"))  # configured by hand: stays, and first

    async def main() -> None:
        await capas.spawn(router, dhcp_server.start("10.0.0.50-10.0.0.60,dns=10.0.0.1"))
        service = await capas.spawn(router, advertise.start("dns=fd00::1,lifetime=600"))
        client = await dhcp.configure()
        await asyncio.sleep(5)
        (own,) = (a for a in host.interfaces[1].addresses if a.origin == "slaac")
        assert own.address[:8] == parse("fd00::")[:8]
        (default,) = host.net.routes.of(Prefix(bytes(16), 0))
        assert default.gateway is not None and text(default.gateway).startswith("fe80::")
        assert [text(one) for one in host.nameservers] == ["9.9.9.9", "10.0.0.1", "fd00::1"]
        client.close()
        assert [text(one) for one in host.nameservers] == ["9.9.9.9", "fd00::1"]
        service.close()
        await asyncio.sleep(1)
        assert host.net.routes.of(Prefix(bytes(16), 0)) == []  # it said goodbye

    with world:
        run_on(host, main)


def test_a_host_that_does_not_forward_is_no_default_router() -> None:
    world = World(seed=1)
    teller, host = world.host("teller"), world.host("host", addresses=None, config=HostConfig())
    world.link(teller, host, addresses={"teller": ["fd00::1/64"]})

    async def main() -> None:
        with await capas.spawn(teller, advertise.start()):
            await asyncio.sleep(5)
        assert [a.origin for a in host.interfaces[1].addresses] == ["linklocal", "slaac"]
        assert host.net.routes.of(Prefix(bytes(16), 0)) == []

    with world:
        run_on(host, main)


@pytest.mark.parametrize("words", ["dns=10.0.0.1", "dns=x", "mtu=x", "lifetime=99999", "gateway=1"])
def test_words_that_cannot_be(words: str) -> None:
    with pytest.raises(capas.ConfigurationError, match="router advertisements"):
        advertise.configuration(words, router=True)


def test_a_host_without_a_prefix() -> None:
    world = World(seed=1)
    host, other = world.host("host", addresses=["10.0.0.1/24"]), world.host("other")
    world.link(host, other)
    with world, pytest.raises(capas.ConfigurationError, match="no IPv6 prefix"):
        run_on(host, advertise.start)
