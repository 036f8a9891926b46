# SPDX-License-Identifier: Apache-2.0
"""Libraries whose sockets or loops are below Python: refused in words at once, where they begin."""

import asyncio
import os
import socket
import socketserver
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from capas.sockets.foreign import FOREIGN


def trio(trio: Any) -> None:
    trio.run(trio.sleep, 1)


def trio_guest(trio: Any) -> None:
    trio.lowlevel.start_guest_run(
        trio.sleep, 1, run_sync_soon_threadsafe=print, done_callback=print
    )


def gevent(gevent: Any) -> None:
    gevent.sleep(1)


def zmq(zmq: Any) -> None:
    zmq.Context().socket(zmq.REQ)


def aiodns(aiodns: Any) -> None:
    async def main() -> None:
        aiodns.DNSResolver()

    asyncio.run(main())


def psycopg(psycopg: Any) -> None:
    psycopg.connect("host=b")


def psycopg_asyncio(psycopg: Any) -> None:
    asyncio.run(psycopg.AsyncConnection.connect("host=b"))


def grpc(grpc: Any) -> None:
    grpc.insecure_channel("b:50051")


def grpc_asyncio(grpc: Any) -> None:
    async def main() -> None:
        grpc.aio.insecure_channel("b:50051")

    asyncio.run(main())


def multiprocessing(multiprocessing: Any) -> None:
    multiprocessing.Pool(1)


def OpenSSL(_: Any) -> None:  # noqa: N802
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    SSL.Connection(context).set_connect_state()
    with socket.socket() as sock:
        SSL.Connection(context, sock)


@pytest.mark.parametrize(
    "begin",
    [
        trio, trio_guest, gevent, zmq, aiodns, psycopg, psycopg_asyncio, grpc, grpc_asyncio,
        multiprocessing, OpenSSL,
    ],
)  # fmt: skip
def test_what_asks_the_kernel_says_so(lab: Any, begin: Callable[[Any], None]) -> None:
    name = begin.__name__.partition("_")[0]
    library = pytest.importorskip(name, reason=f"needs the package {name}")
    with pytest.raises(NotImplementedError, match="by itself and does not run on capas: use "):
        lab.threads(None, lambda: begin(library))


def test_aiohttp_resolves_by_the_loop_where_aiodns_is_its_default(lab: Any) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    pytest.importorskip("aiodns")
    from aiohttp import web

    async def serve() -> None:
        async def hello(_: Any) -> Any:
            return web.Response(text="hello")

        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, port=80).start()

    async def main() -> None:
        await lab.serve(serve())
        async with aiohttp.ClientSession() as session, session.get("http://b/") as answer:
            assert await answer.text() == "hello"

    lab.run(main)


def test_zeroconf_on_the_interfaces_of_the_host(lab: Any) -> None:
    zeroconf = pytest.importorskip("zeroconf")
    pytest.importorskip("ifaddr")
    info = zeroconf.ServiceInfo(
        "_http._tcp.local.", "b._http._tcp.local.", 80, addresses=[b"\n\0\0\2"], server="b.local."
    )  # fmt: skip

    def server() -> None:
        zeroconf.Zeroconf().register_service(info)

    def client() -> None:
        with zeroconf.Zeroconf() as client:
            found = client.get_service_info(info.type, info.name, timeout=20_000)
            assert found.parsed_addresses() == ["10.0.0.2"]

    lab.threads(server, client)


def test_a_fork_is_no_part_of_the_world(lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")

    def server() -> None:
        with socketserver.ForkingTCPServer(("", 7), socketserver.StreamRequestHandler) as serving:
            serving.serve_forever()

    def client() -> None:
        with socket.create_connection(("b", 7)) as sock:
            assert sock.recv(10) == b""

    lab.threads(server, client)
    assert "use threads (in socketserver ThreadingMixIn)" in capsys.readouterr().err


def test_a_version_that_begins_elsewhere_is_left_alone() -> None:
    assert FOREIGN["zmq"](ModuleType("zmq")) == []
    assert FOREIGN["psycopg"](ModuleType("psycopg")) == []
