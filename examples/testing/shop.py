# SPDX-License-Identifier: Apache-2.0
"""A shop that takes orders over HTTP, and clients that try again when the network fails them.

`order_hastily` has the bug: when the *answer* is late or lost, the order was booked all the same,
and the next try books it a second time.  `order` names each order: the shop knows it again.
"""

import asyncio
import http.client
import time
import uuid


class Shop:
    """An HTTP/1.1 server for ``POST /orders``."""

    def __init__(self):
        self.booked = []
        self.known = {}

    async def handle(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(
                line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line
            )
            item = await reader.readexactly(int(fields["Content-Length"]))
            key = fields.get("Idempotency-Key")
            if key is None or key not in self.known:
                self.booked.append(item.decode())
                self.known[key] = len(self.booked)
            number = str(self.known[key] if key else len(self.booked)).encode()
            writer.write(
                b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(number) + number
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _try(item, headers):
    connection = http.client.HTTPConnection("shop", 80, timeout=2)
    try:
        connection.request("POST", "/orders", item, headers)
        return int(connection.getresponse().read())
    finally:
        connection.close()


def _persist(attempt, tries):
    for pause in range(tries):
        try:
            return attempt()
        except (OSError, http.client.HTTPException):
            time.sleep(pause)
    raise TimeoutError(f"no answer in {tries} tries")


def order_hastily(item, tries=10):
    """The bug: every try is an order of its own."""
    return _persist(lambda: _try(item, {}), tries)


def order(item, tries=10):
    """Every try is the same order."""
    key = str(uuid.uuid4())
    return _persist(lambda: _try(item, {"Idempotency-Key": key}), tries)
