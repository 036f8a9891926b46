# SPDX-License-Identifier: Apache-2.0
"""Host settings that make a host behave like a well-known stack.

`linux` is Linux 6.x with its defaults (and the default of `HostConfig` but for what the RFCs ask
otherwise); `freebsd` is FreeBSD 14.  Use them as the ``config`` of a host:

    world.host("old server", config=profiles.freebsd())
"""

from collections.abc import Callable
from typing import Final

from capas.base.clock import MS, SECOND
from capas.base.config import HostConfig


def linux() -> HostConfig:
    """Linux 6.x."""
    config = HostConfig()
    config.tcp_hystart = "linux"
    config.tcp_tso_autosize = True
    config.temp_valid_lifetime = 604_800 * SECOND  # temp_valid_lft, RFC 4941's
    config.temp_max_desync = 600 * SECOND  # max_desync_factor
    return config


def freebsd() -> HostConfig:
    """FreeBSD 14."""
    config = HostConfig()
    config.tcp_manners = "freebsd"
    config.tcp_option_order = "freebsd"
    config.tcp_receive_buffer = 65_536  # net.inet.tcp.recvspace
    config.tcp_receive_buffer_max = 2_097_152  # kern.ipc.maxsockbuf
    config.tcp_send_buffer = 32_768  # net.inet.tcp.sendspace
    config.tcp_send_buffer_max = 2_097_152
    config.tcp_round_receive_buffer = True
    config.tcp_rto_min = 30 * MS  # net.inet.tcp.rexmit_min, with rexmit_slop 200 ms on top
    config.tcp_rto_max = 64 * SECOND
    config.tcp_rto_whole_floor = True
    config.tcp_rto_slop = 200 * MS
    config.tcp_connect_timeout = 75 * SECOND  # net.inet.tcp.keepinit
    config.tcp_syn_retries = 12
    config.tcp_keepalive_probes = 8
    config.tcp_time_wait = 60 * SECOND  # 2 * net.inet.tcp.msl
    config.tcp_fastopen = 0
    config.tcp_rfc1337 = False
    config.tcp_ecn_retries = 1
    config.tcp_mtu_probing = 0
    config.port_low = 10_000
    config.port_high = 65_535
    return config


PROFILES: Final[dict[str, Callable[[], HostConfig]]] = {"linux": linux, "freebsd": freebsd}
