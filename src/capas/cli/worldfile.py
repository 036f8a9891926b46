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
`ConfigurationError` naming the file, the line, the table and the key.  Paths of what is served are
relative to the file's folder.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from capas.base.config import HostConfig
from capas.cli.place import Place
from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.sim.links import LinkSettings
from capas.sim.units import time_ns
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
    place: Place
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
        for name, table, place in self._tables():
            try:
                world.host(
                    name,
                    config=_config(table.get("settings", {}), place["settings"]),
                    addresses=None if _by_dhcp(table) else table.get("addresses", ()),
                    forwarding=name in self.routers,
                )
            except ConfigurationError as error:
                raise place.error(error) from None
        for name in self.switches:
            world.switch(name)
        for number, link in enumerate(self.links):
            self._link(world, link, self.place["links"][number])
        for name, target in self.names.items():
            world.names[name] = world.names[target]
        world.prepare()
        for name, table, place in self._tables():
            self._finish(world, world.hosts[name], table, place)
        return world

    def _tables(self) -> Iterator[tuple[str, dict[str, Any], Place]]:
        """Name, table and place of each host and router."""
        for kind, tables in (("hosts", self.hosts), ("routers", self.routers)):
            for name, table in tables.items():
                yield name, table, self.place[kind][name]

    def _link(self, world: World, link: Mapping[str, Any], place: Place) -> None:
        first, second = link["between"]
        options = {key: value for key, value in link.items() if key != "between"}
        try:
            world.link(first, second, **options)
        except ConfigurationError as error:
            raise place.error(error) from None

    def _finish(self, world: World, host: Host, table: Mapping[str, Any], place: Place) -> None:
        for prefix, gateway in table.get("routes", {}).items():
            try:
                host.add_route(prefix, str(gateway))
            except ValueError as error:
                raise place["routes"][prefix].error(error) from None
        for server in table.get("nameservers", ()):
            known = world.names.get(server)
            host.nameservers.append(known[0] if known else _address(server, place["nameservers"]))
        if host.nameservers:
            host.names = {}  # it asks, instead of knowing every name

    def by_dhcp(self) -> list[str]:
        """The hosts whose addresses are ["dhcp"]."""
        return [name for name, table, _ in self._tables() if _by_dhcp(table)]

    def serves(self) -> Iterator[tuple[str, str, Place]]:
        """(host, service as in ``--serve``, its place in the file) of every server."""
        for name, table, place in self._tables():
            for number, service in enumerate(table.get("serve", ())):
                yield name, service, place["serve"][number]


def read(path: str | Path) -> WorldFile:
    """The file, checked."""
    file = Path(path)
    try:
        content = file.read_text("utf-8")
        data = tomllib.loads(content)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: not TOML: {error}") from None
    return _check(Place(file, content), data)


def _check(place: Place, data: dict[str, Any]) -> WorldFile:
    _keys(data, _TOP, place)
    found = WorldFile(place.file, place)
    found.seed = _typed(data.get("seed", 0), (int, str), place["seed"])
    found.until = _time(data.get("until"), place["until"])
    found.hosts = _hosts(place["hosts"], data.get("hosts", {}))
    found.routers = _hosts(place["routers"], data.get("routers", {}))
    switches = _typed(data.get("switches", {}), (dict,), place["switches"])
    for name, table in switches.items():
        inner = place["switches"][name]
        _keys(_typed(table, (dict,), inner), (), inner)
    found.switches = list(switches)
    places = _places(place, found)
    links = _typed(data.get("links", []), (list,), place["links"])
    found.links = [_link(place["links"][n], link, places) for n, link in enumerate(links)]
    taps = _typed(data.get("taps", {}), (dict,), place["taps"])
    found.taps = [_tap(place["taps"][name], name, table, places) for name, table in taps.items()]
    names = _typed(data.get("names", {}), (dict,), place["names"])
    for name, target in names.items():
        if target not in places or target in found.switches:
            raise place["names"][name].error(f"{target!r} is no host of this world")
    found.names = names
    if not places:
        raise place.error("no hosts; begin with a table such as [hosts.client]")
    return found


