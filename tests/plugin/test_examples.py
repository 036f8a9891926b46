# SPDX-License-Identifier: Apache-2.0
"""The worked examples: green as they are, and each bug is found when it is put back."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "testing"


def need_pysyncobj():
    """Looked for, never imported here: it replaces this process's `socket.inet_ntop` for good."""
    if find_spec("pysyncobj") is None:
        pytest.skip("needs the package pysyncobj")


def run(tmp_path, *arguments):
    entries = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-pcapas.pytest_plugin"),
        *("-p_hypothesis_pytestplugin", f"--capas-pcap-dir={tmp_path}", *arguments),
    ]
    done = subprocess.run(
        command, cwd=EXAMPLES, env=entries, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_green_as_they_are(tmp_path):
    need_pysyncobj()
    code, text = run(tmp_path, ".")
    assert code == 0, text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("test_shop.py", [], "['a book', 'a book'] == ['a book']"),
        ("test_pool.py", ["--capas-runs=200", "-x"], "Error"),
        ("test_counter.py", ["--capas-runs=200", "-x"], "was acknowledged"),
    ],
)
def test_each_bug_is_found_within_200_runs(tmp_path, name, options, words):
    if name == "test_counter.py":
        need_pysyncobj()
    code, text = run(tmp_path, name, "--put-bugs-back", *options)
    assert code == 1, text
    assert words in text
    assert "--capas-replay=" in text
    assert list(tmp_path.glob("*.pcapng"))
    assert list(tmp_path.glob("*.html"))


def test_the_first_bug_of_the_documentation_is_caught(tmp_path):
    text = (EXAMPLES.parents[1] / "docs" / "testing.md").read_text()
    source = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_counter.py").write_text(source)
    file = str(tmp_path / "test_counter.py")
    code, said = run(tmp_path, file)
    assert code == 0, said
    code, said = run(tmp_path, file, "--capas-seed=5", "--capas-runs=3", "--tb=no")
    assert code == 1, said
    assert "--capas-replay=6" in said


def test_the_rules_of_the_documentation(tmp_path):
    text = (EXAMPLES.parents[1] / "docs" / "testing.md").read_text()
    found = [part.partition("```")[0] for part in text.split("```python\n")]
    source = next(part for part in found if "deliver_in" in part)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_rules.py").write_text("import asyncio\n" + source)
    code, said = run(tmp_path, str(tmp_path / "test_rules.py"))
    assert code == 0, said
