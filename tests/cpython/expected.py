# SPDX-License-Identifier: Apache-2.0
"""The tests of CPython that do not pass on us, each with the reason.

A name may stand for several Python versions; one that is absent from a version is no matter.
"""

from typing import Final

_SIGNALS: Final = (
    "the signal comes by the machine's clock, the timeout by the world's, which is over"
)

NOT_PASSING: Final[dict[str, str]] = {
    # test_asyncio
    "StreamTests.test_read_all_from_pipe_reader": "a genuine subprocess writes to a genuine pipe",
    # test_socket
    "GeneralModuleTests.testRefCountGetNameInfo": "counts references that C code holds",
    "GeneralModuleTests.test_sendall_interrupted": _SIGNALS,
    "GeneralModuleTests.test_sendall_interrupted_with_timeout": _SIGNALS,
    "GeneralModuleTests.test_unknown_socket_family_repr": "there is no family 42 in our hosts",
    **{
        f"Interrupted{way}TimeoutTest.testInterrupted{call}Timeout": _SIGNALS
        for way, calls in (
            ("Recv", ("Recv", "RecvInto", "Recvfrom", "RecvfromInto", "Recvmsg", "RecvmsgInto")),
            ("Send", ("Send", "Sendmsg", "Sendto")),
        )
        for call in calls
    },
    "TCPTimeoutTest.testInterruptedTimeout": _SIGNALS,
}
