# SPDX-License-Identifier: Apache-2.0
"""Programs of examples/office.toml: each function runs on the host of its name."""

import asyncio
import urllib.request


async def client() -> None:
    """An asyncio program: what time is it in the printer, and what does it echo?"""
    reader, writer = await asyncio.open_connection("printer", 13)
    print("the printer's time:", (await reader.read()).decode().strip())
    writer.close()
    reader, writer = await asyncio.open_connection("web", 80)
    writer.write(b"GET /bytes/500000 HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    page = await reader.read()
    print("half a megabyte over the bad line:", len(page), "bytes with its header")
    writer.close()


def printer() -> None:
    """A blocking program, with the standard library as it is."""
    with urllib.request.urlopen("http://web/") as answer:
        print("the printer has read:", answer.read().decode().strip())
