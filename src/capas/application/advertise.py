# SPDX-License-Identifier: Apache-2.0
"""Router advertisements as a service: hosts of a link configure themselves (RFC 4861, RFC 8106).

    service = await advertise.start("dns=2001:db8::53,lifetime=600")

On every Ethernet interface of the current host that has an IPv6 prefix of its own, that prefix is
advertised.  A host that does not forward is no router and says so: its lifetime is 0.
"""

from typing import Final

from capas.application.serving import Service
from capas.errors import ConfigurationError
from capas.internet.ra_sender import RaConfig, RaSender
from capas.sockets.current import require_host
from capas.sockets.driver import driver_of
from capas.wire.address import is_link_local, parse

LONGEST: Final = 9000  # s, AdvDefaultLifetime of RFC 4861 §6.2.1


def configuration(words: str, *, router: bool) -> RaConfig:
    """Of "[dns=A][,domain=D][,mtu=N][,lifetime=S]"; ConfigurationError says what cannot be."""
    config = RaConfig(lifetime=1800 if router else 0)
    for word in filter(None, words.split(",")):
        key, _, value = word.strip().partition("=")
        try:
            if key == "dns":
                config.rdnss.append(parse(value))
                if len(config.rdnss[-1]) != 16:
                    raise ValueError(f"{value} is not an IPv6 address")
            elif key == "domain" and value:
                config.dnssl.append(value)
            elif key == "mtu":
                config.mtu = int(value)
            elif key == "lifetime":
                config.lifetime = int(value)
                if not 0 <= config.lifetime <= LONGEST:
                    raise ValueError(f"a lifetime of {value} s is not 0 to {LONGEST} s")
            else:
                raise ValueError(f"{key!r} is none of dns, domain, mtu, lifetime")
        except ValueError as error:
            raise ConfigurationError(f"router advertisements {words!r}: {error}") from None
    return config


async def start(words: str = "") -> Service:
    """Advertise until the service is closed, which tells the hosts."""
    host = require_host()
    driver = driver_of(host)
    config = configuration(words, router=host.config.forwarding)
    cards = [
        interface
        for interface in host.interfaces
        if interface.ethernet
        and any(len(a.address) == 16 and not is_link_local(a.address) for a in interface.addresses)
    ]
    if not cards:
        raise ConfigurationError(f"host {host.name!r} has no IPv6 prefix to advertise")
    service = Service("ra", 0)
    senders: list[RaSender] = [host.nd.advertise(c, config, driver.now()) for c in cards]
    driver.kick(host)

    def close() -> None:
        for sender in senders:
            sender.stop(driver.now())
        driver.kick(host)

    service.closers.append(close)
    return service
