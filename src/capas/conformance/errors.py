# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a script: it is bad, it needs what is not there, or the stack fails it."""


class ScriptError(Exception):
    """The script cannot be understood; says where, and what was expected."""

    def __init__(self, path: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}")
        self.path = path
        self.line = line
        self.column = column
        self.message = message


class NotApplicable(Exception):  # noqa: N818  (it is a verdict, not an error)
    """The script needs something a user-space stack has no counterpart for."""


class Failed(Exception):  # noqa: N818
    """The stack did not do what the script expects.

    ``expected`` and ``seen`` are the two sides in the script's own notation, "" where there is no
    such side.
    """

    def __init__(self, message: str, expected: str = "", seen: str = "") -> None:
        super().__init__(message)
        self.expected = expected
        self.seen = seen
