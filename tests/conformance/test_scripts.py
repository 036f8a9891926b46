# SPDX-License-Identifier: Apache-2.0
"""Our own scripts pass, and no script passes when one of its fields is wrong."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from capas.conformance import ast, suite
from capas.conformance.ast import Event, Script
from capas.conformance.errors import Failed
from capas.conformance.runner import run
from capas.host.profiles import PROFILES

SCRIPTS = Path(__file__).parent / "scripts"
NAMES = (
    "client",
    "counts",
    "fastopen-client",
    "fastopen-server",
    "freebsd",
    "header-fields",
    "icmp",
    "loss",
    "server",
    "timeout",
)


def profile_of(name: str) -> str:
    return "freebsd" if name == "freebsd" else "linux"


@pytest.mark.parametrize("name", NAMES)
def test_script_passes_over_every_ip_version(name: str) -> None:
    verdict = suite.check(SCRIPTS / f"{name}.pkt", "own", profile_of(name))
    assert (verdict.verdict, verdict.reason, verdict.seen) == (suite.PASS, "", "")


def load(name: str) -> tuple[str, Script]:
    """The first IP version of a script, and the script for it."""
    path = SCRIPTS / f"{name}.pkt"
    scripts = suite.parse_versions(str(path), path.read_text("utf-8"), profile_of(name))
    return next(iter(scripts.items()))


def mutants(script: Script) -> Iterator[tuple[str, Script]]:
    """The script with one expectation changed."""
    for index, event in enumerate(script.events):
        for what, action in wrong_actions(event):
            events = script.events.copy()
            events[index] = replace(event, action=action)
            yield f"line {event.line}: {what}", replace_events(script, events)
        if isinstance(event.action, ast.Packet) and not event.action.inbound:
            events = script.events.copy()
            late = replace(event.time, start=event.time.start + 700_000_000)
            events[index] = replace(event, time=late)
            yield f"line {event.line}: late", replace_events(script, events)


def replace_events(script: Script, events: list[Event]) -> Script:
    return Script(script.path, script.options, script.init, events, script.cleanup)


def wrong_actions(event: Event) -> Iterator[tuple[str, ast.Action]]:
    action = event.action
    if isinstance(action, ast.Packet) and not action.inbound:
        body = action.body
        assert isinstance(body, ast.TcpPacket)
        for what, wrong in wrong_packets(body):
            yield what, replace(action, body=wrong)
        yield "tos", replace(action, ip=ast.IpInfo(tos=0x44))
        yield "ttl", replace(action, ip=ast.IpInfo(ttl=63))
    elif isinstance(action, ast.SystemCall) and isinstance(action.result, ast.Integer):
        wrong_result = ast.Integer(action.result.value + 7)
        if action.name != "socket" and action.name != "accept":  # their result is a name
            yield "result", replace(action, result=wrong_result)
        if action.errno:
            yield "errno", replace(action, errno="EPIPE")
        else:
            yield "errno", replace(action, result=ast.Integer(-1), errno="ENOMEM")
        if action.name == "getsockopt":
            arguments = list(action.arguments)
            arguments[3] = ast.Array((ast.Integer(12345),))
            yield "value", replace(action, arguments=tuple(arguments))
        if action.end >= 0:
            yield "end", replace(action, end=action.end + 400_000_000)
    elif isinstance(action, ast.Code):
        yield "assertion", ast.Code("assert tcpi_state == 99")
    elif isinstance(action, ast.Command) and "grep 1" in action.text:
        yield "question", ast.Command(action.text.replace("grep 1", "grep 2"))


def wrong_packets(body: ast.TcpPacket) -> Iterator[tuple[str, ast.TcpPacket]]:
    flags = body.flags
    yield "push", replace(body, flags=flags.replace("P", "") if "P" in flags else "P" + flags)
    yield "reset", replace(body, flags="R" + flags)
    yield "fin", replace(body, flags=flags.replace("F", "") if "F" in flags else "F" + flags)
    yield "echo", replace(body, flags="E" + flags)
    if "S" not in flags:  # a SYN's own number is a name for what the stack chose
        yield "sequence", replace(body, seq=body.seq + 1)
    yield "length", replace(body, length=body.length + 1)
    yield "urgent", replace(body, urgent=1)
    if body.ack is not None:
        yield "acknowledgement", replace(body, ack=body.ack + 1)
    if body.window is not None:
        yield "window", replace(body, window=body.window ^ 1)
    if body.options is None:
        return
    yield "one option more", replace(body, options=(*body.options, ast.TcpOption("sackOK")))
    if body.options:
        yield "one option less", replace(body, options=body.options[:-1])
    for i, option in enumerate(body.options):
        if option.kind == "TS":
            wrong = [(option.values[0], option.values[1] + 1)]
        else:
            wrong = [
                tuple(v + (j == k) for j, v in enumerate(option.values))
                for k in range(len(option.values))
            ]
        if option.data:
            other = replace(option, data=bytes((option.data[0] ^ 1,)) + option.data[1:])
            yield (
                "cookie",
                replace(body, options=(*body.options[:i], other, *body.options[i + 1 :])),
            )
        for values in wrong:
            if option.kind == "TS" and "." not in body.flags:
                continue  # nothing to echo yet
            changed = (*body.options[:i], replace(option, values=values), *body.options[i + 1 :])
            yield f"option {option.kind}", replace(body, options=changed)


@pytest.mark.parametrize("name", NAMES)
def test_no_wrong_field_passes(name: str) -> None:
    version, script = load(name)
    survivors = []
    count = 0
    for what, mutant in mutants(script):
        count += 1
        try:
            run(mutant, PROFILES[profile_of(name)](), version)
        except Failed:
            continue
        survivors.append(what)
    assert survivors == []
    assert count >= 15


def test_timestamp_values_are_checked_when_a_tick_is_given() -> None:
    _, script = load("server")
    for index, event in enumerate(script.events):
        body = getattr(event.action, "body", None)
        if isinstance(body, ast.TcpPacket) and "F" in body.flags and not event.action.inbound:
            options = tuple(
                replace(o, values=(o.values[0] + 40, o.values[1])) if o.kind == "TS" else o
                for o in body.options or ()
            )
            wrong = replace(event.action, body=replace(body, options=options))
            events = script.events.copy()
            events[index] = replace(event, action=wrong)
            with pytest.raises(Failed, match="TS val"):
                run(replace_events(script, events), PROFILES["linux"](), "ipv4")


def check_text(tmp_path: Path, text: str, profile: str = "linux") -> suite.Verdict:
    path = tmp_path / "t.pkt"
    path.write_text(text, "utf-8")
    return suite.check(path, "t", profile)


PREFIX = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("+0 splice(3, 4, 5) = 0", "splice"),
        ("+0 `iptables -A INPUT -j DROP`", "iptables"),
        ("+0 setsockopt(3, SOL_SOCKET, SO_TIMESTAMPING, [1], 4) = 0", "time stamps"),
        ("+0 setsockopt(3, SOL_TCP, TCP_MD5SIG, [1], 4) = 0", "MD5"),
        ("+0 ioctl(3, EPOLLIN, [1]) = 0", "ioctl"),
        ("+0 %{ assert tcpi_no_such_name == 1 }%", "tcp_info"),
        ("+0 `reboot; true`", "reboot"),
        ("+0 > ipv4 1.2.3.4 > 5.6.7.8: . 1:1(0)", "line 2: packets of, or inside, ipv4"),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path: Path, line: str, word: str) -> None:
    verdict = check_text(tmp_path, PREFIX + line + "\n")
    assert verdict.verdict == suite.NOT_APPLICABLE
    assert word in verdict.reason


@pytest.mark.parametrize(
    "line",
    [
        "+0 close(9) = 0",
        "+0 setsockopt(3, SOL_SOCKET, SO_NO_SUCH, [1], 4) = 0",
        "+0 < . 1:1(0) ack 1 win 5 <nop,nop,TS val 4 ecr 77>",
        "+0 > S 0:0(0) <...>",
        "+0 accept(3, ..., ...) = 4",
        "+1 %{ assert 1 == 2 }%",
        "+1 %{ raise ValueError('x') }%",
        "+1 %{ this is no code }%",
        "+1 %{ no_such_name }%",
        "+0...0.1 read(3, ..., 5) = 5",
    ],
)
def test_failures_are_failures(tmp_path: Path, line: str) -> None:
    verdict = check_text(tmp_path, PREFIX + line + "\n")
    assert verdict.verdict == suite.FAIL
    assert verdict.reason
    assert verdict.line == 2


def test_unknown_settings_are_reported(tmp_path: Path) -> None:
    verdict = check_text(tmp_path, "`sysctl -q net.ipv4.tcp_no_such=1`\n" + PREFIX)
    assert verdict.verdict == suite.PASS
    assert verdict.unknown_settings == ["net.ipv4.tcp_no_such"]


def test_defaults_scripts_are_read_not_run(tmp_path: Path) -> None:
    (tmp_path / "defaults.sh").write_text(
        "#!/bin/sh\n# comment\nsysctl -q net.ipv4.tcp_syn_retries=1 > /dev/null 2>&1\n"
        'sysctl -q net.ipv4.tcp_rmem="4096 70000 $((2*1024*1024))"\n',
        "utf-8",
    )
    text = (
        "`./defaults.sh`\n" + PREFIX + "+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"
        "+0 connect(3, ..., ...) = -1 EINPROGRESS (x)\n"
        "+0 > S 0:0(0) <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 6>\n"
        "+1 > S 0:0(0) <...>\n"
        "+2.1 getsockopt(3, SOL_SOCKET, SO_ERROR, [ETIMEDOUT], [4]) = 0\n"
    )
    verdict = check_text(tmp_path, text)
    assert (verdict.verdict, verdict.reason) == (suite.PASS, "")


def test_verdicts_are_the_same_on_repeats_and_processes() -> None:
    scripts = suite.find([SCRIPTS])
    alone = [v.as_dict() for v in suite.check_all(scripts, "linux", 1)]
    again = [v.as_dict() for v in suite.check_all(scripts, "linux", 2)]
    assert alone == again
    counts = suite.summary(suite.check_all(scripts, "linux", 1))
    assert counts["total"][suite.PASS] == len(NAMES) - 1  # freebsd.pkt is for the other profile


def test_captures_are_written(tmp_path: Path) -> None:
    verdict = suite.check(SCRIPTS / "server.pkt", "own", pcap_directory=tmp_path)
    assert verdict.verdict == suite.PASS
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "scripts-server-ipv4-mapped-ipv6.pcapng",
        "scripts-server-ipv4.pcapng",
        "scripts-server-ipv6.pcapng",
    ]
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())


def test_missing_defaults_have_a_substitute(tmp_path: Path) -> None:
    text = (
        "`../common/defaults.sh`\n" + PREFIX + "+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"
        "+0 connect(3, ..., ...) = -1 EINPROGRESS (x)\n"
        "+0 > S 0:0(0) <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 8>\n"
    )
    assert check_text(tmp_path, text).verdict == suite.PASS
    assert check_text(tmp_path, text.replace("defaults", "others")).verdict == suite.NOT_APPLICABLE
