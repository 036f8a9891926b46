# SPDX-License-Identifier: Apache-2.0
"""Programs of the kernel's side that run inside the namespace: ``python -m ... peers ROLE ...``.

They use the standard library and Python's own sockets and event loop only (the servers are capas's
application layer on the standard loop).
"""

import asyncio
import hashlib
import smtplib
import socket
import sys
import time
from email.message import EmailMessage


async def _fetch(host: str, port: int, path: str, gate: asyncio.Semaphore) -> str:
    async with gate:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = await reader.read(-1)
        writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:80]
    return hashlib.sha256(body).hexdigest()


async def concurrent(host: str, path: str, count: str, wanted: str) -> None:
    """``count`` connections at once; each must bring what has the hash ``wanted``."""
    gate = asyncio.Semaphore(int(count))
    hashes = await asyncio.gather(*(_fetch(host, 80, path, gate) for _ in range(int(count))))
    assert hashes == [wanted] * int(count)
    print("ok", len(hashes))


async def held(host: str, count: str) -> None:
    """``count`` echo connections open at the same time, each with its own bytes."""
    pairs = await asyncio.gather(*(asyncio.open_connection(host, 7) for _ in range(int(count))))
    for i, (_, writer) in enumerate(pairs):
        writer.write(f"{i:05d}".encode() * 200)
    for i, (reader, writer) in enumerate(pairs):
        assert await reader.readexactly(1000) == f"{i:05d}".encode() * 200
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in pairs))
    print("ok", len(pairs))


async def small(host: str) -> None:
    """Echo, discard, daytime and chargen over TCP and UDP."""
    reader, writer = await asyncio.open_connection(host, 13)
    assert b"-UTC\r\n" in await reader.read(-1)
    writer.close()
    reader, writer = await asyncio.open_connection(host, 19)
    assert len(await reader.readexactly(200_000)) == 200_000
    writer.close()
    reader, writer = await asyncio.open_connection(host, 9)
    writer.write(bytes(500_000))
    await writer.drain()
    writer.write_eof()
    assert await reader.read(-1) == b""
    writer.close()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        for size in (1, 1000, 1472, 9000):
            payload = bytes(i & 0xFF for i in range(size))
            for _ in range(40):  # datagrams may be lost
                udp.sendto(payload, (host, 7))
                try:
                    if udp.recv(65_535) == payload:
                        break
                except TimeoutError:
                    continue
            else:
                raise AssertionError(f"no echo of {size} bytes")
    print("ok")


async def asks(host: str, port: str) -> None:
    """Say hello in a datagram until somebody answers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        while True:  # the first may come before the port is open
            udp.sendto(b"hello\n", (host, int(port)))
            try:
                print(udp.recv(1000).decode(), end="")
                return
            except TimeoutError:
                continue


async def mail(host: str, size: str, recipient: str) -> None:
    """Deliver by smtplib."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", recipient, "interop"
    message.set_content("text\n.\n..dots\n")
    message.add_attachment(bytes(int(size)), maintype="application", subtype="octet-stream")
    with smtplib.SMTP(host, 25, timeout=60) as client:
        assert client.send_message(message) == {}
    print("ok")


async def serve_mail(directory: str) -> None:
    from capas.application.mail import MaildirStore, start

    await start(25, store=MaildirStore(directory))
    print("up", flush=True)
    await asyncio.Event().wait()


async def serve_web(port: str) -> None:
    from capas.application.web import start

    await start(int(port))
    print("up", flush=True)
    await asyncio.Event().wait()


async def serve_names() -> None:
    from capas.application.names import start

    await start({"web.test": {"A": "10.99.0.1", "AAAA": "fd99::1"}, "big.test": {
        "TXT": ['"' + "x" * 200 + '"' for _ in range(1, 2)]}})  # fmt: skip
    print("up", flush=True)
    await asyncio.Event().wait()


async def refused(host: str, port: str) -> None:
    """A closed port is refused at once."""
    started = time.monotonic()
    try:
        await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        print("ok" if time.monotonic() - started < 10 else "late")  # giving up takes minutes


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
