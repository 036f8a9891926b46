# SPDX-License-Identifier: Apache-2.0
"""``capas conformance`` as a command."""

import json
from pathlib import Path

import pytest

from capas.cli.main import main

SCRIPTS = Path(__file__).parents[2] / "conformance" / "scripts"


def test_folder_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["conformance", str(SCRIPTS / "server.pkt"), "--json", "--jobs", "1"])
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["profile"] == "linux"
    assert found["summary"]["total"] == {"pass": 1, "fail": 0, "not-applicable": 0, "error": 0}
    (script,) = found["scripts"]
    assert set(script) == {"path", "verdict", "reason", "category"}
    assert (script["verdict"], script["category"]) == ("pass", "scripts")


def test_a_failure_shows_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (SCRIPTS / "loss.pkt").read_text("utf-8").replace("2001:3001", "3001:4001")
    (tmp_path / "wrong.pkt").write_text(text, "utf-8")
    assert main(["conformance", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "wrong.pkt:" in out
    assert "expected" in out
    assert "> . 2001:3001(1000) ack 1" in out


def test_a_bad_script_is_an_error_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.pkt").write_text("0 close(3) 0\n", "utf-8")
    assert main(["conformance", str(tmp_path), "--json"]) == 2
    (script,) = json.loads(capsys.readouterr().out)["scripts"]
    assert script["verdict"] == "error"
    assert "bad.pkt:1:12: expected '='" in script["reason"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["no/such/folder"], [str(SCRIPTS), "--profile", "solaris"], [str(SCRIPTS), "-D", "X"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert main(["conformance", *arguments]) == 2


def test_nothing_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(tmp_path)]) == 2
    assert "no .pkt files" in capsys.readouterr().err
