# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help, errors, exit codes."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("click", reason="needs click: pip install 'capas[tools]'")

from capas.cli.group import COMMANDS
from capas.cli.main import EXTRAS, main


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"Usage: capas {name}")
    assert len(output.splitlines()) > 5


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dmeo"]) == 2
    assert "no command 'dmeo'; there are: demo" in capsys.readouterr().err


def test_an_unknown_option_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["services", "--nope"]) == 2
    assert "--nope" in capsys.readouterr().err


def test_services(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["services", "80"]) == 0
    assert capsys.readouterr().out.split() == ["http", "80/tcp", "www"]
    assert main(["services", "www", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["services"]
    assert row == {"name": "http", "port": 80, "protocol": "tcp", "aliases": ["www"]}
    assert main(["services", "nosuch"]) == 1
    assert "nosuch" in capsys.readouterr().err


@pytest.mark.parametrize("module", EXTRAS)
def test_without_its_extras_capas_says_what_to_install(module: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from capas.cli.main import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert module in done.stderr
    assert "pip install 'capas[tools]'" in done.stderr
    assert "Traceback" not in done.stderr
