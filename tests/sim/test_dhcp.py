# SPDX-License-Identifier: Apache-2.0
"""DHCP between hosts of a world: client and server through loss, renewals, conflicts, restarts."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import capas
from capas.aio.run import run_on
from capas.application import dhcp, dhcp_server
from capas.application.dhcp import Client
from capas.base.config import HostConfig
from capas.host.host import Host
from capas.internet.route import ORIGIN_DHCP
from capas.sim.world import World
from capas.testing.fixture import Internet
from capas.wire.address import Prefix, parse, text

POOL = "10.0.0.100-10.0.0.102,lease=600,dns=10.0.0.1,domain=Home.test,mtu=1400"
Body = Callable[[], Coroutine[Any, Any, None]]


class Lan:
    """A router that serves DHCP, and clients without addresses, on one switch."""

    def __init__(self, clients: int = 1, pool: str = POOL, **link: Any) -> None:
        self.world = World(seed=5)
        self.switch = self.world.switch("lan")
        self.router = self.world.router("router")
        self.world.link(self.router, self.switch, addresses={"router": ["10.0.0.1/24"]})
        self.clients = [self.world.host(f"c{n}", addresses=None) for n in range(clients)]
        for client in self.clients:
            self.world.link(client, self.switch, **link)
        self.pool = pool

    def run(self, body: Body) -> None:
        async def main() -> None:
            await capas.spawn(self.router, dhcp_server.start(self.pool))
            await body()

        with self.world:
            run_on(self.router, main)

    async def configure(self, number: int = 0, **how: Any) -> Client:
        return await capas.spawn(self.clients[number], dhcp.configure(**how))


def addresses(host: Host) -> list[str]:
    return [text(a.address) for a in host.interfaces[1].addresses if len(a.address) == 4]


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.rfc("2131", "3.1")
def test_a_host_gets_all_it_needs() -> None:
    lan = Lan()
    (host,) = lan.clients

    async def body() -> None:
        assert addresses(host) == []
        client = await lan.configure()
        assert client.state == dhcp.BOUND
        assert addresses(host) == ["10.0.0.100"]
        assert now() < 4  # s: one ARP probe after at most 1 s, silence of 2 s
        default = host.net.routes.of(Prefix.parse("0.0.0.0/0"))
        assert [(r.gateway, r.mtu, r.origin) for r in default] == [
            (parse("10.0.0.1"), 1400, ORIGIN_DHCP)
        ]
        assert host.nameservers == [parse("10.0.0.1")]
        assert host.search == ["home.test"]
        reader, writer = await _echo(lan.router, host)
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        client.close()
        assert addresses(host) == [] and host.nameservers == [] and host.search == []
        assert len(list(host.net.routes.of(Prefix.parse("0.0.0.0/0")))) == 0
        await asyncio.sleep(1)
        assert lan.router.counters.get("dhcpd.release") == 1

    lan.run(body)


@pytest.mark.rfc("2131", "4.4.6")
def test_a_release_arrives_though_nothing_else_was_ever_sent() -> None:
    """Whoever closes ends: one way takes 30 ms, to ask for the server's MAC first 60 more."""
    lan = Lan(delay="30ms")

    async def body() -> None:
        client = await lan.configure()
        await asyncio.sleep(0.5)
        client.close()
        await asyncio.sleep(0.05)

    lan.run(body)
    assert lan.clients[0].counters.get("dhcp.released") == 1
    assert lan.router.counters.get("dhcpd.release") == 1


async def _echo(server: Host, client: Host) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))

    async def ask() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("10.0.0.1", 7)
        writer.write(b"hello")
        return reader, writer

    await capas.spawn(server, asyncio.start_server(handle, port=7))
    return await capas.spawn(client, ask())


@pytest.mark.parametrize("loss", ["20%", "50%"])
@pytest.mark.rfc("2131", "4.1", "retransmission")
def test_through_loss_everybody_gets_an_address_of_their_own(loss: str) -> None:
    lan = Lan(3, loss=loss, delay="30ms", duplicate="10%")

    async def body() -> None:
        await asyncio.gather(*(lan.configure(n) for n in range(3)))
        held = [addresses(host) for host in lan.clients]
        assert sorted(held) == [["10.0.0.100"], ["10.0.0.101"], ["10.0.0.102"]]

    lan.run(body)


@pytest.mark.rfc("2131", "4.4.5")
def test_a_lease_is_renewed_and_kept() -> None:
    lan = Lan()
    (host,) = lan.clients

    async def body() -> None:
        client = await lan.configure()
        assert client.lease is not None
        first = client.lease.until
        await asyncio.sleep(400)  # T1 is at 300 s
        assert client.lease.until > first + 250 and client.state == dhcp.BOUND
        assert host.counters.get("dhcp.renewed") == 1
        assert host.counters.get("dhcp.discover") == 1
        await asyncio.sleep(6000)
        assert addresses(host) == ["10.0.0.100"]

    lan.run(body)


@pytest.mark.rfc("2131", "4.4.5", "T2")
def test_without_a_server_the_lease_ends_and_a_new_one_comes() -> None:
    lan = Lan()
    (host,) = lan.clients
    states: list[str] = []

    async def body() -> None:
        client = await lan.configure()
        with lan.world.isolate(lan.router):
            for second in (310, 530, 601):
                await asyncio.sleep(second - now())
                states.append(client.state)
            assert addresses(host) == []
        await client.bound.wait()
        assert addresses(host) == ["10.0.0.100"]

    lan.run(body)
    assert states == [dhcp.RENEWING, dhcp.REBINDING, dhcp.SELECTING]
    assert host.counters.get("dhcp.lost") == 1


