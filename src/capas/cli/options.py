# SPDX-License-Identifier: Apache-2.0
"""Options shared by all commands that put a host on a TAP or TUN."""

import functools
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from capas.cli.main import INTERRUPTED, complain
from capas.errors import CapasError, ConfigurationError
from capas.sim.links import LinkSettings
from capas.sim.units import chance, rate_bytes, time_ns
from capas.wire.address import (
    is_multicast,
    is_unspecified,
    parse,
    parse_interface,
    parse_mac,
)
from capas.wire.address import text as address_text

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic since click 8.2 or so

DHCP = "dhcp"  # in the place of an address: the network says which
UNVERIFIED: Final = "certificate verify failed"
#: OpenSSL's reasons for an answer that is no TLS; which of them depends on its version.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = INTERRUPTED


class InterfaceAddressType(ParamType):
    """ADDRESS/LENGTH, of either family."""

    name = "address/length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text in canonical form."""
        try:
            packed, length = parse_interface(value)
        except ValueError as error:
            self.fail(f"{error}; say it like 192.0.2.2/24 or 2001:db8::2/64", param, ctx)
        if "/" not in value:
            example = f"{value}/{24 if len(packed) == 4 else 64}"
            self.fail(f"{value!r} lacks its prefix length; say it like {example}", param, ctx)
        if is_unspecified(packed) or is_multicast(packed) or packed == b"\xff" * 4:
            self.fail(f"{value!r} is no address of one host", param, ctx)
        return f"{address_text(packed)}/{length}"


class OwnAddressType(InterfaceAddressType):
    """The same, or the word dhcp."""

    name = "address/length|dhcp"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text in canonical form."""
        return DHCP if value == DHCP else super().convert(value, param, ctx)


class AddressType(ParamType):
    """An address of either family."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text in canonical form."""
        try:
            return address_text(parse(value))
        except ValueError:
            self.fail(f"{value!r} is not an IPv4 or IPv6 address", param, ctx)


