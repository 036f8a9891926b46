# SPDX-License-Identifier: Apache-2.0
"""Recursive descent over the tokens of a script: options, events, times, system calls.

Packet lines are in `packets`.  Anything not understood is a `ScriptError` with line and column:
a script is run whole or not at all.
"""

from typing import Final

from capas.conformance import lexer
from capas.conformance.ast import (
    ABSOLUTE,
    ANY,
    RELATIVE,
    Action,
    Anything,
    Array,
    Call,
    Code,
    Command,
    Event,
    Expression,
    Integer,
    Or,
    Packet,
    Script,
    String,
    Struct,
    SystemCall,
    Time,
    Word,
)
from capas.conformance.errors import ScriptError
from capas.conformance.lexer import Token

NS_PER_SECOND: Final = 1_000_000_000


class Cursor:
    """A position in the token list, with the usual helpers."""

    def __init__(self, path: str, text: str, tokens: list[Token]) -> None:
        self.path = path
        self.text = text
        self.tokens = tokens
        self.at = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def next(self) -> Token:
        """Take the next token."""
        token = self.tokens[self.at]
        if token.kind != lexer.END:
            self.at += 1
        return token

    def peek(self, ahead: int = 1) -> Token:
        """Look further, without taking."""
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def fail(self, expected: str, token: Token | None = None) -> ScriptError:
        """The error "expected ..., found ..." at ``token`` (default: the next)."""
        token = token or self.token
        return ScriptError(
            self.path, token.line, token.column, f"expected {expected}, found {token}"
        )

    def bad(self, message: str, token: Token) -> ScriptError:
        """An error of meaning at ``token``."""
        return ScriptError(self.path, token.line, token.column, message)

    def is_mark(self, text: str) -> bool:
        """Whether the next token is the character ``text``."""
        token = self.token
        return token.kind == lexer.MARK and token.text == text

    def is_word(self, *names: str) -> bool:
        """Whether the next token is one of these words."""
        token = self.token
        return token.kind == lexer.WORD and token.text in names

    def accept(self, text: str) -> bool:
        """Take the character ``text`` if it is next."""
        if self.is_mark(text):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> Token:
        """Take the character ``text`` or fail."""
        if not self.is_mark(text):
            raise self.fail(repr(text))
        return self.next()

    def integer(self, what: str, low: int = 0, high: int = 0xFFFFFFFF) -> int:
        """Take an integer (decimal or hexadecimal) within limits."""
        token = self.token
        if token.kind not in (lexer.INTEGER, lexer.HEX):
            raise self.fail(what)
        value = int(token.text, 0) if token.kind == lexer.HEX else int(token.text)
        if not low <= value <= high:
            raise self.bad(f"{what} {value} is out of range {low}..{high}", token)
        self.at += 1
        return value


def parse(
    path: str,
    text: str,
    defined: tuple[str, ...] = (),
    defines: dict[str, str] | None = None,
) -> Script:
    """The script in ``text``; ScriptError if it is not one.

    ``defined`` are the names ``#ifdef`` knows; ``defines`` replaces words, as ``-D NAME=VALUE``.
    """
    text = lexer.preprocess(path, text, defined)
    cursor = Cursor(path, text, lexer.tokenize(path, text))
    script = Script(path)
    substitutions = dict(defines or {})
    while cursor.token.kind == lexer.OPTION:
        _option(cursor, script, substitutions)
    if substitutions:
        _substitute(cursor, substitutions)
    if cursor.token.kind == lexer.COMMAND:
        script.init = Command(cursor.next().text)
    while cursor.token.kind not in (lexer.END, lexer.COMMAND):
        script.events.append(_event(cursor))
    if cursor.token.kind == lexer.COMMAND:
        script.cleanup = Command(cursor.next().text)
    if cursor.token.kind != lexer.END:
        raise cursor.fail("the end of the script")
    if not script.events:
        raise cursor.fail("an event")
    return script


def _option(cursor: Cursor, script: Script, substitutions: dict[str, str]) -> None:
    token = cursor.next()
    name, _, value = token.text[2:].partition("=")
    value = value.strip('"')
    if name == "define":
        symbol, equals, replacement = value.partition("=")
        if not equals:
            raise cursor.bad(f"--define={value} lacks a value", token)
        substitutions[symbol] = replacement
    else:
        script.options.append((name, value))


def _substitute(cursor: Cursor, substitutions: dict[str, str]) -> None:
    """Replace defined words; a value may be a word, a number, a string or a command."""
    out: list[Token] = []
    for token in cursor.tokens[cursor.at :]:
        if token.kind == lexer.WORD and token.text in substitutions:
            for new in lexer.tokenize(cursor.path, substitutions[token.text])[:-1]:
                out.append(
                    Token(new.kind, new.text, token.line, token.column, token.start, token.end)
                )
        else:
            out.append(token)
    cursor.tokens = out
    cursor.at = 0


# -- events ---------------------------------------------------------------------------------------


