# SPDX-License-Identifier: Apache-2.0
"""Worlds described in TOML: hosts, switches, routers, links with impairments, servers.

    seed = 7

    [hosts.client]
    nameservers = ["dns"]            # by name of host, or addresses

    [hosts.web]
    serve = ["http:80=site", "echo"]

    [hosts.guest]
    addresses = ["dhcp"]             # of a host with serve = ["dhcp=10.0.0.100-10.0.0.199"]

    [routers.r1]
    [switches.lan]

    [[links]]
    between = ["client", "r1"]
    rate = "10Mbit"
    delay = "20ms"
    up = { loss = "2%" }             # from the first to the second; down: back

    [taps.capas0]                    # with --real-time: a cable from the kernel into the world
    to = "lan"
    kernel-address = ["10.0.0.200/24"]

`read` checks everything that can be checked without building; what is wrong raises
`ConfigurationError` naming the file, the table and the key.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from capas.base.config import HostConfig
from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.sim.links import LinkSettings
from capas.sim.world import World
from capas.wire.address import parse, parse_interface

_TOP: Final = ("seed", "until", "hosts", "routers", "switches", "links", "taps", "names")
_HOST: Final = ("addresses", "routes", "nameservers", "serve", "settings")
_LINK: Final = ("between", "mtu", "overhead", "up", "down", "addresses")
_TAP: Final = ("to", "kernel-address", "mtu")
_SETTINGS: Final = tuple(one.name for one in fields(LinkSettings))
_CONFIG: Final = {one.name: one.type for one in fields(HostConfig)}


@dataclass(slots=True)
class Tap:
    """A TAP device whose cable ends in the world."""

    name: str
    to: str
    kernel_address: list[str]
    mtu: int = 1500


@dataclass(slots=True)
class WorldFile:
    """What a file says; `build` makes the world."""

    path: Path
    seed: int | str = 0
    until: float | str | None = None
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    routers: dict[str, dict[str, Any]] = field(default_factory=dict)
    switches: list[str] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    taps: list[Tap] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def build(self, world: World) -> World:
        """Make everything in ``world``, which has the file's seed."""
        for names, forwarding in ((self.hosts, False), (self.routers, True)):
            for name, table in names.items():
                world.host(
                    name,
                    config=_config(table.get("settings", {}), f"{self.path}: {name}"),
                    addresses=None if _by_dhcp(table) else table.get("addresses", ()),
                    forwarding=forwarding,
                )
        for name in self.switches:
            world.switch(name)
        for number, link in enumerate(self.links, 1):
            self._link(world, link, number)
        for name, target in self.names.items():
            world.names[name] = world.names[target]
        world.prepare()
        for name, table in (*self.hosts.items(), *self.routers.items()):
            self._finish(world, world.hosts[name], table)
        return world

    def _link(self, world: World, link: Mapping[str, Any], number: int) -> None:
        first, second = link["between"]
        options = {key: value for key, value in link.items() if key != "between"}
        try:
            world.link(first, second, **options)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.path}: links, number {number}: {error}") from None

    def _finish(self, world: World, host: Host, table: Mapping[str, Any]) -> None:
        where = f"{self.path}: {host.name}"
        for prefix, gateway in table.get("routes", {}).items():
            try:
                host.add_route(prefix, str(gateway))
            except ValueError as error:
                raise ConfigurationError(f"{where}: routes: {error}") from None
        for server in table.get("nameservers", ()):
            known = world.names.get(server)
            host.nameservers.append(
                known[0] if known else _address(server, f"{where}: nameservers")
            )
        if host.nameservers:
            host.names = {}  # it asks, instead of knowing every name

    def by_dhcp(self) -> list[str]:
        """The hosts whose addresses are ["dhcp"]."""
        return [n for n, table in (*self.hosts.items(), *self.routers.items()) if _by_dhcp(table)]

    def serves(self) -> Iterator[tuple[str, str]]:
        """(host, service as in ``--serve``) of every server."""
        for name, table in (*self.hosts.items(), *self.routers.items()):
            for service in table.get("serve", ()):
                yield name, service


def read(path: str | Path) -> WorldFile:
    """The file, checked."""
    file = Path(path)
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: not TOML: {error}") from None
    return _check(file, data)


def _check(path: Path, data: dict[str, Any]) -> WorldFile:
    _keys(data, _TOP, str(path))
    found = WorldFile(path)
    found.seed = _typed(data.get("seed", 0), (int, str), f"{path}: seed")
    found.until = _typed(data.get("until"), (int, float, str, type(None)), f"{path}: until")
    found.hosts = _hosts(path, data, "hosts")
    found.routers = _hosts(path, data, "routers")
    switches = _typed(data.get("switches", {}), (dict,), f"{path}: switches")
    for name, table in switches.items():
        _keys(_typed(table, (dict,), f"{path}: switches.{name}"), (), f"{path}: switches.{name}")
    found.switches = list(switches)
    places = _places(path, found)
    links = _typed(data.get("links", []), (list,), f"{path}: links")
    found.links = [_link(path, number, link, places) for number, link in enumerate(links, 1)]
    taps = _typed(data.get("taps", {}), (dict,), f"{path}: taps")
    found.taps = [_tap(path, name, table, places) for name, table in taps.items()]
    names = _typed(data.get("names", {}), (dict,), f"{path}: names")
    for name, target in names.items():
        if target not in places or target in found.switches:
            raise ConfigurationError(f"{path}: names.{name}: {target!r} is no host of this world")
    found.names = names
    if not places:
        raise ConfigurationError(f"{path}: no hosts; begin with a table such as [hosts.client]")
    return found


