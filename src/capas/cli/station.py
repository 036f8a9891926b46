# SPDX-License-Identifier: Apache-2.0
"""The host a command runs: its device, its driver, its event loop.

    with Station(options) as station:
        station.run(main())

Nothing of it outlives the ``with``.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from functools import partial
from typing import IO, Any, TypeVar

from capas.aio.loop import new_event_loop
from capas.application import dhcp
from capas.base.checksum import Buffer
from capas.base.clock import SECOND
from capas.base.config import HostConfig
from capas.cli.impaired import ImpairedLink
from capas.cli.main import complain
from capas.cli.options import DHCP, DeviceOptions, StoppedError, ending_signals
from capas.errors import CapasError, ConfigurationError, DeviceError
from capas.host.host import Host
from capas.link.interface import TENTATIVE, Interface
from capas.link.link import Link
from capas.link.pcapng import Capture, CaptureWriter
from capas.real import netdev
from capas.real.device import Device
from capas.real.devices import TunTap, open_tap, open_tun
from capas.real.driver import RealDriver
from capas.real.settle import settle
from capas.sockets.current import use_host
from capas.transport.endpoint import Endpoint
from capas.wire.address import Prefix, is_link_local, parse, parse_interface
from capas.wire.address import text as address_text

T = TypeVar("T")
_DHCP_PATIENCE = 30.0  # s; an answer, four tries, and the ARP probe of RFC 5227
_DHCP_QUIET = 2.0  # s; without an answer after them, people are told what is waited for
_SETTLE_PATIENCE = 60.0  # s; at the end, for the peers' last acknowledgements
_DAD_PATIENCE = 5.0  # s; RFC 4862 takes RetransTimer (1 s) and up to 1 s of random delay


class DeviceGoneError(DeviceError):
    """The device was deleted while the host ran."""


class Station:
    """A host in real time on one TAP or TUN."""

    def __init__(self, options: DeviceOptions, config: HostConfig | None = None) -> None:
        self.options = options
        self.static: list[str] = [text for text in options.address if text != DHCP]
        self.addresses: list[str] = self.static.copy()  # and the one DHCP gave
        self._gone: bool = False
        self._task: asyncio.Task[Any] | None = None
        self._closing = contextlib.ExitStack()
        try:
            self._build(options, config)
        except BaseException:
            self._closing.close()
            raise

    def _build(self, options: DeviceOptions, config: HostConfig | None) -> None:
        self.device: TunTap = _open(options)
        closing = self._closing
        opened = closing.enter_context(contextlib.ExitStack())
        opened.callback(self.device.close)
        self.driver = RealDriver()
        closing.callback(self.driver.close)
        self.driver.ports.on_gone = self._vanished
        self.impaired: ImpairedLink | None = None
        link: Link = self.device
        cable = options.cable()
        if cable is not None:
            self.impaired = ImpairedLink(
                self.device, cable, self.driver.scheduler, self.driver.clock, options.seed
            )
            link = self.impaired
        self.host: Host = self.driver.host("capas", config)
        for server in options.nameserver:
            self.host.nameservers.append(parse(server))
        name = options.tap or options.tun or ""
        now = self.driver.now()
        with self.driver.lock:
            # the interface first, then the capture, then the addresses: the capture sees them all
            self.interface: Interface = self.host.attach(link, name=name, mac=options.mac, now=now)
            if options.pcap is not None:
                self._capture(options.pcap)
            for text in self.static:
                self.host.add_address(self.interface, text, now)
            for gateway in options.gateway:
                self._gateway(gateway)
            self.driver.add_device(self.device)
        self.loop = new_event_loop(self.driver)
        closing.callback(self.loop.close)

    def _gateway(self, text: str) -> None:
        """A default route; by the interface, because an IPv6 prefix waits for its address."""
        gateway = parse(text)
        near = [Prefix(*parse_interface(own)) for own in self.static]
        everywhere = self.options.tun is not None  # whatever goes into a TUN, its end gets
        if not (everywhere or is_link_local(gateway) or any(p.contains(gateway) for p in near)):
            raise ConfigurationError(f"--gateway {text}: no --address shares a prefix with it")
        self.host.add_route("default", text, self.interface)

    def _capture(self, path: str) -> None:
        file = CaptureFile(path)
        self._closing.callback(file.close)
        epoch = time.time_ns() - self.driver.now()
        capture = Capture(CaptureWriter(file.write, epoch=epoch))
        self._closing.callback(capture.close)
        capture.watch(self.interface, self.host.name)
        self.host.set_trace(capture.tracer(self.host.name))

    def _vanished(self, device: Device) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()
        self.driver.wake()  # or the loop would sleep on

    # -- running --------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run ``main`` on this host; `ending_signals` cancel it: `StoppedError`.

        Deleting its device cancels it, too: `DeviceGoneError`.
        """
        loop = self.loop
        with use_host(self.host):
            self._task = task = loop.create_task(main)
            signals = ending_signals()
            for number in signals:
                loop.add_signal_handler(number, task.cancel)
            try:
                result = loop.run_until_complete(task)
            except asyncio.CancelledError:
                if self._gone:
                    raise DeviceGoneError(f"{self.device.name} has been deleted") from None
                raise StoppedError from None
            finally:
                for number in signals:
                    loop.remove_signal_handler(number)
                self._finish()
            self._settle()
            return result

    def _settle(self) -> None:
        """What was written and closed is the peer's, before this host ends with the process."""
        say = partial(complain, "waiting for the peer to acknowledge the rest; Ctrl-C ends it")
        if settle(self.driver, _SETTLE_PATIENCE, say):
            raise CapasError(
                f"the peer did not acknowledge all that was sent in {_SETTLE_PATIENCE:.0f} s"
            )

    def _finish(self) -> None:
        """Cancel what is left and let the last frames out."""
        loop = self.loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())

    async def usable(self) -> None:
        """Wait for the DHCP server, and for duplicate address detection (RFC 4862 §5.4)."""
        if DHCP in self.options.address:
            await self._lease()
        wanted = {parse_interface(text)[0]: text for text in self.static}
        deadline = self.loop.time() + _DAD_PATIENCE
        while self.loop.time() < deadline:
            found = {a.address: a.state for a in self.interface.addresses}
            if TENTATIVE not in [found.get(address) for address in wanted]:
                break
            await asyncio.sleep(0.01)
        have = [a.address for a in self.interface.addresses if a.state != TENTATIVE]
        for address, text in wanted.items():
            if address not in have:
                raise DeviceError(
                    f"{text} is in use by another host on {self.interface.name}"
                    " (duplicate address detection); choose another --address"
                )

    async def _lease(self) -> None:
        """Get an address by DHCP; say so if that takes long."""
        name = self.interface.name
        say = self.loop.call_later(
            _DHCP_QUIET,
            complain,
            f"waiting up to {_DHCP_PATIENCE:.0f} s for a DHCP server on {name}; Ctrl-C ends it",
        )
        try:
            client = await dhcp.configure(name, hostname="", timeout=_DHCP_PATIENCE)
        except TimeoutError:
            raise DeviceError(
                f"no DHCP server gave an address on {name} in {_DHCP_PATIENCE:.0f} s;"
                " say one: --address A/P"
            ) from None
        finally:
            say.cancel()
        assert client.lease is not None
        given = f"{address_text(client.lease.address)}/{client.lease.length}"
        self.addresses = [given, *self.static]

    def now(self) -> int:
        """The driver's time, ns."""
        return self.driver.now()

    def close(self) -> None:
        """Give everything back; idempotent."""
        self._closing.close()

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CaptureFile:
    """The file of ``--pcap``; where it can grow no more, the capture ends and the host goes on."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115
        except OSError as error:
            raise DeviceError(f"--pcap {path}: {error.strerror}") from None
        self._full = False

    def write(self, data: Buffer) -> None:
        """Append, as long as there is room."""
        if not self._full:
            try:
                self._file.write(data)
            except OSError as error:
                self._end(error)

    def close(self) -> None:
        """Write what waits."""
        try:
            self._file.close()  # closed also if this fails
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> None:
        if not self._full:
            complain(f"--pcap {self._path}: {error.strerror}: the capture ends here")
        self._full = True


def _open(options: DeviceOptions) -> TunTap:
    """The device, with the kernel's end configured if asked."""
    opener = open_tap if options.tap is not None else open_tun
    name = options.tap or options.tun or ""
    device = opener(name, offload=options.offload, mtu=options.mtu or 0)
    try:
        for text in options.kernel_address:
            address, length = parse_interface(text)
            netdev.add_kernel_address(name, address, length)
        if not netdev.try_up(name):
            raise DeviceError(f"{name} is down: `sudo ip link set {name} up`")
    except BaseException:
        device.close()
        raise
    return device


class Waiting:
    """Awaits the readiness of one endpoint in an event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._event = asyncio.Event()
        self._endpoint = endpoint
        endpoint.watcher = self

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """The driver says so."""
        self._event.set()

    async def ready(self, mask: int, timeout: float) -> int:
        """The ready bits of ``mask``; 0 after ``timeout`` seconds."""
        endpoint = self._endpoint
        if not endpoint.readiness & mask:
            self._event.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    while not endpoint.readiness & mask:
                        await self._event.wait()
                        self._event.clear()
        return endpoint.readiness & mask


def seconds(ns: int) -> float:
    """Seconds of ns."""
    return ns / SECOND
