"""The signature: a call that was not made yet, as the dict that travels.

It may carry the app it was made by; the app is never part of the dict. What is sent, is sent by
that app, else by the current one: a signature knows no broker. Chains, groups and chords are
signatures too; what they need is loaded when the first of them is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from fastq import current
from fastq.exceptions import InvalidTaskError

if TYPE_CHECKING:
    from fastq.result import AsyncResult as Handle
    from fastq.result import EagerResult

R_co = TypeVar("R_co", covariant=True)
SignatureType = TypeVar("SignatureType", bound="Signature[Any]")
S = TypeVar("S")

# Where the kinds that everybody knows are found, so that a message may name one that was not used here yet.
_KINDS = {"chain": "chains", "group": "groups", "chord": "chords", "xmap": "maps", "xstarmap": "maps", "chunks": "maps"}


def item_property(key: str, doc: str, part: str | None = None) -> property:
    """Return a property that reads and sets the item *key* of a mapping, or of the mapping that is its item *part*."""
    def get(self: Any) -> Any:
        return (self if part is None else self[part]).get(key)

    def put(self: Any, value: Any) -> None:
        (self if part is None else self[part])[key] = value

    return property(get, put, doc=doc)


class Signature(dict[str, Any], Generic[R_co]):
    """A task's name with arguments and options, to be sent later or by somebody else.

    ``sig.delay(1)`` puts 1 in front of the arguments that it holds, unless it is immutable::

        double = multiply.s(2)
        double.delay(21)
        fetch.apply_async((url,), link=double)
    """

    TYPES: ClassVar[dict[str, type[Signature[Any]]]] = {}
    part: ClassVar[staticmethod[[str], Any]]
    """Returns a module of this package that is loaded when it is first needed; set by the package."""
    # Once a signature is in a group or stamped, options that come later do not change that.
    _IMMUTABLE_OPTIONS: ClassVar[Set[str]] = frozenset(("group_id", "stamped_headers"))
    _app: Any = None
    _type: Any = None

    def __init__(
        self, task: Any = None, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None, *, type: Any = None, subtask_type: str | None = None,
        immutable: bool = False, app: Any = None, **more_options: Any,
    ) -> None:
        self._app = app
        self._type = type
        if isinstance(task, dict):
            super().__init__(task)
            return
        name = getattr(task, "name", None)
        if name is not None:
            self._type = task
        super().__init__(
            task=task if name is None else name, args=tuple(args or ()), kwargs=dict(kwargs or {}),
            options={**(options or {}), **more_options}, subtask_type=subtask_type, immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[SignatureType]], type[SignatureType]]:
        """Make ``from_dict`` build the decorated class for dicts whose ``subtask_type`` is *name*."""
        def register(subclass: type[SignatureType]) -> type[SignatureType]:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass
        return register

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], app: Any = None) -> Signature[Any]:
        """Build the signature that *mapping* describes.

        Raises InvalidTaskError when its ``subtask_type`` is not known here.
        """
        kind = mapping.get("subtask_type")
        if not kind:
            return cls(dict(mapping), app=app)
        if kind in ("chain", "group", "chord"):
            return cast("Signature[Any]", cls.part("depth").inside_out(mapping, lambda raw: cls._made(raw, app)))
        return cls._made(mapping, app)

    @classmethod
    def _made(cls, mapping: Mapping[str, Any], app: Any) -> Signature[Any]:
        kind = mapping["subtask_type"]
        if kind in _KINDS and kind not in cls.TYPES:
            cls.part(_KINDS[kind])
        try:
            target = cls.TYPES[kind]
        except KeyError:
            raise InvalidTaskError(f"signatures of type {kind!r} are not known here") from None
        return target.from_dict(mapping, app=app) if target is not cls else cls(dict(mapping), app=app)

    # What it holds

    @property
    def app(self) -> Any:
        """The app that sends it."""
        return self._app if self._app is not None else current.app()

    @property
    def type(self) -> Any:
        """The task itself. Raises NotRegistered when this process does not have it."""
        return self._type if self._type is not None else self.app.tasks[self["task"]]

    id: Any = item_property("task_id", "The id the task will have, once `freeze` has chosen one.", "options")
    parent_id: Any = item_property("parent_id", "The id of the task that will have sent it.", "options")
    root_id: Any = item_property("root_id", "The id of the first task of its workflow.", "options")
    task: Any = item_property("task", "The task's name.")
    args: Any = item_property("args", "The positional arguments.")
    kwargs: Any = item_property("kwargs", "The keyword arguments.")
    options: Any = item_property("options", "The options for ``apply_async``.")
    subtask_type: Any = item_property("subtask_type", "None, or the kind of workflow that this is.")
    immutable: Any = item_property("immutable", "Whether arguments that come later are ignored.")

    @property
    def name(self) -> str:
        """The task's name."""
        return cast(str, self["task"])

    @property
    def AsyncResult(self) -> Callable[..., Handle[Any]]:
        """Makes the handle on the result of a task id."""
        task = self._known_type()
        return cast("Callable[..., Handle[Any]]", (self.app if task is None else task).AsyncResult)

    # Sending it

    def delay(self, *args: Any, **kwargs: Any) -> Handle[R_co]:
        """Send it; the arguments are put in front of its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None, **options: Any,
    ) -> Handle[R_co]:
        """Send it; *args* go in front of its own, *kwargs* and *options* over them; options that are None are not."""
        args, kwargs, options = self._merge(args, kwargs, _given(options))
        if route_name is not None:
            options["route_name"] = route_name
        task = self._known_type()
        if task is not None:
            return cast("Handle[R_co]", task.apply_async(args, kwargs, **options))
        return cast("Handle[R_co]", self.app.send_task(self["task"], args, kwargs, **options))

    def election(self) -> Handle[R_co]:
        """Send it, once: Celery has its workers elect the one that sends it; here nobody else does."""
        return self.apply_async()

    async def adelay(self, *args: Any, **kwargs: Any) -> Handle[R_co]:
        """As `delay`, but let the event loop run while it is being sent."""
        return cast("Handle[R_co]", await _in_thread(self.delay, *args, **kwargs))

    async def aapply_async(self, *args: Any, **options: Any) -> Handle[R_co]:
        """As `apply_async`, but let the event loop run while it is being sent."""
        return cast("Handle[R_co]", await _in_thread(self.apply_async, *args, **options))

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any,
    ) -> EagerResult[R_co]:
        """Run it here and now, as a worker would."""
        args, kwargs, options = self._merge(args, kwargs, _given(options))
        return cast("EagerResult[R_co]", self.type.apply(args, kwargs, **options))

    def __call__(self, *args: Any, **kwargs: Any) -> R_co:
        """Call the task's function in place."""
        args, kwargs, _ = self._merge(args, kwargs, None)
        return cast(R_co, self.type(*args, **kwargs))

    def __invert__(self) -> R_co:
        """Send it and wait for its result: ``~sig``."""
        return self.apply_async().get()

    # Making another of it

    def clone(
        self: SignatureType, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> SignatureType:
        """Return a copy with more arguments and options, as `apply_async` would merge them."""
        args, kwargs, options = self._merge(args, kwargs, options)
        return self._copy(args=args, kwargs=dict(kwargs), options=copied(options))

    partial = clone

    def replace(
        self: SignatureType, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> SignatureType:
        """Return a copy with these arguments or options in place of its own."""
        given = {"args": None if args is None else tuple(args), "kwargs": kwargs, "options": options}
        changes = {key: value for key, value in given.items() if value is not None}
        return self._copy(**{"options": copied(self.options), **changes})

    def set(self: SignatureType, immutable: bool | None = None, **options: Any) -> SignatureType:
        """Set options in place, and return the signature."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether arguments that come later are ignored."""
        self["immutable"] = immutable

    def freeze(
        self, _id: str | None = None, group_id: str | None = None, chord: Any = None,
        root_id: str | None = None, parent_id: str | None = None, group_index: int | None = None,
    ) -> Handle[R_co]:
        """Choose its task id now, so that others can refer to it, and return the result to be.

        An id or group that it already has is kept.
        """
        app, options = self.app, self["options"]
        if not options.get("task_id"):
            options["task_id"] = _id or app.new_id()
        given = {"root_id": root_id, "parent_id": parent_id, "chord": chord, "group_index": group_index}
        options.update({key: value for key, value in given.items() if value is not None})
        if group_id:
            options.setdefault("group_id", group_id)
        # Whoever sends it later, the result comes back to whoever waits here, or for the task that it follows.
        if "reply_to" not in options and app.replies is not None:
            ended = current.ended.get()
            options["reply_to"] = app.replies.expect() if ended is None else ended.reply_to or ""
        # Not ignored, whatever the task says: the failure of a step before it is stored for it.
        return cast("Handle[R_co]", self.AsyncResult(options["task_id"]))

    _freeze = freeze

    def plan(self, plan: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add to *plan* (a `fastq.canvas.plan.Plan`) the messages that sending it takes; return the result to be."""
        if type(self).apply_async is not Signature.apply_async:
            # A kind that somebody else made sends itself in a way of its own.
            return self.apply_async(args, kwargs, **options)
        args, kwargs, options = self._merge(args, kwargs, options)
        return plan.call(self["task"], self._known_type(), args, kwargs, options)

    # Links

    def link(self, callback: S) -> S:
        """Have *callback* sent with the result when the task has succeeded; return *callback*."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: S) -> S:
        """Have *errback* called or sent when the task has failed; return *errback*."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self: SignatureType, errback: Any) -> SignatureType:
        """As `link_error`, but return the signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: S) -> S:
        """Add *value* to the option *key*, once."""
        items = self._list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add one or many values to the option *key*."""
        self._list_option(key).extend(value if isinstance(value, (list, tuple)) else [value])

    def flatten_links(self) -> list[Signature[Any]]:
        """Return this signature and all that are linked to it, depth first."""
        found: list[Signature[Any]] = []
        left: list[Any] = [self]
        while left:
            sig = maybe_signature(left.pop(), app=self._app)
            found.append(sig)
            left += reversed(listed(sig["options"].get("link")))
        return found

    # How it looks

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as source text: ``proj.add(2, 2)``."""
        args, kwargs, _ = self._merge(args, kwargs, force=True)
        parts = [*(repr(arg) for arg in args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        return f"{self['task']}({', '.join(parts)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __reduce__(self) -> Any:
        # A plain dict may be read by a process that has no fastq, and unpickles without an app.
        return signature, (dict(self),)

    def __deepcopy__(self: SignatureType, memo: dict[int, Any]) -> SignatureType:
        # Options change when a workflow is sent; arguments may be anything and stay as they are.
        return self._copy(options=copied(self.options))

    def __copy__(self: SignatureType) -> SignatureType:
        return self._copy()

    # Stamps

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Add *headers*, and what *visitor* (a `StampingVisitor`) says, to the stamps of this task and its links.

        A stamp it has already is replaced; with *append_stamps* both become a list. Workers see stamps as
        ``request.stamps``, and can revoke by them.
        """
        return self.part("stamps").stamp(self, visitor, append_stamps, headers)

    def stamp_links(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp only what is linked to it."""
        self.part("stamps").stamp_links(self, visitor, append_stamps, headers)

    # Joining

    def __or__(self, other: Any) -> Any:
        """Return the workflow that goes on with *other*: ``add.s(1, 2) | double.s()``."""
        if isinstance(other, Signature):
            return self.part("joining").joined(self, other)
        return self.__ror__(other)

    __ior__ = __or__

    def __ror__(self, other: Any) -> Any:
        # dict would merge the two, which makes nonsense of a signature without a word.
        if isinstance(other, dict):
            raise TypeError("unsupported operand: a signature goes on with a signature; make one with signature(dict)")
        return NotImplemented

    # Inside

    def _known_type(self) -> Any:
        return self._type if self._type is not None else self.app.tasks.get(self["task"])

    def _copy(self: SignatureType, **changes: Any) -> SignatureType:
        new = self.__class__.__new__(self.__class__)
        dict.update(new, self, **changes)
        new._app, new._type = self._app, self._type
        return new

    def _list_option(self, key: str) -> list[Any]:
        items = self["options"].get(key)
        if not isinstance(items, list):
            items = self["options"][key] = listed(items)
        return items

    def _merge(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None, force: bool = False,
    ) -> tuple[Any, Any, dict[str, Any]]:
        own = self["options"]
        if options:
            sticky = self._IMMUTABLE_OPTIONS | set(own.get("stamped_headers") or ()) if own else ()
            merged = {**own, **{key: value for key, value in options.items() if key not in sticky or key not in own}}
        else:
            merged = dict(own)
        if self.get("immutable") and not force:
            return self["args"], self["kwargs"], merged
        return (
            (*args, *self["args"]) if args else self["args"],
            {**self["kwargs"], **kwargs} if kwargs else self["kwargs"],
            merged,
        )


async def _in_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio  # noqa: PLC0415 - costs 15 ms, which only programs with an event loop should pay

    return await asyncio.to_thread(call, *args, **kwargs)


def listed(value: Any) -> list[Any]:
    """Return one signature, many or none as a list of its own."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def copied(value: Any) -> Any:
    """Return *value* so that changes to its mappings, lists and signatures do not reach the original."""
    if isinstance(value, Signature):
        return value.clone()
    if type(value) is dict and not any(isinstance(item, (dict, list)) for item in value.values()):
        return dict(value)
    return Signature.part("depth").copied(value) if type(value) in (dict, list) else value


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature[Any]:
    """Return a signature: a copy of one, from its dict, or of the task or task name *varies*.

    The rest of the arguments are those of `Signature`.
    """
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return Signature.from_dict(varies, app=kwargs.get("app"))
    return Signature(varies, *args, **kwargs)


def maybe_signature(varies: Any, app: Any = None, clone: bool = False) -> Any:
    """Return dicts as signatures bound to *app*, everything else as it is."""
    if not isinstance(varies, dict):
        return varies
    if not isinstance(varies, Signature):
        return Signature.from_dict(varies, app=app)
    if clone:
        varies = varies.clone()
    if app is not None:
        varies._app = app
    return varies
