# SPDX-License-Identifier: Apache-2.0
"""ping and traceroute, in virtual time."""

import pytest

import capas
from capas.application.diagnostics import Echo, Hop, milliseconds, ping, traceroute
from capas.base.clock import MS, SECOND
from capas.host.host import Host
from capas.sim.world import World
from capas.wire.address import parse, text


def chain(seed: int = 1, **settings: object) -> tuple[World, Host, Host]:
    """client - r1 - r2 - server; the first link has the settings."""
    world = World(seed=seed)
    client, server = world.host("client"), world.host("server")
    first, second = world.router("r1"), world.router("r2")
    world.link(client, first, **settings)
    world.link(first, second, delay="3ms")
    world.link(second, server, delay="4ms")
    return world, client, server


def address(world: World, name: str, size: int) -> bytes:
    return next(found for found in world.names[name] if len(found) == size)


@pytest.mark.rfc("1122", "3.2.2.6")
@pytest.mark.parametrize("size", [4, 16])
def test_ping_measures_the_way_there_and_back(size: int) -> None:
    world, client, _ = chain(delay="5ms")
    target = address(world, "server", size)
    heard: list[Echo] = []
    echoes = capas.run(
        lambda: ping(client, target, count=3, interval=0.5, on_echo=heard.append),
        world=world,
        host=client,
    )
    assert heard == echoes
    assert [echo.sequence for echo in echoes] == [1, 2, 3]
    assert all(echo.answered and echo.source == target for echo in echoes)
    assert [echo.rtt for echo in echoes[1:]] == [24 * MS, 24 * MS]  # 2 * (5 + 3 + 4) ms
    assert SECOND < world.now < 1.2 * SECOND


def test_what_is_lost_is_silent() -> None:
    world, client, _ = chain(loss=1.0)
    target = address(world, "server", 4)
    (echo,) = capas.run(lambda: ping(client, target, count=1), world=world, host=client)
    assert not echo.answered
    assert (echo.rtt, echo.error) == (-1, "")


def test_no_route_is_an_error() -> None:
    world, client, _ = chain()
    bare = world.host("bare")
    (echo,) = capas.run(lambda: ping(bare, parse("192.0.2.1"), count=1), world=world, host=client)
    assert "no route to 192.0.2.1" in echo.error


def test_a_router_that_knows_no_way_says_so() -> None:
    world, client, _ = chain()
    (echo,) = capas.run(
        lambda: ping(client, parse("192.0.2.1"), count=1, ttl=9), world=world, host=client
    )
    assert not echo.answered
    assert echo.error


@pytest.mark.rfc("1812", "5.3.1")
@pytest.mark.parametrize("size", [4, 16])
def test_traceroute_names_each_router(size: int) -> None:
    world, client, _ = chain(delay="5ms")
    target = address(world, "server", size)
    heard: list[Hop] = []
    hops = capas.run(
        lambda: traceroute(client, target, on_hop=heard.append), world=world, host=client
    )
    assert heard == hops
    owners = [world.plan.owners[hop.source] for hop in hops]
    assert owners == ["r1", "r2", "server"]
    assert [hop.reached for hop in hops] == [False, False, True]
    assert [hop.rtts[1] for hop in hops] == [10 * MS, 16 * MS, 24 * MS]
    assert hops[2].source == target


def test_traceroute_gives_up_on_silence() -> None:
    world, client, _ = chain(down={"loss": 1.0})
    target = address(world, "server", 4)
    hops = capas.run(
        lambda: traceroute(client, target, probes=1, timeout=0.1), world=world, host=client
    )
    assert len(hops) == 8
    assert not any(hop.source for hop in hops)


def test_times_for_people() -> None:
    assert (milliseconds(-1), milliseconds(20_300_000)) == ("*", "20.3 ms")
    assert text(b"\x7f\0\0\1") == "127.0.0.1"
