# SPDX-License-Identifier: Apache-2.0
"""The script language: what it means, and what is said about bad scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.conformance import ast
from capas.conformance.errors import NotApplicable, ScriptError
from capas.conformance.parser import parse


def one(line: str) -> ast.Event:
    """The only event of a script."""
    script = parse("x.pkt", line)
    assert len(script.events) == 1
    return script.events[0]


def tcp(line: str) -> ast.TcpPacket:
    action = one(line).action
    assert isinstance(action, ast.Packet)
    assert isinstance(action.body, ast.TcpPacket)
    return action.body


def call(line: str) -> ast.SystemCall:
    action = one(line).action
    assert isinstance(action, ast.SystemCall)
    return action


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0", ast.Time("=", 0)),
        ("1.5", ast.Time("=", 1_500_000_000)),
        ("+.1", ast.Time("+", 100_000_000)),
        ("+0.000001", ast.Time("+", 1_000)),
        ("*", ast.Time("*")),
        ("+.1~+.2", ast.Time("+", 100_000_000, 200_000_000)),
        ("2~3", ast.Time("=", 2_000_000_000, 3_000_000_000)),
    ],
)
def test_times(text: str, time: ast.Time) -> None:
    assert one(f"{text} > . 1:1(0) ack 1").time == time


def test_a_segment_with_everything() -> None:
    body = tcp(
        "0 < 8080 > 99 FPU. 10:30(20) ack 7 win 8 urg 9 "
        "<mss 5, wscale 3, sackOK, TS val 1 ecr 2, nop, eol>"
    )
    assert body == ast.TcpPacket(
        "FPU.", 10, 20, 7, 8, 9,
        (
            ast.TcpOption("mss", (5,)), ast.TcpOption("wscale", (3,)), ast.TcpOption("sackOK"),
            ast.TcpOption("TS", (1, 2)), ast.TcpOption("nop"), ast.TcpOption("eol"),
        ),
        (8080, 99),
    )  # fmt: skip


def test_what_is_not_given_is_not_checked() -> None:
    body = tcp("0 > . 1:1(0)")
    assert (body.ack, body.window, body.options) == (None, None, ())
    assert tcp("0 > . 1:1(0) ack 1 <...>").options is None


def test_both_dialects() -> None:
    assert tcp("0 > [ect0] SEW 0:0(0)").flags == "SEW"
    event = one("0 < (tos 0x20) R. 0:0(0)! ack 5 win 0/udp(9811 > 1)").action
    assert isinstance(event, ast.Packet)
    assert event.ip == ast.IpInfo(tos=0x20)
    body = event.body
    assert isinstance(body, ast.TcpPacket)
    assert (body.absolute, body.udp) == (True, (9811, 1))
    assert tcp("0 > S. ...(0) ack 1").any_seq
    assert tcp("0 > S 0:0(0) <FO 0a0b0c0d,nop,nop>").options == (
        ast.TcpOption("FO", (), b"\x0a\x0b\x0c\x0d"),
        ast.TcpOption("nop"),
        ast.TcpOption("nop"),
    )
    assert tcp("0 > . 1:1(0) ack 1 <sack 5:9 20:30>").options == (
        ast.TcpOption("sack", (5, 9, 20, 30)),
    )
    assert tcp("0 > S.5 0:0(0) ack 1").ace == 5


def test_sequence_numbers_wrap() -> None:
    assert tcp("0 < . 4294967295:4(5) ack 1").seq == 0xFFFFFFFF


def test_icmp() -> None:
    action = one("0 < icmp unreachable frag_needed mtu 800 [5:15(10)]").action
    assert isinstance(action, ast.Packet)
    assert action.body == ast.IcmpPacket("unreachable", "frag_needed", 800, 0, "tcp", 5, 10)


def test_calls() -> None:
    found = call(
        '+.1...0.5 sendto(3, "a" "b"..., 0x10, A|B|C, {a=1, b=[2, {..., 3}]}) = -1 EX (no way)'
    )
    assert (found.name, found.errno, found.note, found.end) == (
        "sendto",
        "EX",
        "no way",
        500_000_000,
    )
    assert found.result == ast.Integer(-1)
    fd, text, count, flags, struct = found.arguments
    assert fd == ast.Integer(3)
    assert text == ast.String("ab", True)
    assert count == ast.Integer(16)
    assert flags == ast.Or(ast.Or(ast.Word("A"), ast.Word("B")), ast.Word("C"))
    assert struct == ast.Struct(
        {
            "a": ast.Integer(1),
            "b": ast.Array(
                (ast.Integer(2), ast.Struct({"0": ast.Anything(), "1": ast.Integer(3)}))
            ),
        }
    )


def test_options_commands_code_and_conditions() -> None:
    script = parse(
        "x.pkt",
        "// comment\n--a=1\n--b\n`init\nmore`\n#ifdef YES\n0 close(3) = 0\n#else\nrubbish\n#endif\n"
        "/* more\n comment */ +0 `x` +0 %{\nassert 1\n}%\n#ifndef YES\nrubbish\n#endif\n`clean`\n",
        ("YES",),
    )
    assert script.options == [("a", "1"), ("b", "")]
    assert script.init == ast.Command("init\nmore")
    assert script.cleanup == ast.Command("clean")
    kinds = [type(event.action) for event in script.events]
    assert kinds == [ast.SystemCall, ast.Command, ast.Code]
    assert [event.line for event in script.events] == [7, 12, 12]


def test_definitions_replace_words() -> None:
    script = parse("x", "--define=N=5\n0 f(N, M) = N", (), {"M": '"m"'})
    action = script.events[0].action
    assert isinstance(action, ast.SystemCall)
    assert action.arguments == (ast.Integer(5), ast.String("m"))
    assert action.result == ast.Integer(5)


@pytest.mark.parametrize(
    ("text", "line", "column", "expected"),
    [
        ("", 1, 1, "an event"),
        ("0 close(3)", 1, 11, "'='"),
        ("0 close(3 = 0", 1, 11, "')'"),
        ("0\n\n  close 3", 3, 9, "'('"),
        ("+ close(3) = 0", 1, 3, "a time in seconds"),
        ("-1 close(3) = 0", 1, 1, "negative"),
        ("* close(3) = 0", 1, 1, "only stand before an outbound packet"),
        ("+1~+2 < . 1:1(0) ack 1", 1, 1, "only stand before an outbound packet"),
        ("+2~+1 > . 1:1(0) ack 1", 1, 1, "backwards"),
        ("0.12345678901 close(3) = 0", 1, 1, "finer"),
        ("0 > Q 0:0(0)", 1, 5, "TCP flags"),
        ("0 > SS 0:0(0)", 1, 5, "TCP flags"),
        ("0 > S 0:1(0)", 1, 7, "add up"),
        ("0 > S 0-0(0)", 1, 8, "':'"),
        ("0 > . 1:1(0) ack", 1, 17, "an acknowledgement number"),
        ("0 > . 1:1(0) ack 1 win 65536", 1, 24, "out of range"),
        ("0 > S 0:0(0) <mss>", 1, 18, "a segment size"),
        ("0 > S 0:0(0) <foo 1>", 1, 15, "a TCP option"),
        ("0 > S 0:0(0) <TS val 1>", 1, 23, "'ecr'"),
        ("0 > S 0:0(0) <FO abc>", 1, 18, "an even number"),
        ("0 < S 0:0(0) <...>", 1, 14, "outbound"),
        ("0 < S ...(0)", 1, 7, "needs a sequence number"),
        ("0 > S 0:0(0) <sack 1:2 3:4 5:6 7:8, TS val 1 ecr 2>", 1, 14, "40 bytes"),
        ("0 > [blue] . 1:1(0)", 1, 6, "noecn"),
        ("0 `unfinished", 1, 3, "unterminated"),
        ('0 f("x) = 0', 1, 5, "unterminated"),
        ("0 %{ assert 1", 1, 3, "unterminated"),
        ("#ifdef A\n0 close(3) = 0", 1, 1, "without #endif"),
        ("#endif", 1, 1, "without #ifdef"),
        ("#ifdef", 1, 1, "needs a name"),
        ("0 close(3) = 0 `a` `b`", 1, 20, "the end of the script"),
        ("0 f({a=1, a=2}) = 0", 1, 11, "name of a member"),
    ],
)  # fmt: skip
def test_bad_scripts_get_line_column_and_what_was_expected(
    text: str, line: int, column: int, expected: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        parse("x.pkt", text)
    error = caught.value
    assert (error.line, error.column) == (line, column), error
    assert expected in error.message
    assert str(error).startswith(f"x.pkt:{line}:{column}: ")


WORDS = "0 +.1 * > < S S. P. . 1:1(0) 0:9(9) ack win <mss ,nop> <...> 5 ( ) { } [ ] = | close "
MARKS = '` `x` %{ }% " "s" // /* */ -- --a=b #ifdef #endif ... ~ icmp TS val ecr sack'
PIECES = st.sampled_from([*WORDS.split(), *MARKS.split(), "\n"])


@given(st.lists(PIECES | st.text(max_size=4), max_size=25).map(" ".join))
def test_nothing_but_a_script_error_is_raised(text: str) -> None:
    try:
        script = parse("f", text)
    except ScriptError as error:
        assert error.line >= 1
        assert error.column >= 1
    except NotApplicable:
        pass
    else:
        assert script.events
