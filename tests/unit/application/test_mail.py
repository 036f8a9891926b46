# SPDX-License-Identifier: Apache-2.0
"""The mail server, on the standard loop and the loopback interface."""

import asyncio
import mailbox
from collections.abc import Callable, Coroutine
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiosmtpd", reason="needs aiosmtpd: pip install 'capas[tools]'")
aiosmtplib = pytest.importorskip(
    "aiosmtplib", reason="needs aiosmtplib: pip install 'capas[tools]'"
)

from capas.application import mail  # noqa: E402

HERE = ("127.0.0.1",)


def letter(size: int = 1000) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "ann@a.test", "bob@b.test"
    message["Subject"] = "Grüße"
    message.set_content(".a line that begins with a dot\n\n..two\n")
    message.add_attachment(bytes(size), maintype="application", subtype="octet-stream")
    message.set_boundary("----boundary")
    return message


def serve(store: mail.Store, body: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with await mail.start(0, HERE, store=store, wall=None) as service:
            client = aiosmtplib.SMTP(
                hostname="127.0.0.1",
                port=service.port,
                use_tls=False,
                start_tls=False,
                local_hostname="c.test",
            )
            async with asyncio.timeout(20):
                async with client:
                    await body(client)

    asyncio.run(main())


@pytest.mark.rfc("5321", "4.5.2")
def test_mail_arrives_byte_for_byte() -> None:
    store = mail.MemoryStore()
    message = letter(100_000)

    async def body(client: Any) -> None:
        errors, text = await client.send_message(message)
        assert errors == {}
        assert "bytes" in text

    serve(store, body)
    (delivered,) = store.messages
    assert (delivered.sender, delivered.recipients) == ("ann@a.test", ("bob@b.test",))
    sent = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    assert delivered.content == sent


def test_a_maildir_gets_the_trace_headers(tmp_path: Path) -> None:
    async def body(client: Any) -> None:
        await client.send_message(letter())

    serve(mail.MaildirStore(tmp_path / "box"), body)
    (found,) = mailbox.Maildir(str(tmp_path / "box"), create=False)
    assert found["Return-Path"] == "<ann@a.test>"
    assert "from c.test ([127.0.0.1])" in found["Received"]
    assert "with ESMTP" in found["Received"]
    (new,) = (tmp_path / "box" / "new").iterdir()
    assert b"\r" not in new.read_bytes()


def test_a_full_mailbox_says_so() -> None:
    async def body(client: Any) -> None:
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await client.send_message(letter())
        assert caught.value.code == 452

    serve(mail.MemoryStore(limit=0), body)


def test_a_mail_too_large_is_refused_before_it_is_sent() -> None:
    async def body(client: Any) -> None:
        await client.ehlo()
        assert client.esmtp_extensions["size"] == str(mail.SIZE_LIMIT)
        with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
            await client.mail("a@a.test", options=[f"SIZE={mail.SIZE_LIMIT + 1}"])
        assert caught.value.code == 552

    serve(mail.MemoryStore(), body)


def test_too_many_recipients_are_refused() -> None:
    async def body(client: Any) -> None:
        await client.ehlo()
        await client.mail("a@a.test")
        with pytest.raises(aiosmtplib.SMTPRecipientRefused) as caught:
            for n in range(mail.RECIPIENT_LIMIT + 1):
                await client.rcpt(f"v{n}@b.test")
        assert caught.value.code == 452

    serve(mail.MemoryStore(), body)


def test_a_file_is_no_maildir(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="a Maildir is a directory"):
        mail.MaildirStore(tmp_path / "file")
