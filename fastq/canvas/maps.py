"""Many calls in one task, one after the other: `xmap`, `xstarmap`, and `chunks`, which is a group of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, cast

from fastq.canvas.groups import group
from fastq.canvas.plain import plain
from fastq.canvas.signature import Signature, maybe_signature


class _Map(Signature[Any]):
    _task_name: ClassVar[str]

    def __init__(self, task: Any, it: Iterable[Any], app: Any = None, **options: Any) -> None:
        super().__init__(self._task_name, (), {"task": task, "it": _kept(it)}, options,
                         subtask_type=type(self).__name__, immutable=True, app=app)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], app: Any = None) -> _Map:
        """Build the map that *mapping* describes."""
        kwargs = mapping["kwargs"]
        return cls(maybe_signature(kwargs["task"], app=app), kwargs["it"], app=app, **mapping.get("options") or {})

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None, **options: Any,
    ) -> Any:
        """Send it, to where its task would go; other arguments than its own are ignored."""
        if self.app.conf.task_always_eager:
            return self.apply(**options)
        return self.app.send_workflow(self, (), {}, {**options, "route_name": route_name})

    def plan(self, plan: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add the one message."""
        options = self._merge(options=options)[2]
        options["route_name"] = options.get("route_name") or _name_of(self.kwargs["task"])
        return plan.call(self["task"], self._known_type(), (), self._sent(), options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run it here and now."""
        return self.type.apply((), self._sent(), **self._merge(options=options)[2])

    def _sent(self) -> dict[str, Any]:
        return {"task": plain(_called(self.kwargs["task"], self._app)), "it": list(self.kwargs["it"])}

    def __repr__(self) -> str:
        it = repr(self.kwargs["it"])
        star = "*" if self._task_name.endswith("starmap") else ""
        return f"[{_name_of(self.kwargs['task'])}({star}x) for x in {it if len(it) <= 100 else it[:97] + '...'}]"


@Signature.register_type()
class xmap(_Map):
    """One message that calls a task for each item in turn: ``double.map([1, 2])`` returns ``[2, 4]``."""

    _task_name = "celery.map"


@Signature.register_type()
class xstarmap(_Map):
    """As `xmap`, for items that are lists of arguments: ``add.starmap([(1, 2), (3, 4)])`` returns ``[3, 7]``."""

    _task_name = "celery.starmap"


@Signature.register_type()
class chunks(Signature[Any]):
    """Many calls in messages of *n* each: ``add.chunks(zip(range(100), range(100)), 10)()`` sends ten.

    Its result is that of a group, whose members are lists.
    """

    def __init__(self, task: Any, it: Iterable[Any], n: int, app: Any = None, **options: Any) -> None:
        super().__init__("celery.chunks", (), {"task": task, "it": _kept(it), "n": n}, options,
                         subtask_type="chunks", immutable=True, app=app)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], app: Any = None) -> chunks:
        """Build the chunks that *mapping* describes."""
        kwargs = mapping["kwargs"]
        return cls(maybe_signature(kwargs["task"], app=app), kwargs["it"], kwargs["n"], app=app,
                   **mapping.get("options") or {})

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Send the chunks of *it*."""
        return cls(task, it, n, app=app)()

    def group(self) -> group:
        """Return the group that it is sent as."""
        task = self.kwargs["task"]
        return group([xstarmap(task, part, app=self._app) for part in _parts(self.kwargs["it"], self.kwargs["n"])],
                     app=self._app)

    def __call__(self, **options: Any) -> Any:
        """Send it."""
        return self.apply_async(**options)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None, **options: Any,
    ) -> Any:
        """Send it, to where its task would go."""
        told = self._merge(options=options)[2]
        return self.group().apply_async(args, kwargs, route_name or _name_of(self.kwargs["task"]), **told)

    def plan(self, plan: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add the group's messages."""
        return self.group().plan(plan, args, kwargs, self._merge(options=options)[2])

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run it here and now."""
        return self.group().apply(args, kwargs, **self._merge(options=options)[2])


def _kept(it: Iterable[Any]) -> Any:
    # It may be sent twice, or travel: an iterator would be empty by then.
    return it if isinstance(it, (list, tuple)) else list(it)


def _parts(it: Iterable[Any], n: int) -> Iterator[list[Any]]:
    if n < 1:
        raise ValueError(f"chunks have one item at least, not {n}")
    items = iter(it)
    while part := list(islice(items, n)):
        yield part


def _called(task: Any, app: Any) -> Any:
    """Return the signature of a task, or of its name."""
    return task if isinstance(task, dict) else Signature(task, app=app)


def _name_of(task: Any) -> str:
    return cast(str, task["task"] if isinstance(task, dict) else getattr(task, "name", task))
