# SPDX-License-Identifier: Apache-2.0
"""Writing the exchange of a run as pcapng, with what the stack decided as comments."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capas.conformance.network import Network
from capas.link.pcapng import Capture, CaptureWriter


@contextmanager
def recording(
    network: Network, script: str, version: str, directory: Path | None
) -> Iterator[None]:
    """Record while the block runs; nothing without a directory."""
    if directory is None:
        yield
        return
    stem = "-".join(Path(script).with_suffix("").parts[-2:])
    with (directory / f"{stem}-{version}.pcapng").open("wb") as file:
        capture = Capture(CaptureWriter(file.write, comment=f"{script} over {version}"))
        network.host.set_trace(capture.tracer("host"))
        capture.watch(network.interface, "host")
        try:
            yield
        finally:
            capture.close()
