# SPDX-License-Identifier: Apache-2.0
"""The registry of well-known ports (IANA, RFC 6335), in the format of ``/etc/services``.

One line is ``name port/protocol [alias ...] [# comment]``.  The built-in table holds the services a
first user meets; `Registry.parse` reads a whole services file.  Ports are ints, protocols "tcp" or
"udp", names lower case as RFC 6335 §5.1 compares them.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, final

#: IANA, Service Name and Transport Protocol Port Number Registry (the common part).
TABLE: Final = """\
tcpmux          1/tcp                       # RFC 1078
echo            7/tcp                       # RFC 862
echo            7/udp
discard         9/tcp       sink null       # RFC 863
discard         9/udp       sink null
systat          11/tcp      users           # RFC 866
daytime         13/tcp                      # RFC 867
daytime         13/udp
qotd            17/tcp      quote           # RFC 865
qotd            17/udp      quote
chargen         19/tcp      ttytst source   # RFC 864
chargen         19/udp      ttytst source
ftp-data        20/tcp                      # RFC 959
ftp             21/tcp
ssh             22/tcp                      # RFC 4253
telnet          23/tcp                      # RFC 854
smtp            25/tcp      mail            # RFC 5321
time            37/tcp      timserver       # RFC 868
time            37/udp      timserver
whois           43/tcp      nicname         # RFC 3912
domain          53/tcp      dns             # RFC 1035
domain          53/udp      dns
bootps          67/udp                      # RFC 2131
bootpc          68/udp
tftp            69/udp                      # RFC 1350
gopher          70/tcp                      # RFC 1436
finger          79/tcp                      # RFC 1288
http            80/tcp      www             # RFC 9110
kerberos        88/tcp      kerberos5       # RFC 4120
kerberos        88/udp      kerberos5
pop3            110/tcp     pop-3           # RFC 1939
sunrpc          111/tcp     portmapper      # RFC 1833
sunrpc          111/udp     portmapper
auth            113/tcp     ident           # RFC 1413
nntp            119/tcp     readnews untp   # RFC 3977
ntp             123/udp                     # RFC 5905
imap            143/tcp     imap2           # RFC 9051
snmp            161/udp                     # RFC 3411
snmptrap        162/udp     snmp-trap
bgp             179/tcp                     # RFC 4271
irc             194/tcp                     # RFC 1459
ldap            389/tcp                     # RFC 4511
https           443/tcp                     # RFC 9110
https           443/udp                     # RFC 9114 (QUIC)
submissions     465/tcp     smtps           # RFC 8314
syslog          514/udp                     # RFC 5426
rip             520/udp     router          # RFC 2453
ripng           521/udp                     # RFC 2080
dhcpv6-client   546/udp                     # RFC 9915
dhcpv6-server   547/udp
submission      587/tcp     msa             # RFC 6409
ldaps           636/tcp                     # RFC 4511
domain-s        853/tcp                     # RFC 7858
domain-s        853/udp                     # RFC 9250
imaps           993/tcp                     # RFC 8314
pop3s           995/tcp     pop-3s          # RFC 8314
socks           1080/tcp                    # RFC 1928
radius          1812/udp                    # RFC 2865
mqtt            1883/tcp                    # OASIS MQTT
nfs             2049/tcp                    # RFC 7530
mysql           3306/tcp
rdp             3389/tcp    ms-wbt-server
stun            3478/udp                    # RFC 8489
stun            3478/tcp
sip             5060/udp                    # RFC 3261
sip             5060/tcp
xmpp-client     5222/tcp    jabber-client   # RFC 6120
mdns            5353/udp                    # RFC 6762
llmnr           5355/udp                    # RFC 4795
postgresql      5432/tcp    postgres
amqp            5672/tcp
redis           6379/tcp
http-alt        8080/tcp    webcache http-proxy
"""


class ServiceEntry(NamedTuple):
    """One line of a services file."""

    name: str
    port: int
    protocol: str
    aliases: tuple[str, ...] = ()


def parse_line(line: str) -> ServiceEntry | None:
    """The entry on one line; None if there is none or it is malformed."""
    words = line.partition("#")[0].split()
    if len(words) < 2:
        return None
    number, slash, protocol = words[1].partition("/")
    if not slash or not protocol or not (number.isascii() and number.isdigit()):
        return None
    port = int(number) if len(number) <= 5 else -1
    if not 0 <= port <= 65_535:
        return None
    aliases = tuple(word.lower() for word in words[2:])
    return ServiceEntry(words[0].lower(), port, protocol.lower(), aliases)


@final
class Registry:
    """Names and ports, looked up both ways; the first entry of a pair wins, as in glibc."""

    def __init__(self, entries: Iterable[ServiceEntry] = ()) -> None:
        self._by_name: dict[tuple[str, str], ServiceEntry] = {}
        self._by_port: dict[tuple[int, str], ServiceEntry] = {}
        for entry in entries:
            self.add(entry)

    @staticmethod
    def parse(text: str) -> "Registry":
        """Of the text of a services file; malformed lines are skipped, as every reader does."""
        return Registry(e for e in map(parse_line, text.splitlines()) if e is not None)

    def add(self, entry: ServiceEntry) -> None:
        """Register ``entry`` under its name and aliases."""
        for name in (entry.name, *entry.aliases):
            self._by_name.setdefault((name, entry.protocol), entry)
        self._by_port.setdefault((entry.port, entry.protocol), entry)

    def port(self, name: str, protocol: str = "tcp") -> int | None:
        """The port of ``name`` (or of a decimal number), None if unknown."""
        if name.isascii() and name.isdigit():
            number = int(name) if len(name) <= 5 else 65_536
            return number if number <= 65_535 else None
        entry = self._by_name.get((name.lower(), protocol))
        return None if entry is None else entry.port

    def name(self, port: int, protocol: str = "tcp") -> str | None:
        """The name registered for ``port``, None if there is none."""
        entry = self._by_port.get((port, protocol))
        return None if entry is None else entry.name

    def label(self, port: int, protocol: str = "tcp") -> str:
        """Such as "80 (http)" or "40000": for people."""
        name = self.name(port, protocol)
        return str(port) if name is None else f"{port} ({name})"

    def __iter__(self) -> Iterator[ServiceEntry]:
        return iter(self._by_port.values())

    def __len__(self) -> int:
        return len(self._by_port)

    def format(self) -> str:
        """The registry as a services file."""
        lines = []
        for entry in self:
            pair = f"{entry.port}/{entry.protocol}"
            lines.append(f"{entry.name:<15} {pair:<11} {' '.join(entry.aliases)}".rstrip())
        return "\n".join(lines) + "\n"


#: The built-in registry.
WELL_KNOWN: Final = Registry.parse(TABLE)
