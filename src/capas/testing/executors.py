# SPDX-License-Identifier: Apache-2.0
"""Where a sweep runs: processes of this machine, or a Dask cluster."""

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final, final

from capas.errors import CapasError, ConfigurationError
from capas.testing.chunk import Chunk, perform, received
from capas.testing.sweep import Tell, Work

_PORT: Final = 8786  # of Dask's schedulers, unless told otherwise
_LOGGERS: Final = ("distributed.client", "distributed.core", "distributed.utils", "tornado")


@final
class Local:
    """Processes of this machine, ``workers`` at a time."""

    def __init__(self, workers: int) -> None:
        self.workers: int = workers
        self._pool: ThreadPoolExecutor = ThreadPoolExecutor(workers, thread_name_prefix="sweep")
        self._chunks: dict[Chunk, None] = {}

    def submit(self, work: Work, tell: Tell) -> "Future[Any]":
        """Begin as soon as a process is free."""
        chunk = Chunk(work)
        self._chunks[chunk] = None
        future = self._pool.submit(chunk.run, tell)
        future.add_done_callback(lambda _: self._chunks.pop(chunk, None))
        return future

    def close(self) -> None:
        """End all processes, and wait until they are gone; at once when interrupted meanwhile."""
        try:
            for chunk in list(self._chunks):
                chunk.stop()
            self._pool.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:
            for chunk in list(self._chunks):
                chunk.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)


@final
class Dask:
    """A Dask cluster, at ``dask://HOST[:PORT]``; ``notice`` is told what people should know."""

    def __init__(self, address: str, notice: Callable[[str], None]) -> None:
        try:
            distributed = import_module("distributed")
        except ModuleNotFoundError:
            raise ConfigurationError(
                "--on dask://... needs the package distributed: python -m pip install 'capas[dask]'"
            ) from None
        for name in _LOGGERS:  # what they log of lost connections is told here in a sentence
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        place = address.removeprefix("dask://").rstrip("/")
        self.address: str = f"tcp://{place}" if ":" in place else f"tcp://{place}:{_PORT}"
        notice(f"connecting to {self.address}")
        try:
            self._client: Any = distributed.Client(self.address)
        except (OSError, ValueError) as error:
            raise CapasError(
                f"no Dask scheduler answers at {self.address} ({error}).\n"
                "    Start one with `dask scheduler`, and where the tests are, on as many machines"
                f" as you like, `dask worker {self.address}`"
            ) from None
        try:
            self.workers: int = self._look_at_workers(notice)
        except BaseException:
            self.close()
            raise
        self._executor: Any = self._client.get_executor(pure=False)

    def _look_at_workers(self, notice: Callable[[str], None]) -> int:
        """How many threads they have; a worker that cannot read our work would die of it."""
        if not self._client.nthreads():
            notice(f"the cluster has no workers yet; start some: dask worker {self.address}")
            self._client.wait_for_workers(1)
        versions = self._client.run(metadata.version, "capas", on_error="return")
        for worker, version in versions.items():
            if not isinstance(version, str):
                raise CapasError(
                    f"the worker {worker} has no capas: install 'capas[test]', and what the tests"
                    " need, where workers run"
                )
        return sum(self._client.nthreads().values())

    def submit(self, work: Work, tell: Tell) -> "Future[Any]":
        """Begin when the scheduler likes; a chunk whose worker dies is done by another."""
        told: Future[Any] = Future()
        asked = self._executor.submit(perform, work)

        def done(asked: "Future[Any]") -> None:
            if not told.set_running_or_notify_cancel():
                return  # the sweep has ended before
            try:
                for one, files in asked.result():
                    tell(received(one, files, Path(work.directory)))
            except BaseException as error:
                told.set_exception(self._explained(error, work))
            else:
                told.set_result(None)

        asked.add_done_callback(done)
        return told

    def _explained(self, error: BaseException, work: Work) -> BaseException:
        seeds = f"seeds {work.seeds[0]} to {work.seeds[-1]}"
        if type(error).__name__ == "KilledWorker":
            return CapasError(f"{seeds}: every worker that ran them died ({error})")
        if isinstance(error, CancelledError):
            return CapasError(f"{seeds}: the scheduler at {self.address} is gone")
        return error

    def close(self) -> None:
        """Leave the cluster; what waits there is forgotten, what runs ends with its chunk."""
        self._client.close()
