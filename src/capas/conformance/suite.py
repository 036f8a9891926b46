# SPDX-License-Identifier: Apache-2.0
"""Many scripts: finding them, running them over their IP versions, verdicts and summaries."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from capas.base.siphash import siphash
from capas.conformance.ast import Script
from capas.conformance.errors import Failed, NotApplicable, ScriptError
from capas.conformance.parser import parse
from capas.conformance.runner import run
from capas.conformance.settings import IPV4, IPV6, VERSIONS, default_addresses, versions
from capas.host.profiles import PROFILES

PASS: Final = "pass"
FAIL: Final = "fail"
NOT_APPLICABLE: Final = "not-applicable"
ERROR: Final = "error"  # the script is bad

#: The key that the Linux suite's defaults give to Fast Open (four little-endian words).
_FASTOPEN_KEY: Final = b"".join(bytes((value,)) * 4 for value in (0xA1, 0xB2, 0xC3, 0xD4))

#: What ``#ifdef`` knows, by profile.
_DEFINED: Final = {"linux": ("linux", "Linux"), "freebsd": ("FreeBSD",)}


@dataclass(slots=True)
class Verdict:
    """What became of one script.

    ``version`` names the IP version that decided, ``line`` the event; ``expected`` and ``seen`` are
    the two sides of a failure in the script's notation.
    """

    path: str
    verdict: str
    reason: str = ""
    category: str = ""
    version: str = ""
    line: int = 0
    expected: str = ""
    seen: str = ""
    unknown_settings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON; empty details are left out."""
        keep = ("path", "verdict", "reason", "category")
        return {k: v for k, v in asdict(self).items() if v or k in keep}


def find(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """The scripts in files and folders, sorted, each with its category (its folder's name)."""
    out: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            for script in sorted(path.rglob("*.pkt")):
                parts = script.relative_to(path).parts[:-1]
                out.append((script, "/".join(parts) or path.name))
        else:
            out.append((path, path.resolve().parent.name))
    return out


def check(
    path: Path,
    category: str,
    profile: str = "linux",
    only: str = "",
    defines: dict[str, str] | None = None,
    pcap_directory: Path | None = None,
) -> Verdict:
    """Run one script over the IP versions it is meant for (or ``only`` one of them)."""
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return Verdict(name, ERROR, f"cannot be read: {error.strerror}", category)
    try:
        scripts = parse_versions(name, text, profile, defines)
    except ScriptError as error:
        return Verdict(name, ERROR, str(error), category, line=error.line)
    except NotApplicable as error:
        return Verdict(name, NOT_APPLICABLE, str(error), category)
    if only:
        scripts = {version: script for version, script in scripts.items() if version == only}
        if not scripts:
            return Verdict(name, NOT_APPLICABLE, f"the script is not for {only}", category)
    result = Verdict(name, PASS, "", category)
    applicable = 0
    for version, script in scripts.items():
        one = _check_version(script, category, profile, version, pcap_directory)
        for setting in one.unknown_settings:
            if setting not in result.unknown_settings:
                result.unknown_settings.append(setting)
        result.warnings += one.warnings
        if one.verdict == PASS:
            applicable += 1
        elif one.verdict != NOT_APPLICABLE:
            one.unknown_settings = result.unknown_settings
            return one
        else:
            result.reason, result.version = one.reason, one.version
    if not applicable:
        result.verdict = NOT_APPLICABLE
    else:
        result.reason = result.version = ""
    return result


def parse_versions(
    name: str, text: str, profile: str, defines: dict[str, str] | None = None
) -> dict[str, Script]:
    """The script for each IP version it is meant for, with that version's definitions."""
    defined = _DEFINED[profile]
    ours = {v: {**_definitions(v, profile), **(defines or {})} for v in VERSIONS}
    first = parse(name, text, defined, ours[VERSIONS[0]])
    return {v: parse(name, text, defined, ours[v]) for v in versions(first, profile == "linux")}


def _definitions(version: str, profile: str) -> dict[str, str]:
    """What Google's own runner defines for each IP version."""
    if profile != "linux":
        return {}
    local, remote = default_addresses(version)
    cookie = siphash(_FASTOPEN_KEY, remote + local).to_bytes(8, "little").hex()
    v4 = version == IPV4
    common = {"TFO_COOKIE": cookie, "CMSG_LEVEL_IP": "SOL_IP" if v4 else "SOL_IPV6"}
    common["CMSG_TYPE_RECVERR"] = "IP_RECVERR" if v4 else "IPV6_RECVERR"
    if version != IPV6:
        common["CODE"] = "host_unreachable"
    return common


def _check_version(
    script: Script, category: str, profile: str, version: str, pcap_directory: Path | None
) -> Verdict:
    config = PROFILES[profile]()
    # Google's suite runs IPv6 with an MTU that leaves the MSS of IPv4.
    mtu = 1520 if version == IPV6 and profile == "linux" else 0
    result = Verdict(script.path, PASS, "", category, version)
    try:
        runner = run(script, config, version, mtu, pcap_directory)
    except NotApplicable as error:
        result.verdict, result.reason = NOT_APPLICABLE, str(error)
        result.line = _line(error)
    except ScriptError as error:
        result.verdict, result.reason = ERROR, str(error)
        result.line = error.line
    except Failed as error:
        result.verdict, result.reason = FAIL, str(error)
        result.line = _line(error)
        result.expected, result.seen = error.expected, error.seen
    except Exception as error:  # a defect of the stack or of this program: never a pass
        result.verdict = FAIL
        result.reason = f"{type(error).__name__}: {error}{_where(error)}"
        result.line = _line(error)
    else:
        result.unknown_settings = runner.commands.unknown
        result.warnings = runner.warnings
    return result


def _line(error: BaseException) -> int:
    notes = getattr(error, "__notes__", [])
    return int(notes[-1]) if notes and notes[-1].isdigit() else 0


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f" ({Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name})"


def check_all(
    scripts: list[tuple[Path, str]],
    profile: str = "linux",
    jobs: int = 1,
    only: str = "",
    defines: dict[str, str] | None = None,
    pcap_directory: Path | None = None,
) -> Iterator[Verdict]:
    """Verdicts in the order of ``scripts``, on ``jobs`` processes."""
    if jobs <= 1 or len(scripts) < 4:
        for path, category in scripts:
            yield check(path, category, profile, only, defines, pcap_directory)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = pool.map(
            _check_chunk,
            *zip(
                *(
                    (path, category, profile, only, defines, pcap_directory)
                    for path, category in scripts
                ),
                strict=True,
            ),
            chunksize=max(1, len(scripts) // (jobs * 8)),
        )
        yield from futures


def _check_chunk(
    path: Path,
    category: str,
    profile: str,
    only: str,
    defines: dict[str, str] | None,
    pcap_directory: Path | None,
) -> Verdict:
    return check(path, category, profile, only, defines, pcap_directory)


def summary(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    """Counts of verdicts by category, in order of first appearance, and "total"."""
    out: dict[str, dict[str, int]] = {}
    total = dict.fromkeys((PASS, FAIL, NOT_APPLICABLE, ERROR), 0)
    for verdict in verdicts:
        counts = out.setdefault(
            verdict.category, dict.fromkeys((PASS, FAIL, NOT_APPLICABLE, ERROR), 0)
        )
        counts[verdict.verdict] += 1
        total[verdict.verdict] += 1
    out["total"] = total
    return out


__all__ = ["VERSIONS", "Verdict", "check", "check_all", "find", "summary"]
