"""From names to objects: the only place where a string becomes a module, a class or an app.

Whoever gives a wrong name is told which part of it failed and what was near. What the user's own module raises
while it is imported, an ImportError too, comes through as it is: it is theirs to read, with its traceback.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from fastq.app.setting_check import nearest
from fastq.app.setting_source import Source, from_arguments
from fastq.app.settings import Settings
from fastq.exceptions import ConfigError

CONFIG_VARIABLES = ("FASTQ_CONFIG_MODULE", "CELERY_CONFIG_MODULE")


class LoadError(ConfigError, ImportError):
    """Nothing is there under a name; the message says which part of it is missing, and what is near."""


# --- names ----------------------------------------------------------------------------------------------------

def import_module(name: str) -> ModuleType:
    """Import *name*. Raises LoadError if there is no such module, and whatever the module's own code raises."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise LoadError(f"{name!r} is no module name{_path_hint(name)}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Only if it is this name, or a package on the way to it; any other is an import inside the module.
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise
        missing = exc.name
    raise LoadError(_missing_module(name, missing))


def import_object(path: str) -> Any:
    """Return what *path* names: ``"package.module"``, ``"package.module:attribute"`` or ``"package.attribute"``.

    Raises LoadError naming the part that is not there, and whatever the imported module raises.

    >>> import_object("os.path:join").__name__
    'join'
    """
    name, colon, attributes = path.partition(":")
    if colon:
        return _attribute(import_module(name), attributes, path)
    try:
        return import_module(name)
    except LoadError:
        parent, _, attribute = name.rpartition(".")
        if not parent or not attribute.isidentifier():
            raise
        try:
            module = import_module(parent)
        except LoadError:
            module = None
        if module is None or not hasattr(module, attribute):
            raise
        return getattr(module, attribute)


def _attribute(module: ModuleType, attributes: str, path: str) -> Any:
    found: Any = module
    owner = f"module {module.__name__!r}"
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            near = nearest(attribute, [name for name in dir(found) if not name.startswith("_")])
            hint = f"; did you mean {near!r}?" if near else ""
            raise LoadError(f"{path!r}: {owner} has no attribute {attribute!r}{hint}") from None
        owner = repr(attribute)
    return found


def _path_hint(name: str) -> str:
    if name.endswith(".py") or "/" in name or os.sep in name:
        module = name.removesuffix(".py").strip("./").replace(os.sep, ".").replace("/", ".")
        return f"; it looks like a file, say {module!r}"
    return "; wanted 'package.module' or 'package.module:attribute'"


