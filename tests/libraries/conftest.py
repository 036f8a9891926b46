# SPDX-License-Identifier: Apache-2.0
"""Libraries as they are, on two hosts with a bad cable between them: 2 % loss, 20 ms each way.

The certificate is RSA and committed: handshakes have the same size on each run.
"""

import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import capas

PEM = Path(__file__).parents[1] / "unit" / "aio" / "tls_test.pem"


class Lab:
    """A client host "a", a server host "b"; ``run`` has a server beside the client."""

    def __init__(self, world: capas.World) -> None:
        self.world = world
        self.a, self.b = world.hosts["a"], world.hosts["b"]
        self.pem = str(PEM)
        self.serving: Any = None

    def serve(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """A task on the server host."""
        return capas.spawn(self.b, coroutine)

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """``main`` on the client host, in virtual time."""
        result = capas.run(main, world=self.world, host=self.a)
        self.check()
        return result

    def threads(self, server: Callable[[], object] | None, client: Callable[[], Any]) -> Any:
        """Blocking programs, on the server and the client host; the client's result."""
        with capas.installed():
            if server is not None:
                self.serving = self.world.thread(self.b, server)
            result = self.world.thread(self.a, client).result()
        self.check()
        return result

    def check(self) -> None:
        """The traffic went over the wire, and the wire was bad."""
        counts = self.world.statistics()
        assert all(count["delivered"] for count in counts.values()), counts

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.pem)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.pem)


@pytest.fixture
def lab(seed: int) -> Iterator[Lab]:
    with capas.World(seed=seed) as world:
        world.link(world.host("a"), world.host("b"), delay="20ms", loss="2%", rate="100Mbit")
        yield Lab(world)