def _places(path: Path, found: WorldFile) -> list[str]:
    places: list[str] = []
    for name in (*found.hosts, *found.routers, *found.switches):
        if name in places:
            raise ConfigurationError(f"{path}: the name {name!r} is given twice")
        places.append(name)
    return places


def _hosts(path: Path, data: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    found = _typed(data.get(kind, {}), (dict,), f"{path}: {kind}")
    for name, table in found.items():
        where = f"{path}: {kind}.{name}"
        _keys(_typed(table, (dict,), where), _HOST, where)
        for key in ("addresses", "nameservers", "serve"):
            _texts(table.get(key, []), f"{where}.{key}")
        for text in () if _by_dhcp(table) else table.get("addresses", ()):
            _interface(text, f"{where}.addresses")
        _typed(table.get("routes", {}), (dict,), f"{where}.routes")
        _config(_typed(table.get("settings", {}), (dict,), f"{where}.settings"), where)
    return dict(found)


def _link(path: Path, number: int, link: Any, places: list[str]) -> dict[str, Any]:
    where = f"{path}: links, number {number}"
    table: dict[str, Any] = _typed(link, (dict,), where)
    _keys(table, (*_LINK, *_SETTINGS), where)
    ends = _texts(table.get("between", []), f"{where}: between")
    if len(ends) != 2:
        raise ConfigurationError(f'{where}: say between = ["one", "other"]')
    for name in ends:
        _known(name, places, f"{where}: between")
    for way in ("up", "down"):
        inner = _typed(table.get(way, {}), (dict,), f"{where}: {way}")
        _keys(inner, _SETTINGS, f"{where}: {way}")
    return table


def _tap(path: Path, name: str, table: Any, places: list[str]) -> Tap:
    where = f"{path}: taps.{name}"
    _keys(_typed(table, (dict,), where), _TAP, where)
    to = _typed(table.get("to", ""), (str,), f"{where}.to")
    _known(to, places, f"{where}.to")
    addresses = _texts(table.get("kernel-address", []), f"{where}.kernel-address")
    for text in addresses:
        _interface(text, f"{where}.kernel-address")
    return Tap(name, to, addresses, _typed(table.get("mtu", 1500), (int,), f"{where}.mtu"))


def _known(name: str, places: list[str], where: str) -> None:
    if name not in places:
        raise ConfigurationError(f"{where}: there is no {name!r}{_hint(name, places)}")


def _hint(word: str, known: "list[str] | tuple[str, ...]") -> str:
    close = get_close_matches(word, known, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else ""


def _keys(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigurationError(f"{where}: unknown key {key!r}{_hint(key, known)}")


def _typed(value: Any, kinds: tuple[type, ...], where: str) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        names = {dict: "a table", list: "a list", str: "text", int: "a number", float: "a number"}
        wanted = list(dict.fromkeys(names[kind] for kind in kinds if kind in names))
        raise ConfigurationError(f"{where}: {value!r} is not {' or '.join(wanted)}")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigurationError(f"{where}: {value!r} is not a list of texts")
    return value


def _interface(text: str, where: str) -> None:
    try:
        parse_interface(text)
    except ValueError:
        raise ConfigurationError(
            f"{where}: {text!r} is not an address such as 192.0.2.1/24 or 2001:db8::1/64"
            ', or ["dhcp"] alone'
        ) from None


def _by_dhcp(table: Mapping[str, Any]) -> bool:
    return table.get("addresses") == ["dhcp"]


def _address(text: str, where: str) -> bytes:
    try:
        return parse(text)
    except ValueError:
        raise ConfigurationError(f"{where}: {text!r} is neither a host nor an address") from None


def _config(settings: Mapping[str, Any], where: str) -> HostConfig | None:
    """Settings of one host by the names of `HostConfig`, times in ns as there."""
    if not settings:
        return None
    config = HostConfig(dad_transmits=0, accept_ra=False)
    for key, value in settings.items():
        if key not in _CONFIG:
            raise ConfigurationError(
                f"{where}: settings: unknown key {key!r}{_hint(key, tuple(_CONFIG))}"
            )
        wanted = type(getattr(config, key))
        if type(value) is not wanted:
            raise ConfigurationError(f"{where}: settings.{key}: {value!r} is not {wanted.__name__}")
        setattr(config, key, value)
    return config
