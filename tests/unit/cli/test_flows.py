# SPDX-License-Identifier: Apache-2.0
"""What a recording of a world says: connections, losses, repairs, diagrams."""

import asyncio
from typing import Any

import pytest

import capas
from capas.base.clock import MS, NEVER
from capas.base.frame import Frame
from capas.cli.account import Account, LinkRow, reasons
from capas.cli.flows import Connection, Flows, series
from capas.cli.observe import ARP, ICMP, TCP, UDP, Recorder, dissect
from capas.cli.render_sequence import arrows, choose, draw
from capas.sim.world import World
from capas.wire.address import text

SIZE = 300_000


def transfer(seed: int = 1, drop: int = 0, **settings: Any) -> tuple[World, Recorder]:
    """SIZE bytes from the client to the server; ``drop``: this packet with payload is lost."""
    world = World(seed=seed)
    client, server = world.host("client"), world.host("server")
    wire = world.link(client, server, **{"rate": "10Mbit", "delay": "10ms"} | settings)
    recorder = Recorder()
    for host in (client, server):
        recorder.watch(host)
    if drop:
        world.drop_nth(wire, drop, "up", lambda frame: len(frame.data) > 1000)
    received = bytearray()

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            received.extend(data)
        writer.close()

    async def main() -> None:
        await capas.spawn(server, asyncio.start_server(sink, port=9))
        reader, writer = await asyncio.open_connection("server", 9)
        writer.write(bytes(SIZE))
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await asyncio.sleep(1)

    capas.run(main, world=world, host=client)
    assert len(received) == SIZE
    return world, recorder


def the_connection(recorder: Recorder) -> Connection:
    (connection,) = Flows(recorder.sights, recorder.owners()).connections
    return connection


def test_a_clean_transfer() -> None:
    _, recorder = transfer()
    connection = the_connection(recorder)
    assert (connection.up.sender, connection.down.sender) == ("client", "server")
    assert connection.up.highest == SIZE + 2  # SYN and FIN take a number each
    assert connection.up.retransmitted == connection.down.retransmitted == 0
    assert connection.losses(recorder.decisions) == []
    assert connection.established - connection.started >= 20 * MS
    assert "SACK" in connection.options["client"]
    assert not connection.reset


@pytest.mark.parametrize("drop", [5, 50, 150])
def test_one_lost_packet_is_found_and_its_repair(drop: int) -> None:
    _, recorder = transfer(drop=drop)
    connection = the_connection(recorder)
    (loss,) = connection.losses(recorder.decisions)
    assert loss.sender == "client"
    assert 1000 < loss.length <= 1460
    assert loss.seq == 1 + (drop - 1) * 1448
    # Repair takes at least a round trip; a fast one less than two and the queue's delay.
    assert loss.repaired != NEVER
    assert loss.repaired - loss.time >= 20 * MS
    assert loss.how == "fast retransmit"
    assert connection.up.retransmitted == 1


@pytest.mark.parametrize("seed", range(1, 6))
def test_losses_are_those_of_the_links(seed: int) -> None:
    world, recorder = transfer(seed, up={"loss": "2%"}, mtu=1500)
    connection = the_connection(recorder)
    found = connection.losses(recorder.decisions)
    lost = world.wires[0].up.statistics.lost
    assert len(found) <= lost  # acknowledgements and ARP count for the link only
    assert len(found) >= lost - 3
    assert sum(reasons(found).values()) == len(found)


@pytest.mark.parametrize("stranger", ["client", "server"])
def test_one_watched_end_is_enough(stranger: str) -> None:
    """The other end is the kernel behind a TAP: what the watched end saw is an account, too."""
    _, recorder = transfer(drop=50)
    owners = {own: host for own, host in recorder.owners().items() if host != stranger}
    sights = [sight for sight in recorder.sights if sight.host != stranger]
    (connection,) = Flows(sights, owners).connections
    whole = the_connection(recorder)
    address = text(whole.key[0 if stranger == "client" else 2])
    senders = [address if name == stranger else name for name in ("client", "server")]
    assert [connection.up.sender, connection.down.sender] == senders
    assert connection.up.highest == whole.up.highest == SIZE + 2
    assert 20 * MS <= connection.established - connection.started <= 25 * MS
    assert connection.losses(recorder.decisions) == []
    ours = connection.down if stranger == "client" else connection.up
    assert ours.packets == (whole.down if stranger == "client" else whole.up).packets
    if stranger == "server":
        assert ours.retransmitted == 1
        assert series(connection, ours) == series(whole, whole.up)
    drawn = arrows(connection)
    assert {arrow.rightward for arrow in drawn} == {True, False}


def test_the_series_measure_from_the_sender() -> None:
    _, recorder = transfer()
    connection = the_connection(recorder)
    measured = series(connection, connection.up)
    assert min(rtt for _, rtt in measured.rtt) >= 20 * MS
    assert 0 < max(size for _, size in measured.in_flight) <= SIZE + 2
    assert measured.in_flight[-1][1] == 0


def test_kinds_are_counted() -> None:
    world, recorder = transfer()
    rows = [
        LinkRow(direction.name, "", direction.statistics.snapshot())
        for direction in world.wires[0].directions()
    ]
    account = Account(recorder, rows, {"client": {}, "server": {}})
    assert account.kinds[TCP] > SIZE / 1460
    assert account.kinds[ARP] == 2
    assert account.kinds[UDP] == 0
    assert ICMP in account.kinds
    assert account.main_connection() == 0
    assert account.tcp().lost_on_links == 0


def test_the_diagram_shows_the_loss_and_its_repair() -> None:
    _, recorder = transfer(drop=50)
    connection = the_connection(recorder)
    (loss,) = connection.losses(recorder.decisions)
    found = arrows(connection, [(loss.time, loss.seq)])
    assert sum(arrow.lost for arrow in found) == 1
    assert sum(arrow.again for arrow in found) == 1
    chosen = choose(found, 26, loss.time)
    assert len(chosen) <= 26 + 12  # the arrows, and one line for each gap
    assert any(arrow.lost for arrow in chosen)
    assert any(arrow.again for arrow in chosen)
    lines = [line for line, _ in draw(chosen, "client", "server", width=90)]
    assert {len(line) for line in lines} == {len(lines[0])}
    assert "SYN" in lines[1]
    assert any("✕" in line for line in lines)
    plain = [line for line, _ in draw(chosen, "client", "server", plain=True)]
    assert all(ord(letter) < 128 or letter in "…×" for line in plain for letter in line)


def test_frames_that_cannot_be_read_are_other() -> None:
    world = World()
    world.link(world.host("client"), world.host("server"))
    interface = world.hosts["client"].interfaces[1]
    for data in (
        b"",
        bytes(13),
        bytes(60),
        b"\xff" * 60,
        bytes(12) + b"\x08\0" + b"\x45" + bytes(9),
    ):
        sight = dissect("client", interface, Frame(data, 0), True, 0)
        assert sight.kind in ("other", "arp")
        assert sight.packets == 1
