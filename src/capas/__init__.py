# SPDX-License-Identifier: Apache-2.0
"""capas: the TCP/IP protocol suite in Python, in virtual time and on TAP and TUN.

    world = capas.World(seed=7)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="20ms", loss="1%")
    capas.run(main, world=world, host=client)

Names are imported on first use, so ``import capas`` costs next to nothing and works everywhere.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capas.aio.loop import CapasEventLoop, new_event_loop
    from capas.aio.run import run_on, spawn
    from capas.base.config import HostConfig
    from capas.errors import (
        BlockingInLoopError,
        CapasError,
        ConfigurationError,
        DeadlockError,
        DeviceError,
    )
    from capas.host.host import Host
    from capas.program import run
    from capas.real.driver import RealDriver
    from capas.sim.world import World
    from capas.sockets.current import current_host, use_host
    from capas.sockets.modules import install, installed, uninstall
    from capas.sockets.socket import Socket

__version__ = "0.1.0"

__all__ = [
    "BlockingInLoopError",
    "CapasError",
    "CapasEventLoop",
    "ConfigurationError",
    "DeadlockError",
    "DeviceError",
    "Host",
    "HostConfig",
    "RealDriver",
    "Socket",
    "World",
    "current_host",
    "install",
    "installed",
    "new_event_loop",
    "run",
    "run_on",
    "spawn",
    "uninstall",
    "use_host",
]

_HOMES = {
    "BlockingInLoopError": "capas.errors",
    "CapasError": "capas.errors",
    "CapasEventLoop": "capas.aio.loop",
    "ConfigurationError": "capas.errors",
    "DeadlockError": "capas.errors",
    "DeviceError": "capas.errors",
    "Host": "capas.host.host",
    "HostConfig": "capas.base.config",
    "RealDriver": "capas.real.driver",
    "Socket": "capas.sockets.socket",
    "World": "capas.sim.world",
    "current_host": "capas.sockets.current",
    "install": "capas.sockets.modules",
    "installed": "capas.sockets.modules",
    "new_event_loop": "capas.aio.loop",
    "run": "capas.program",
    "run_on": "capas.aio.run",
    "spawn": "capas.aio.run",
    "uninstall": "capas.sockets.modules",
    "use_host": "capas.sockets.current",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'capas' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
