"""Workflows in workflows, at any depth: nested calls take no frames, so that no depth is too deep for the interpreter.

A method that calls the same method of what is inside is written as a generator, which yields those calls and is sent
what they return; `iterative` makes a method of it, and `run` keeps the generators that wait on a list.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import wraps
from types import GeneratorType
from typing import Any

from fastq.canvas.signature import Signature, maybe_signature

Steps = Generator[Any, Any, Any]

# Where what a workflow is made of stands in its kwargs.
PARTS = {"chain": ("tasks",), "group": ("tasks",), "chord": ("header", "body")}


def iterative(steps: Callable[..., Steps]) -> Callable[..., Any]:
    """Return the method that the generator *steps* describes.

    Example::

        @iterative
        def size(self):
            total = 0
            for task in self.tasks:
                total += yield call(task, "size")
            return total
    """
    @wraps(steps)
    def method(*args: Any, **kwargs: Any) -> Any:
        return run(steps(*args, **kwargs))

    method.steps = steps  # type: ignore[attr-defined]
    return method


def call(sig: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Return what to yield in order to get what the method *name* of *sig* returns."""
    method = getattr(type(sig), name)
    # A kind that somebody else made has a method of its own, which is called as it is.
    return getattr(method, "steps", method)(sig, *args, **kwargs)


def freezing(sig: Any, **place: Any) -> Any:
    """As `call` of ``freeze``, for a signature that is the caller's own copy all through: no need of another."""
    steps = getattr(type(sig).freeze, "steps", None)
    return sig.freeze(**place) if steps is None else steps(sig, _owned=True, **place)


def run(steps: Steps) -> Any:
    """Return what *steps* returns in the end."""
    waiting, value = [steps], None
    while waiting:
        try:
            value = waiting[-1].send(value)
        except StopIteration as end:
            waiting.pop()
            value = end.value
            continue
        if isinstance(value, GeneratorType):
            waiting.append(value)
            value = None
    return value


def copied(value: dict[Any, Any] | list[Any]) -> Any:
    """See `fastq.canvas.signature.copied`."""
    return run(_copying_dict(value) if isinstance(value, dict) else _copying_list(value))


def copying(value: Any) -> Any:
    """Return what to yield for a copy of *value*; see `fastq.canvas.signature.copied`."""
    if isinstance(value, Signature):
        if type(value).clone is not Signature.clone:
            return call(value, "clone")
        if not has_inner(value["options"]):
            return value._copy(kwargs=dict(value["kwargs"]), options=dict(value["options"]))
        return _copying_signature(value)
    if type(value) is dict:
        return _copying_dict(value) if has_inner(value) else dict(value)
    return _copying_list(value) if type(value) is list else value


def has_inner(mapping: Mapping[str, Any]) -> bool:
    """Whether *mapping* holds what a copy of it has to copy, too."""
    return any(isinstance(item, (dict, list)) for item in mapping.values())


def _copying_signature(sig: Any) -> Steps:
    return sig._copy(kwargs=dict(sig["kwargs"]), options=(yield copying(sig["options"])))


def _copying_dict(value: dict[Any, Any]) -> Steps:
    new = dict(value)
    for key, item in value.items():
        if isinstance(item, (dict, list)):
            copy = copying(item)
            new[key] = (yield copy) if type(copy) is GeneratorType else copy
    return new


def _copying_list(value: list[Any]) -> Steps:
    new = value.copy()
    for number, item in enumerate(value):
        if isinstance(item, (dict, list)):
            copy = copying(item)
            new[number] = (yield copy) if type(copy) is GeneratorType else copy
    return new


def cloning(sig: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Steps:
    """Return the steps to a copy of the workflow *sig* whose parts are copies too."""
    args, kwargs, options = sig._merge(args, kwargs, options)
    kwargs = dict(kwargs)
    for part in sig.inner_parts:
        inner = sig["kwargs"].get(part)
        if isinstance(inner, dict):
            kwargs[part] = yield copying(maybe_signature(inner, app=sig._app))
        elif inner is not None:
            kwargs[part] = yield _copying_list([maybe_signature(task, app=sig._app) for task in inner])
    return sig._copy(args=args, kwargs=kwargs, options=(yield copying(options)))


def inside_out(mapping: Mapping[str, Any], make: Callable[[Any], Any]) -> Any:
    """Return what *make* makes of *mapping*, after all workflows inside it have been made, the innermost first."""
    top: list[Any] = [mapping]
    places: list[tuple[Any, Any]] = [(top, 0)]
    for container, key in places:
        container[key] = inner = {**container[key], "kwargs": dict(container[key].get("kwargs") or {})}
        for part in PARTS.get(inner["subtask_type"], ()):
            places.extend(_workflows_at(inner["kwargs"], part))
    for container, key in reversed(places):
        container[key] = make(container[key])
    return top[0]


def _workflows_at(kwargs: dict[str, Any], part: str) -> Iterator[tuple[Any, Any]]:
    value = kwargs.get(part)
    if _is_raw(value):
        yield kwargs, part
    elif isinstance(value, (list, tuple)):
        kwargs[part] = value = list(value)
        yield from ((value, number) for number, task in enumerate(value) if _is_raw(task))


def _is_raw(value: Any) -> bool:
    """Whether *value* is the dict of a workflow that was not made yet."""
    return isinstance(value, dict) and not isinstance(value, Signature) and value.get("subtask_type") in PARTS
