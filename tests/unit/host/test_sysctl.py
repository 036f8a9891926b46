# SPDX-License-Identifier: Apache-2.0
"""Settings by the names of Linux and FreeBSD, and the profiles."""

import dataclasses

import pytest

from capas.base.clock import MS, SECOND
from capas.base.config import HostConfig
from capas.host import profiles, sysctl


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("net.ipv4.tcp_sack", "0", "tcp_sack", False),
        ("net.ipv4.igmp_max_msf", "4", "multicast_sources", 4),
        ("net.ipv4.conf.all.force_igmp_version", "2", "force_igmp_version", 2),
        ("net.ipv6.conf.all.force_mld_version", "1", "force_mld_version", 1),
        ("net/ipv4/tcp_timestamps", "0", "tcp_timestamps", False),
        ("net.ipv4.tcp_syn_retries", "2", "tcp_syn_retries", 2),
        ("net.ipv4.tcp_congestion_control", "bbr", "tcp_congestion", "bbr"),
        ("net.ipv4.tcp_fin_timeout", "5", "tcp_fin_timeout", 5 * SECOND),
        ("net.ipv4.tcp_fastopen", "0x203", "tcp_fastopen", 0x203),
        ("net.ipv4.tcp_early_retrans", "0", "tcp_tlp", False),
        ("net.ipv4.tcp_recovery", "0", "tcp_rack", False),
        ("net.inet.tcp.rfc1323", "2", "tcp_timestamps", False),
        ("net.inet.tcp.delacktime", "70", "tcp_delayed_ack", 70 * MS),
        ("net.inet.tcp.insecure_rst", "1", "tcp_insecure_rst", True),
        ("net.inet.tcp.fastopen.client_enable", "0", "tcp_fastopen", 0),
        ("net.inet.tcp.syncookies_only", "1", "tcp_syncookies", 2),
        ("kern.ipc.maxsockbuf", "73728", "tcp_receive_buffer_max", 73728),
    ],
)
def test_names(name: str, value: str, field: str, expected: object) -> None:
    config = HostConfig()
    assert sysctl.apply(config, name, value)
    assert getattr(config, field) == expected


def test_buffers_are_three_numbers() -> None:
    config = HostConfig()
    assert sysctl.apply(config, "net.ipv4.tcp_rmem", "4096 70000 800000")
    assert (config.tcp_receive_buffer, config.tcp_receive_buffer_max) == (70000, 800000)
    assert not sysctl.apply(config, "net.ipv4.tcp_rmem", "4096")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.no_such", "1"),
        ("net.ipv4.tcp_sack", "yes"),
        ("net.ipv4.conf.all.force_igmp_version", "4"),
        ("net.ipv6.conf.all.force_mld_version", "3"),
        ("net.ipv4.tcp_congestion_control", "vegas-of-old"),
        ("net.ipv4.tcp_pacing_ss_ratio", "300"),
        ("net.ipv4.tcp_fastopen_key", "1-2"),
        ("net.inet.tcp.path_mtu_discovery", "0"),
    ],
)
def test_what_is_unknown_or_impossible_is_refused(name: str, value: str) -> None:
    config = HostConfig()
    before = dataclasses.replace(config)
    assert not sysctl.apply(config, name, value)
    assert config == before


def test_every_name_is_listed_once() -> None:
    names = sysctl.names()
    assert list(names) == sorted(set(names))
    assert "net.ipv4.tcp_ecn" in names


def test_profiles() -> None:
    linux, freebsd = profiles.linux(), profiles.freebsd()
    assert set(profiles.PROFILES) == {"linux", "freebsd"}
    assert linux.tcp_option_order == "linux"
    assert freebsd.tcp_option_order == "freebsd"
    assert freebsd.tcp_receive_buffer == 65_536
    assert profiles.linux() == linux  # a new one each time, the same
    assert profiles.linux() is not linux
