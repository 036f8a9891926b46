# SPDX-License-Identifier: Apache-2.0
"""Service names that getaddrinfo knows without asking this machine (IANA, RFC 6335).

The short list keeps worlds the same everywhere; `capas.application.services` has the long one and
puts it in place by `use`.
"""

from typing import Final

_TABLE: Final = {
    "echo": 7,
    "discard": 9,
    "daytime": 13,
    "chargen": 19,
    "ftp-data": 20,
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "time": 37,
    "domain": 53,
    "tftp": 69,
    "gopher": 70,
    "finger": 79,
    "http": 80,
    "kerberos": 88,
    "pop3": 110,
    "nntp": 119,
    "ntp": 123,
    "imap": 143,
    "imap2": 143,
    "snmp": 161,
    "irc": 194,
    "ldap": 389,
    "https": 443,
    "submissions": 465,
    "syslog": 514,
    "submission": 587,
    "ldaps": 636,
    "imaps": 993,
    "pop3s": 995,
    "mysql": 3306,
    "sip": 5060,
    "postgresql": 5432,
    "redis": 6379,
    "http-alt": 8080,
}

_ports: dict[tuple[str, str], int] = {}
_names: dict[tuple[int, str], str] = {}


def use(name: str, port: int, protocol: str, *aliases: str) -> None:
    """Register a service; the first registration of a name or port stands."""
    for word in (name, *aliases):
        _ports.setdefault((word, protocol), port)
    _names.setdefault((port, protocol), name)


for _name, _number in _TABLE.items():
    for _protocol in ("tcp", "udp"):
        use(_name, _number, _protocol)


def port_of(name: str, protocol: str) -> int | None:
    """The port of a service; None if unknown."""
    return _ports.get((name, protocol))


def service_of(port: int, protocol: str) -> str | None:
    """The service on a port; None if unknown."""
    return _names.get((port, protocol))