def _places(place: Place, found: WorldFile) -> list[str]:
    places: list[str] = []
    for kind, names in (
        ("hosts", found.hosts), ("routers", found.routers), ("switches", found.switches)
    ):  # fmt: skip
        for name in names:
            if name in places:
                raise place[kind][name].error(f"the name {name!r} is given twice")
            places.append(name)
    return places


def _hosts(place: Place, data: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = _typed(data, (dict,), place)
    for name, table in found.items():
        where = place[name]
        _keys(_typed(table, (dict,), where), _HOST, where)
        for key in ("addresses", "nameservers", "serve"):
            _texts(table.get(key, []), where[key])
        for text in () if _by_dhcp(table) else table.get("addresses", ()):
            _interface(text, where["addresses"])
        _typed(table.get("routes", {}), (dict,), where["routes"])
        _config(_typed(table.get("settings", {}), (dict,), where["settings"]), where["settings"])
    return dict(found)


def _link(place: Place, link: Any, places: list[str]) -> dict[str, Any]:
    table: dict[str, Any] = _typed(link, (dict,), place)
    _keys(table, (*_LINK, *_SETTINGS), place)
    ends = _texts(table.get("between", []), place["between"])
    if len(ends) != 2:
        raise place.error('say between = ["one", "other"]')
    for name in ends:
        _known(name, places, place["between"])
    for way in ("up", "down"):
        inner = _typed(table.get(way, {}), (dict,), place[way])
        _keys(inner, _SETTINGS, place[way])
    return table


def _tap(place: Place, name: str, table: Any, places: list[str]) -> Tap:
    _keys(_typed(table, (dict,), place), _TAP, place)
    to = _typed(table.get("to", ""), (str,), place["to"])
    _known(to, places, place["to"])
    addresses = _texts(table.get("kernel-address", []), place["kernel-address"])
    for text in addresses:
        _interface(text, place["kernel-address"])
    return Tap(name, to, addresses, _typed(table.get("mtu", 1500), (int,), place["mtu"]))


def _known(name: str, places: list[str], place: Place) -> None:
    if name not in places:
        raise place.error(f"there is no {name!r}{_hint(name, places)}")


def _hint(word: str, known: "list[str] | tuple[str, ...]") -> str:
    close = get_close_matches(word, known, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else ""


def _keys(table: Mapping[str, Any], known: tuple[str, ...], place: Place) -> None:
    for key in table:
        if key not in known:
            raise place[key].error(f"unknown key {key!r}{_hint(key, known)}")


def _typed(value: Any, kinds: tuple[type, ...], place: Place) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        names = {dict: "a table", list: "a list", str: "text", int: "a number", float: "a number"}
        wanted = list(dict.fromkeys(names[kind] for kind in kinds if kind in names))
        raise place.error(f"{value!r} is not {' or '.join(wanted)}")
    return value


def _time(value: Any, place: Place) -> int | float | str | None:
    if value is not None:
        time_ns(_typed(value, (int, float, str), place), str(place))
    return value  # type: ignore[no-any-return]


def _texts(value: Any, place: Place) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise place.error(f"{value!r} is not a list of texts")
    return value


def _interface(text: str, place: Place) -> None:
    try:
        parse_interface(text)
    except ValueError:
        raise place.error(
            f'{text!r} is not an address such as 192.0.2.1/24 or 2001:db8::1/64, or ["dhcp"] alone'
        ) from None


def _by_dhcp(table: Mapping[str, Any]) -> bool:
    return table.get("addresses") == ["dhcp"]


def _address(text: str, place: Place) -> bytes:
    try:
        return parse(text)
    except ValueError:
        raise place.error(f"{text!r} is neither a host nor an address") from None


def _config(settings: Mapping[str, Any], place: Place) -> HostConfig | None:
    """Settings of one host by the names of `HostConfig`, times in ns as there."""
    if not settings:
        return None
    config = HostConfig(dad_transmits=0, accept_ra=False)
    for key, value in settings.items():
        if key not in _CONFIG:
            raise place[key].error(f"unknown key {key!r}{_hint(key, tuple(_CONFIG))}")
        wanted = type(getattr(config, key))
        if type(value) is not wanted:
            raise place[key].error(f"{value!r} is not {wanted.__name__}")
        setattr(config, key, value)
    return config
