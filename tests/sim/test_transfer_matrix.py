# SPDX-License-Identifier: Apache-2.0
"""Transfers over every kind of bad path: each byte arrives once, in order, or a documented error.

Goodput is printed beside its analytic bound and must not exceed it: the payload's share of the
link rate, and the window per round trip.  ``-s`` shows the table.  (Mathis' bound for long
transfers under random loss is in test_goodput.)
"""

import errno
import math
from typing import Any

import pytest

from capas.base.config import HostConfig
from capas.sim.units import rate_bytes
from capas.testing.pair import Pair, Result

SIZE = 120_000
#: What the sockets' documentation promises where a path is too bad (or never carried a SYN).
DOCUMENTED = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ECONNRESET, errno.EPIPE)


def seconds(text: str) -> float:
    return float(text.removesuffix("ms")) / 1000


def bound(path: dict[str, Any], family: int, window: int, result: Result) -> float:
    """The least of all bounds that hold, bytes/s."""
    mtu = min(path.get("mtu", 1500), path.get("black_hole") or 1 << 16)
    headers = (20 if family == 4 else 40) + 20 + 12
    payload = (mtu - headers) / (mtu + 18)
    bounds = [rate_bytes(path.get("rate", "10Mbit"), "rate") * payload]
    rtt = 2 * seconds(path.get("delay", "10ms"))
    if rtt:
        bounds.append(result.received / (1.5 * rtt))  # the handshake, and data on its way
        bounds.append(window / rtt * (1 + 2 * window / SIZE))
    return min(bounds)


def check(family: int, path: dict[str, Any], config: HostConfig | None = None, **kw: Any) -> Result:
    path = {"rate": "10Mbit", "delay": "10ms"} | path
    config = config or HostConfig()
    config.neighbor_multicast_probes = 20  # three ARP requests seldom survive 30 % loss
    pair = Pair(family=family, config=config, **path)
    result = pair.transfer(SIZE, limit=4000, **kw)
    limit = bound(path, family, config.tcp_receive_buffer_max, result)
    said = f"error {errno.errorcode.get(result.error, result.error)}" if result.error else "ok"
    print(
        f"IPv{family} {path}: {said}, {result.goodput * 8e-6:.3f} of at most {limit * 8e-6:.3f}"
        f" Mbit/s, {result.retransmitted} repeated, {result.timeouts} timeouts"
    )
    if result.error:
        assert result.error in DOCUMENTED
    else:
        assert result.ok
        assert result.goodput <= limit * 1.001
    return result


families = pytest.mark.parametrize("family", [4, 6])


@families
@pytest.mark.parametrize("loss", [0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("delay", ["0ms", "10ms", "500ms"])
def test_loss_and_delay(family: int, loss: float, delay: str) -> None:
    result = check(family, {"loss": loss, "delay": delay})
    if loss <= 0.1:
        assert result.ok


@families
@pytest.mark.parametrize("delay", ["1ms", "50ms", "100ms", "200ms"])
def test_delay(family: int, delay: str) -> None:
    assert check(family, {"delay": delay}).retransmitted == 0


@families
@pytest.mark.parametrize("reorder", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("duplicate", [0.0, 0.1, 0.5])
def test_reordering_and_duplication(family: int, reorder: float, duplicate: float) -> None:
    assert check(family, {"reorder": reorder, "duplicate": duplicate}).ok


@families
@pytest.mark.parametrize("corrupt", [0.001, 0.01, 0.1])
def test_corruption_is_never_delivered(family: int, corrupt: float) -> None:
    assert check(family, {"corrupt": corrupt}).ok


@pytest.mark.parametrize(
    ("family", "mtu"), [(4, 576), (4, 1280), (4, 1500), (4, 9000), (6, 1280), (6, 1500), (6, 9000)]
)
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_mtu(family: int, mtu: int, loss: float) -> None:
    assert check(family, {"mtu": mtu, "loss": loss}).ok


@pytest.mark.rfc("2923", "2.1")
@pytest.mark.parametrize(
    ("family", "mtu", "hole"), [(4, 1500, 1200), (4, 9000, 1400), (4, 1500, 600), (6, 1500, 1300)]
)
def test_a_path_mtu_black_hole(family: int, mtu: int, hole: int) -> None:
    """Larger packets vanish without an ICMP message."""
    assert check(family, {"mtu": mtu, "black_hole": hole}).ok


@families
@pytest.mark.parametrize("window", [600, 1460, 3000, 10_000])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_tiny_windows(family: int, window: int, loss: float) -> None:
    config = HostConfig(tcp_receive_buffer=window, tcp_receive_buffer_max=window)
    assert check(family, {"loss": loss, "delay": "1ms"}, config).ok


@families
@pytest.mark.parametrize("reads", [1, 100, 5000])
def test_a_slow_reader(family: int, reads: int) -> None:
    config = HostConfig(tcp_receive_buffer=8000, tcp_receive_buffer_max=8000)
    assert check(family, {"rate": "50Mbit"}, config, reads=reads).ok


@pytest.mark.parametrize("queue", [2, 5, 20])
@pytest.mark.parametrize("congestion", ["reno", "cubic", "bbr"])
def test_short_queues(queue: int, congestion: str) -> None:
    assert check(4, {"queue": queue, "rate": "2Mbit"}, congestion=congestion).ok


@families
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("rack", [False, True])
def test_with_and_without_each_extension(
    family: int, sack: bool, timestamps: bool, rack: bool
) -> None:
    config = HostConfig(tcp_sack=sack, tcp_timestamps=timestamps, tcp_rack=rack)
    path = {"loss": 0.05, "reorder": 0.05, "duplicate": 0.02, "corrupt": 0.005}
    assert check(family, path, config).ok


@pytest.mark.parametrize("seed", range(6))
def test_everything_at_once(seed: int) -> None:
    path = {
        "loss": 0.1, "reorder": 0.2, "duplicate": 0.1, "corrupt": 0.02, "jitter": "20ms",
        "mtu": 1280, "queue": 30,
    }  # fmt: skip
    assert check(6 if seed % 2 else 4, path | {"seed": seed}).ok


@pytest.mark.parametrize("super_frames", [False, True])
def test_super_frames_change_no_byte_and_little_speed(super_frames: bool) -> None:
    results = []
    for exact in (False, True):
        pair = Pair(rate="20Mbit", delay="10ms", loss=0.002, exact=exact, seed=7 + super_frames)
        results.append(pair.transfer(2_000_000))
    assert all(result.ok for result in results)
    fast, slow = (result.goodput for result in results)
    assert math.isclose(fast, slow, rel_tol=0.35)  # the losses fall elsewhere


def test_a_dead_path_ends_with_the_documented_error() -> None:
    pair = Pair(rate="10Mbit", delay="10ms", config=HostConfig(tcp_retries2=5))
    transfer = pair.start(10_000_000)
    pair.run(1)
    pair.world.change(pair.wire, loss=1.0)
    pair.run(600, lambda: transfer.ended)
    assert transfer.result().error in (errno.ETIMEDOUT, errno.EHOSTUNREACH)
