"""The tasks of Celery on any of its brokers, with everything off that a no-op task can do without."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

from collections.abc import Callable

from bell import ring
from celery import Celery

HOUR_S = 3600
Calls = tuple[Callable[[], object], Callable[[str], object], Callable[[], None], Callable[[], object],
              Callable[[int], None]]


def furnish(app: Celery) -> Calls:
    """Set *app* up for speed, give it its tasks, and return how to call and so on, in the order of produce.py."""
    app.conf.update(
        task_ignore_result=True,
        worker_prefetch_multiplier=256,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_disable_rate_limits=True,
        broker_connection_retry_on_startup=False,
    )

    @app.task(name="noop", ignore_result=True)
    def noop() -> None:
        pass

    @app.task(name="answer", ignore_result=False)
    def answer() -> int:
        return 42

    @app.task(name="mark", ignore_result=True)
    def marker(name: str) -> None:
        ring(name)

    def ask() -> None:
        assert answer.delay().get(timeout=10, interval=0.001) == 42

    def call_later() -> object:
        return noop.apply_async(countdown=HOUR_S)

    def answers(n: int) -> None:
        for _ in range(n):
            answer.delay()

    return noop.delay, marker.delay, ask, call_later, answers
