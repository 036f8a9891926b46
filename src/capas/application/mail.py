# SPDX-License-Identifier: Apache-2.0
"""A mail server on port 25 (RFC 5321), by aiosmtpd, delivering to a Maildir or to memory.

It is a final destination: every recipient is local and nothing is relayed.  aiosmtpd's protocol
runs directly under ``loop.create_server``; its Controller would start a thread with its own loop.
Limits: `SIZE_LIMIT` bytes a message (announced by SIZE, RFC 1870), `RECIPIENT_LIMIT` recipients
(RFC 5321 §4.5.3.1.8 wants at least 100), `MEMORY_LIMIT` messages in memory.
"""

import asyncio
import mailbox
import os
from collections.abc import Callable, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from aiosmtpd.smtp import SMTP, Envelope, Session

from capas.application.serving import ANY, Service, listen_tcp

PORT: Final = 25
SIZE_LIMIT: Final = 64 << 20  # bytes
RECIPIENT_LIMIT: Final = 1000
MEMORY_LIMIT: Final = 10_000  # messages
IDLE: Final = 300  # seconds without a command, RFC 5321 §4.5.3.2.7


class Message(NamedTuple):
    """A delivered mail: the envelope, and ``content`` exactly as it came after DATA."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Store(Protocol):
    """Where mail goes; `deliver` raises OSError when there is no room."""

    def deliver(self, message: Message, trace: bytes) -> None:
        """Keep ``message``; ``trace`` are the header lines of RFC 5321 §4.4 to put before it."""


class MemoryStore:
    """Keeps mail in a list."""

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self.messages: list[Message] = []
        self.limit = limit

    def deliver(self, message: Message, trace: bytes) -> None:
        """Append, unless the list is full."""
        if len(self.messages) >= self.limit:
            raise OSError("the mailbox is full")
        self.messages.append(message)


class MaildirStore:
    """Keeps mail in a Maildir, created if it is not there."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{str(path)!r} is a file; a Maildir is a directory")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._box = mailbox.Maildir(os.fspath(self.path), create=True)

    def deliver(self, message: Message, trace: bytes) -> None:
        """Write into ``new``, lines ending as the system's own do."""
        content = (trace + message.content).replace(b"\r\n", b"\n")
        self._box.add(content)


class _Handler:
    """aiosmtpd's hooks."""

    def __init__(self, store: Store, hostname: str, wall: Callable[[], float] | None) -> None:
        self._store = store
        self._hostname = hostname
        self._wall = wall

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """One more recipient."""
        if len(envelope.rcpt_tos) >= RECIPIENT_LIMIT:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """The whole message has come: deliver it before saying so (RFC 5321 §4.2.5)."""
        content = envelope.original_content or b""
        message = Message(envelope.mail_from or "", tuple(envelope.rcpt_tos), content)
        try:
            self._store.deliver(message, self._trace(session, message))
        except OSError:
            return "452 4.2.2 Insufficient system storage"
        return f"250 OK, {len(content)} bytes"

    def _trace(self, session: Session, message: Message) -> bytes:
        peer = session.peer[0] if isinstance(session.peer, tuple) else "?"
        kind = "ESMTP" if session.extended_smtp else "SMTP"
        date = "" if self._wall is None else f"; {formatdate(self._wall())}"
        helo = str(session.host_name or "unknown")
        return (
            f"Return-Path: <{message.sender}>\r\n"
            f"Received: from {helo} ([{peer}])\r\n\tby {self._hostname} with {kind}{date}\r\n"
        ).encode("utf-8", "replace")


async def start(
    port: int = PORT,
    addresses: Sequence[str] = ANY,
    *,
    store: Store | None = None,
    hostname: str = "mail.capas.test",
    tls: Any = None,
    wall: Callable[[], float] | None = None,
) -> Service:
    """Serve mail into ``store`` (memory if None); ``tls``: an SSLContext that enables STARTTLS."""
    handler = _Handler(store if store is not None else MemoryStore(), hostname, wall)
    loop = asyncio.get_running_loop()
    service = Service("smtp", port)

    def factory() -> SMTP:
        return SMTP(
            handler,
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident="capas",
            tls_context=tls,
            timeout=IDLE,
            loop=loop,
        )

    await listen_tcp(service, factory, port, addresses)
    return service
