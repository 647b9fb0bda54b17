"""The signature: a call that was not made yet, as the dict that travels.

It may carry the app it was made by; the app is never part of the dict. What is sent, is sent by
that app, else by the current one: a signature knows no broker.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from fastq import current
from fastq.exceptions import InvalidTaskError

if TYPE_CHECKING:
    from fastq.result import AsyncResult, EagerResult

R_co = TypeVar("R_co", covariant=True)
SignatureType = TypeVar("SignatureType", bound="Signature[Any]")
S = TypeVar("S")

# Once a signature is in a group or stamped, options that come later do not change that.
_STICKY = frozenset(("group_id", "stamped_headers"))


class Signature(dict[str, Any], Generic[R_co]):
    """A task's name with arguments and options, to be sent later or by somebody else.

    ``sig.delay(1)`` puts 1 in front of the arguments that it holds, unless it is immutable::

        double = multiply.s(2)
        double.delay(21)
        fetch.apply_async((url,), link=double)
    """

    TYPES: ClassVar[dict[str, type[Signature[Any]]]] = {}
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
        if kind:
            try:
                target = cls.TYPES[kind]
            except KeyError:
                raise InvalidTaskError(f"signatures of type {kind!r} are not known here") from None
            if target is not cls:
                return target.from_dict(mapping, app=app)
        return cls(dict(mapping), app=app)

    # What it holds

    @property
    def app(self) -> Any:
        """The app that sends it."""
        return self._app if self._app is not None else current.app()

    @property
    def type(self) -> Any:
        """The task itself. Raises NotRegistered when this process does not have it."""
        return self._type if self._type is not None else self.app.tasks[self["task"]]

    @property
    def task(self) -> str:
        """The task's name."""
        return cast(str, self["task"])

    name = task

    @property
    def args(self) -> Any:
        """The positional arguments."""
        return self["args"]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return cast("dict[str, Any]", self["kwargs"])

    @property
    def options(self) -> dict[str, Any]:
        """The options for ``apply_async``."""
        return cast("dict[str, Any]", self["options"])

    @property
    def subtask_type(self) -> str | None:
        """None, or the kind of workflow that this is."""
        return self.get("subtask_type")

    @property
    def immutable(self) -> bool:
        """Whether arguments that come later are ignored."""
        return bool(self.get("immutable"))

    @property
    def id(self) -> str | None:
        """The id the task will have, once `freeze` has chosen one."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task that will have sent it."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the first task of its workflow."""
        return self.options.get("root_id")

    # Sending it

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Send it; the arguments are put in front of its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None, **options: Any,
    ) -> AsyncResult[R_co]:
        """Send it; *args* go in front of its own, *kwargs* and *options* over them."""
        args, kwargs, options = self._merge(args, kwargs, options)
        if route_name is not None:
            options["route_name"] = route_name
        task = self._type if self._type is not None else self.app.tasks.get(self["task"])
        if task is not None:
            return cast("AsyncResult[R_co]", task.apply_async(args, kwargs, **options))
        return cast("AsyncResult[R_co]", self.app.send_task(self["task"], args, kwargs, **options))

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any,
    ) -> EagerResult[R_co]:
        """Run it here and now, as a worker would."""
        args, kwargs, options = self._merge(args, kwargs, options)
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
        return self._copy(args=args, kwargs=dict(kwargs), options=copy.deepcopy(options))

    partial = clone

    def replace(
        self: SignatureType, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> SignatureType:
        """Return a copy with these arguments or options in place of its own."""
        given = {"args": None if args is None else tuple(args), "kwargs": kwargs, "options": options}
        changes = {key: value for key, value in given.items() if value is not None}
        return self._copy(**{"options": copy.deepcopy(self.options), **changes})

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
    ) -> AsyncResult[R_co]:
        """Choose its task id now, so that others can refer to it, and return the result to be.

        An id it already has is kept.
        """
        app = self.app
        task_id = self.options.get("task_id") or _id or app.new_id()
        given = {"root_id": root_id, "parent_id": parent_id, "group_id": group_id, "chord": chord,
                 "group_index": group_index}
        self.options.update({key: value for key, value in given.items() if value is not None}, task_id=task_id)
        return cast("AsyncResult[R_co]", app.AsyncResult(task_id))

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
        links = [signature(link, app=self._app) for link in self._list_option("link")]
        return [self, *(deeper for link in links for deeper in link.flatten_links())]

    # How it looks

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as source text: ``proj.add(2, 2)``."""
        args, kwargs, _ = self._merge(args, kwargs, None)
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
        memo[id(self)] = self
        return self._copy(options=copy.deepcopy(self.options, memo))

    def __copy__(self: SignatureType) -> SignatureType:
        return self._copy()

    def __or__(self, other: Any) -> Any:
        # dict's own merge would make nonsense of two signatures without a word.
        raise TypeError("signatures have no | here: this version has no chains; use link() or apply_async(link=...)")

    __ior__ = __ror__ = __or__

    # Inside

    def _copy(self: SignatureType, **changes: Any) -> SignatureType:
        new = self.__class__({**self, **changes}, app=self._app)
        new._type = self._type
        return new

    def _list_option(self, key: str) -> list[Any]:
        items = self.options.get(key)
        if not isinstance(items, list):
            items = self.options[key] = [] if items is None else list(items) if isinstance(items, tuple) else [items]
        return items

    def _merge(
        self, args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any] | None,
    ) -> tuple[Any, Any, dict[str, Any]]:
        own = self.options
        if options:
            sticky = _STICKY.union(own.get("stamped_headers") or ()) if own else ()
            merged = {**own, **{key: value for key, value in options.items() if key not in sticky or key not in own}}
        else:
            merged = dict(own)
        if self.get("immutable"):
            return self["args"], self["kwargs"], merged
        return (
            (*args, *self["args"]) if args else self["args"],
            {**self["kwargs"], **kwargs} if kwargs else self["kwargs"],
            merged,
        )


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