@pytest.mark.rfc("2131", "4.4.1", "DHCPDECLINE")
@pytest.mark.rfc("5227", "2.1.1")
def test_an_address_somebody_has_is_declined() -> None:
    lan = Lan()
    squatter = lan.world.host("squatter", addresses=["10.0.0.100/24"])
    lan.world.link(squatter, lan.switch)
    (host,) = lan.clients

    async def body() -> None:
        await lan.configure()
        assert addresses(host) == ["10.0.0.101"]
        assert now() > 10  # s before beginning anew, RFC 2131 §3.1 step 5

    lan.run(body)
    assert host.counters.get("dhcp.declined") == lan.router.counters.get("dhcpd.decline") == 1
    assert squatter.counters.get("arp.conflict") == 0  # a probe harms nobody


@pytest.mark.rfc("2131", "4.3.2", "INIT-REBOOT")
def test_a_host_asks_for_the_address_it_had() -> None:
    lan = Lan(2)

    async def body() -> None:
        first = await lan.configure(0)
        await lan.configure(1)
        first.close()
        await asyncio.sleep(1)
        await lan.configure(0, previous="10.0.0.100")
        assert addresses(lan.clients[0]) == ["10.0.0.100"]
        assert lan.clients[0].counters.get("dhcp.discover") == 1

    lan.run(body)


@pytest.mark.rfc("2131", "4.3.2", "DHCPNAK")
def test_an_address_of_another_network_is_refused_and_a_new_one_found() -> None:
    lan = Lan()

    async def body() -> None:
        await lan.configure(previous="192.168.7.7")
        assert addresses(lan.clients[0]) == ["10.0.0.100"]

    lan.run(body)
    assert lan.router.counters.get("dhcpd.wrong_network") == 1


def test_a_full_pool_is_silent_until_somebody_leaves() -> None:
    lan = Lan(4)

    async def body() -> None:
        clients = [await lan.configure(n) for n in range(3)]
        with pytest.raises(TimeoutError):
            await lan.configure(3, timeout=30)
        assert lan.router.counters.get("dhcpd.pool_exhausted") > 0
        clients[1].close()
        await lan.configure(3, timeout=30)
        assert addresses(lan.clients[3]) == ["10.0.0.101"]

    lan.run(body)


def test_a_known_station_has_its_address() -> None:
    lan = Lan()
    mac = lan.clients[0].interfaces[1].mac.hex(":")
    lan.pool += f",{mac}=10.0.0.7"

    async def body() -> None:
        await lan.configure()
        assert addresses(lan.clients[0]) == ["10.0.0.7"]

    lan.run(body)


def test_two_networks_of_one_host() -> None:
    lan = Lan()
    (host,) = lan.clients
    second = lan.world.router("second")
    lan.world.link(second, host, addresses={"second": ["10.1.0.1/24"]})

    async def body() -> None:
        await capas.spawn(second, dhcp_server.start("10.1.0.5-10.1.0.9"))
        one = await lan.configure(interface="eth0")
        two = await lan.configure(interface="eth1")
        assert one.lease is not None and two.lease is not None
        assert text(one.lease.address) == "10.0.0.100"
        assert text(two.lease.address) == "10.1.0.5"

    lan.run(body)


def test_the_name_server_resolves_short_names_in_the_domain() -> None:
    from capas.application import names

    lan = Lan()

    async def body() -> None:
        zone = names.Zone({"printer.home.test": {"A": "10.0.0.9"}})
        await capas.spawn(lan.router, names.start(zone))
        lan.clients[0].names = {}
        await lan.configure()
        loop = asyncio.get_running_loop()
        found = await capas.spawn(lan.clients[0], loop.getaddrinfo("printer", 80))
        assert found[0][4] == ("10.0.0.9", 80)

    lan.run(body)


def test_one_seed_one_run() -> None:
    def run() -> tuple[float, dict[str, int]]:
        lan = Lan(3, loss="30%", delay="10ms", jitter="5ms")

        async def body() -> None:
            await asyncio.gather(*(lan.configure(n) for n in range(3)))

        lan.run(body)
        return lan.world.time, lan.router.counters.snapshot()

    assert run() == run()


def test_dhcp_needs_ethernet() -> None:
    host = Host("lonely", HostConfig(), World().rng)
    with pytest.raises(capas.ConfigurationError, match="needs an Ethernet interface"):
        dhcp.ethernet(host)


def test_hosts_of_a_test_boot_by_dhcp_each_time() -> None:
    with Internet(seed=3) as internet:
        laptop = internet.host("laptop", addresses=None)
        router = internet.router("router")
        internet.link(router, laptop, delay="2ms", addresses={"router": ["10.0.0.1/24"]})
        router.serve(lambda: dhcp_server.start("10.0.0.50-10.0.0.59"))
        laptop.on_boot(dhcp.configure)
        internet.run_for("10s")
        assert addresses(laptop.host) == ["10.0.0.50"]
        laptop.restart()
        assert addresses(laptop.host) == []
        internet.run_for("10s")
        assert addresses(laptop.host) == ["10.0.0.50"]  # its client identifier is known
        router.restart()  # and forgets its leases
        internet.run_for("1h")
        assert addresses(laptop.host) == ["10.0.0.50"]
        assert router.host.counters.get("dhcpd.unknown_renewal") == 1
