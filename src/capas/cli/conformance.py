# SPDX-License-Identifier: Apache-2.0
"""``capas conformance``: packetdrill scripts against this stack, in virtual time."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from capas.conformance.suite import (
    ERROR,
    FAIL,
    NOT_APPLICABLE,
    PASS,
    VERSIONS,
    Verdict,
    check_all,
    find,
    summary,
)
from capas.errors import ConfigurationError
from capas.host.profiles import PROFILES

_COLUMNS: Final = (PASS, FAIL, NOT_APPLICABLE, ERROR)


def _defines(context: click.Context, parameter: click.Parameter, value: Any) -> dict[str, str]:
    out: dict[str, str] = {}
    for item in value:
        name, equals, replacement = item.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{item!r} is not NAME=VALUE")
        out[name] = replacement
    return out


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH...",
)
@click.option(
    "--profile",
    type=click.Choice(tuple(PROFILES)),
    default="linux",
    show_default=True,
    help="The stack whose manners the host has.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=None, help="Processes.  [default: one per CPU]"
)
@click.option("--ip", type=click.Choice(VERSIONS), help="Only this IP version.")
@click.option(
    "--define", "-D", "defines", multiple=True, callback=_defines, metavar="NAME=VALUE",
    help="Replace a word in the scripts.",
)  # fmt: skip
@click.option(
    "--pcap-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Write each exchange into this folder, as pcapng.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    paths: tuple[Path, ...],
    profile: str,
    jobs: int | None,
    ip: str | None,
    defines: dict[str, str],
    pcap_dir: Path | None,
    as_json: bool,
) -> int:
    """Run packetdrill scripts (.pkt files, or folders of them) against this stack.

    No root, no kernel, no packetdrill: each script gets a host of its own in virtual time.  Both
    dialects are understood, Google's and the one of the FreeBSD suite.  Verdicts are pass, fail,
    not-applicable (the script needs what a user-space stack has no counterpart for) and error (the
    script is bad).  The scripts' %{ Python }% runs as Python: use scripts you trust.

    Exit code: 0 if nothing failed, 1 otherwise, 2 if there is a bad script or nothing to run.
    """
    scripts = find(paths)
    if not scripts:
        raise ConfigurationError(f"no .pkt files in {', '.join(map(str, paths))}")
    console = Console(stderr=True)
    verdicts: list[Verdict] = []
    workers = jobs or os.cpu_count() or 1
    with console.status("") as status:
        for verdict in check_all(scripts, profile, workers, ip or "", defines, pcap_dir):
            verdicts.append(verdict)
            status.update(f"{len(verdicts)} of {len(scripts)} scripts")
            if not as_json:
                _report(verdict)
    counts = summary(verdicts)
    if as_json:
        json.dump(
            {"profile": profile, "scripts": [v.as_dict() for v in verdicts], "summary": counts},
            sys.stdout,
            indent=1,
        )
        sys.stdout.write("\n")
    else:
        _table(counts)
    if counts["total"][ERROR]:
        return 2
    return 1 if counts["total"][FAIL] else 0


def _report(verdict: Verdict) -> None:
    if verdict.verdict == PASS:
        return
    where = f"{verdict.path}:{verdict.line}" if verdict.line else verdict.path
    version = f" [{verdict.version}]" if verdict.version else ""
    click.echo(f"{verdict.verdict}: {where}{version}: {verdict.reason}")
    if verdict.expected or verdict.seen:
        click.echo(f"    expected  {verdict.expected}")
        click.echo(f"    seen      {verdict.seen}")
    for setting in verdict.unknown_settings:
        click.echo(f"    unknown setting {setting}")


def _table(counts: dict[str, dict[str, int]]) -> None:
    table = Table("category", *_COLUMNS)
    for category, row in counts.items():
        if category == "total":
            table.add_section()
        table.add_row(category, *(str(row[column]) for column in _COLUMNS))
    Console().print(table)
