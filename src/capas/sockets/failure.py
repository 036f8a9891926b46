# SPDX-License-Identifier: Apache-2.0
"""The OSError (of its right subclass, with this machine's text) for an errno."""

import os


def fail(number: int) -> OSError:
    """Such as ConnectionRefusedError(111, "Connection refused")."""
    return OSError(number, os.strerror(number))


class ProcessKilled(BaseException):
    """Raised where a blocking program waits, when its host loses power or its world is closed."""
