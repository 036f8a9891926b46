# SPDX-License-Identifier: Apache-2.0
"""Congestion controls from entry points."""

from pathlib import Path

import pytest

from capas.sockets import plugins, streamoptions
from capas.transport.tcp.congestion import base


def test_a_package_may_offer_an_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "offering-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nof-a-package = offering:Mine\n")
    (tmp_path / "offering.py").write_text(
        "from capas.transport.tcp.congestion.reno import Reno\n"
        "class Mine(Reno):\n    name = 'of-a-package'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert streamoptions.known is base.known  # sockets bring the finder along
    assert not base.known("of-nobody")
    assert base.create("of-a-package", 1000, 10_000, 0).name == "of-a-package"
    assert "of-a-package" in base.available()
