# SPDX-License-Identifier: Apache-2.0
"""The command group: names and one-line helps here, the commands imported when they are used."""

from importlib import import_module
from typing import Final

import click

from capas import __version__

#: name -> (module in capas.cli that holds the click command ``command``, one-line help).
COMMANDS: Final = {
    "demo": ("demo", "An internet in this process: DNS, web, mail, ping and traceroute."),
    "up": ("up", "A host in real time on a TAP or TUN, serving until it is interrupted."),
    "run": ("run", "A world described in a TOML file, in virtual or real time."),
    "ping": ("ping", "Echo requests from a host on a TAP or TUN."),
    "traceroute": ("traceroute", "The routers on the way from a host on a TAP or TUN."),
    "get": ("get", "Fetch a URL through a host on a TAP or TUN."),
    "nc": ("nc", "Connect standard input and output to a TCP or UDP port."),
    "mail": ("mail", "Send a mail through a host on a TAP or TUN."),
    "dig": ("dig", "Ask a name server through a host on a TAP or TUN."),
    "iperf": ("iperf", "Measure throughput to, or as, an iperf3 server."),
    "ss": ("ss", "The sockets of a running `capas up`."),
    "ip": ("ip", "Addresses, links, routes and neighbours of a running `capas up`."),
    "tcpdump": ("tcpdump", "Packets of a running `capas up`, or of a capture file, in lines."),
    "services": ("ports", "The registry of well-known ports."),
    "bench": ("bench", "How fast, beside what one would use instead; in one run."),
    "sweep": ("sweep", "A test under many seeds, over processes or a Dask cluster."),
    "conformance": ("conformance", "packetdrill scripts against this stack, in virtual time."),
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"capas.cli.{COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the names there are in the error."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}; there are: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage.  `capas COMMAND --help` tells more.",
)
@click.version_option(__version__, "--version", "-V", prog_name="capas")
def capas() -> None:
    """TCP/IP in Python: hosts, routers and links in virtual time, or beside the kernel.

    Start with `capas demo`: it brings an internet up in this process and shows what happens in it.
    `capas up` and the client commands put one host on a TAP or TUN device; they need root or the
    capability CAP_NET_ADMIN.
    """
