# SPDX-License-Identifier: Apache-2.0
"""Settings by the names people know: Linux's ``net.ipv4.tcp_*`` and FreeBSD's ``net.inet.tcp.*``.

`apply` changes a host's settings at run time, as writing to /proc/sys does; connections that exist
keep what they copied.  A few names are accepted without effect because what they steer does not
exist here or cannot be otherwise: each stands in `_CONSTANT` with the values that are true.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from capas.base.clock import MS, SECOND
from capas.base.config import HostConfig
from capas.transport.tcp.congestion import base as congestion

if TYPE_CHECKING:
    from capas.host.host import Host

Setter = Callable[[HostConfig, str], None]


def _flag(field: str) -> Setter:
    def setter(config: HostConfig, value: str) -> None:
        setattr(config, field, _number(value) != 0)

    return setter


def _count(field: str, unit: int = 1) -> Setter:
    def setter(config: HostConfig, value: str) -> None:
        setattr(config, field, _number(value) * unit)

    return setter


def _number(value: str) -> int:
    return int(value.strip(), 0)


def _buffers(default: str, maximum: str) -> Setter:
    """``min default max``, as tcp_rmem."""

    def setter(config: HostConfig, value: str) -> None:
        _, middle, largest = (int(part) for part in value.split())
        setattr(config, default, middle)
        setattr(config, maximum, largest)

    return setter


def _congestion(config: HostConfig, value: str) -> None:
    name = value.strip()
    if not congestion.known(name):
        raise ValueError(name)
    config.tcp_congestion = name


def _early_retrans(config: HostConfig, value: str) -> None:
    config.tcp_tlp = _number(value) >= 3


def _recovery(config: HostConfig, value: str) -> None:
    config.tcp_rack = bool(_number(value) & 1)


def _key(config: HostConfig, value: str) -> None:
    key = value.strip()
    for part in key.split(","):
        if len(bytes.fromhex(part.replace("-", ""))) != 16:
            raise ValueError(key)
    config.tcp_fastopen_key = key


def _rfc1323(config: HostConfig, value: str) -> None:
    bits = _number(value)
    config.tcp_timestamps = bits in (1, 3)
    config.tcp_window_scaling = bits in (1, 2)


def _fastopen_bit(bit: int) -> Setter:
    def setter(config: HostConfig, value: str) -> None:
        config.tcp_fastopen = config.tcp_fastopen & ~bit | (bit if _number(value) else 0)

    return setter


def _path_mtu_discovery(config: HostConfig, value: str) -> None:
    if _number(value) != 1:
        raise ValueError(value)


def _blackhole_detection(config: HostConfig, value: str) -> None:
    config.tcp_mtu_probing = 1 if _number(value) else 0


def _version(field: str, newest: int) -> Setter:
    """Of IGMP or MLD; 0: as queriers ask."""

    def setter(config: HostConfig, value: str) -> None:
        number = _number(value)
        if not 0 <= number <= newest:
            raise ValueError(value)
        setattr(config, field, number)

    return setter


def _syncookies_only(config: HostConfig, value: str) -> None:
    if _number(value):
        config.tcp_syncookies = 2
    elif config.tcp_syncookies == 2:
        config.tcp_syncookies = 1


_SETTINGS: Final[dict[str, Setter]] = {
    # -- Linux ------------------------------------------------------------------------------------
    "net.ipv4.ip_default_ttl": _count("default_ttl"),
    "net.ipv4.ip_forward": _flag("forwarding"),
    "net.ipv4.igmp_max_memberships": _count("multicast_memberships"),
    "net.ipv4.igmp_max_msf": _count("multicast_sources"),
    "net.ipv4.igmp_qrv": _count("igmp_qrv"),
    "net.ipv4.conf.all.force_igmp_version": _version("force_igmp_version", 3),
    "net.ipv6.mld_max_msf": _count("multicast_sources6"),
    "net.ipv6.mld_qrv": _count("mld_qrv"),
    "net.ipv6.conf.all.force_mld_version": _version("force_mld_version", 2),
    "net.ipv4.tcp_rmem": _buffers("tcp_receive_buffer", "tcp_receive_buffer_max"),
    "net.ipv4.tcp_wmem": _buffers("tcp_send_buffer", "tcp_send_buffer_max"),
    "net.ipv4.tcp_timestamps": _flag("tcp_timestamps"),
    "net.ipv4.tcp_window_scaling": _flag("tcp_window_scaling"),
    "net.ipv4.tcp_sack": _flag("tcp_sack"),
    "net.ipv4.tcp_dsack": _flag("tcp_dsack"),
    "net.ipv4.tcp_frto": _flag("tcp_frto"),
    "net.ipv4.tcp_ecn": _count("tcp_ecn"),
    "net.ipv4.tcp_reordering": _count("tcp_reordering"),
    "net.ipv4.tcp_congestion_control": _congestion,
    "net.ipv4.tcp_slow_start_after_idle": _flag("tcp_slow_start_after_idle"),
    "net.ipv4.tcp_early_retrans": _early_retrans,
    "net.ipv4.tcp_recovery": _recovery,
    "net.ipv4.tcp_syn_retries": _count("tcp_syn_retries"),
    "net.ipv4.tcp_synack_retries": _count("tcp_synack_retries"),
    "net.ipv4.tcp_retries1": _count("tcp_retries1"),
    "net.ipv4.tcp_retries2": _count("tcp_retries2"),
    "net.ipv4.tcp_orphan_retries": _count("tcp_orphan_retries"),
    "net.ipv4.tcp_fin_timeout": _count("tcp_fin_timeout", SECOND),
    "net.ipv4.tcp_keepalive_time": _count("tcp_keepalive_time", SECOND),
    "net.ipv4.tcp_keepalive_intvl": _count("tcp_keepalive_interval", SECOND),
    "net.ipv4.tcp_keepalive_probes": _count("tcp_keepalive_probes"),
    "net.ipv4.tcp_max_syn_backlog": _count("tcp_max_syn_backlog"),
    "net.ipv4.tcp_syncookies": _count("tcp_syncookies"),
    "net.ipv4.tcp_abort_on_overflow": _flag("tcp_abort_on_overflow"),
    "net.ipv4.tcp_challenge_ack_limit": _count("tcp_challenge_ack_limit"),
    "net.ipv4.tcp_invalid_ratelimit": _count("tcp_invalid_ratelimit", MS),
    "net.ipv4.tcp_rfc1337": _flag("tcp_rfc1337"),
    "net.ipv4.tcp_mtu_probing": _count("tcp_mtu_probing"),
    "net.ipv4.tcp_base_mss": _count("tcp_base_mss"),
    "net.ipv4.tcp_notsent_lowat": _count("tcp_notsent_lowat"),
    "net.ipv4.tcp_min_tso_segs": _count("tcp_min_tso_segs"),
    "net.ipv4.tcp_rto_min_us": _count("tcp_rto_min", 1000),
    "net.ipv4.tcp_fastopen": _count("tcp_fastopen"),
    "net.ipv4.tcp_fastopen_key": _key,
    "net.ipv4.tcp_max_tw_buckets": _count("tcp_time_wait_limit"),
    "net.core.somaxconn": _count("tcp_somaxconn"),
    "net.ipv6.conf.all.use_tempaddr": _count("use_tempaddr"),
    "net.ipv6.conf.all.temp_valid_lft": _count("temp_valid_lifetime", SECOND),
    "net.ipv6.conf.all.temp_prefered_lft": _count("temp_preferred_lifetime", SECOND),
    "net.ipv6.conf.all.max_desync_factor": _count("temp_max_desync", SECOND),
    "net.ipv6.conf.all.regen_max_retry": _count("temp_idgen_retries"),
    # -- FreeBSD ----------------------------------------------------------------------------------
    "net.inet.ip.forwarding": _flag("forwarding"),
    "net.inet.ip.ttl": _count("default_ttl"),
    "net.inet.tcp.rfc1323": _rfc1323,
    "net.inet.tcp.sack.enable": _flag("tcp_sack"),
    "net.inet.tcp.ecn.enable": _count("tcp_ecn"),
    "net.inet.tcp.ecn.maxretries": _count("tcp_ecn_retries"),
    "net.inet.tcp.blackhole": _count("tcp_blackhole"),
    "net.inet.tcp.recvspace": _count("tcp_receive_buffer"),
    "net.inet.tcp.sendspace": _count("tcp_send_buffer"),
    "kern.ipc.maxsockbuf": _count("tcp_receive_buffer_max"),
    "net.inet.tcp.insecure_rst": _flag("tcp_insecure_rst"),
    "net.inet.tcp.insecure_syn": _flag("tcp_insecure_syn"),
    "net.inet.tcp.drop_synfin": _flag("tcp_drop_synfin"),
    "net.inet.tcp.icmp_may_rst": _flag("tcp_icmp_may_reset"),
    "net.inet.tcp.rexmit_initial": _count("tcp_rto_initial", MS),
    "net.inet.tcp.rexmit_slop": _count("tcp_rto_slop", MS),
    "net.inet.tcp.rexmit_min": _count("tcp_rto_min", MS),
    "net.inet.tcp.delacktime": _count("tcp_delayed_ack", MS),
    "net.inet.tcp.keepidle": _count("tcp_keepalive_time", MS),
    "net.inet.tcp.keepintvl": _count("tcp_keepalive_interval", MS),
    "net.inet.tcp.keepcnt": _count("tcp_keepalive_probes"),
    "net.inet.tcp.keepinit": _count("tcp_connect_timeout", MS),
    "net.inet.tcp.msl": _count("tcp_time_wait", 2 * MS),
    "net.inet.tcp.syncookies": _count("tcp_syncookies"),
    "net.inet.tcp.syncookies_only": _syncookies_only,
    "net.inet.tcp.fastopen.client_enable": _fastopen_bit(1),
    "net.inet.tcp.fastopen.server_enable": _fastopen_bit(2),
    "net.inet.tcp.mssdflt": _count("tcp_default_mss"),
    "net.inet.tcp.v6mssdflt": _count("tcp_default_mss6"),
    "net.inet.tcp.path_mtu_discovery": _path_mtu_discovery,
    "net.inet.tcp.pmtud_blackhole_detection": _blackhole_detection,
    "net.inet.tcp.pmtud_blackhole_mss": _count("tcp_base_mss"),
    # -- for tests --------------------------------------------------------------------------------
    "route.advmss": _count("tcp_advmss"),
}

#: Settings that cannot be changed here, and the values with which they already agree.
_CONSTANT: Final[dict[str, tuple[str, ...]]] = {
    "net.ipv4.tcp_fack": ("0", "1"),  # without effect in Linux too since 4.15
    "net.ipv4.tcp_ecn_option": ("0", "1", "2"),  # only with accurate ECN
    "net.ipv4.tcp_tso_win_divisor": ("1", "2", "3", "8"),  # runs are not held back for more
    "net.ipv4.tcp_fastopen_cookies": ("1",),
    "net.ipv4.tcp_pacing_ss_ratio": ("200",),
    "net.ipv4.tcp_pacing_ca_ratio": ("120",),
    "net.ipv4.tcp_no_metrics_save": ("0", "1"),  # connections do not learn from earlier ones
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec": ("0",),
    "net.inet.tcp.rexmit_drop_options": ("0",),
    "net.inet.tcp.tolerate_missing_ts": ("0",),
    "net.inet.tcp.udp_tunneling_port": ("0",),
    "net.inet.tcp.udp_tunneling_overhead": ("0", "8"),
}

#: Names that do something when written, rather than hold a value.
ACTIONS: Final = ("net.inet.tcp.hostcache.purgenow",)

#: What `nstat` calls our counters.
SNMP: Final = {
    "tcp.icmp_out_of_window": "TcpExtOutOfWindowIcmps",
    "tcp.min_ttl": "TcpExtTCPMinTTLDrop",
    "tcp.segments_out": "TcpOutSegs",
    "tcp.segments_in": "TcpInSegs",
    "tcp.resets_out": "TcpOutRsts",
}


def apply(config: HostConfig, name: str, value: str) -> bool:
    """Set ``name`` to ``value``; False if there is no such setting, or not with this value."""
    name = name.replace("/", ".")
    allowed = _CONSTANT.get(name)
    if allowed is not None:
        return value.strip() in allowed
    setter = _SETTINGS.get(name)
    if setter is None:
        return False
    try:
        setter(config, value)
    except ValueError:
        return False
    return True


def act(host: "Host", name: str) -> None:
    """Do what writing to one of `ACTIONS` does."""
    host.stack.shared.pmtu.forget()
    host.tcp.env.fastopen.forget()


def names() -> tuple[str, ...]:
    """All names `apply` knows, sorted."""
    return tuple(sorted({*_SETTINGS, *_CONSTANT}))
