"""An object that stands for another one, which is looked up at every use.

For the two names that mean "of whatever app is current": ``current_app`` and what ``shared_task``
returns. fastq itself uses neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastq.exceptions import ImproperlyConfigured


class Proxy:
    """Stands for what *find* returns."""

    __slots__ = ("__dict__", "_find")

    def __init__(self, find: Callable[[], Any], **attributes: Any) -> None:
        object.__setattr__(self, "_find", find)
        self.__dict__.update(attributes)

    @property
    def __class__(self) -> Any:
        # Tools ask every object of a module what it is, also before there is an app.
        try:
            return type(self._find())
        except ImproperlyConfigured:
            return Proxy

    @__class__.setter
    def __class__(self, value: type) -> None:
        self._find().__class__ = value

    def __getattr__(self, name: str) -> Any:
        try:
            found = self._find()
        except ImproperlyConfigured as exc:
            if name.startswith("__"):
                raise AttributeError(str(exc)) from None
            raise
        return getattr(found, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._find(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._find(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)

    def __dir__(self) -> list[str]:
        return dir(self._find())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._find())

    def __bool__(self) -> bool:
        return bool(self._find())

    def __eq__(self, other: object) -> bool:
        return bool(self._find() == other)

    def __hash__(self) -> int:
        return hash(self._find())

    def __reduce__(self) -> Any:
        return self._find().__reduce__()

    def __repr__(self) -> str:
        try:
            return repr(self._find())
        except ImproperlyConfigured as exc:
            return f"<nothing yet: {exc}>"
