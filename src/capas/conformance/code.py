# SPDX-License-Identifier: Apache-2.0
"""``%{ }%``: Python over the values of ``struct tcp_info``, as packetdrill names them.

The values come from getsockopt(TCP_INFO), so the public structure is what is tested.  The code is
the script's own and runs with Python's full powers, as it does in packetdrill: run scripts you
trust.
"""

import textwrap
from struct import Struct
from typing import Any, Final

from capas.conformance.errors import Failed, NotApplicable

#: struct tcp_info of Linux 6.18, include/uapi/linux/tcp.h, without the two bit-field bytes.
_FIELDS: Final = (
    ("B", "state ca_state retransmits probes backoff options scales limits"),
    ("I", "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent"),
    ("I", "last_ack_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh"),
    ("I", "snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans"),
    ("Q", "pacing_rate max_pacing_rate bytes_acked bytes_received"),
    ("I", "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"),
    ("Q", "delivery_rate busy_time rwnd_limited sndbuf_limited"),
    ("I", "delivered delivered_ce"),
    ("Q", "bytes_sent bytes_retrans"),
    ("I", "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"),
    ("H", "total_rto total_rto_recoveries"),
    ("I", "total_rto_time"),
)
_NAMES: Final = tuple(name for _, names in _FIELDS for name in names.split())
_LAYOUT: Final = Struct("=" + "".join(code * len(names.split()) for code, names in _FIELDS))

#: Members that capas does not keep: a script that asks for one is not applicable.
_NOT_KEPT: Final = frozenset(
    (
        "rcv_rtt", "max_pacing_rate", "segs_out", "segs_in", "data_segs_in", "data_segs_out",
        "sndbuf_limited", "delivered_ce", "rehash", "total_rto_recoveries", "total_rto_time",
        "delivery_rate_app_limited", "fastopen_client_fail",
    )
)  # fmt: skip

_STATES: Final = (
    "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
    "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING",
)  # fmt: skip
_FREEBSD_STATES: Final = {
    "ESTABLISHED": 1,
    "SYN_SENT": 2,
    "SYN_RECEIVED": 3,
    "FIN_WAIT_1": 4,
    "FIN_WAIT_2": 5,
    "TIME_WAIT": 6,
    "CLOSED": 7,
    "CLOSE_WAIT": 8,
    "LAST_ACK": 9,
    "LISTEN": 10,
    "CLOSING": 11,
}
_CONSTANTS: Final[dict[str, int]] = {
    **{f"TCP_{name}": i for i, name in enumerate(_STATES, 1)},
    **{f"TCPI_{name}": number for name, number in _FREEBSD_STATES.items()},
    "TCP_CA_Open": 0,
    "TCP_CA_Disorder": 1,
    "TCP_CA_CWR": 2,
    "TCP_CA_Recovery": 3,
    "TCP_CA_Loss": 4,
    "TCPI_OPT_TIMESTAMPS": 1,
    "TCPI_OPT_SACK": 2,
    "TCPI_OPT_WSCALE": 4,
    "TCPI_OPT_ECN": 8,
    "TCPI_OPT_ECN_SEEN": 16,
    "TCPI_OPT_SYN_DATA": 32,
    "TCPI_OPT_USEC_TS": 64,
    "TCPI_OPT_TFO_CHILD": 128,
}


class CodeRunner:
    """The name space that all pieces of code of one script share."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = dict(_CONSTANTS)

    def run(self, text: str, info: bytes, line: int, path: str) -> None:
        """Run ``text`` with ``info`` (bytes of struct tcp_info) at hand; `Failed` if it asserts."""
        self.names.update(unpack(info))
        source = "\n" * (line - 1) + normalise(text, line)
        try:
            exec(compile(source, path, "exec"), self.names)
        except AssertionError as error:
            detail = f" (it is {error})" if str(error) else ""
            raise Failed(f"assertion failed{detail}", " ".join(text.split())) from None
        except NameError as error:
            if (error.name or "").startswith("tcpi_"):
                raise NotApplicable(f"a value of tcp_info that is not there: {error}") from None
            raise Failed(f"the code raised NameError: {error}") from None
        except SyntaxError as error:
            raise Failed(f"the code is not Python: {error}") from None
        except Exception as error:
            raise Failed(f"the code raised {type(error).__name__}: {error}") from None


def normalise(text: str, line: int) -> str:
    """Code as packetdrill's authors write it, as a module."""
    body = text.strip("\n").rstrip().rstrip("\\").rstrip()
    if "\n" not in body.strip():
        return body.strip()
    lines = body.split("\n")
    if lines[0].strip() and lines[0][:1] != " ":
        return "\n".join(lines)
    return textwrap.dedent(body)


def unpack(info: bytes) -> dict[str, int]:
    """``tcpi_*`` names and their values."""
    padded = info.ljust(_LAYOUT.size, b"\0")
    found = dict(zip(_NAMES, _LAYOUT.unpack_from(padded), strict=True))
    scales, limits = found.pop("scales"), found.pop("limits")
    found["snd_wscale"], found["rcv_wscale"] = scales & 15, scales >> 4
    found["delivery_rate_app_limited"], found["fastopen_client_fail"] = limits & 1, limits >> 1 & 3
    return {f"tcpi_{name}": value for name, value in found.items() if name not in _NOT_KEPT}
