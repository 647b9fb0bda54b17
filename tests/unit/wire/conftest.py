from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@pytest.fixture
def peak_bytes() -> Callable[[], AbstractContextManager[Callable[[], int]]]:
    """Measure the largest amount of memory that Python held at once inside the block, above what it held before."""

    @contextmanager
    def measure() -> Iterator[Callable[[], int]]:
        tracemalloc.start()
        try:
            yield lambda: peak
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    return measure
