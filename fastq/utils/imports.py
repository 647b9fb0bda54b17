"""``from fastq.utils.imports import symbol_by_name``, and what else Celery has there."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = ("cwd_in_path", "import_from_cwd", "instantiate", "qualname", "reload_from_cwd", "symbol_by_name")


def symbol_by_name(name: Any, aliases: dict[str, str] | None = None, package: str | None = None, default: Any = None,
                   **options: Any) -> Any:
    """Return the object at ``"module:name"`` or ``"module.name"``; what is no text is returned as it is.

    Raises ImportError or AttributeError, unless *default* is given.

    >>> symbol_by_name("os.path:join").__name__, symbol_by_name("os.getpid").__name__
    ('join', 'getpid')
    """
    if not isinstance(name, str):
        return name
    module, separator, attribute = str((aliases or {}).get(name, name)).partition(":")
    if not separator:
        module, _, attribute = module.rpartition(".")
    try:
        found: Any = importlib.import_module(module or attribute, package)
        for step in attribute.split(".") if module and attribute else ():
            found = getattr(found, step)
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default
    return found


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what is at *name* with the arguments."""
    return symbol_by_name(name)(*args, **kwargs)


def qualname(obj: Any) -> str:
    """Return the full name of a class, or of an instance's class.

    >>> qualname(ValueError("x"))
    'builtins.ValueError'
    """
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def cwd_in_path() -> Iterator[None]:
    """Let modules of the current folder be imported in the block."""
    here = os.getcwd()
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def import_from_cwd(module: str, imp: Callable[..., ModuleType] | None = None,
                    package: str | None = None) -> ModuleType:
    """Import *module*, which may be in the current folder. Raises ImportError."""
    with cwd_in_path():
        return (imp or importlib.import_module)(module, package)


def reload_from_cwd(module: ModuleType, reloader: Callable[[ModuleType], ModuleType] | None = None) -> ModuleType:
    """Load *module* anew."""
    with cwd_in_path():
        return (reloader or importlib.reload)(module)
