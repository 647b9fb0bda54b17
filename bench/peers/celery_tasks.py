"""The tasks of Celery on either of its brokers, with everything off that a no-op task can do without."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

from collections.abc import Callable

from bell import ring
from celery import Celery


def furnish(app: Celery) -> tuple[Callable[[], object], Callable[[str], object], Callable[[], None]]:
    """Set *app* up for speed, give it its tasks, and return how to call, mark and ask (see produce.py)."""
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

    return noop.delay, marker.delay, ask
