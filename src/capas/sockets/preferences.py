# SPDX-License-Identifier: Apache-2.0
"""IPV6_ADDR_PREFERENCES: which source addresses a program likes (RFC 5014).

A new call says all preferences anew (Linux 6.18, ip6_sock_set_addr_preferences).  Home and care-of
addresses (mobile IP) and cryptographically generated ones can be asked for and change nothing, as
there.
"""

import errno
from typing import Final

from capas.internet.source import PREFER_PUBLIC, PREFER_TEMPORARY
from capas.sockets.failure import fail

# linux/in6.h, RFC 5014 §4
TMP: Final = PREFER_TEMPORARY
PUBLIC: Final = PREFER_PUBLIC
COA: Final = 0x4
CGA: Final = 0x8
PUBTMP_DEFAULT: Final = 0x100
HOME: Final = 0x400
NONCGA: Final = 0x800

#: Of each group one at most may be said.
_GROUPS: Final = ((TMP, PUBLIC, PUBTMP_DEFAULT), (COA, HOME), (CGA, NONCGA))
_KEPT: Final = TMP | PUBLIC | COA


def age(said: int) -> int:
    """What of it steers rule 7 of RFC 6724, as `capas.internet.source.select6` has it."""
    return said & (TMP | PUBLIC)


def kept(wanted: int) -> int:
    """What is kept of what a program said; EINVAL if that contradicts itself."""
    for group in _GROUPS:
        if sum(1 for flag in group if wanted & flag) > 1:
            raise fail(errno.EINVAL)
    return wanted & _KEPT


def shown(said: int) -> int:
    """What a program reads: one word of each of the first two groups."""
    return (age(said) or PUBTMP_DEFAULT) | (said & COA or HOME)
