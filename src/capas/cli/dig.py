# SPDX-License-Identifier: Apache-2.0
"""``capas dig``: ask a name server (RFC 1034, RFC 1035), by dnspython; output as dig's."""

import asyncio
import os
import time
from typing import Any

import click
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.reversename

from capas.application.resolver import StubResolver
from capas.base.rng import Rng
from capas.cli.lookup import resolve
from capas.cli.options import (
    DeviceOptions,
    device_options,
    json_option,
    print_json,
    reports_errors,
)
from capas.cli.station import Station
from capas.errors import CapasError
from capas.wire.address import text


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[@SERVER] NAME [TYPE]")
@click.option("-p", "--port", type=click.IntRange(1, 65535), default=53, show_default=True)
@click.option("-x", "--reverse", is_flag=True, help="NAME is an address: ask for its name.")
@click.option("--short", is_flag=True, help="Only the answers' data.")
@click.option(
    "--timeout", type=click.FloatRange(0.001), default=3.0, show_default=True, metavar="S",
    help="Seconds to wait for the first try; each later one waits twice as long.",
)  # fmt: skip
@click.option("--tries", type=click.IntRange(1), default=3, show_default=True)
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    words: tuple[str, ...],
    port: int,
    reverse: bool,
    short: bool,
    timeout: float,
    tries: int,
    as_json: bool,
) -> int:
    """Ask @SERVER (else --nameserver) for the records of NAME; TYPE is A unless said."""
    server, name, kind = _parse(words, reverse)

    async def main() -> tuple[dns.message.Message, str, float]:
        await station.usable()
        if server is not None:
            address = text(await resolve(station, server))
        elif station.host.nameservers:
            address = text(station.host.nameservers[0])
        else:
            raise CapasError("no name server: say @ADDRESS or --nameserver ADDRESS")
        rng = Rng(os.urandom(16))
        resolver = StubResolver([address], rng, timeout=timeout, attempts=tries, port=port)
        started = asyncio.get_running_loop().time()
        answer = await resolver.query(name, kind)
        return answer, address, asyncio.get_running_loop().time() - started

    with Station(options) as station:
        answer, address, seconds = station.run(main())
    if as_json:
        print_json(_as_json(answer, address, port, seconds))
    elif short:
        for rrset in answer.answer:
            for record in rrset:
                click.echo(record.to_text())
    else:
        _print(answer, words, address, port, seconds)
    return 0 if answer.rcode() == dns.rcode.NOERROR else 1


def _parse(words: tuple[str, ...], reverse: bool) -> tuple[str | None, str, str]:
    """(server, name, type) of the words, in any order as dig takes them."""
    server: str | None = None
    name: str | None = None
    kind = "PTR" if reverse else "A"
    for word in words:
        if word.startswith("@"):
            server = word[1:]
        elif name is None:
            name = word
        else:
            kind = word.upper()
    if name is None:
        raise click.UsageError("say the NAME to ask for")
    try:
        dns.rdatatype.from_text(kind)
        if reverse:
            name = dns.reversename.from_address(name).to_text()
        dns.name.from_text(name)
    except dns.rdatatype.UnknownRdatatype:
        raise click.UsageError(f"{kind!r} is not a record type such as A, AAAA or MX") from None
    except (dns.exception.DNSException, ValueError) as error:
        raise click.UsageError(f"{name!r}: {error}") from None
    return server, name, kind


def _sections(answer: dns.message.Message) -> dict[str, list[Any]]:
    return {
        "ANSWER": answer.answer,
        "AUTHORITY": answer.authority,
        "ADDITIONAL": answer.additional,
    }


def _print(
    answer: dns.message.Message, words: tuple[str, ...], address: str, port: int, seconds: float
) -> None:
    click.echo(f"\n; <<>> capas dig <<>> {' '.join(words)}")
    click.echo(";; Got answer:")
    click.echo(
        f";; ->>HEADER<<- opcode: {dns.opcode.to_text(answer.opcode())},"
        f" status: {dns.rcode.to_text(answer.rcode())}, id: {answer.id}"
    )
    flags = " ".join(dns.flags.to_text(answer.flags).lower().split())
    counts = {"QUERY": len(answer.question)}
    for title, rrsets in _sections(answer).items():
        counts[title] = sum(len(rrset) for rrset in rrsets)
    counts["ADDITIONAL"] += answer.edns >= 0
    told = ", ".join(f"{title}: {n}" for title, n in counts.items())
    click.echo(f";; flags: {flags}; {told}")
    if answer.edns >= 0:
        click.echo("\n;; OPT PSEUDOSECTION:")
        click.echo(f"; EDNS: version: {answer.edns}, flags:; udp: {answer.payload}")
    click.echo("\n;; QUESTION SECTION:" if answer.question else "")
    for question in answer.question:
        kind = dns.rdatatype.to_text(question.rdtype)
        click.echo(f";{question.name}\t\tIN\t{kind}")
    for title, rrsets in _sections(answer).items():
        if rrsets:
            click.echo(f"\n;; {title} SECTION:")
            for rrset in rrsets:
                kind = dns.rdatatype.to_text(rrset.rdtype)
                for record in rrset:
                    click.echo(f"{rrset.name}\t{rrset.ttl}\tIN\t{kind}\t{record.to_text()}")
    click.echo(f"\n;; Query time: {seconds * 1000:.0f} msec")
    click.echo(f";; SERVER: {address}#{port}")
    click.echo(f";; WHEN: {time.strftime('%a %b %d %H:%M:%S UTC %Y', time.gmtime())}")
    click.echo(f";; MSG SIZE  rcvd: {len(answer.to_wire())}\n")


def _as_json(
    answer: dns.message.Message, address: str, port: int, seconds: float
) -> dict[str, Any]:
    return {
        "ok": answer.rcode() == dns.rcode.NOERROR,
        "status": dns.rcode.to_text(answer.rcode()),
        "flags": dns.flags.to_text(answer.flags).lower().split(),
        "server": address,
        "port": port,
        "query_ms": round(seconds * 1000, 3),
        **{
            title.lower(): [
                {
                    "name": rrset.name.to_text(),
                    "ttl": rrset.ttl,
                    "type": dns.rdatatype.to_text(rrset.rdtype),
                    "data": record.to_text(),
                }
                for rrset in rrsets
                for record in rrset
            ]
            for title, rrsets in _sections(answer).items()
        },
    }
