# SPDX-License-Identifier: Apache-2.0
"""``capas services``: the registry of well-known ports, looked up or printed whole."""

import json

import click

from capas.application.services import WELL_KNOWN, ServiceEntry


def _matches(entry: ServiceEntry, word: str) -> bool:
    return word.lower() in (entry.name, *entry.aliases) or word == str(entry.port)


@click.command()
@click.argument("word", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(word: str | None, as_json: bool) -> int:
    """Print the services called WORD (a name, an alias or a port number), or all of them."""
    entries = [e for e in WELL_KNOWN if word is None or _matches(e, word)]
    if as_json:
        rows = [entry._asdict() for entry in entries]
        click.echo(json.dumps({"services": rows}))
    elif entries:
        for entry in entries:
            pair = f"{entry.port}/{entry.protocol}"
            click.echo(f"{entry.name:<15} {pair:<10} {' '.join(entry.aliases)}".rstrip())
    else:
        click.echo(f"capas: no well-known service is called {word!r}", err=True)
    return 0 if entries else 1