def _event(cursor: Cursor) -> Event:
    first = cursor.token
    time = _time(cursor)
    action = _action(cursor)
    last = cursor.tokens[cursor.at - 1]
    outbound = isinstance(action, Packet) and not action.inbound
    if time.kind == ANY and not outbound:
        raise cursor.bad("the time * can only stand before an outbound packet", first)
    if time.end >= 0 and not outbound:
        raise cursor.bad("a range of times can only stand before an outbound packet", first)
    text = " ".join(cursor.text[first.start : last.end].split())
    return Event(time, action, first.line, first.column, text)


def _time(cursor: Cursor) -> Time:
    if cursor.accept("*"):
        return Time(ANY)
    token = cursor.token
    kind = RELATIVE if cursor.accept("+") else ABSOLUTE
    start = duration(cursor)
    if not cursor.accept("~"):
        return Time(kind, start)
    if kind == RELATIVE:
        cursor.expect("+")
    end = duration(cursor)
    if end < start:
        raise cursor.bad("the range of times runs backwards", token)
    return Time(kind, start, end)


def duration(cursor: Cursor) -> int:
    """Seconds as written, in ns."""
    token = cursor.token
    if token.kind not in (lexer.FLOAT, lexer.INTEGER):
        raise cursor.fail("a time in seconds")
    if token.text.startswith("-"):
        raise cursor.bad(f"the time {token.text} is negative", token)
    cursor.next()
    whole, _, fraction = token.text.partition(".")
    if len(fraction) > 9:
        raise cursor.bad(f"the time {token.text} is finer than a nanosecond", token)
    return int(whole or "0") * NS_PER_SECOND + int(fraction.ljust(9, "0") or "0")


def _action(cursor: Cursor) -> Action:
    from capas.conformance.packets import parse_packet

    token = cursor.token
    if token.kind == lexer.COMMAND:
        return Command(cursor.next().text)
    if token.kind == lexer.CODE:
        return Code(cursor.next().text)
    if token.kind == lexer.MARK and token.text in "<>":
        return parse_packet(cursor)
    if token.kind == lexer.WORD or token.kind == lexer.ELLIPSIS:
        return _system_call(cursor)
    raise cursor.fail("a packet (< or >), a system call, a `command` or %{ code }%")


def _system_call(cursor: Cursor) -> SystemCall:
    end = -1
    if cursor.token.kind == lexer.ELLIPSIS:
        cursor.next()
        end = duration(cursor)
    token = cursor.token
    if token.kind != lexer.WORD:
        raise cursor.fail("the name of a system call")
    cursor.next()
    cursor.expect("(")
    arguments: list[Expression] = []
    while not cursor.is_mark(")"):
        arguments.append(expression(cursor))
        if not cursor.accept(","):
            break
    cursor.expect(")")
    cursor.expect("=")
    result = expression(cursor)
    errno = note = ""
    if cursor.token.kind == lexer.WORD:
        errno = cursor.next().text
    if cursor.is_mark("("):
        note = _note(cursor)
    return SystemCall(token.text, tuple(arguments), result, errno, note, end)


def _note(cursor: Cursor) -> str:
    cursor.expect("(")
    words: list[str] = []
    while not cursor.is_mark(")"):
        if cursor.token.kind == lexer.END:
            raise cursor.fail("')'")
        words.append(cursor.next().text)
    cursor.expect(")")
    return " ".join(words)


# -- expressions ----------------------------------------------------------------------------------


def expression(cursor: Cursor) -> Expression:
    """An argument of a system call."""
    left = _term(cursor)
    while cursor.accept("|"):
        left = Or(left, _term(cursor))
    return left


def _term(cursor: Cursor) -> Expression:
    token = cursor.token
    if token.kind == lexer.ELLIPSIS:
        cursor.next()
        return Anything()
    if token.kind in (lexer.INTEGER, lexer.HEX):
        return Integer(cursor.integer("a number", -(1 << 63), (1 << 64) - 1))
    if token.kind == lexer.STRING:
        cursor.next()
        value = token.text
        while cursor.token.kind == lexer.STRING:
            value += cursor.next().text
        if cursor.token.kind == lexer.ELLIPSIS:
            cursor.next()
            return String(value, True)
        return String(value)
    if token.kind == lexer.WORD:
        cursor.next()
        if cursor.is_mark("("):
            return Call(token.text, _items(cursor, "(", ")"))
        return Word(token.text)
    if cursor.is_mark("["):
        return Array(_items(cursor, "[", "]"))
    if cursor.is_mark("{"):
        return _struct(cursor)
    raise cursor.fail("a value")


def _items(cursor: Cursor, opening: str, closing: str) -> tuple[Expression, ...]:
    cursor.expect(opening)
    items: list[Expression] = []
    while not cursor.is_mark(closing):
        items.append(expression(cursor))
        if not cursor.accept(","):
            break
    cursor.expect(closing)
    return tuple(items)


def _struct(cursor: Cursor) -> Struct:
    cursor.expect("{")
    members: dict[str, Expression] = {}
    while not cursor.is_mark("}"):
        token = cursor.token
        value = expression(cursor)
        if cursor.accept("="):
            name = value.name if isinstance(value, (Word, Call)) else ""
            if not name or name in members:
                raise cursor.bad(f"{token} cannot be the name of a member", token)
            members[name] = expression(cursor)
        else:
            members[str(len(members))] = value
        if not cursor.accept(","):
            break
    cursor.expect("}")
    return Struct(members)
