# SPDX-License-Identifier: Apache-2.0
"""``capas mail``: send a mail through a host on a TAP or TUN (RFC 5321), by aiosmtplib."""

import mimetypes
import sys
import time
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import aiosmtplib
import click

from capas.cli.lookup import resolve
from capas.cli.options import (
    DeviceOptions,
    device_options,
    json_option,
    print_json,
    reason,
    reports_errors,
)
from capas.cli.station import Station
from capas.errors import CapasError
from capas.wire.address import text


@click.command()
@click.argument("recipients", nargs=-1, required=True, metavar="RECIPIENT...")
@click.option("--server", required=True, metavar="HOST[:PORT]", help="The mail server.")
@click.option("--from", "sender", default="capas@localhost", show_default=True, metavar="ADDRESS")
@click.option("-s", "--subject", default="", metavar="TEXT")
@click.option(
    "-b", "--body", default=None, metavar="TEXT", help="The text; else it is read from stdin."
)
@click.option(
    "-a", "--attach", multiple=True, metavar="FILE", help="Attach a file; once for each.",
    type=click.Path(exists=True, dir_okay=False, readable=True),
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(0.001), default=60.0, show_default=True, metavar="S",
    help="Seconds to wait for each answer.",
)  # fmt: skip
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    recipients: tuple[str, ...],
    server: str,
    sender: str,
    subject: str,
    body: str | None,
    attach: tuple[str, ...],
    timeout: float,
    as_json: bool,
) -> int:
    """Send a mail to each RECIPIENT by the given server."""
    host, port = _server(server)
    message = compose(sender, recipients, subject, body, attach)
    size = len(bytes(message))
    started = time.monotonic()

    async def main() -> dict[str, Any]:
        await station.usable()
        address = text(await resolve(station, host))
        return await _send(address, port, message, sender, recipients, timeout)

    with Station(options) as station:
        refused = station.run(main())
    accepted = [name for name in recipients if name not in refused["recipients"]]
    if as_json:
        print_json(
            {
                "ok": not refused["recipients"],
                "server": server,
                "bytes": size,
                "accepted": accepted,
                "refused": refused["recipients"],
                "answer": refused["answer"],
                "seconds": round(time.monotonic() - started, 3),
            }
        )
    else:
        click.echo(f"{size:,} bytes to {', '.join(accepted)}: {refused['answer']}")
        for name, why in refused["recipients"].items():
            click.echo(f"capas: {name} was refused: {why}", err=True)
    return 1 if refused["recipients"] else 0


def _server(server: str) -> tuple[str, int]:
    """(host, port) of HOST, HOST:PORT, [V6]:PORT or a bare IPv6 address."""
    host, port = server, "25"
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        port = rest.removeprefix(":") or "25"
    elif server.count(":") == 1:
        host, _, port = server.partition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65535:
        raise click.UsageError(f"--server {server!r}: say HOST, HOST:PORT or [ADDRESS6]:PORT")
    return host, int(port)


def compose(
    sender: str,
    recipients: tuple[str, ...],
    subject: str,
    body: str | None,
    attach: tuple[str, ...],
) -> EmailMessage:
    """The message (RFC 5322), with its attachments."""
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = ", ".join(recipients)
        message["Subject"] = subject
    except ValueError as error:
        raise click.UsageError(f"the header cannot be written: {error}") from None
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="capas.invalid")
    message.set_content(sys.stdin.read() if body is None else body)
    for name in attach:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        major, _, minor = kind.partition("/")
        message.add_attachment(
            Path(name).read_bytes(), maintype=major, subtype=minor, filename=Path(name).name
        )
    return message


async def _send(
    address: str,
    port: int,
    message: EmailMessage,
    sender: str,
    recipients: tuple[str, ...],
    timeout: float,
) -> dict[str, Any]:
    """Deliver; returns who was refused and the server's last word."""
    try:
        refused, answer = await aiosmtplib.send(
            message,
            sender=sender,
            recipients=list(recipients),
            hostname=address,
            port=port,
            timeout=timeout,
            local_hostname="capas.invalid",
            start_tls=None,
            validate_certs=False,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        told = "; ".join(f"{e.recipient}: {e.code} {e.message}" for e in error.recipients)
        raise CapasError(f"every recipient was refused: {told}") from None
    except aiosmtplib.SMTPResponseException as error:
        raise CapasError(f"the server says {error.code} {error.message}") from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise CapasError(f"{address} port {port}: {reason(error)}") from None
    told_refusals = {name: f"{code.code} {code.message}" for name, code in refused.items()}
    return {"recipients": told_refusals, "answer": answer}
