"""Where settings come from, read into layers of new names and checked values.

A *source* is a configuration object, a mapping, the environment or the command line; a *layer* is what fastq
understood of it. Nothing here imports user code: ``fastq.app.loader`` does that, and hands over a ``Source``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple

from fastq.app.setting_check import BY_NAME, CASTS, NEW_NAME, cast, nearest, suggest, takes, type_problem
from fastq.exceptions import ConfigError

# An unknown global of a configuration module is the program's own, unless it begins like a setting.
NEW_PREFIXES = ("task_", "worker_", "broker_", "result_", "beat_")
OLD_PREFIXES = ("CELERY_", "CELERYD_", "CELERYBEAT_", "BROKER_")
# What Celery reads from the environment under its own names; everything else is FASTQ_<SETTING>.
CELERY_ENVIRONMENT = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")


class Source(NamedTuple):
    """Where settings come from: *whole* says that every name in *values* is meant as a setting."""

    origin: str
    values: Mapping[str, Any]
    whole: bool = True
    namespace: str | None = None

    @property
    def prefix(self) -> str:
        """What every name begins with, "" without a namespace."""
        return self.namespace.rstrip("_") + "_" if self.namespace else ""


class Layer:
    """What one source set: ``values`` by new name, ``origins`` and ``spellings`` by the same."""

    __slots__ = ("origins", "problems", "spellings", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.spellings: dict[str, str] = {}
        self.problems: list[str] = []

    def put(self, name: str, value: Any, origin: str, spelling: str) -> None:
        """Set *name*."""
        self.values[name], self.origins[name], self.spellings[name] = value, origin, spelling

    def absorb(self, other: Layer) -> None:
        """Lay *other* over this one."""
        self.values.update(other.values)
        self.origins.update(other.origins)
        self.spellings.update(other.spellings)

    def drop(self, name: str) -> None:
        """Forget *name*; KeyError if it was not set."""
        del self.values[name], self.origins[name], self.spellings[name]


NAMESPACED, NEW, OLD = range(3)


def _is_helper(value: object) -> bool:
    return isinstance(value, (type, FunctionType, BuiltinFunctionType, ModuleType))


def _looks_like_setting(name: str) -> bool:
    if name.startswith(NEW_PREFIXES) or name.startswith(OLD_PREFIXES):
        return True
    return name.islower() and "_" in name and nearest(name, BY_NAME, 0.9) is not None


def unknown_problem(source: Source, name: str) -> str:
    """Say that *name* is no setting, where it was found, and what it may have been meant to be."""
    aside = "" if source.whole else " (if it is the program's own, begin it with an underscore)"
    return f"no setting is called {name!r}, from {source.origin}{suggest(name, source.prefix)}{aside}"


def _cased(name: str, prefix: str) -> str:
    return name.upper() if prefix.isupper() else name.lower()


def _known(source: Source, name: str) -> tuple[int, str] | None:
    """Return the style of *name* and the new name for it, None if it is no setting."""
    prefix = source.prefix
    if prefix and name.startswith(prefix):
        bare = name[len(prefix):]
        if bare == _cased(bare, prefix) and bare.lower() in BY_NAME:
            return NAMESPACED, bare.lower()
    if name in BY_NAME:
        return NEW, name
    return (OLD, NEW_NAME[name]) if name in NEW_NAME else None


def translate(source: Source, allowed: frozenset[str] = frozenset(), *, may_mix: bool = False) -> Layer:
    """Read *source*: new names, checked values, and every problem. Names in *allowed* are taken as they are.

    Raises ConfigError if it mixes old and new names, unless it *may_mix*.

    In a source that is not whole, a class, function or module under a setting's name is an import
    (``from datetime import timezone``), not a value, unless the setting takes such a thing.
    """
    layer = Layer()
    found: dict[int, dict[str, str]] = {NAMESPACED: {}, NEW: {}, OLD: {}}
    for name in source.values:
        if not isinstance(name, str):
            layer.problems.append(f"{name!r}, from {source.origin}: the names of settings are text")
        elif name in allowed:
            layer.put(name, source.values[name], source.origin, name)
        elif known := _known(source, name):
            style, new = known
            value = source.values[name]
            if source.whole or takes(BY_NAME[new], value) or not _is_helper(value):
                found[style][new] = name
        elif _is_mistake(source, name):
            layer.problems.append(unknown_problem(source, name))
            if source.whole and not source.namespace:
                layer.put(name, source.values[name], source.origin, name)
    if not source.namespace and not may_mix:
        _refuse_mixture(found[NEW], found[OLD], source.origin)
    for style in (OLD, NEW, NAMESPACED):
        for new, name in found[style].items():
            _put_checked(layer, new, source.values[name], name, source.origin)
    if "timezone" not in layer.values and not source.whole and source.values.get("TIME_ZONE"):
        layer.put("timezone", source.values["TIME_ZONE"], source.origin, "TIME_ZONE")
    return layer


def _put_checked(layer: Layer, new: str, value: Any, spelling: str, origin: str) -> None:
    if not takes(BY_NAME[new], value):
        layer.problems.append(type_problem(BY_NAME[new], value, spelling, origin))
    layer.put(new, value, origin, spelling)


def _is_mistake(source: Source, name: str) -> bool:
    if source.namespace:
        return name.startswith(source.prefix)
    if source.whole:
        return True
    return not name.startswith("_") and _looks_like_setting(name) and not _is_helper(source.values[name])


def _refuse_mixture(new: Mapping[str, str], old: Mapping[str, str], origin: str) -> None:
    """Raise ConfigError if old and new spelling stand side by side; both map new names to what was written.

    The style of the majority wins, the new one a draw; a setting given in both styles is no mixture.
    """
    if not new or not old:
        return
    if len(new) >= len(old):
        renames = [f"{old[name]} -> {name}" for name in sorted(set(old) - set(new))]
    else:
        renames = [f"{name} -> {BY_NAME[name].old}" for name in sorted(set(new) - set(old)) if BY_NAME[name].old]
    if renames:
        raise ConfigError(f"old and new names of settings are mixed in {origin}; rename {', '.join(renames)}")


def from_environment(environment: Mapping[str, str]) -> Layer:
    """Read FASTQ_<SETTING>, and the four that Celery reads as CELERY_<SETTING>; an empty text is not set.

    An unknown FASTQ_ name is a problem only when it is within a hair of a right one: the environment is not
    all ours, Kubernetes alone puts FASTQ_WORKER_SERVICE_HOST there for a service called fastq-worker.
    """
    layer = Layer()
    named = [(f"CELERY_{name.upper()}", name) for name in CELERY_ENVIRONMENT]
    named += [(variable, variable[6:].lower()) for variable in sorted(environment) if variable.startswith("FASTQ_")]
    for variable, name in named:
        text = environment.get(variable, "")
        origin = "the environment"
        if not text or (variable.endswith("_PORT") and "://" in text):  # such a _PORT is Kubernetes' too
            continue
        if name in BY_NAME:
            try:
                layer.put(name, cast(BY_NAME[name], text, variable, origin), f"environment {variable}", variable)
            except ConfigError as exc:
                layer.problems.append(str(exc))
        elif near := nearest(name, BY_NAME, 0.9):
            layer.problems.append(f"no setting is called {variable!r}, from {origin}; "
                                  f"did you mean 'FASTQ_{near.upper()}'?")
    return layer


def from_arguments(arguments: Sequence[str], namespace: str | None = "celery") -> dict[str, Any]:
    """Read ``worker.prefetch_multiplier=1``, ``.concurrency=4`` (in *namespace*) or ``key=(int)value``.

    Raises ConfigError naming the argument when it is no setting, or its text no value of it.

    >>> from_arguments(["worker.concurrency=4", ".pool=solo"], namespace="worker")
    {'worker_concurrency': 4, 'worker_pool': 'solo'}
    """
    return dict(_from_argument(argument, namespace) for argument in arguments)


def _from_argument(argument: str, namespace: str | None) -> tuple[str, Any]:
    key, equals, text = argument.partition("=")
    if not equals:
        raise ConfigError(f"{argument!r}, from the command line: wanted name=value, for example worker.concurrency=4")
    name = key.strip().lower().replace(".", "_")
    if name.startswith("_"):
        name = name[1:] if namespace in (None, "", "celery") else f"{str(namespace).lower()}{name}"
    if name not in BY_NAME:
        raise ConfigError(unknown_problem(Source("the command line", {}), name))
    row = BY_NAME[name]
    kind, closed, rest = text[1:].partition(")") if text.startswith("(") else ("", "", text)
    if not closed or not kind.isidentifier():
        return name, cast(row, text, key, "the command line")
    if kind not in CASTS:
        raise ConfigError(f"{argument!r}, from the command line: no type is called {kind!r}, only {', '.join(CASTS)}")
    try:
        value = CASTS[kind](rest)
    except ValueError as exc:
        raise ConfigError(f"{argument!r}, from the command line: {rest!r} is no {kind}: {exc}") from None
    if not takes(row, value):
        raise ConfigError(type_problem(row, value, key, "the command line"))
    return name, value
