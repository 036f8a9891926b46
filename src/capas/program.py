# SPDX-License-Identifier: Apache-2.0
"""`capas.run`: a program in a world, as `asyncio.run` is a program on this machine."""

from typing import TypeVar

from capas.aio.run import Main, run_on
from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.sim.world import World

T = TypeVar("T")


def run(
    main: Main[T],
    *,
    world: World | None = None,
    host: Host | str | None = None,
    seed: int | str = 0,
    debug: bool | None = None,
) -> T:
    """Run ``main`` on a host of a world, in virtual time, until it ends; its result.

    ``main`` is a coroutine, or a function without arguments that makes one.  ``host`` may be left
    out when the world has one host only; without ``world`` there is a new one, of ``seed``, with
    the single host "localhost".  A host of a real driver runs in real time.
    """
    if isinstance(host, Host) and world is None:
        return run_on(host, main, debug=debug)
    if world is None:
        world = World(seed)
    if host is None:
        hosts = world.hosts
        if not hosts:
            host = world.host("localhost")
        elif len(hosts) == 1:
            host = next(iter(hosts.values()))
        else:
            names = ", ".join(hosts)
            raise ConfigurationError(f"on which host? This world has {names}: give host=...")
    found = world.node(host).host
    return run_on(found, main, debug=debug)
