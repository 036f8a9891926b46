# SPDX-License-Identifier: Apache-2.0
"""Libraries whose sockets or event loops are below Python, where nothing can be put in their place.

On a host they are refused in words where they begin: they would reach the machine's own network, or
wait where no time goes on.  Where a library can do without, it is made to.  Outside any host all is
as always.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from capas.host.host import Host
from capas.sockets.current import dispatch
from capas.wire.address import is_link_local, text

#: What a module of the library has: (module or class, name, stand-in)
StandIns = list[tuple[Any, str, Any]]

#: By module: what to use instead, and the names that begin something, with a dot those of classes.
_REFUSED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "eventlet.hubs": ("use threads or asyncio", ("get_hub",)),
    "gevent.hub": ("use threads, which take turns here as greenlets do", ("Hub.__init__",)),
    "grpc._cython.cygrpc": (
        "use grpclib", ("Channel", "Server", "AioChannel", "AioServer"),
    ),
    "multiprocessing.pool": (
        "use concurrent.futures.ProcessPoolExecutor, or multiprocessing.pool.ThreadPool",
        ("Pool._setup_queues",),
    ),
    "psycopg": (
        "use asyncpg or pg8000",
        ("connect", "Connection.connect", "AsyncConnection.connect"),
    ),
    "psycopg2": ("use asyncpg or pg8000", ("connect",)),
    "pycares": (
        "use dnspython, or the resolver of the event loop or of `socket`", ("Channel",),
    ),
    "pycurl": ("use httpx, requests or urllib3", ("Curl", "CurlMulti")),
    "trio": ("use asyncio, or anyio on asyncio", ("run",)),
    "trio.lowlevel": ("use asyncio, or anyio on asyncio", ("start_guest_run",)),
    "zmq": ("use asyncio, or multiprocessing.connection", ("Context.socket",)),
}  # fmt: skip


def _refuse(library: str, instead: str, _host: Host, *_: Any, **__: Any) -> Any:
    raise NotImplementedError(
        f"{library} asks the kernel by itself and does not run on capas: {instead}."
        f" Outside any host (`with capas.use_host(None):`) it is as always"
    )


def _refused(name: str, module: Any) -> StandIns:
    instead, begins = _REFUSED[name]
    refuse = partial(_refuse, "grpcio" if name.startswith("grpc") else name.split(".")[0], instead)
    found: StandIns = []
    for path in begins:
        owner = module
        *classes, attribute = path.split(".")
        for inner in classes:
            owner = getattr(owner, inner, None)
        real = vars(owner).get(attribute) if owner is not None else None
        if real is None:
            continue  # another version of it begins elsewhere
        if isinstance(real, classmethod):
            found.append((owner, attribute, classmethod(dispatch(real.__func__, refuse))))
        else:
            found.append((owner, attribute, dispatch(real, refuse)))
    return found


def _uvloop(uvloop: Any) -> StandIns:
    """On a host its loop is asyncio's."""

    def run(_host: Host, main: Any, *, debug: bool | None = None, **_: Any) -> Any:
        return asyncio.run(main, debug=debug)

    def new_event_loop(_host: Host) -> Any:
        return asyncio.new_event_loop()

    return [
        (uvloop, "run", dispatch(uvloop.run, run)),
        (uvloop, "new_event_loop", dispatch(uvloop.new_event_loop, new_event_loop)),
    ]


def _aiohttp(resolver: Any) -> StandIns:
    """Its default resolver is aiodns where that is installed; on a host it is the loop's."""
    real = resolver.DefaultResolver
    if real is resolver.ThreadedResolver:
        return []

    def default(_host: Host, *args: Any, **kwargs: Any) -> Any:
        chosen = kwargs.keys() - {"loop"}  # name servers: somebody wants aiodns
        return (real if args or chosen else resolver.ThreadedResolver)(*args, **kwargs)

    return [(resolver, "DefaultResolver", dispatch(real, default))]


def _ifaddr(ifaddr: Any) -> StandIns:
    """It asks the machine for its interfaces (zeroconf does by it): on a host they are the host's.

    An IPv4 address is text, an IPv6 address (text, flow information, scope).
    """

    def get_adapters(host: Host, include_unconfigured: bool = False) -> list[Any]:
        adapters = []
        for link in host.interfaces:
            ips = [
                ifaddr.IP(
                    text(own.address)
                    if len(own.address) == 4
                    else (text(own.address), 0, link.index if is_link_local(own.address) else 0),
                    own.prefix_length,
                    link.name,
                )
                for own in link.addresses
            ]
            if ips or include_unconfigured:
                adapters.append(ifaddr.Adapter(link.name, link.name, ips, index=link.index))
        return adapters

    return [(ifaddr, "get_adapters", dispatch(ifaddr.get_adapters, get_adapters))]


def _pyopenssl(ssl: Any) -> StandIns:
    """Over a socket OpenSSL itself reads and writes the descriptor; between buffers it is fine."""
    real = ssl.Connection.__init__

    def begin(host: Host, self: Any, context: Any, socket: Any = None) -> None:
        if socket is not None:
            instead = "use `ssl`, or a Connection without a socket (bio_read, bio_write)"
            _refuse("pyOpenSSL's Connection over a socket", instead, host)
        real(self, context)

    return [(ssl.Connection, "__init__", dispatch(real, begin))]


#: How the stand-ins of a module are made, by its name.
FOREIGN: Final[dict[str, Callable[[Any], StandIns]]] = {
    "aiohttp.resolver": _aiohttp,
    "ifaddr": _ifaddr,
    "OpenSSL.SSL": _pyopenssl,
    "uvloop": _uvloop,
    **{name: partial(_refused, name) for name in _REFUSED},
}
