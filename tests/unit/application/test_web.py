# SPDX-License-Identifier: Apache-2.0
"""The web server, on the standard loop and the loopback interface."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'capas[tools]'")
httpx = pytest.importorskip("httpx", reason="needs httpx: pip install 'capas[tools]'")

from capas.application import web  # noqa: E402

HERE = ("127.0.0.1",)


def serve(body: Callable[[Any], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        with await web.start(0, HERE, **options) as service:
            url = f"http://127.0.0.1:{service.port}"
            async with asyncio.timeout(20):
                async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                    await body(client)

    asyncio.run(main())


def test_a_directory_is_served(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "data.bin").write_bytes(data)
    (tmp_path / "sub" / "a&b.txt").write_text("hi")
    (tmp_path / "index.html").write_text("<h1>home</h1>")

    async def body(client: Any) -> None:
        answer = await client.get("/sub/data.bin")
        assert answer.content == data
        assert answer.headers["content-length"] == str(len(data))
        assert "last-modified" in answer.headers
        assert (await client.get("/")).text == "<h1>home</h1>"
        assert (await client.get("/sub")).headers["location"] == "/sub/"
        assert "a&amp;b.txt" in (await client.get("/sub/")).text
        assert (await client.get("/none")).status_code == 404
        head = await client.head("/sub/data.bin")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(data)))

    serve(body, directory=tmp_path)


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/sub/../../secret", "/a%00b", "/link"]
)
def test_nothing_outside_the_directory_is_served(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    site = tmp_path / "site"
    site.mkdir()
    (site / "link").symlink_to(tmp_path / "secret")

    async def body(client: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 404 ")
        writer.close()

    serve(body, directory=site)


def test_pages_and_generated_bytes() -> None:
    async def body(client: Any) -> None:
        answer = await client.get("/index.html")
        assert (answer.text, answer.headers["content-type"][:9]) == ("hello", "text/html")
        assert (await client.get("/bytes/200000")).content == web.page(200_000)
        assert (await client.get("/bytes/0")).content == b""
        assert (await client.get(f"/bytes/{web.LARGEST_PAGE + 1}")).status_code == 404

    serve(body, pages={"/index.html": b"hello"})


def test_a_post_is_hashed_and_not_stored() -> None:
    data = web.page(1_000_000)

    async def body(client: Any) -> None:
        answer = await client.post("/anything", content=data)
        assert answer.json() == {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert (await client.put("/", content=b"")).json()["length"] == 0
        refused = await client.delete("/")
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "PUT"}

    serve(body)


def test_no_clock_no_date_header() -> None:
    async def body(client: Any) -> None:
        assert "date" not in (await client.get("/bytes/1")).headers

    serve(body)


def test_a_clock_gives_a_date_header() -> None:
    async def body(client: Any) -> None:
        headers = (await client.get("/bytes/1")).headers
        assert headers["date"] == "Mon, 22 Feb 1982 17:37:43 GMT"

    serve(body, wall=lambda: 383_247_463.0)


@pytest.mark.parametrize(
    "request_bytes",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff" * 100 + b"\r\n\r\n", b"GET / HTTP/9\r\n\r\n"],
)
def test_malformed_requests_are_refused(request_bytes: bytes) -> None:
    async def body(client: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(request_bytes)
        writer.write_eof()
        answer = await reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert (await client.get("/bytes/3")).status_code == 200

    serve(body)


@pytest.mark.parametrize(
    "endless", [b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\nX: " + b"b" * 200_000]
)
def test_a_head_without_end_is_cut_off(endless: bytes) -> None:
    async def body(client: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(endless)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()  # it does not wait for the end
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        writer.close()

    serve(body)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.*not a directory"):
        asyncio.run(web.start(0, HERE, directory=tmp_path / "nowhere"))


def test_a_page_has_exactly_its_size() -> None:
    assert [len(web.page(size)) for size in (0, 1, 65_521, 1 << 20)] == [0, 1, 65_521, 1 << 20]
