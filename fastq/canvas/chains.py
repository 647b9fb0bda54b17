"""The chain: tasks one after the other, each with the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastq import states
from fastq.canvas import joining
from fastq.canvas.depth import PARTS, Steps, call, cloning, freezing, iterative, run
from fastq.canvas.plain import steps as plain_steps
from fastq.canvas.rests import shortened
from fastq.canvas.signature import Signature, item_property, listed, maybe_signature
from fastq.result import EagerResult, allow_join_result

Sig = Signature[Any]
# What concerns the end of a chain, or all of it; every other option is for its first task.
_FOR_THE_LAST = ("task_id", "group_id", "group_index", "chord")
_NOT_FOR_THE_FIRST = frozenset((*_FOR_THE_LAST, "link", "link_error"))


@Signature.register_type("chain")
class _chain(Signature[Any]):
    """A chain of the very steps that it is given; `chain` and ``|`` put them in order first."""

    tasks: Any = item_property("tasks", "The steps.", "kwargs")

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        given = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], dict) else tasks
        super().__init__("celery.chain", (), {"tasks": list(given)}, options, subtask_type="chain", app=app)

    @classmethod
    def of(cls, steps: list[Sig], app: Any = None, options: Mapping[str, Any] | None = None) -> _chain:
        """Return the chain of *steps*, which are in order already."""
        new = dict.__new__(cls)
        dict.update(new, task="celery.chain", args=(), kwargs={"tasks": steps}, options=dict(options or {}),
                    subtask_type="chain", immutable=False)
        new._app = app
        return new

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], app: Any = None) -> _chain:
        """Build the chain that *mapping* describes."""
        tasks = [maybe_signature(task, app=app) for task in mapping["kwargs"]["tasks"] or ()]
        new = cls.of(tasks, app, mapping.get("options"))
        dict.update(new, args=mapping.get("args") or (), immutable=bool(mapping.get("immutable")))
        return new

    @property
    def app(self) -> Any:
        """The app that sends it: its own, or that of its first task."""
        if self._app is None and self.tasks and isinstance(self.tasks[0], Signature):
            return self.tasks[0].app
        return super().app

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it. An empty chain does nothing."""
        return self.apply_async(args, kwargs) if self.tasks else None

    @iterative
    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Return a copy whose steps are copies too."""
        return cloning(self, args, kwargs, options)

    partial = clone
    inner_parts = PARTS["chain"]

    def unchain_tasks(self, copies: bool = True) -> list[Sig]:
        """Return copies of the steps, with the chain's links at the last and its errbacks at each.

        Without *copies* the steps themselves, but for those that get a link.
        """
        links, errbacks = listed(self.options.get("link")), listed(self.options.get("link_error"))
        if not (copies or errbacks or links):
            return list(self.tasks)
        tasks = [maybe_signature(task, app=self._app) for task in self.tasks]
        if copies or errbacks:
            tasks = [task.clone() for task in tasks]
        elif links and tasks:
            tasks[-1] = tasks[-1].clone()
        for callback in links if tasks else ():
            tasks[-1].link(callback)
        for errback in errbacks:
            for task in tasks:
                _link_error(task, errback)
        return tasks

    def prepared(self, *, copies: bool = True) -> list[Sig]:
        """Return copies of the steps as they are sent: flat, with chords for groups that are followed by a step.

        Without *copies* the steps themselves, but for those that change.
        """
        app, out = self.app, []
        # Its own links stay where they are, once for all steps; `plan` gives each step what it needs of them.
        left = joining.folded(self.tasks, app=app)[::-1]
        while left:
            sig = left.pop()
            if _goes_on(sig):
                left += reversed(_unrolled_body(sig))
            else:
                out.append(sig.clone() if copies else sig)
        return joining.folded(out, app=app)

    @iterative
    def freeze(
        self, _id: str | None = None, group_id: str | None = None, chord: Any = None, root_id: str | None = None,
        parent_id: str | None = None, group_index: int | None = None, _owned: bool = False,
    ) -> Any:
        """Choose the ids of all steps; *_id*, and the place in a group, are those of the last."""
        options = self.options
        last = {
            "_id": _id or options.get("task_id"), "group_id": group_id or options.get("group_id"),
            "chord": chord or options.get("chord"),
            "group_index": options.get("group_index") if group_index is None else group_index,
        }
        results = yield self._freezing_steps(last, root_id, copies=not _owned)
        return results[0]

    _freeze = freeze

    def _freezing_steps(self, last: dict[str, Any], root_id: str | None, *, copies: bool) -> Steps:
        """Return the results of all steps, the last first."""
        steps = self["kwargs"]["tasks"] = self.prepared(copies=copies)
        if not steps:
            raise ValueError("an empty chain has no result: give it a task")
        results: list[Any] = []
        for step in reversed(steps):
            results.append((yield freezing(step, root_id=root_id, **(last if not results else {}))))
            if len(results) > 1:
                _root_of(results[-2]).parent = results[-1]
        self.options["task_id"] = results[0].id
        return results

    def prepare_steps(
        self, args: Any, kwargs: Any, tasks: Iterable[Any], root_id: str | None = None, parent_id: str | None = None,
        link_error: Any = None, app: Any = None, last_task_id: str | None = None, group_id: str | None = None,
        chord_body: Any = None, clone: bool = True, from_dict: Any = None, group_index: int | None = None,
    ) -> tuple[list[Sig], list[Any]]:
        """Return *tasks* as this chain would send them, and their results: both from the last to the first."""
        app = app or self.app
        make = from_dict or maybe_signature
        own = _chain.of([task if isinstance(task, Signature) else make(task, app=app) for task in tasks], app)
        last = {"_id": last_task_id, "group_id": group_id, "chord": chord_body, "group_index": group_index}
        results: list[Any] = run(own._freezing_steps(last, root_id, copies=clone))
        steps: list[Sig] = own.tasks
        if args or kwargs:
            steps[0] = steps[0].clone(args, kwargs)
        for errback in listed(link_error):
            for step in steps:
                _link_error(step, errback)
        self.id = results[0].id
        return steps[::-1], results

    def _unroll_chords(self, app: Any = None) -> None:
        """Make steps of what a chord among the steps goes on with after the first task of its body."""
        out: list[Sig] = []
        left = [maybe_signature(task, app=app or self._app) for task in self.tasks][::-1]
        while left:
            sig = left.pop()
            if _goes_on(sig):
                left += reversed(_unrolled_body(sig))
            else:
                out.append(sig)
        self.tasks = out

    @iterative
    def plan(self, plan: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add the first step, which carries the others or what points to them, and return the result of the last."""
        options = self._merge(options=options)[2]
        own = self._copy(options={name: options[name] for name in _FOR_THE_LAST if name in options},
                         kwargs=dict(self.kwargs))
        result = own.freeze(root_id=options.get("root_id"))
        steps = own["kwargs"]["tasks"]
        if any(joining.kind(step) == "chord" for step in steps):
            plan.app.ensure_chords()  # else a worker finds out, half way
        for callback in listed(options.get("link")):
            steps[-1].link(callback)
        for errback in listed(options.get("link_error")):
            for step in steps:
                _link_error(step, errback)
        first, *rest = steps
        going = {name: value for name, value in options.items() if name not in _NOT_FOR_THE_FIRST}
        after = [*(going.pop("chain", None) or ()), *(plain_steps(reversed(rest)) or ())]
        if after:
            going["chain"] = shortened(plan, after)
        args = self._merge(args)[0]
        ran = yield call(first, "plan", plan, args, kwargs, going)
        if not rest:
            return ran
        return result

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None, **options: Any,
    ) -> Any:
        """Send the first step, with *args* in front of its own; return the result of the last, with its parents.

        *task_id*, *link* and *chord* are those of the last step, *link_error* that of every step; what else is told,
        such as *queue* or *countdown*, is for the first. An empty chain does nothing.
        """
        if not self.tasks:
            return None
        app = self.app
        if app.conf.task_always_eager:
            with allow_join_result():
                return self.apply(args, kwargs, **options)
        return app.send_workflow(self, args, kwargs, {**options, "route_name": route_name})

    def run(self, args: Any = None, kwargs: Any = None, app: Any = None, **options: Any) -> Any:
        """As `apply_async`, by *app*; the eager setting does not count."""
        return (app or self.app).send_workflow(self, args, kwargs, options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the steps here and now, and return the result of the last that ran."""
        merged = self._merge(options=options)[2]
        links = listed(merged.pop("link", None))
        tasks = [task for task in self.unchain_tasks() if not joining.is_empty(task)] or self.tasks[-1:]
        args, last = self._merge(args)[0], None
        for number, task in enumerate(tasks):
            if links and number == len(tasks) - 1:
                for callback in links:
                    task.link(callback)
            result = task.apply((last.get(),) if last is not None else args, None if last is not None else kwargs,
                                **merged)
            result.parent, last = last, result
            if isinstance(result, EagerResult) and result.state in (states.IGNORED, states.REJECTED):
                break
        return last

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}: empty>"
        return " | ".join(map(repr, self.tasks))


class chain(_chain):
    """Tasks one after the other, each with the result of the one before::

        result = chain(add.s(2, 2), add.s(4), add.s(8))()
        assert result.get(timeout=10) == 16
        assert result.parent.parent.get() == 4

    The same as ``add.s(2, 2) | add.s(4) | add.s(8)``. Takes the steps, or one iterable of them. A group that is
    followed by another step becomes the header of a chord.
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        if len(tasks) == 1 and not isinstance(tasks[0], dict):
            tasks = tuple(tasks[0])
        app = options.pop("app", None)
        return cls.of(joining.folded(tasks, app=app), app, options)

    def __init__(self, *tasks: Any, **options: Any) -> None:
        """Do nothing: it is made."""


def _goes_on(sig: Any) -> bool:
    """Whether *sig* is a chord whose body is a chain that a task begins: its steps can travel once, as steps."""
    body = sig["kwargs"].get("body") if joining.kind(sig) == "chord" else None
    if body is None or body.get("subtask_type") != "chain":
        return False
    tasks = body["kwargs"]["tasks"]
    return bool(tasks) and tasks[0].get("subtask_type") != "group"


def _unrolled_body(chord: Any) -> list[Sig]:
    body = maybe_signature(chord["kwargs"]["body"], app=chord._app)
    first, *rest = body.unchain_tasks(copies=False)
    options = {key: value for key, value in body.options.items() if key not in _NOT_FOR_THE_FIRST}
    own = {key: body.options[key] for key in _FOR_THE_LAST if key in body.options}
    if own and rest:
        rest[-1] = rest[-1]._copy(options={**own, **rest[-1].options})
    elif own:
        first = first._copy(options={**own, **first.options})
    first = first._copy(options=first._merge(options=options)[2])
    return [chord._copy(kwargs={**chord["kwargs"], "body": first}), *rest]


def _link_error(sig: Any, errback: Any) -> None:
    """Link *errback* to *sig*: to a chord as to a part of something larger, of which it needs no warning."""
    (sig.link_error_to_parts if joining.kind(sig) == "chord" else sig.link_error)(errback)


def _root_of(result: Any) -> Any:
    """Return the first of the results that lead to *result*."""
    while result.parent is not None:
        result = result.parent
    return result
