# SPDX-License-Identifier: Apache-2.0
"""What a host's tables hold, as plain data in iproute2's words."""

import asyncio
import json
from typing import Any

import capas
from capas.base.clock import SECOND
from capas.cli.ip import _addresses
from capas.host import status
from capas.host.host import Host
from capas.link.interface import DEPRECATED, PREFERRED, InterfaceAddress
from capas.link.link import Loopback
from capas.sim.world import World
from capas.wire.address import parse


def test_a_round_trip_in_no_time_is_one_microsecond_as_in_linux() -> None:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        _, writer = await asyncio.open_connection("b", 7)
        writer.write(b"x")
        await asyncio.sleep(1)
        found.extend(status.sockets(a, world.now))
        writer.close()

    found: list[Any] = []
    world = World(seed=1)
    a, b = world.host("a"), world.host("b")
    world.link(a, b)

    async def both() -> None:
        async with await capas.spawn(b, asyncio.start_server(hear, port=7)):
            await main()

    with world:
        capas.run(both, world=world, host=a)
    assert found[0]["info"]["minrtt"] == 0.001


def test_every_table_is_plain_data_and_tells_the_truth() -> None:
    world = World(seed=1)
    client, router, server = world.host("client"), world.router("router"), world.host("server")
    world.link(client, router, delay="5ms")
    world.link(router, server)
    tables: dict[str, dict[str, Any]] = {}

    def look(host: Host) -> None:
        tables[host.name] = {name: table(host, world.now) for name, table in status.TABLES.items()}

    async def main() -> None:
        held: list[object] = []  # or the connection would be collected, and closed
        serving = asyncio.start_server(lambda *ends: held.append(ends), port=80)
        listening = await capas.spawn(server, serving)
        _, writer = await asyncio.open_connection("server", 80, family=2)
        writer.write(bytes(5000))
        await asyncio.sleep(1)
        for host in (client, server):
            look(host)
        writer.close()
        listening.close()

    with world:
        capas.run(main, world=world, host=client)
    assert json.loads(json.dumps(tables)) == tables
    (connection,) = tables["client"]["sockets"]
    assert (connection["state"], connection["peer"], connection["peer_port"]) == (
        "ESTAB", "10.0.1.2", 80,
    )  # fmt: skip
    assert connection["info"]["bytes_acked"] == 5000 and connection["send_q"] == 0
    assert 10 <= connection["info"]["rtt"] < 60  # ms: 5 ms each way, and delayed ACKs
    states = [row["state"] for row in tables["server"]["sockets"]]
    assert states == ["LISTEN", "LISTEN", "ESTAB"]
    default = next(r for r in tables["client"]["routes"] if r["dst"] == "default")
    assert (default["gateway"], default["dev"], default["family"]) == ("10.0.0.2", "eth0", "inet")
    (neighbour,) = tables["client"]["neighbours"]
    assert neighbour["dst"] == "10.0.0.2" and neighbour["state"] in (["REACHABLE"], ["STALE"])
    names = [row["ifname"] for row in tables["client"]["links"]]
    assert names == ["lo", "eth0"]


def test_addresses_by_advertisements_look_as_iproute2_shows_them() -> None:
    host = World(seed=1).host("a")
    card = host.attach(Loopback(), name="eth9", now=0)
    for number, temporary, state in ((1, False, PREFERRED), (2, True, DEPRECATED)):
        address = parse(f"2001:db8::{number}")
        card.addresses.append(
            InterfaceAddress(address, 64, state, 60 * SECOND, 0, "slaac", temporary)
        )
    row = next(row for row in status.addresses(host, 0) if row["ifname"] == "eth9")
    lines = [line for line in _addresses([row], False, False) if "2001" in line]
    assert lines == [
        "    inet6 2001:db8::1/64 scope global dynamic mngtmpaddr",
        "    inet6 2001:db8::2/64 scope global temporary deprecated dynamic",
    ]
