# SPDX-License-Identifier: Apache-2.0
"""Tokens of packetdrill's script language, both dialects, with line and column.

Before that a preprocessor: ``#ifdef NAME`` / ``#ifndef`` / ``#else`` / ``#endif`` (the FreeBSD
suite), and later substitution of ``--define=NAME=VALUE`` words.
"""

import re
from dataclasses import dataclass
from typing import Final

from capas.conformance.errors import ScriptError

OPTION: Final = "option"  # --name or --name=value
CODE: Final = "code"  # %{ ... }%
COMMAND: Final = "command"  # `...`
STRING: Final = "string"
IPV4: Final = "IPv4 address"
IPV6: Final = "IPv6 address"
FLOAT: Final = "number with a point"
INTEGER: Final = "integer"
HEX: Final = "hexadecimal number"
WORD: Final = "word"
ELLIPSIS: Final = "..."
MARK: Final = "mark"  # any other single character
END: Final = "end of script"

_TOKENS: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+|//[^\n]*|/\*.*?\*/)
  | (?P<code>%\{.*?\}%)
  | (?P<command>`(?:\\.|[^`\\])*`)
  | (?P<string>"(?:\\.|[^"\\])*")
  | (?P<option>--[A-Za-z0-9_]+(?:=(?:[A-Za-z0-9_]+=)?(?:"[^"]*"|`[^`]*`|[^\s"`]+))?)
  | (?P<ellipsis>\.\.\.)
  | (?P<ipv4>\d+\.\d+\.\d+\.\d+)
  | (?P<float>-?\d*\.\d+)
  | (?P<ipv6>[0-9A-Fa-f]*::[0-9A-Fa-f:.]*|(?:[0-9A-Fa-f]+:){7}[0-9A-Fa-f]+)
  | (?P<hex>0[xX][0-9A-Fa-f]+(?![A-Za-z0-9_]))
  | (?P<integer>-?\d+(?![A-Za-z0-9_]))
  | (?P<word>[A-Za-z0-9_]+(?:\#(?=\s))?)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_KINDS: Final = {
    "code": CODE,
    "command": COMMAND,
    "string": STRING,
    "option": OPTION,
    "ellipsis": ELLIPSIS,
    "ipv4": IPV4,
    "float": FLOAT,
    "ipv6": IPV6,
    "hex": HEX,
    "integer": INTEGER,
    "word": WORD,
    "mark": MARK,
}

_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_DIRECTIVE: Final = re.compile(r"^[ \t]*#[ \t]*(ifdef|ifndef|else|endif)\b[ \t]*(\w*)")


@dataclass(frozen=True, slots=True)
class Token:
    """One token: kind, text as written (delimiters stripped), where it starts and ends."""

    kind: str
    text: str
    line: int
    column: int
    start: int
    end: int

    def __str__(self) -> str:
        return self.kind if self.kind == END else repr(self.text)


def preprocess(path: str, text: str, defined: tuple[str, ...]) -> str:
    """Blank out what ``#ifdef`` excludes, keeping line numbers."""
    out: list[str] = []
    stack: list[tuple[bool, int]] = []  # (this branch counts, line)
    for number, line in enumerate(text.split("\n"), 1):
        match = _DIRECTIVE.match(line)
        if match is None:
            out.append(line if all(active for active, _ in stack) else "")
            continue
        word, name = match.groups()
        if word in ("ifdef", "ifndef"):
            if not name:
                raise ScriptError(path, number, 1, f"#{word} needs a name")
            stack.append(((name in defined) == (word == "ifdef"), number))
        elif not stack:
            raise ScriptError(path, number, 1, f"#{word} without #ifdef")
        elif word == "else":
            active, start = stack.pop()
            stack.append((not active, start))
        else:
            stack.pop()
        out.append("")
    if stack:
        raise ScriptError(path, stack[-1][1], 1, "#ifdef without #endif")
    return "\n".join(out)


def tokenize(path: str, text: str) -> list[Token]:
    """All tokens of ``text``, with one of kind END behind them."""
    tokens: list[Token] = []
    line, line_start = 1, 0
    for match in _TOKENS.finditer(text):
        group = match.lastgroup
        raw = match.group()
        start = match.start()
        if group != "space" and group is not None:
            column = start - line_start + 1
            tokens.append(
                Token(_KINDS[group], _strip(group, raw), line, column, start, match.end())
            )
            if group == "mark" and raw in '`"':
                raise ScriptError(path, line, column, f"unterminated {raw}")
            if group == "mark" and raw == "%" and text.startswith("%{", start):
                raise ScriptError(path, line, column, "unterminated %{ }%")
        newlines = raw.count("\n")
        if newlines:
            line += newlines
            line_start = start + raw.rindex("\n") + 1
    column = len(text) - line_start + 1
    tokens.append(Token(END, "", line, column, len(text), len(text)))
    return tokens


def _unescape(match: "re.Match[str]") -> str:
    code = match.group(1)
    if code[0] == "x":
        return chr(int(code[1:], 16))
    if code[0].isdigit():
        return chr(int(code, 8) & 0xFF)
    return {"n": "\n", "t": "\t", "r": "\r"}.get(code, code)


def _strip(group: str, raw: str) -> str:
    if group == "code":
        return raw[2:-2]
    if group == "command":
        return raw[1:-1]
    if group == "string":
        return _ESCAPE.sub(_unescape, raw[1:-1])
    return raw
