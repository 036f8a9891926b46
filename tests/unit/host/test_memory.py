# SPDX-License-Identifier: Apache-2.0
"""One limit for what all queues of a host hold (`HostConfig.memory_limit`)."""

from capas.base.config import HostConfig
from capas.sim.direction import DROP, PASS
from capas.sim.world import World
from capas.transport.datagram_socket import Destination
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.wire import address as addr

LIMIT = 300_000  # bytes


def connections(world: World, count: int) -> list[tuple[TcpConnection, TcpConnection]]:
    """``count`` connections from client to server, nobody reading."""
    client, server = world.hosts["client"], world.hosts["server"]
    listener = server.tcp.listen(server.tcp.bindings.bind(Binding(addr.ANY4, 80)), count, world.now)
    remote = world.names["server"][0]
    opened = []
    for _ in range(count):
        c = client.tcp.connect(Binding(b"", 0), remote, 80, world.now)
        world.driver.kick(client)
        world.run_for(1)
        accepted = listener.accept(world.now)
        assert accepted is not None
        opened.append((c, accepted))
    return opened


def lossless() -> World:
    world = World(1)
    world.host("client")
    world.host("server", config=HostConfig(memory_limit=LIMIT, dad_transmits=0))
    world.link("client", "server", delay="1ms")
    world.prepare()
    return world


def test_all_connections_together_stay_near_the_limit_and_lose_nothing() -> None:
    world = lossless()
    client, server = world.hosts["client"], world.hosts["server"]
    pairs = connections(world, 8)
    data = bytes(range(256)) * 400
    for c, _ in pairs:
        assert c.send(data, world.now) == len(data)
    world.driver.kick(client)
    world.run_for(2)
    assert server.memory.full
    assert server.counters.get("tcp.memory_full") > 0
    # Over the limit by no more than what one batch brings to each connection.
    assert server.memory.used <= LIMIT + len(pairs) * 65_536
    got = [b""] * len(pairs)
    for _ in range(600):
        for i, (_, accepted) in enumerate(pairs):
            while piece := accepted.receive(1 << 16, world.now):
                got[i] += piece
        world.driver.kick(server)
        world.run_for(0.5)
        if all(len(part) == len(data) for part in got):
            break
    assert got == [data] * len(pairs)
    assert server.memory.used == 0


def test_no_new_connection_while_the_memory_is_full() -> None:
    world = lossless()
    client, server = world.hosts["client"], world.hosts["server"]
    (pair,) = connections(world, 1)
    server.memory.charge(LIMIT + 1)
    late = client.tcp.connect(Binding(b"", 0), pair[0].remote_address, 80, world.now)
    world.driver.kick(client)
    world.run_for(0.5)
    assert late.info().state_name == "SYN-SENT"
    server.memory.charge(-LIMIT - 1)
    world.run_for(3)
    assert late.info().state_name == "ESTABLISHED"


def test_user_data_waits_while_the_memory_is_full() -> None:
    world = lossless()
    client = world.hosts["client"]
    ((c, _),) = connections(world, 1)
    client.memory.charge(2 << 30)
    assert c.send(b"a", world.now) == 1  # one write always goes
    assert c.send(b"b", world.now) == 0
    client.memory.charge(-(2 << 30))
    assert c.send(b"b", world.now) == 1


def test_a_closed_connection_holds_nothing() -> None:
    world = lossless()
    client, server = world.hosts["client"], world.hosts["server"]
    ((c, accepted),) = connections(world, 1)
    c.send(bytes(100_000), world.now)
    world.driver.kick(client)
    world.run_for(1)
    assert server.memory.used > 0
    accepted.close(world.now)
    world.driver.kick(server)
    world.run_for(1)
    assert server.memory.used == 0
    assert client.memory.used == 0


def test_fragments_count_and_give_way_to_what_is_whole() -> None:
    world = World(3)
    a, b = world.host("a"), world.host("b")
    wire = world.link(a, b)
    b.config.memory_limit = 20_000
    target = world.names["b"][0]
    sender, receiver = a.udp.open(), b.udp.open()
    receiver.bind(addr.ANY4, 9)
    with world.drop_nth(wire, 2, "up", count=1):  # after ARP: the first fragment never comes
        for _ in range(8):
            sender.send(bytes(8000), world.now, Destination(target, 9))
            world.driver.kick(a)
            world.run_for(0.01)
    assert 0 < b.memory.used <= 20_000
    assert b.counters.get("udp.received") >= 2
    world.run_for(60)  # what was incomplete is forgotten after 30 s
    while receiver.receive() is not None:
        pass
    assert b.memory.used == 0


def test_incomplete_datagrams_are_given_up_when_the_memory_is_full() -> None:
    world = World(3)
    a, b = world.host("a"), world.host("b")
    wire = world.link(a, b)
    b.config.memory_limit = 20_000
    sender = a.udp.open()
    last = world.rule(wire, lambda frame, now: DROP if _is_last_fragment(frame.data) else PASS)
    for _ in range(20):
        sender.send(bytes(8000), world.now, Destination(world.names["b"][0], 9))
        world.driver.kick(a)
        world.run_for(0.01)
    assert b.counters.get("ip.reassembly_memory") >= 15
    assert b.memory.used <= 20_000
    last.remove()


def _is_last_fragment(frame: bytes) -> bool:
    word = frame[20] << 8 | frame[21]
    return frame[12:14] == b"\x08\0" and bool(word & 0x1FFF) and not word & 0x2000
