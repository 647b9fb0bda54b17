"""The tasks of both sides, written once: what an app of Celery and one of ours make of the same lines."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel


class Broken(Exception):
    """An exception that both sides can import."""


class Point(BaseModel):
    """A model that both sides can import."""

    x: int
    y: int = 0


def note(line: str) -> None:
    """Append one line to the file that tells the test what ran."""
    fd = os.open(os.environ["COMPAT_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


def furnish(app: Any) -> SimpleNamespace:
    """Give *app* its tasks and return them by name."""
    return SimpleNamespace(**furnish_answers(app), **furnish_flow(app), **furnish_workflows(app))


def furnish_answers(app: Any) -> dict[str, Any]:
    """Tasks that tell what came to them in their result."""

    @app.task(name="compat.echo")
    def echo(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    @app.task(name="compat.show")
    def show(*args: Any, **kwargs: Any) -> str:
        return repr((args, kwargs))

    @app.task(name="compat.add")
    def add(a: int, b: int) -> int:
        return a + b

    @app.task(name="compat.gather")
    def gather(values: list[Any]) -> list[Any]:
        return values

    @app.task(name="compat.facts", bind=True)
    def facts(self: Any) -> dict[str, Any]:
        request = self.request
        return {
            "id": request.id, "task": self.name, "retries": request.retries, "root_id": request.root_id,
            "parent_id": request.parent_id, "reply_to": request.reply_to, "correlation_id": request.correlation_id,
            "routing_key": request.delivery_info["routing_key"], "priority": request.delivery_info["priority"],
            "eta": request.eta, "expires": request.expires, "timelimit": request.timelimit, "now": time.time(),
            "headers": {name: value for name, value in (request.headers or {}).items() if name.startswith("x-trace")},
        }  # fmt: skip

    @app.task(name="compat.move", pydantic=True)
    def move(start: Point, by: Point | None = None) -> Point:
        assert type(start) is Point and (by is None or type(by) is Point)
        return Point(x=start.x + (by.x if by else 0), y=start.y)

    @app.task(name="compat.fail")
    def fail(kind: str) -> None:
        if kind == "chained":
            try:
                raise KeyError("the first")
            except KeyError as error:
                raise ValueError("the second") from error
        raise {"builtin": ValueError("no good", 3), "ours": Broken("no good", 3), "lookup": KeyError("missing"),
               "text": ValueError("gr\u00fc\u00df dich \u2603"),
               }[kind]

    @app.task(name="compat.progress", bind=True)
    def progress(self: Any) -> str:
        self.update_state(state="PROGRESS", meta={"done": 50})
        return "done"

    @app.task(name="compat.due")
    def due(eta: str) -> float:
        """How many seconds after its time it ran."""
        return (datetime.now(timezone.utc) - datetime.fromisoformat(eta)).total_seconds()

    return without_app(locals())


def furnish_flow(app: Any) -> dict[str, Any]:
    """Tasks that lead to others, and those that note what came to them."""

    @app.task(name="compat.retry", bind=True, max_retries=5)
    def retry(self: Any, times: int, countdown: float = 0) -> int:
        note(f"{self.request.id} {self.request.retries}")
        if self.request.retries < times:
            raise self.retry(countdown=countdown)
        return int(self.request.retries)

    @app.task(name="compat.give_up", bind=True, max_retries=1)
    def give_up(self: Any) -> None:
        try:
            raise Broken("again")
        except Broken as error:
            raise self.retry(exc=error, countdown=0) from error

    @app.task(name="compat.keep", ignore_result=True)
    def keep(value: Any, key: str) -> None:
        note(f"{key} {value!r}")

    @app.task(name="compat.keep_failure", ignore_result=True)
    def keep_failure(request: Any, error: BaseException, traceback: Any, key: str = "") -> None:
        note(f"{key or request.id} {type(error).__name__} {error}")

    @app.task(name="compat.keep_id", bind=True, ignore_result=True)
    def keep_id(self: Any, task_id: str, key: str = "") -> None:
        note(f"{key} {task_id}")

    @app.task(name="compat.silent", ignore_result=True)
    def silent(key: str) -> str:
        note(key)
        return key

    @app.task(name="compat.count", ignore_result=True)
    def count(key: str) -> None:
        """Note which worker took it."""
        note(f"{key} {os.environ['COMPAT_WORKER']}")

    @app.task(name="compat.mark")
    def mark(key: str) -> str:
        note(f"{key} ran")
        return "marked"

    @app.task(name="compat.hold", ignore_result=True)
    def hold(key: str) -> None:
        """Keep the worker busy until the test lets it go on."""
        note(key)
        deadline = time.monotonic() + 20
        while not os.path.exists(os.environ["COMPAT_NOTES"] + f".{key}"):
            if time.monotonic() > deadline:
                raise TimeoutError(key)
            time.sleep(0.002)

    return without_app(locals())


def furnish_workflows(app: Any) -> dict[str, Any]:
    """Tasks that are parts of workflows, and that become workflows."""
    canvas = import_module(f"{type(app).__mro__[-2].__module__.partition('.')[0]}.canvas")

    @app.task(name="compat.total")
    def total(values: Any) -> int:
        return sum(total(value) if isinstance(value, list) else value for value in values)

    @app.task(name="compat.become", bind=True)
    def become(self: Any, kind: str, n: int = 3) -> Any:
        add = app.tasks["compat.add"]
        return self.replace({
            "task": add.si(n, 1),
            "chain": add.si(n, 1) | add.s(10),
            "group": canvas.group(add.si(n, i) for i in range(3)),
            "chord": canvas.chord([add.si(n, i) for i in range(3)], total.s()),
            "failing": app.tasks["compat.fail"].si("ours"),
            "failing chain": add.si(n, 1) | app.tasks["compat.fail"].si("ours") | add.s(1),
            "failing chord": canvas.chord([add.si(n, 1), app.tasks["compat.fail"].si("ours")], total.s()),
        }[kind])

    @app.task(name="compat.join", bind=True)
    def join(self: Any, n: int) -> int:
        self.add_to_chord(app.tasks["compat.add"].si(n, 100))
        return n

    @app.task(name="compat.where", bind=True)
    def where(self: Any, *args: Any) -> list[Any]:
        """What this run knows of the workflow that it is part of."""
        request = self.request
        return [request.id, request.root_id, request.parent_id, request.group, request.group_index,
                dict(sorted((request.stamps or {}).items()))]

    return without_app({name: made for name, made in locals().items() if name != "canvas"})


def without_app(made: dict[str, Any]) -> dict[str, Any]:
    return {name: task for name, task in made.items() if name != "app"}
