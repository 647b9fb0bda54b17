"""Pydantic models as arguments and results (``pydantic=True``): validated in the worker, dumped where they leave.

The annotations of the function decide: a parameter whose annotation is a model, or a model or None, is validated with
it; a result is dumped when the annotation of the function names its class. They are looked at when they are first
needed, so that a name that comes later in its module is known.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from fastq.exceptions import ImproperlyConfigured

OPTIONS = ("pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")
Model = Any
"""A class below ``pydantic.BaseModel``."""


class Models:
    """The models among the parameters of one task's function, and what is done with them.

    *strict* and *context* are those of ``model_validate``; ``celery_app`` and ``celery_task_name`` are in the context,
    too. *dump* is given to ``model_dump``, with ``mode="json"`` unless it says otherwise. Raises ImproperlyConfigured
    where pydantic is not installed.
    """

    def __init__(self, app: Any, fun: Callable[..., Any], name: str, *, is_bound: bool, strict: bool = False,
                 context: Mapping[str, Any] | None = None, dump: Mapping[str, Any] | None = None) -> None:
        try:
            from pydantic import BaseModel  # noqa: PLC0415  100 ms, for those who use it
        except ModuleNotFoundError:
            raise ImproperlyConfigured(
                f"task {name} has pydantic=True, and pydantic is not installed: pip install 'fastq[pydantic]'",
            ) from None
        self._base: type = BaseModel
        self._fun = fun
        self._signature = inspect.signature(fun)
        self._is_bound = is_bound
        self._strict = strict
        self._context = {**(context or {}), "celery_app": app, "celery_task_name": name}
        self._dump = {"mode": "json", **(dump or {})}

    def wrap(self) -> Callable[..., Any]:
        """Return the function with its arguments validated and its result dumped."""
        fun = self._fun
        if inspect.iscoroutinefunction(fun):
            @functools.wraps(fun)
            async def run_models(*args: Any, **kwargs: Any) -> Any:
                bound = self._validated(args, kwargs)
                return self._dumped(await fun(*bound.args, **bound.kwargs))
        else:
            @functools.wraps(fun)
            def run_models(*args: Any, **kwargs: Any) -> Any:
                bound = self._validated(args, kwargs)
                return self._dumped(fun(*bound.args, **bound.kwargs))

        return run_models

    def dump_arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of a call as they are sent: a model that its dump makes again is its dump.

        Any other, of a subclass for instance, stays what it is, and is refused by a serializer that cannot take it.
        """
        if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping) or not any(
                isinstance(value, self._base) for value in (*args, *kwargs.values())):
            return args, kwargs
        places = [parameter for parameter in self._signature.parameters.values()
                  if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)][self._is_bound:]
        names = [place.name for place in places]
        sent = [self._sent(names[at] if at < len(names) else None, value) for at, value in enumerate(args)]
        by_name = {parameter.name for parameter in self._signature.parameters.values()
                   if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)}
        return sent if isinstance(args, list) else tuple(sent), {
            name: self._sent(name if name in by_name else None, value) for name, value in kwargs.items()}

    def _validated(self, args: Any, kwargs: Any) -> inspect.BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            model = self._models.get(name)
            if model is not None and not (value is None and name in self._optional):
                bound.arguments[name] = self._validate(model, value)
        return bound

    def _validate(self, model: Model, value: Any) -> Any:
        return model.model_validate(value, strict=self._strict, context=dict(self._context))

    def _dumped(self, value: Any) -> Any:
        if isinstance(value, self._base) and self._returned is not None and isinstance(value, self._returned):
            return value.model_dump(**self._dump)  # type: ignore[attr-defined]
        return value

    def _sent(self, name: str | None, value: Any) -> Any:
        model = self._models.get(name or "")
        # One with a __json__ of its own knows how it is to be sent.
        if model is None or not isinstance(value, self._base) or hasattr(type(value), "__json__"):
            return value
        try:
            dumped = value.model_dump(**self._dump)  # type: ignore[attr-defined]
            is_same = self._validate(model, dumped) == value
        except Exception:
            # Its validators may need what only a worker has: then the model itself is sent, or refused by name.
            return value
        return dumped if is_same else value

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._fun)
        except (NameError, AttributeError, TypeError):
            # Some annotation is a text that means nothing here; those that are no texts still do.
            found = {name: parameter.annotation for name, parameter in self._signature.parameters.items()}
            return {**found, "return": self._signature.return_annotation}

    @functools.cached_property
    def _models(self) -> dict[str, Model]:
        models = {name: _without_none(hint) for name, hint in self._hints.items() if name != "return"}
        return {name: model for name, model in models.items()
                if isinstance(model, type) and issubclass(model, self._base)}

    @functools.cached_property
    def _optional(self) -> frozenset[str]:
        return frozenset(name for name, hint in self._hints.items() if _without_none(hint) is not hint)

    @functools.cached_property
    def _returned(self) -> type | None:
        hint = _without_none(self._hints.get("return"))
        return hint if isinstance(hint, type) else None


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    others = [arg for arg in typing.get_args(hint) if arg is not types.NoneType]
    return others[0] if len(others) == 1 else hint
