# SPDX-License-Identifier: Apache-2.0
"""Interface identifiers of one host: opaque and stable (RFC 7217), of the MAC, or drawn.

The right half of an IPv6 address under a /64 (RFC 4291 §2.5.1).  A prefix under which an opaque one
was a duplicate is remembered with how often; the oldest is forgotten.
"""

from typing import Final, final

from capas.errors import ConfigurationError
from capas.internet.shared import Shared
from capas.link.interface import Interface
from capas.wire.address import eui64, stable_id

IDGEN_RETRIES: Final = 3  # RFC 7217 §7
MAX_DUPLICATES: Final = 64  # prefixes remembered


@final
class Identifiers:
    """Makes the identifiers of public addresses; ``duplicates``: RFC 7217's DAD_Counter."""

    __slots__ = ("_shared", "duplicates")

    def __init__(self, shared: Shared) -> None:
        self._shared: Shared = shared
        self.duplicates: dict[tuple[int, bytes], int] = {}  # by interface and prefix

    def under(self, interface: Interface, prefix: bytes) -> bytes:
        """The identifier under a /64: RFC 7217's, else EUI-64, else drawn."""
        try:
            secret = bytes.fromhex(self._shared.config.stable_secret)
        except ValueError:
            raise ConfigurationError("stable_secret is not hexadecimal") from None
        if secret:
            tries = self.duplicates.get((interface.index, prefix[:8]), 0)
            return stable_id(secret, prefix, interface.name, tries)
        if any(interface.mac):
            return eui64(interface.mac)
        return self._shared.rng.stream("iid").bytes(8)

    def another(self, interface: Interface, address: bytes) -> bytes | None:
        """The identifier to try after ``address`` was a duplicate (RFC 7217 §6); None: give up."""
        if not self._shared.config.stable_secret:
            return None
        key = interface.index, address[:8]
        tries = self.duplicates.pop(key, 0) + 1
        while len(self.duplicates) >= MAX_DUPLICATES:
            del self.duplicates[next(iter(self.duplicates))]
        self.duplicates[key] = tries
        return self.under(interface, address) if tries <= IDGEN_RETRIES else None
