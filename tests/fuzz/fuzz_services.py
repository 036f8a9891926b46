# SPDX-License-Identifier: Apache-2.0
"""Bytes as a services file: nothing raises, what is read can be written and read again."""

from capas.application.services import Registry

SEEDS = [b"http 80/tcp www # comment\n", b"x 70000/udp\n", b"echo 7/udp\necho 7/tcp\n"]


def test(data: bytes) -> None:
    registry = Registry.parse(data.decode("utf-8", "replace"))
    again = Registry.parse(registry.format())
    assert [entry.port for entry in again] == [entry.port for entry in registry]
