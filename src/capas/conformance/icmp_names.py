# SPDX-License-Identifier: Apache-2.0
"""ICMP types and codes by the names scripts use (RFC 792, RFC 1812 §5.2.7, RFC 4443).

A type maps to (number, {code name: code}); code 0 where no name is given.
"""

from typing import Final

_UNREACHABLE4: Final = {
    "net_unreachable": 0,
    "host_unreachable": 1,
    "protocol_unreachable": 2,
    "port_unreachable": 3,
    "frag_needed": 4,
    "source_route_failed": 5,
    "net_unknown": 6,
    "host_unknown": 7,
    "source_host_isolated": 8,
    "net_prohibited": 9,
    "host_prohibited": 10,
    "net_unreachable_for_tos": 11,
    "host_unreachable_for_tos": 12,
    "packet_filtered": 13,
    "precedence_violation": 14,
    "precedence_cutoff": 15,
}

TYPES4: Final[dict[str, tuple[int, dict[str, int]]]] = {
    "echo_reply": (0, {}),
    "unreachable": (3, _UNREACHABLE4),
    "source_quench": (4, {}),
    "redirect": (
        5,
        {
            "redirect_net": 0,
            "redirect_host": 1,
            "redirect_net_for_tos": 2,
            "redirect_host_for_tos": 3,
        },
    ),
    "echo_request": (8, {}),
    "time_exceeded": (
        11,
        {"ttl_exceeded_in_transit": 0, "exc_ttl": 0, "frag_reass_exceeded": 1, "exc_fragtime": 1},
    ),
    "parameter_problem": (12, {"code_0": 0, "code_1": 1, "code_2": 2}),
}

TYPES6: Final[dict[str, tuple[int, dict[str, int]]]] = {
    "unreachable": (
        1,
        {
            "no_route": 0,
            "admin_prohibited": 1,
            "beyond_scope": 2,
            "not_neighbour": 2,
            "address_unreachable": 3,
            "port_unreachable": 4,
            "source_address_failed_policy": 5,
            "reject_route": 6,
        },
    ),
    "packet_too_big": (2, {}),
    "time_exceeded": (
        3,
        {
            "exceeded_hop_limit": 0,
            "exc_hoplimit": 0,
            "exceeded_frag_time": 1,
            "frag_reass_exceeded": 1,
            "exc_fragtime": 1,
        },
    ),
    "parameter_problem": (
        4,
        {
            "header_field": 0,
            "hdr_field": 0,
            "unknown_next_header": 1,
            "unk_nexthdr": 1,
            "unrecognized_next_header": 1,
            "unknown_option": 2,
            "unk_option": 2,
        },
    ),
    "echo_request": (128, {}),
    "echo_reply": (129, {}),
}


def lookup(family: int, kind: str, code: str) -> tuple[int, int] | None:
    """Type and code as numbers; None if there is no such name.  ``code`` may be a number."""
    entry = (TYPES6 if family == 6 else TYPES4).get(kind)
    if entry is None:
        return None
    number, codes = entry
    if not code:
        return number, 0
    if code.startswith("code_") and code[5:].isdigit():
        return number, int(code[5:])
    if code.isdigit():
        return number, int(code)
    return (number, codes[code]) if code in codes else None
