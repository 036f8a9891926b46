# SPDX-License-Identifier: Apache-2.0
"""The ``--name=value`` options of a script, checked, with packetdrill's defaults."""

from dataclasses import dataclass
from typing import Final

from capas.conformance.ast import Script
from capas.conformance.errors import NotApplicable, ScriptError
from capas.wire import address as addr

US: Final = 1_000

IPV4: Final = "ipv4"
IPV6: Final = "ipv6"
MAPPED: Final = "ipv4-mapped-ipv6"
VERSIONS: Final = (IPV4, IPV6, MAPPED)

#: Options that change nothing in virtual time, or that only steer packetdrill itself.
_IGNORED: Final = frozenset(
    (
        "verbose", "debug", "speed", "send_omit_free", "gateway_ip", "netmask_ip", "prefix_len",
        "code_command", "code_format", "code_sockopt", "init_scripts", "persistent_tun_dev",
        "tun_dev", "wire_server_port", "mss", "is_anyip", "so_flags",
    )
)  # fmt: skip

#: local, remote, and bytes of MTU, as Google's own runner and the FreeBSD suite have them.
_DEFAULTS: Final = {
    IPV4: ("192.168.0.1", "192.0.2.1", 1500),
    MAPPED: ("192.168.0.1", "192.0.2.1", 1500),
    IPV6: ("fd3d:a0b:17d6::1", "fd3d:fa7b:d17d::1", 1500),
}


@dataclass(slots=True)
class RunSettings:
    """How to run a script.  Times in ns, addresses packed."""

    version: str
    local: bytes
    remote: bytes
    mtu: int
    bind_port: int = 8080
    connect_port: int = 8080
    tolerance: int = 4000 * US
    tolerance_percent: float = 12.5
    ts_tick: int = 0  # ns per tick of the timestamp clock, 0: values are not checked
    ts_echo_scaled: bool = False
    strict_segments: bool = False
    packets_not_fatal: bool = False
    calls_not_fatal: bool = False


def default_addresses(version: str) -> tuple[bytes, bytes]:
    """The local and the remote address of a script that names none."""
    local, remote, _ = _DEFAULTS[version]
    return addr.parse(local), addr.parse(remote)


def run_settings(script: Script, version: str, mtu: int = 0) -> RunSettings:
    """The settings of ``script`` when run over ``version`` (one of `VERSIONS`)."""
    local, remote, default_mtu = _DEFAULTS[version]
    settings = RunSettings(version, addr.parse(local), addr.parse(remote), mtu or default_mtu)
    for name, value in script.options:
        _apply(script, settings, name, value)
    return settings


def versions(script: Script, several: bool = True) -> tuple[str, ...]:
    """The IP versions a script is meant for: its own option, its name, or all.

    ``several`` False: a script that says nothing is for IPv4 (the FreeBSD suite's dialect).
    """
    wanted = script.option("ip_version")
    if wanted:
        if wanted not in VERSIONS:
            raise ScriptError(script.path, 1, 1, f"--ip_version={wanted} is none of {VERSIONS}")
        return (wanted,)
    if not several:
        return (IPV4,)
    local = script.option("local_ip")
    if local:
        return (IPV6,) if ":" in local else (IPV4, MAPPED)
    stem = script.path.rsplit("/", 1)[-1].removesuffix(".pkt")
    if stem.endswith("v6"):
        return (IPV6,)
    if stem.endswith("v4"):
        return (IPV4, MAPPED)
    return (IPV4, IPV6, MAPPED)


def _apply(script: Script, settings: RunSettings, name: str, value: str) -> None:
    try:
        if name in ("local_ip", "remote_ip"):
            packed = addr.parse(value.split("/")[0])
            if len(packed) == len(settings.local):
                setattr(settings, "local" if name == "local_ip" else "remote", packed)
        elif name in ("bind_port", "connect_port", "mtu"):
            setattr(settings, name, int(value))
        elif name == "tolerance_usecs":
            settings.tolerance = int(value) * US
        elif name == "tolerance_percent":
            settings.tolerance_percent = float(value)
        elif name == "tcp_ts_tick_usecs":
            settings.ts_tick = int(value) * US
        elif name == "tcp_ts_ecr_scaled":
            settings.ts_echo_scaled = True
        elif name == "strict_segments":
            settings.strict_segments = True
        elif name == "non_fatal":
            settings.packets_not_fatal = "packet" in value
            settings.calls_not_fatal = "syscall" in value
        elif name == "udp_encapsulation":
            raise NotApplicable(f"TCP inside UDP (--udp_encapsulation={value})")
        elif name == "tcp_md5_secret":
            raise NotApplicable("TCP MD5 signatures (RFC 2385)")
        elif name == "ip_version" or name in _IGNORED:
            pass
        else:
            raise ScriptError(script.path, 1, 1, f"unknown option --{name}")
    except ValueError:
        raise ScriptError(script.path, 1, 1, f"--{name}={value}: not a valid value") from None
