"""The group: tasks side by side, whose results are one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import GeneratorType
from typing import Any

from fastq.canvas import joining
from fastq.canvas.depth import PARTS, call, cloning, freezing, iterative
from fastq.canvas.plain import link as dict_of
from fastq.canvas.plan import Call
from fastq.canvas.signature import Signature, item_property, maybe_signature
from fastq.result import AsyncResult

Sig = Signature[Any]
_PLACE = frozenset(("task_id", "group_index"))


@Signature.register_type()
class group(Signature[Any]):
    """Tasks side by side, whose results are one::

        result = group(add.s(n, n) for n in range(1000))()
        assert result.get(timeout=10)[2] == 4

    Takes the tasks, or one iterable of them. Options given to `apply_async` are for all of them. The messages are
    stored in few large steps.
    """

    tasks: Any = item_property("tasks", "The members.", "kwargs")

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        given = tasks[0] if len(tasks) == 1 else tasks
        if isinstance(given, group):
            given = given.tasks
        members = [maybe_signature(given, app=app).clone()] if isinstance(given, dict) else list(given)
        super().__init__("celery.group", (), {"tasks": members}, options, subtask_type="group", app=app)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], app: Any = None) -> group:
        """Build the group that *mapping* describes."""
        tasks = [maybe_signature(task, app=app) for task in mapping["kwargs"]["tasks"] or ()]
        new = cls(tasks, app=app)
        dict.update(new, args=mapping.get("args") or (), options=dict(mapping.get("options") or {}),
                    immutable=bool(mapping.get("immutable")))
        return new

    @property
    def app(self) -> Any:
        """The app that sends it: its own, or that of its first member."""
        if self._app is None and self.tasks and isinstance(self.tasks[0], Signature):
            return self.tasks[0].app
        return super().app

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send it, with *args* in front of those of every member."""
        return self.apply_async(args, **options)

    @iterative
    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Return a copy whose members are copies too."""
        return cloning(self, args, kwargs, options)

    partial = clone
    inner_parts = PARTS["group"]

    def __len__(self) -> int:
        return len(self.tasks)

    def members(self) -> Iterator[Sig]:
        """Iterate over the members; those of groups in it, at any depth, are its own."""
        left = self.tasks[::-1]
        while left:
            sig = left.pop()
            if type(sig) is Signature:
                yield sig
                continue
            sig = maybe_signature(sig, app=self._app)
            if joining.kind(sig) == "group":
                left += sig["kwargs"]["tasks"][::-1]
            elif not joining.is_empty(sig):
                yield sig

    # Sending

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None, add_to_parent: bool = True, link: Any = None, link_error: Any = None,
        **options: Any,
    ) -> Any:
        """Send all members, with *args* in front of their own; return their `GroupResult`.

        Raises TypeError for *link* and *link_error*: a group has no end of its own, a chord has.
        """
        if link is not None or link_error is not None:
            raise TypeError("a group cannot be linked: make it a chord, with group | callback, or link its members")
        app = self.app
        if app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        if not self.tasks:
            return self.freeze()
        told = {**options, "route_name": route_name}
        return app.send_workflow(self, args, kwargs, told, add_to_parent=add_to_parent)

    @iterative
    def plan(self, plan: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add all members, and return their result."""
        result = yield call(self, "planned", plan, args, kwargs, options)
        members = result.results
        # A chain that is the only member, and ends in a group: that group is the result.
        if len(members) == 1 and not isinstance(members[0], AsyncResult):
            result = plan.trail = members[0]
        return result

    @iterative
    def planned(self, plan: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """As `plan`, but the result is always this group's own."""
        options = self._merge(options=options)[2]
        group_id = options["group_id"] = options.pop("task_id", None) or plan.new_id()
        options.pop("group_index", None)
        if options.get("chord") is not None:
            options["chord"] = dict_of(options["chord"])
        args = self._merge(args)[0]
        results = []
        for number, sig in _numbered(self.members()):
            result = _planned(plan, sig, args, kwargs, options, number)
            results.append((yield result) if type(result) is GeneratorType else result)
        result = plan.trail = plan.app.GroupResult(group_id, results)
        return result

    @iterative
    def freeze(
        self, _id: str | None = None, group_id: str | None = None, chord: Any = None, root_id: str | None = None,
        parent_id: str | None = None, group_index: int | None = None, _owned: bool = False,
    ) -> Any:
        """Choose the ids of all members, and return their result.

        In a group of its own, *group_id*, they count as members of that, from *group_index* on.
        """
        options = self.options
        if not options.get("task_id"):
            options["task_id"] = _id or self.app.new_id()
        if chord is not None:
            # Once for all of them: each would carry it through every message before.
            options["chord"] = chord
        members = self["kwargs"]["tasks"] = [sig if _owned else sig.clone() for sig in self.members()]
        results = []
        for number, sig in _numbered(members):
            result = freezing(sig, group_id=group_id, root_id=root_id, parent_id=parent_id,
                              group_index=number + (group_index or 0))
            results.append((yield result) if type(result) is GeneratorType else result)
        return self.app.GroupResult(options["task_id"], results)

    _freeze = freeze

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the members here and now, one after the other."""
        if not self.tasks:
            return self.freeze()
        options = self._merge(options=options)[2]
        group_id = options.pop("task_id", None) or self.app.new_id()
        args = self._merge(args)[0]
        return self.app.GroupResult(group_id, [
            sig.clone().apply(args, kwargs, **options, group_id=group_id) for sig in self.members()])

    # All members at once

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Let the members start one after the other: the first in *start* seconds, each *step* later, up to *stop*."""
        countdown = start
        for task in self.tasks:
            task.set(countdown=countdown)
            if not stop or countdown + step <= stop:
                countdown += step
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say of all members whether arguments that come later are ignored."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Link *callback* to the first member, without its result: the others may not have ended by then."""
        return self.tasks[0].link(callback.clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Link *errback* to every member; returns what was linked, as a tuple."""
        errback = maybe_signature(errback)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def __repr__(self) -> str:
        return f"group({self.tasks!r})" if self.tasks else "group(<empty>)"


def size_of(sig: Any) -> int:
    """Return as how many members *sig* counts in a chord's header: what ends last in it is what is counted."""
    total, left = 0, [sig]
    while left:
        sig = left.pop()
        kind = None if type(sig) is Signature else joining.kind(sig)
        if kind == "group":
            left += sig["kwargs"]["tasks"]
        elif kind == "chain":
            tasks = [task for task in sig["kwargs"]["tasks"] if not joining.is_empty(task)]
            left += tasks[-1:]
        elif kind == "chord" and sig["kwargs"].get("body") is not None:
            left.append(sig["kwargs"]["body"])
        else:
            total += 1
    return total


def _numbered(sigs: Iterable[Sig]) -> Iterator[tuple[int, Sig]]:
    """Number members; one that counts as several takes as many numbers, so that their results stand in order."""
    number = 0
    for sig in sigs:
        yield number, sig
        number += 1 if type(sig) is Signature else size_of(sig)


def _planned(plan: Any, sig: Sig, args: Any, kwargs: Any, shared: dict[str, Any], number: int) -> Any:
    options = sig["options"]
    if type(sig) is not Signature or not options.keys() <= _PLACE or sig._app not in (None, plan.app):
        return call(sig, "plan", plan, args, kwargs, {**shared, "group_index": options.get("group_index", number)})
    # The usual member has no options of its own: what all have in common stays one mapping for all.
    task_id = options.get("task_id") or plan.new_id()
    task = sig._type if sig._type is not None else plan.app.tasks.get(sig["task"])
    if args or kwargs:
        args, kwargs, _ = sig._merge(args, kwargs)
    else:
        args, kwargs = sig["args"], sig["kwargs"]
    plan.calls.append(Call(sig["task"], task, args, kwargs, shared, task_id, options.get("group_index", number)))
    return plan.result(sig["task"], task, task_id, shared)


def header_of(tasks: Any, app: Any) -> list[Any]:
    """Return the members of a chord's header: those of a group or chain, one signature, or an iterable of them."""
    if isinstance(tasks, dict):
        tasks = maybe_signature(tasks, app=app)
        return list(tasks.tasks) if joining.kind(tasks) in ("group", "chain") else [tasks]
    return [maybe_signature(task, app=app) for task in tasks]