class MacType(ParamType):
    """A MAC address."""

    name = "mac"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """Its six bytes."""
        if isinstance(value, bytes):
            return value
        try:
            mac = parse_mac(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if mac[0] & 1:
            self.fail(f"{value} is a group address; a host has an individual one", param, ctx)
        return mac


class QuantityType(ParamType):
    """Text that one of the simulator's readers of quantities understands."""

    def __init__(self, name: str, read: Callable[[Any, str], object]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, once it has been read."""
        # plain numbers are numbers here as they are in Python: seconds, bytes per second
        try:
            self._read(_number(value), (param.name if param else "") or self.name)
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def _number(value: Any) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


INTERFACE_ADDRESS = InterfaceAddressType()
OWN_ADDRESS = OwnAddressType()
ADDRESS = AddressType()
MAC = MacType()
PROBABILITY = QuantityType("probability", chance)
TIME = QuantityType("time", time_ns)
RATE = QuantityType("rate", rate_bytes)


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """What the shared options said."""

    tap: str | None
    tun: str | None
    address: tuple[str, ...]
    gateway: tuple[str, ...]
    kernel_address: tuple[str, ...]
    nameserver: tuple[str, ...]
    mac: bytes | None
    mtu: int | None
    offload: bool
    loss: str
    delay: str
    jitter: str
    reorder: str
    duplicate: str
    corrupt: str
    rate: str | None
    seed: int
    pcap: str | None

    def cable(self) -> LinkSettings | None:
        """The bad cable asked for; None: none."""
        settings = LinkSettings(
            rate=None if self.rate is None else _number(self.rate),
            delay=_number(self.delay),
            jitter=_number(self.jitter),
            loss=_number(self.loss),
            reorder=_number(self.reorder),
            duplicate=_number(self.duplicate),
            corrupt=_number(self.corrupt),
        )
        return None if settings == LinkSettings() else settings


_DEVICE = (
    click.option(
        "--tap", metavar="NAME", help="TAP device (Ethernet), made if absent and allowed."
    ),
    click.option("--tun", metavar="NAME", help="TUN device (IP), made if absent and allowed."),
    click.option(
        "--address",
        type=OWN_ADDRESS,
        multiple=True,
        metavar="A/P|dhcp",
        help="The host's own address and prefix length; once for each address, IPv4 or IPv6."
        " dhcp: ask a DHCP server for address, routes and name servers (TAP only).",
    ),
    click.option(
        "--gateway",
        type=ADDRESS,
        multiple=True,
        metavar="G",
        help="Default route by this neighbour; once for each family.",
    ),
    click.option(
        "--kernel-address",
        type=INTERFACE_ADDRESS,
        multiple=True,
        metavar="A/P",
        help="Also give the kernel's end of the device this address (needs CAP_NET_ADMIN).",
    ),
    click.option(
        "--nameserver", type=ADDRESS, multiple=True, metavar="N", help="DNS server to ask."
    ),
    click.option(
        "--mac", type=MAC, metavar="MAC", help="The host's MAC address (TAP); else drawn."
    ),
    click.option(
        "--mtu",
        type=click.IntRange(68, 65535),
        metavar="BYTES",
        help="Set the device's MTU; else take the device's own.",
    ),
    click.option(
        "--offload/--no-offload",
        default=True,
        help="Checksums and super-frames of 64 KB by the kernel's virtio headers.",
        show_default=True,
    ),
    click.option("--pcap", metavar="FILE", help="Write every frame to FILE (pcapng)."),
)
_IMPAIRMENTS = (
    click.option("--loss", type=PROBABILITY, default="0", metavar="P", help="0.02 or 2%."),
    click.option("--delay", type=TIME, default="0", metavar="D", help="One way, such as 20ms."),
    click.option("--jitter", type=TIME, default="0", metavar="D", help="Random extra delay."),
    click.option("--reorder", type=PROBABILITY, default="0", metavar="P", help="Overtaken."),
    click.option("--duplicate", type=PROBABILITY, default="0", metavar="P", help="Sent twice."),
    click.option("--corrupt", type=PROBABILITY, default="0", metavar="P", help="A bit flipped."),
    click.option("--rate", type=RATE, metavar="R", help="Line rate, such as 10Mbit."),
    click.option(
        "--seed", type=int, default=0, metavar="N", help="Of the impairments' random draws."
    ),
)


def device_options(function: F) -> F:
    """Add the options; the command gets one `DeviceOptions` as its first argument."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        values = {field.name: kwargs.pop(field.name) for field in fields(DeviceOptions)}
        options = DeviceOptions(**values)
        if (options.tap is None) == (options.tun is None):
            raise click.UsageError("say either --tap NAME or --tun NAME")
        if not options.address:
            raise click.UsageError("say the host's address: --address 192.0.2.2/24, or dhcp")
        if DHCP in options.address and options.tap is None:
            raise click.UsageError("--address dhcp needs a TAP: a TUN carries no broadcasts")
        return function(options, *args, **kwargs)

    decorated: Any = wrapper
    for option in reversed(_DEVICE + _IMPAIRMENTS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for programs instead of text."
)


on_option = click.option(
    "--on",
    metavar="NAME",
    help="The running host meant: the name of its device; needed if there are several.",
)


def print_json(value: object) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class StoppedError(Exception):
    """One of `ending_signals` came before the work was done."""


def ending_signals() -> list[signal.Signals]:
    """Ctrl-C, kill(1), and a terminal that is closed unless we are under nohup(1)."""
    found = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


def reports_errors(function: F) -> F:
    """What goes wrong becomes one line and an exit code, never a traceback.

    2: the command line cannot be; 1: it could, and failed.  With ``--json`` a failure is an
    object, too: ``{"ok": false, "error": "..."}``.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BrokenPipeError:
            raise  # whoever read us has left: `main` ends quietly
        except ConfigurationError as error:
            return _fail(str(error), EXIT_USAGE, kwargs)
        except StoppedError:
            return _fail("interrupted", EXIT_INTERRUPTED, kwargs)
        except CapasError as error:
            text = os_text(error) if isinstance(error, OSError) else str(error)
            return _fail(text, EXIT_FAILED, kwargs)
        except TimeoutError as error:
            return _fail(os_text(error) or "timed out", EXIT_FAILED, kwargs)
        except OSError as error:
            return _fail(os_text(error), EXIT_FAILED, kwargs)

    return wrapper  # type: ignore[return-value]


def os_text(error: OSError) -> str:
    """What the errno means (asyncio puts an address in the place of those words)."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror)  # its numbers are no errno
    if isinstance(error, ssl.SSLError):
        return _tls_text(error)  # nor are these
    if isinstance(error, CapasError) or error.errno is None:
        return str(error)
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{os.strerror(error.errno)}"


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{UNVERIFIED}: {error.verify_message}"
    name: str = getattr(error, "reason", None) or ""  # one that Python raises by itself has none
    if not name:
        return str(error.strerror or error)
    return str(name).lower().replace("_", " ") + (": is it TLS?" if name in _NO_TLS else "")


def reason(error: BaseException) -> str:
    """The innermost words there are: libraries wrap what the socket said."""
    cause: BaseException | None = error
    found = ""
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return os_text(cause)
        found = str(cause) or found
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        else:
            cause = cause.__cause__ or cause.__context__
    return found or type(error).__name__


def _fail(text: str, code: int, kwargs: dict[str, Any]) -> int:
    if kwargs.get("as_json"):
        print_json({"ok": False, "error": text})
    complain(text)
    return code
