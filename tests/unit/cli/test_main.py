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


def test_a_sweep_without_pytest_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "from capas.cli.main import main; sys.exit(main(['sweep', 'test_x.py::test_x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "pip install 'capas[test]'" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix is missing")
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_the_shell_closed_are_no_failure(closed: str) -> None:
    """They were tracebacks, or the messages went where a file was opened in their place."""
    words = f"{sys.executable} -m capas.cli.main services http {closed}"
    done = subprocess.run(
        ["sh", "-c", f"{words}; echo $?"], capture_output=True, text=True, check=False, timeout=60
    )
    told = [] if "1>" in closed else ["http            80/tcp     www"]
    assert done.stdout.splitlines() == [*told, "0"] and done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix is missing")
def test_a_wrong_word_with_standard_error_closed_says_nothing_elsewhere() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m capas.cli.main dmeo 2>&-; echo $?"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("2\n", "")
