# SPDX-License-Identifier: Apache-2.0
"""Runs every fuzz target of this directory under hypothesis.

A target is a file ``fuzz_<name>.py`` with ``test(data: bytes)``, which must not raise, and maybe
``SEEDS``, well-formed inputs to start from.  A coverage-guided fuzzer can call the same function.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 300


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TARGETS = sorted(Path(__file__).parent.glob("fuzz_*.py"))


@st.composite
def mutants(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few bytes overwritten, cut, doubled or appended."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.integers(0, 4))
        if how == 0:
            del data[at:]
        elif how == 1:
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif how == 2:
            data[at : at + 2] = draw(st.sampled_from((b"\0\0", b"\xff\xff", b"\0\1", b"\x7f\xff")))
        elif how == 3:
            data[at:at] = data[at : at + draw(st.integers(1, 16))]
        else:
            data += draw(st.binary(max_size=40))
    return bytes(data)


def inputs(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=200) | mutants(seeds) if seeds else st.binary(max_size=200)


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.stem)
def test_no_input_raises(path: Path) -> None:
    module = load(path)
    target: Callable[[bytes], object] = module.test
    seeds: list[bytes] = getattr(module, "SEEDS", [])
    for seed in seeds:
        target(seed)

    @settings(max_examples=EXAMPLES)
    @given(inputs(seeds))
    def run(data: bytes) -> None:
        target(data)

    run()