def _missing_module(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    if missing == name and last == "py":
        return f"{name!r}: there is no such module{_path_hint(name)}"
    package = sys.modules.get(parent)
    if parent and not hasattr(package, "__path__"):
        return f"{name!r}: {parent!r} is a module and no package, so there is no {missing!r}"
    places = list(package.__path__) if package else [os.getcwd()]
    near = nearest(last, [module.name for module in pkgutil.iter_modules(places)])
    hint = f"; did you mean {parent + '.' if parent else ''}{near}?" if near else ""
    where = f"package {parent!r}" if parent else f"the current directory ({os.getcwd()}) or sys.path"
    whole = f"{name!r}: " if missing != name else ""
    return f"{whole}there is no module {missing!r} in {where}{hint}"


# --- configuration sources ------------------------------------------------------------------------------------

class Attributes(Mapping[str, Any]):
    """The public attributes of an object, read one by one as they are asked for."""

    def __init__(self, owner: object) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self._owner, name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (name for name in dir(self._owner) if not name.startswith("_"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def open_source(obj: Any, *, namespace: str | None = None, silent: bool = False) -> Source | None:
    """Return *obj*, or what it names, as a source of settings: a mapping, module, class or other object.

    In a mapping every name must be a setting; of an object only the names that are or look like settings count.
    With *silent* a module that does not exist is None; an error inside one still shows.
    """
    origin = ""
    if isinstance(obj, str):
        origin = f"{obj!r}"
        try:
            obj = import_object(obj)
        except LoadError:
            if silent:
                return None
            raise
    if isinstance(obj, Mapping):
        return Source(f"mapping {origin}".rstrip(), obj, True, namespace)
    if isinstance(obj, ModuleType):
        return Source(f"module {obj.__name__!r}", Attributes(obj), False, namespace)
    if isinstance(obj, type):
        return Source(f"class {obj.__module__}.{obj.__qualname__}", Attributes(obj), False, namespace)
    return Source(f"object {origin or type(obj).__qualname__}", Attributes(obj), False, namespace)


def default_source() -> Source | None:
    """Return the module that FASTQ_CONFIG_MODULE, or else CELERY_CONFIG_MODULE, names; None without them."""
    name = next((os.environ[variable] for variable in CONFIG_VARIABLES if os.environ.get(variable)), None)
    return open_source(name) if name else None


def config_from_object(conf: Settings, obj: Any, silent: bool = False, force: bool = False,
                       namespace: str | None = None) -> None:
    """Let *conf* read *obj* (see ``open_source``) when a setting is next asked for; now with *force*."""
    conf.read_from(lambda: open_source(obj, namespace=namespace, silent=silent), force=force)


def config_from_envvar(conf: Settings, variable: str, silent: bool = False, force: bool = False,
                       namespace: str | None = None) -> bool:
    """Let *conf* read the module that the environment's *variable* names; tell whether there is one.

    Raises ConfigError if the variable is not set, unless *silent*.
    """
    name = os.environ.get(variable)
    if not name:
        if silent:
            return False
        raise ConfigError(f"the environment variable {variable!r} is not set; it should name a configuration "
                          f"module, for example {variable}=proj.config")
    config_from_object(conf, name, silent, force, namespace)
    return True


def config_from_cmdline(conf: Settings, arguments: Sequence[str], namespace: str | None = "celery") -> None:
    """Set ``name=value`` arguments in *conf*, over what code and the environment say."""
    conf.override(from_arguments(arguments, namespace))


# --- tasks ----------------------------------------------------------------------------------------------------

def import_task_modules(conf: Settings) -> list[ModuleType]:
    """Import the modules of the settings ``imports`` and ``include``, in that order.

    Raises LoadError that names the setting too.
    """
    modules = []
    for setting in ("imports", "include"):
        names = conf[setting] or ()
        for name in (names,) if isinstance(names, str) else names:
            try:
                modules.append(import_module(name))
            except LoadError as exc:
                raise LoadError(f"{exc} (named by the setting {setting!r})") from None
    return modules


def autodiscover_tasks(packages: Iterable[str] | Callable[[], Iterable[str]],
                       related_name: str | None = "tasks") -> list[ModuleType]:
    """Import ``package.related_name`` of each of *packages* that has one; the package itself if it is None.

    A package may be given by a class in it, as Django's INSTALLED_APPS does ("proj.shop.apps.ShopConfig").
    Raises LoadError for a package that does not exist, and whatever the imported modules raise.
    """
    names = packages() if callable(packages) else packages
    return [module for module in (_related(name, related_name) for name in names) if module]


def _related(package: str, related_name: str | None) -> ModuleType | None:
    module = _import_nearest(package)
    if not related_name:
        return module
    while not hasattr(module, "__path__"):  # "proj.shop.apps" is a module of the package that is meant
        parent = module.__name__.rpartition(".")[0]
        if not parent:
            return None
        module = import_module(parent)
    name = f"{module.__name__}.{related_name}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise
        return None


def _import_nearest(package: str) -> ModuleType:
    try:
        return import_module(package)
    except LoadError:
        parent, _, name = package.rpartition(".")
        module = import_module(parent) if parent else None
        if module is None or not isinstance(getattr(module, name, None), type):
            raise
        return module


# --- the app --------------------------------------------------------------------------------------------------

def find_app(path: str, is_app: Callable[[Any], bool]) -> Any:
    """Return the app that *path* names, as ``-A`` on the command line does; the current directory is searched.

    ``module:attribute`` is that, and nothing else. Of ``module`` the first of: its ``app``, its ``celery``,
    for a package the app of its module ``celery``, any app in it. Raises LoadError in one line, and whatever
    the imported modules raise.
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # for good: tasks import their neighbours later, too
    found = import_object(path)
    if is_app(found):
        return found
    if not isinstance(found, ModuleType):
        what = f"the {type(found).__name__} {getattr(found, '__name__', found)!r}"
        raise LoadError(f"{path!r} is {what}, and no app{_app_hint(found, path)}")
    app = _app_of(found, is_app)
    if app is None:
        name = found.__name__
        inner = f", module {name}.celery" if hasattr(found, "__path__") else ""
        raise LoadError(f"{path!r}: there is no app in module {name!r} ({found.__file__}); looked at "
                        f"{name}.app, {name}.celery{inner} and every other name in it")
    return app


def _app_of(module: ModuleType, is_app: Callable[[Any], bool]) -> Any:
    for name in ("app", "celery"):
        candidate = getattr(module, name, None)
        if candidate is not None and not isinstance(candidate, ModuleType) and is_app(candidate):
            return candidate
    if hasattr(module, "__path__"):
        inner = _related(module.__name__, "celery")
        app = _app_of(inner, is_app) if inner else None
        if app is not None:
            return app
    return next((value for value in list(vars(module).values()) if is_app(value)), None)


def _app_hint(found: object, path: str) -> str:
    if callable(found) and not isinstance(found, type):
        return "; if it makes the app, call it in its module and name the result"
    return "" if ":" in path else "; name it as 'module:attribute'"
