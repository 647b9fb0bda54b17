"""An app with tasks to make workflows of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.app.conftest import Sent, _no_traces_of_other_apps, add, app, sent

__all__ = ("Sent", "_no_traces_of_other_apps", "add", "app", "sent")


@pytest.fixture
def mul(app: Any) -> Any:
    @app.task
    def mul(x: int, y: int = 1) -> int:
        return x * y

    return mul


@pytest.fixture
def total(app: Any) -> Any:
    @app.task
    def total(xs: list[int]) -> int:
        return sum(xs)

    return total
