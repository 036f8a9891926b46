# SPDX-License-Identifier: Apache-2.0
"""Replay lines: what a failed test prints, and what ``--capas-replay`` understands.

A line is a seed, or ``seed=7;name=value;...`` with the values that hypothesis gave the test: faults
in the text form of a `FaultPlan`, others as JSON, what JSON cannot say as a pickle in base64.
"""

import base64
import json
import pickle
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from capas.errors import ConfigurationError

_PICKLE: Final = "pickle:"
_PLAIN: Final = (str, int, float, bool, type(None))
_NUMBER: Final = re.compile(r"-?\d+")
_SHORT: Final = ("-c", "-o", "-W")  # pytest's short options that can change what a test does
_PLUGINS: Final = ("no:cacheprovider", "no:terminalreporter", "capas.testing.teller")
_REPORTING: Final = (
    "--cache", "--capas-", "--capture", "--color", "--cov", "--deselect", "--dist",
    "--durations", "--exitfirst", "--failed-first", "--ff", "--html", "--hypothesis-seed",
    "--hypothesis-show", "--hypothesis-verbosity", "--ignore", "--junit", "--last-failed", "--lf",
    "--log", "--maxfail", "--maxprocesses", "--new-first", "--nf", "--no-header", "--no-summary",
    "--numprocesses", "--pdb", "--quiet", "--report", "--show", "--stepwise", "--sw", "--tb",
    "--trace", "--tx", "--verbos",
)  # fmt: skip


class Replay(NamedTuple):
    """A run to be repeated."""

    seed: int | str
    values: Mapping[str, Any] | None = None  # of the test's arguments, None: draw them


def seed_of(text: str) -> int | str:
    """A seed from the command line: a number, or any text."""
    return int(text) if _NUMBER.fullmatch(text) else text


def _same(value: Any) -> bool:
    if isinstance(value, list):
        return all(_same(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _same(item) for key, item in value.items())
    return type(value) in _PLAIN


def value_text(value: Any) -> str | None:
    """The text of one value; None if there is none."""
    from capas.testing.faultplan import FaultPlan

    if isinstance(value, FaultPlan):
        return str(value)
    if _same(value):
        text = json.dumps(value)
        if ";" not in text:
            return text
    try:
        return _PICKLE + base64.b64encode(pickle.dumps(value)).decode()
    except Exception:
        return None


def value_of(text: str) -> Any:
    """The inverse of `value_text`."""
    from capas.testing.faultplan import FaultPlan

    if text.startswith(_PICKLE):
        return pickle.loads(base64.b64decode(text[len(_PICKLE) :]))
    try:
        return json.loads(text)
    except ValueError:
        pass
    return FaultPlan.parse(text)


def line(seed: int | str, values: Mapping[str, Any] | None) -> str | None:
    """The replay line of a run; None if a value cannot be written down."""
    if values is None:
        return str(seed)
    parts = [f"seed={seed}"]
    for name, value in values.items():
        text = value_text(value)
        if text is None:
            return None
        parts.append(f"{name}={text}")
    return ";".join(parts)


def parse(text: str) -> Replay:
    """The run that a line means."""
    if "=" not in text:
        return Replay(seed_of(text.strip()))
    seed: int | str = 0
    values: dict[str, Any] = {}
    for part in text.split(";"):
        name, sign, value = part.partition("=")
        if not sign:
            raise ConfigurationError(f"--capas-replay: {part!r} is not name=value")
        if name.strip() == "seed":
            seed = seed_of(value.strip())
        else:
            values[name.strip()] = value_of(value.strip())
    return Replay(seed, values)


def command(
    node: str,
    seed: int | str,
    values: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
) -> str:
    """The shell command that repeats a run of the test ``node``, with these options of pytest."""
    said = line(seed, values)
    option = f"--capas-replay={said}" if said is not None else f"--capas-seed={seed}"
    return " ".join(["pytest", *map(shlex.quote, (node, *options, option))])


def repeated(words: Sequence[str], places: Sequence[str]) -> list[str]:
    """The options among pytest's arguments that a replay needs too, a project's own above all.

    ``places`` are the files, folders and tests among them; what only chooses tests, orders them or
    reports on them is left out.
    """
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("-"):
            groups.append([word])
        elif word not in places and groups:
            groups[-1].append(word)  # the value of the option before it
    once = dict.fromkeys(tuple(group) for group in groups if _changes_runs(group))
    return [word for group in once for word in group]


def _changes_runs(group: Sequence[str]) -> bool:
    first = group[0]
    if first.startswith("--"):
        return not first.startswith(_REPORTING)
    if first.startswith("-p"):
        return "".join(group)[2:] not in _PLUGINS
    return first[:2] in _SHORT


def without_seed(node: str, label: str) -> str:
    """The id of a test without the parameter that several runs add."""
    for old, new in (
        (f"[{label}]", ""),
        (f"[{label}-", "["),
        (f"-{label}-", "-"),
        (f"-{label}]", "]"),
    ):
        if old in node:
            return node.replace(old, new, 1)
    return node
