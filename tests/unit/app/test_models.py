"""Tasks whose arguments and results are Pydantic models."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Optional

import pytest
from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator

from tests.unit.app.conftest import Sent


class Point(BaseModel):
    x: int
    y: int = 0


class Sharp(Point):
    z: int = 1


class Told(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def heard(cls, word: str, info: ValidationInfo) -> str:
        return f"{word} {info.context['celery_task_name']} {info.context['mood']}" if info.context else word


def body_of(sent: Any) -> tuple[Any, Any]:
    args, kwargs, _ = json.loads(sent.body)
    return args, kwargs


def test_arguments_are_models_in_the_task_and_data_on_the_wire(app: Any, sent: Sent) -> None:
    @app.task(pydantic=True)
    def move(start: Point, by: int, end: Point | None = None, *, via: Optional[Point] = None) -> Point:  # noqa: UP045
        assert type(start) is Point and (end is None or type(end) is Point) and via is None
        return Point(x=start.x + by, y=start.y)

    move.delay(Point(x=1), 2, end=Point(x=3))
    assert body_of(sent()[0]) == ([{"x": 1, "y": 0}, 2], {"end": {"x": 3, "y": 0}})
    assert move.apply(({"x": 1}, 2)).get() == {"x": 3, "y": 0}
    app.conf.task_always_eager = True
    assert move.delay(Point(x=1), 2).get() == {"x": 3, "y": 0}


def test_a_bound_task_and_a_coroutine_have_models_too(app: Any, sent: Sent) -> None:
    @app.task(pydantic=True, bind=True)
    async def move(self: Any, start: Point) -> Point:
        return Point(x=start.x + self.request.retries)

    move.apply_async((Point(x=1),), priority=3)
    assert body_of(sent()[0])[0] == [{"x": 1, "y": 0}]
    assert move.apply(({"x": 1},), retries=2).get() == {"x": 3, "y": 0}


def test_arguments_that_are_no_models_fail_the_task(app: Any) -> None:
    @app.task(pydantic=True)
    def move(start: Point) -> None: ...

    assert isinstance(move.apply(({"x": "far"},)).result, ValidationError)

    @app.task(pydantic=True, pydantic_strict=True)
    def strict(start: Point) -> None: ...

    assert strict.apply(({"x": 1},)).state == "SUCCESS"
    assert isinstance(strict.apply(({"x": "1"},)).result, ValidationError)


def test_validators_are_told_the_task_and_what_the_task_wants_them_to_know(app: Any) -> None:
    @app.task(pydantic=True, name="say", pydantic_context={"mood": "fine"})
    def say(told: Told) -> str:
        return told.word

    assert say.apply(({"word": "hello"},)).get() == "hello say fine"


def test_how_models_are_dumped_can_be_told(app: Any, sent: Sent) -> None:
    @app.task(pydantic=True, pydantic_dump_kwargs={"exclude_defaults": True})
    def move(start: Point) -> Point:
        return start

    move.delay(Point(x=1))
    assert body_of(sent()[0])[0] == [{"x": 1}]
    assert move.apply(({"x": 1, "y": 0},)).get() == {"x": 1}


def test_a_model_that_its_dump_does_not_make_again_is_not_dumped(app: Any) -> None:
    @app.task(pydantic=True)
    def move(start: Point) -> int:
        return 1

    start = Sharp(x=1)
    args, kwargs = move.dump_arguments((start,), {"start": Point(x=2)})
    assert args[0] is start
    assert kwargs == {"start": {"x": 2, "y": 0}}


def test_a_result_is_dumped_only_as_what_the_annotation_says(app: Any) -> None:
    @app.task(pydantic=True)
    def promised() -> Optional[Point]:  # noqa: UP045
        return Sharp(x=1)

    @app.task(pydantic=True)
    def unsaid():  # type: ignore[no-untyped-def]
        return Point(x=1)

    assert promised.apply().get() == {"x": 1, "y": 0, "z": 1}
    assert unsaid.apply().get() == Point(x=1)


def test_an_annotation_that_means_nothing_here_leaves_the_others(app: Any) -> None:
    def move(start, other):  # type: ignore[no-untyped-def]
        return start, other

    move.__annotations__ = {"start": Point, "other": "Unheard"}
    start, other = app.task(pydantic=True)(move).apply(({"x": 1}, 2)).get()
    assert (start, other) == (Point(x=1), 2)


def test_pickle_takes_models_as_they_are(app: Any, sent: Sent) -> None:
    @app.task(pydantic=True, serializer="pickle")
    def move(start: Point) -> None: ...

    move.delay(Point(x=1))
    assert b"Point" in sent()[0].body


def test_the_arguments_are_checked_as_those_of_any_task(app: Any) -> None:
    @app.task(pydantic=True)
    def move(start: Point) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        move.delay()


def test_without_pydantic_it_is_said_what_to_install() -> None:
    program = """
import sys
sys.modules["pydantic"] = None
from fastq import Fastq
try:
    Fastq("shop").task(pydantic=True)(lambda x: x)
except Exception as error:
    print(type(error).__name__, error)
"""
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert said == ("ImproperlyConfigured task shop.<lambda> has pydantic=True, and pydantic is not installed: "
                    "pip install 'fastq[pydantic]'\n")
