# SPDX-License-Identifier: Apache-2.0
"""Names and addresses for the client commands."""

import asyncio
import re
import socket
from typing import Final

from capas.cli.station import Station
from capas.errors import CapasError, ConfigurationError
from capas.wire.address import parse, text

#: What no name is: with colons, or with a last label of digits (RFC 1123 §2.1).
_NO_NAME: Final = re.compile(r".*:.*|(.*\.)?[0-9]+\.?|")


async def resolve(station: Station, name: str, family: int = 0) -> bytes:
    """The packed address of ``name`` (an address, a known name, or one a name server knows).

    ``family``  4 or 6: only that; 0: any that the host has an address of, IPv4 first.

    An address that no route leads to is an error that says what to do.
    """
    try:
        address = parse(name)
    except ValueError:
        pass
    else:
        if family and len(address) != (4 if family == 4 else 16):
            raise CapasError(f"{name} is not an IPv{family} address")
        reachable(station, address)
        return address
    if _NO_NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is neither an address nor a name")
    wanted = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
    loop = asyncio.get_running_loop()
    if not station.host.nameservers and name not in station.host.names and name != "localhost":
        raise CapasError(f"{name} is a name: say who knows it with --nameserver ADDRESS")
    try:
        found = await loop.getaddrinfo(name, None, family=wanted, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        servers = ", ".join(text(server) for server in station.host.nameservers)
        asked = f" (asked {servers})" if servers else ""
        raise CapasError(f"{name} does not resolve: {error.strerror}{asked}") from None
    packed = [parse(str(entry[4][0])) for entry in found]
    have = {len(own.address) for own in station.interface.addresses}
    usable = [address for address in packed if len(address) in have] or packed
    usable.sort(key=len)
    reachable(station, usable[0])
    return usable[0]


def reachable(station: Station, address: bytes) -> None:
    """Raise `CapasError` if the host has no way to ``address``, or no address to send from."""
    net = station.host.net
    route = net.route(address)
    if route is None or net.source(address, route) is None:
        raise CapasError(
            f"{text(address)}: network is unreachable: no --address is in that network, and no"
            " --gateway leads there"
        )


def literal(address: bytes) -> str:
    """An address as it stands in a URL."""
    return text(address) if len(address) == 4 else f"[{text(address)}]"
