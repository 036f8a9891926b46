# SPDX-License-Identifier: Apache-2.0
"""One UDP socket (RFC 768, RFC 1122 §4.1)."""

from typing import TYPE_CHECKING, final

from capas.base.checksum import Buffer
from capas.transport.datagram_socket import DatagramSocket, Destination
from capas.transport.endpoint import Endpoint
from capas.transport.way import find_way

if TYPE_CHECKING:
    from capas.transport.udp import UdpLayer


@final
class UdpSocket(DatagramSocket):
    """One socket of `UdpLayer`; an IPv6 wildcard that is not ``v6only`` takes IPv4 as well."""

    def __init__(self, layer: "UdpLayer", endpoint: Endpoint, size: int) -> None:
        super().__init__(layer.net, endpoint, size, layer.config.udp_receive_buffer)
        self._layer: UdpLayer = layer

    def bind(self, address: bytes, port: int) -> None:
        """As `DatagramSocket.bind`."""
        self._layer.bind(self, address, port)

    def connect(self, address: bytes, port: int, scope: int = 0) -> None:
        """As `DatagramSocket.connect`."""
        self._layer.connect(self, address, port, scope)

    def disconnect(self) -> None:
        """As `DatagramSocket.disconnect`."""
        self._layer.disconnect(self)

    def bind_to_send(self, address: bytes, port: int) -> None:
        """Have a port to send from, whether or not it can be sent."""
        self._layer.bind_to_send(self, address, port)

    def send(self, data: Buffer, now: int, to: Destination | None = None) -> int:
        """As `DatagramSocket.send`."""
        return self._layer.send(self, data, now, self.destination(to))

    def send_held(self, data: Buffer, now: int, to: Destination) -> None:
        """What was corked: a pending error stays, and a shutdown came too late."""
        self._layer.send(self, data, now, to, True)

    def check_way(self, to: Destination) -> None:
        """Whether a datagram to ``to`` could be sent as things are; OSError."""
        find_way(self.net, self, to)
        self.check_sending()

    def release(self) -> None:
        """As `DatagramSocket.release`."""
        self._layer.release(self)
