"""The chord: a group, its header, and what runs with the list of its results, the body."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, cast

from fastq.canvas import joining, polling
from fastq.canvas.depth import PARTS, call, cloning, freezing, iterative
from fastq.canvas.groups import group, header_of, size_of
from fastq.canvas.plain import link as dict_of
from fastq.canvas.plan import opening
from fastq.canvas.signature import Signature, item_property, listed, maybe_signature
from fastq.exceptions import CPendingDeprecationWarning
from fastq.result import allow_join_result
from fastq.wire.chord import plan as plan_of
from fastq.wire.rest import pointer

Sig = Signature[Any]
_DELAY = ("countdown", "eta")


@Signature.register_type()
class chord(Signature[Any]):
    """A group of tasks, and one that gets the list of their results when the last of them has ended::

        result = chord([add.s(n, n) for n in range(100)])(total.s())
        assert result.get(timeout=10) == 9900

    The same as ``group(...) | total.s()``. The body may be any signature; when a member of the header fails it does
    not run, its errbacks do, and its result is a `ChordError`.
    """

    tasks: Any = item_property("header", "The header: a list of signatures, or a group.", "kwargs")
    body: Any = item_property("body", "The body.", "kwargs")

    def __init__(self, header: Any, body: Any = None, task: str = "celery.chord", args: Any = None, kwargs: Any = None,
                 app: Any = None, options: Mapping[str, Any] | None = None, **more_options: Any) -> None:
        kept = {name: more_options.pop(name) for name in ("subtask_type", "immutable") if name in more_options}
        super().__init__(task, args, {**(kwargs or {"kwargs": {}}), "header": header_of(header, app),
                                      "body": maybe_signature(body, app=app)},
                         options, app=app, **more_options)
        self.update(subtask_type="chord", immutable=bool(kept.get("immutable")))

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], app: Any = None) -> chord:
        """Build the chord that *mapping* describes."""
        kwargs = dict(mapping["kwargs"])
        header, body = kwargs.pop("header", None) or (), kwargs.pop("body", None)
        made = cls(header, body, args=mapping.get("args"), kwargs=kwargs, app=app,
                   options=mapping.get("options"), immutable=bool(mapping.get("immutable")))
        if isinstance(header, dict) and header.get("subtask_type") == "group":
            made.tasks = maybe_signature(header, app=app)  # its id is the chord's
        return made

    @property
    def app(self) -> Any:
        """The app that sends it: its own, or that of a member or the body."""
        return self._app_with(self.body)

    def _app_with(self, body: Any) -> Any:
        for sig in (self, *self.header().tasks[:1], body):
            if isinstance(sig, Signature) and sig._app is not None:
                return sig._app
        return super().app

    def header(self) -> group:
        """Return the header as a group."""
        tasks = self.tasks
        return tasks if isinstance(tasks, group) else group(tasks, app=self._app)

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with *body* in place of its own if given."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    @classmethod
    def _descend(cls, sig_obj: Any) -> int:
        """As how many members *sig_obj* counts in a header: a signature or its dict, or many signatures."""
        return size_of(sig_obj) if isinstance(sig_obj, dict) else len(sig_obj)

    def __length_hint__(self) -> int:
        """How many results the body waits for."""
        return sum(map(size_of, self.header().tasks))

    @iterative
    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Return a copy whose header and body are copies too."""
        return cloning(self, args, kwargs, options)

    partial = clone
    inner_parts = PARTS["chord"]

    # Sending

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None, **options: Any,
    ) -> Any:
        """Send the header, with *args* in front of those of each member; return the result of the body.

        *task_id* is the body's, as are *link* and *link_error*; *countdown* and *eta* delay the header; other options
        are for both. Raises Unsupported where the results' store cannot join.
        """
        body = self._body(kwargs)
        app = self._app_with(body)
        if app.conf.task_always_eager:
            told = {**self.options, **options}
            body = _linked(body.clone(), told.get("link"), told.get("link_error"))
            with allow_join_result():
                return self.apply(args, _without_body(kwargs), body=body)
        return app.send_workflow(self, args, kwargs, {**options, "route_name": route_name})

    def run(self, header: Any, body: Any, partial_args: Any = (), app: Any = None, **options: Any) -> Any:
        """Send *header* and *body* as a chord with these options."""
        made = chord(header, body, app=app or self._app)
        if isinstance(header, group):
            made.tasks = header
        told = {**self.options, **options}
        kwargs = told.pop("kwargs", None)
        return made.app.send_workflow(made, partial_args, kwargs, told)

    @iterative
    def plan(self, plan: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add the header's members, which carry the body or point to it, and return the result of the body."""
        app = plan.app
        body = self._body(kwargs)
        own, header = self.options, self.header()
        told = self._merge(options=options)[2]
        looking = {name: told.pop(name) for name in polling.OPTIONS if name in told}
        body = _linked(body.clone(), told.pop("link", None), told.pop("link_error", None))
        delay = {name: told.pop(name) for name in _DELAY if told.get(name) is not None}
        told.pop("task_id", None)
        group_id = header.options.get("task_id") or own.get("task_id") or plan.new_id()
        body_id = options.get("task_id") or body.options.get("task_id") or own.get("task_id")
        body.options.update({name: value for name, value in told.items() if name not in ("parent_id", "route_name")})
        # The last step of a chain, too, is a member of what is around the chord, and else names the chord's own group.
        place = body.options.get("group_id") or group_id
        result = yield freezing(body, _id=body_id, group_id=place, root_id=told.get("root_id"))
        args = self._merge(args)[0]
        kwargs = {**(self.kwargs.get("kwargs") or {}), **_without_body(kwargs)}
        if not size_of(header):
            lineage = {name: told[name] for name in ("parent_id", "root_id") if name in told}
            return (yield call(body, "plan", plan, ([],), {}, lineage))
        app.ensure_chords()
        going = {name: value for name, value in told.items() if name not in ("chain", "chord", "group_id",
                                                                             "group_index")}
        polls = app.backend.polls_chords
        carried, kept = dict_of(body), b""
        if not (plan.inline or polls):
            kept = plan_of(group_id, carried, serializer=told.get("serializer") or app.conf.task_serializer)
            carried = pointer(result.id)
        going.update(delay, task_id=group_id, chord=carried)
        opened, sent = len(plan.opens), len(plan.calls)
        joined = yield call(header, "planned", plan, args, kwargs, going)
        if polls:
            plan.calls.insert(sent, polling.unlocking(plan, joined, body, {**going, **looking}))
        else:
            plan.opens.insert(opened, opening(group_id, size_of(header), joined, kept))
        _first_of(result).parent = joined
        return result

    @iterative
    def freeze(
        self, _id: str | None = None, group_id: str | None = None, chord: Any = None, root_id: str | None = None,
        parent_id: str | None = None, group_index: int | None = None, _owned: bool = False,
    ) -> Any:
        """Choose the ids of all members and the body, and return the result of the body."""
        header, body = self.header(), self.body
        if body is None:
            raise TypeError("a chord needs a body: chord(header, body)")
        header.options.setdefault("task_id", self.options.get("task_id") or self.app.new_id())
        joined = yield call(header, "freeze", root_id=root_id, parent_id=parent_id, _owned=_owned)
        self.tasks, self.id = header, header.options["task_id"]
        body = maybe_signature(body, app=self._app)
        body = self.body = body if _owned else body.clone()
        result = yield freezing(body, _id=_id, root_id=root_id, chord=chord, group_id=group_id, group_index=group_index)
        _first_of(result).parent = joined
        return result

    _freeze = freeze

    def apply(self, args: Any = None, kwargs: Any = None, propagate: bool = True, body: Any = None,
              **options: Any) -> Any:
        """Run header and body here and now."""
        body = self._body({"body": body} if body is not None else None)
        header = self.header().clone()
        header._app = self._app_with(body)  # of a header of none nothing else tells
        kwargs = {**(self.kwargs.get("kwargs") or {}), **(kwargs or {})}
        return body.apply((header.apply(self._merge(args)[0], kwargs).get(propagate=propagate),))

    def _body(self, kwargs: Mapping[str, Any] | None) -> Sig:
        body = (kwargs or {}).get("body") or self.body
        if body is None:
            raise TypeError("a chord needs a body: chord(header, body), or chord(header)(body)")
        return cast(Sig, maybe_signature(body, app=self._app))

    # Links

    def link(self, callback: Any) -> Any:
        """Link *callback* to the body."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Link *errback* to the body and, with ``task_allow_error_cb_on_chord_header``, to every member too."""
        if not self.app.conf.task_allow_error_cb_on_chord_header:
            warnings.warn(
                "with task_allow_error_cb_on_chord_header=False, which is to change, an errback of a chord runs once, "
                "for the body, and not for each member that fails", CPendingDeprecationWarning, stacklevel=2)
        return self.link_error_to_parts(errback)

    def link_error_to_parts(self, errback: Any) -> Any:
        """As `link_error`, without its warning."""
        errback = maybe_signature(errback)
        members_too = self.app.conf.task_allow_error_cb_on_chord_header
        for task in self.header().tasks:
            if members_too:
                task.link_error(errback.clone().set(immutable=True))
            if joining.kind(task) == "chord":
                task.link_error_to_parts(errback)
        _link_error(self.body, errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Say of all members whether arguments that come later are ignored; the body stays as it is."""
        for task in self.header().tasks:
            task.set_immutable(immutable)

    def __repr__(self) -> str:
        members = list(self.header().tasks)
        if self.body is None:
            return f"<chord without body: {members!r}>"
        return f"%{self.body!r} of {members!r}"


_chord = chord


def _without_body(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (kwargs or {}).items() if name != "body"}


def _linked(body: Any, callbacks: Any, errbacks: Any) -> Any:
    """Link to *body*, a copy, what was asked of its chord; of a group every member gets an errback."""
    for callback in listed(callbacks):
        body.link(maybe_signature(callback, app=body._app))
    for errback in listed(errbacks):
        _link_error(body, maybe_signature(errback, app=body._app))
    return body


def _link_error(sig: Any, errback: Any) -> None:
    if joining.kind(sig) == "chord":
        sig.link_error_to_parts(errback)
    elif joining.kind(sig) == "group":
        sig.link_error(errback)
    else:
        sig.append_to_list_option("link_error", errback)


def _first_of(result: Any) -> Any:
    """Return the first of the results that lead to *result*."""
    while result.parent is not None:
        result = result.parent
    return result
