# SPDX-License-Identifier: Apache-2.0
"""close(2) of a descriptor, which waits where SO_LINGER says so (man 7 socket).

As in Linux it waits whether or not the descriptor is non-blocking, until the peer has acknowledged
all and the FIN, or the time is up; the rest happens in the background.  In an event loop of ours
nothing may wait, so there it does not.
"""

from typing import Final

from capas.sockets.current import in_our_loop
from capas.sockets.description import Description
from capas.sockets.driver import Driver
from capas.sockets.stream import StreamDescription
from capas.transport.endpoint import HANGUP
from capas.transport.tcp import states

#: states in which our FIN is not acknowledged
_UNHEARD: Final = (states.FIN_WAIT_1, states.CLOSING, states.LAST_ACK)


def close(driver: Driver, fd: int) -> None:
    """Close one descriptor (EBADF)."""
    description = driver.descriptors.open.get(fd)
    with driver.lock:
        driver.descriptors.close(fd)
    if description is not None and "linger" in description.settings.values:
        _linger(description)


def _linger(description: Description) -> None:
    driver = description.driver
    if description.references or not isinstance(description, StreamDescription):
        return
    connection = description.connection
    if connection is None or connection.options.linger <= 0 or driver.closed or in_our_loop():
        return
    with driver.lock:
        if connection.state not in _UNHEARD:
            return
        connection.endpoint.clear(HANGUP)  # it comes again with the acknowledgement
    driver.wait(connection.endpoint, HANGUP, driver.now() + connection.options.linger)
