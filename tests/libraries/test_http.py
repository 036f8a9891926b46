# SPDX-License-Identifier: Apache-2.0
"""HTTP and WebSocket libraries on asyncio: httpx, aiohttp, uvicorn with starlette, websockets."""

import asyncio
import logging
from typing import Any

import pytest

BODY = bytes(range(256)) * 400  # 100 KB: many segments, some of them lost


def app() -> Any:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket

    async def body(request: Request) -> Response:
        return Response(BODY)

    async def size(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def stream(request: Request) -> Response:
        async def ticks() -> Any:
            for number in range(5):
                await asyncio.sleep(1)
                yield f"{number}\n"

        return StreamingResponse(ticks())

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text((await websocket.receive_text()).upper())
        await websocket.close()

    return Starlette(
        routes=[
            Route("/", body),
            Route("/size", size, methods=["POST"]),
            Route("/stream", stream),
            WebSocketRoute("/talk", talk),
        ]
    )


def uvicorn_server(**settings: Any) -> Any:
    uvicorn = pytest.importorskip("uvicorn")

    class Server(uvicorn.Server):  # type: ignore[misc,name-defined]
        def install_signal_handlers(self) -> None: ...

    config = uvicorn.Config(app(), host="0.0.0.0", log_level="error", lifespan="off", **settings)
    return Server(config)


async def started(server: Any) -> None:
    while not server.started:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("tls", [False, True])
def test_httpx_and_uvicorn(lab: Any, tls: bool) -> None:
    httpx = pytest.importorskip("httpx")

    async def main() -> None:
        secure = {"ssl_certfile": lab.pem, "ssl_keyfile": lab.pem} if tls else {}
        server = uvicorn_server(port=443, **secure)
        task = lab.serve(server.serve())
        await started(server)
        base = f"http{'s' if tls else ''}://b:443"
        async with httpx.AsyncClient(base_url=base, verify=lab.client_context()) as client:
            assert (await client.get("/")).content == BODY
            assert (await client.post("/size", content=BODY)).text == str(len(BODY))
            answers = await asyncio.gather(*(client.get("/") for _ in range(5)))
            assert all(answer.content == BODY for answer in answers)
            lines = []
            async with client.stream("GET", "/stream") as response:
                async for line in response.aiter_lines():
                    lines.append((line, asyncio.get_running_loop().time()))
            assert [line for line, _ in lines] == list("01234")
            assert lines[-1][1] - lines[0][1] == pytest.approx(4, abs=2)
        server.should_exit = True
        await task

    lab.run(main)


def test_uvicorn_run_and_asyncio_run_in_threads(lab: Any) -> None:
    """Programs that make their loops by themselves."""
    httpx = pytest.importorskip("httpx")
    uvicorn = pytest.importorskip("uvicorn")

    def server() -> None:
        uvicorn.run(app(), host="0.0.0.0", port=80, log_level="error", lifespan="off")

    async def fetch() -> bytes:
        await asyncio.sleep(1)
        async with httpx.AsyncClient() as client:
            return bytes((await client.get("http://b/")).content)

    assert lab.threads(server, lambda: asyncio.run(fetch())) == BODY


def test_httpx_blocking(lab: Any) -> None:
    httpx = pytest.importorskip("httpx")

    async def main() -> None:
        server = uvicorn_server(port=80)
        task = lab.serve(server.serve())
        await started(server)

        def client() -> None:
            with httpx.Client(base_url="http://b") as session:
                assert session.get("/").content == BODY
                assert session.post("/size", content=BODY).text == str(len(BODY))

        await asyncio.to_thread(client)
        server.should_exit = True
        await task

    lab.run(main)


@pytest.mark.parametrize("tls", [False, True])
def test_aiohttp_both_sides(lab: Any, tls: bool) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp import web

    async def body(request: Any) -> Any:
        return web.Response(body=await request.read() + BODY)

    async def talk(request: Any) -> Any:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data.upper())
        return websocket

    async def serve() -> Any:
        application = web.Application()
        application.add_routes([web.post("/", body), web.get("/talk", talk)])
        runner = web.AppRunner(application)
        await runner.setup()
        context = lab.server_context() if tls else None
        await web.TCPSite(runner, None, 8080, ssl_context=context).start()
        return runner

    async def main() -> None:
        runner = await lab.serve(serve())
        base = f"http{'s' if tls else ''}://b:8080"
        connector = aiohttp.TCPConnector(ssl=lab.client_context())
        async with aiohttp.ClientSession(base, connector=connector) as session:
            for _ in range(3):
                async with session.post("/", data=b"hello") as response:
                    assert response.status == 200
                    assert await response.read() == b"hello" + BODY
            await asyncio.sleep(100)  # longer than the server keeps connections
            async with session.post("/", data=b"again") as response:
                assert await response.read() == b"again" + BODY
            async with session.ws_connect("/talk", heartbeat=5) as websocket:
                await websocket.send_str("hello")
                assert (await websocket.receive()).data == "HELLO"
                await asyncio.sleep(30)
                await websocket.send_str("still")
                assert (await websocket.receive()).data == "STILL"
        await runner.cleanup()

    lab.run(main)


def test_aiohttp_client_notices_refusal_and_timeout(lab: Any) -> None:
    aiohttp = pytest.importorskip("aiohttp")

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://b:81/")
            held: list[Any] = []
            silent = asyncio.start_server(lambda *streams: held.append(streams), port=82)
            await lab.serve(silent)
            timeout = aiohttp.ClientTimeout(total=3)
            with pytest.raises(asyncio.TimeoutError):
                await session.get("http://b:82/", timeout=timeout)

    lab.run(main)


def test_websockets_both_sides(lab: Any) -> None:
    pytest.importorskip("websockets")
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def start() -> Any:
        return await serve(echo, None, 8765, ping_interval=5, ping_timeout=5)

    async def main() -> None:
        server = await lab.serve(start())
        async with connect("ws://b:8765", ping_interval=5) as connection:
            for number in range(20):
                await connection.send(str(number))
                assert await connection.recv() == str(number)
            await connection.send(BODY)
            assert await connection.recv() == BODY
            await asyncio.sleep(60)
            assert await (await connection.ping()) > 0.03
        server.close()
        await server.wait_closed()

    lab.run(main)


def test_websockets_against_uvicorn(lab: Any) -> None:
    pytest.importorskip("websockets")
    from websockets.asyncio.client import connect

    logging.getLogger("websockets").setLevel(logging.ERROR)

    async def main() -> None:
        server = uvicorn_server(port=80, ws="auto")
        task = lab.serve(server.serve())
        await started(server)
        async with connect("ws://b:80/talk") as connection:
            await connection.send("hello")
            assert await connection.recv() == "HELLO"
        server.should_exit = True
        await task

    lab.run(main)


def test_websockets_blocking_client(lab: Any) -> None:
    pytest.importorskip("websockets")
    from websockets.sync.client import connect
    from websockets.sync.server import serve

    def echo(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    def server() -> None:
        with serve(echo, "b", 8765) as serving:
            serving.serve_forever()

    def client() -> None:
        with connect("ws://b:8765") as connection:
            connection.send(BODY)
            assert connection.recv() == BODY
            with pytest.raises(TimeoutError):
                connection.recv(timeout=2)

    lab.threads(server, client)
