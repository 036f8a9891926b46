# SPDX-License-Identifier: Apache-2.0
"""The flags of send and receive calls (man 2 send, man 2 recv), as this system numbers them."""

from typing import Final

from capas.sockets.options import number

MSG_OOB: Final = number("MSG_OOB", 1)
MSG_PEEK: Final = number("MSG_PEEK", 2)
MSG_DONTROUTE: Final = number("MSG_DONTROUTE", 4)
MSG_CTRUNC: Final = number("MSG_CTRUNC", 8)
MSG_TRUNC: Final = number("MSG_TRUNC", 0x20)
MSG_DONTWAIT: Final = number("MSG_DONTWAIT", 0x40)
MSG_EOR: Final = number("MSG_EOR", 0x80)
MSG_WAITALL: Final = number("MSG_WAITALL", 0x100)
MSG_ERRQUEUE: Final = number("MSG_ERRQUEUE", 0x2000)
MSG_MORE: Final = number("MSG_MORE", 0x8000)
MSG_FASTOPEN: Final = number("MSG_FASTOPEN", 0x20000000)
