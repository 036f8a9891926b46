# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests: all pass but those that `expected` names with the reason."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import expected
import run


@pytest.mark.slow
@pytest.mark.parametrize("module", run.MODULES)
@pytest.mark.filterwarnings("ignore")
def test_module(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    package = module.rpartition(".")[0]
    try:
        found = importlib.util.find_spec(package) and importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if not found:
        pytest.skip(f"this Python has no {module}: on Debian install libpython3-testsuite")
    report = run.run_module(module)
    with capsys.disabled():
        print(f"\n{report.line()}", end="")
    assert report.passed
    assert report.rate >= 0.9
    surprises = {
        name: f"{reason}\n{report.details[name]}"
        for name, reason in report.failed.items()
        if name not in expected.NOT_PASSING
    }
    assert not surprises, "\n\n".join(f"{name}: {text}" for name, text in surprises.items())
