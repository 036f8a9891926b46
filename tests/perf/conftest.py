# SPDX-License-Identifier: Apache-2.0
"""While calls are counted, nothing that other tests left behind calls finalizers."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
