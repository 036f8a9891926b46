# SPDX-License-Identifier: Apache-2.0
"""Libraries whose sockets or loops are below Python: refused in words at once, where they begin."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


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


@pytest.mark.parametrize(
    "begin",
    [trio, trio_guest, gevent, zmq, aiodns, psycopg, psycopg_asyncio, grpc, grpc_asyncio],
)
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
