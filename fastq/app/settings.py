"""``app.conf``: what every setting is, who said so, and what it was before anybody did.

Five layers, the later over the earlier: the preset's defaults, ``add_defaults``, the configuration source, what
the program sets in code, the environment, the command line. So whoever runs a program has the last word over
whoever wrote it. The layers are folded into the object's own attributes when one is first read, and again after
each change: reading ``conf.task_acks_late`` is a plain attribute read, which no method of ours sees.
"""

from __future__ import annotations

import copy
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from fastq.app.censor import censor
from fastq.app.setting_check import NEW_NAME, suggest
from fastq.app.setting_rows import ROWS
from fastq.app.setting_source import Layer, Source, from_environment, translate
from fastq.exceptions import CeleryWarning, ConfigError

Preset = Literal["Fastq", "Celery"]
Reader = Callable[[], "Source | None"]

# A setting that is None takes the value of the other.
FOLLOWS = (
    ("broker_url", "broker_host"), ("broker_read_url", "broker_url"), ("broker_write_url", "broker_url"),
    ("task_default_exchange", "task_default_queue"), ("task_default_routing_key", "task_default_queue"),
)
_UNREAD, _READING, _READ = range(3)


class Settings(Mapping[str, Any]):
    """All settings of one app, by attribute or item, under their new or old names.

    The preset ``"Fastq"`` refuses an unknown or ill-typed setting with ConfigError; ``"Celery"`` warns once and
    keeps it, as it must not refuse to start a program that Celery starts. *reader* gives the configuration
    source; it is called once, when a setting is first read, and ``on_read(conf)`` right after it. ``on_change()``
    is called whenever values that were read may have changed.

    >>> conf = Settings({"worker_concurrency": 4})
    >>> conf.worker_concurrency, conf["CELERY_ACKS_LATE"]
    (4, True)
    """

    __slots__ = ("__dict__", "_added", "_allowed", "_builtin", "_code", "_environment", "_last_word", "_lazy",
                 "_lock", "_preset", "_reader", "_source", "_source_layer", "_state", "_warned",
                 "on_change", "on_read")
    _added: Layer
    _allowed: frozenset[str]
    _builtin: dict[str, Any]
    _code: Layer
    _environment: Layer
    _last_word: Layer
    _lazy: list[Callable[[], Mapping[str, Any]]]
    _lock: threading.RLock
    _preset: Preset
    _reader: Reader | None
    _source: Source | None
    _source_layer: Layer
    _state: int
    _warned: set[str]
    on_change: Callable[[], None] | None
    on_read: Callable[[Settings], None] | None

    def __init__(self, settings: Mapping[str, Any] | None = None, *, preset: Preset = "Fastq",
                 reader: Reader | None = None, origin: str = "a keyword of the app") -> None:
        start: dict[str, Any] = {
            "_added": Layer(), "_allowed": frozenset(), "_code": Layer(), "_environment": Layer(), "_lazy": [],
            "_builtin": {row.name: copy.copy(row.default(preset)) for row in ROWS}, "_last_word": Layer(),
            "_lock": threading.RLock(), "_preset": preset, "_reader": reader, "_source": None,
            "_source_layer": Layer(), "_state": _UNREAD, "_warned": set(), "on_change": None,
            "on_read": None,
        }
        for slot, value in start.items():
            self._set(slot, value)
        if settings:
            self._lay(self._code, Source(origin, settings))

    # --- reading ---

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy, pickle and others ask; they must not import anybody's configuration
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as exc:
            raise AttributeError(exc.args[0]) from None

    def __getitem__(self, key: str) -> Any:
        if self._state != _READ:
            self.read()
        try:
            return self.__dict__[key]
        except KeyError:
            return self._by_other_name(key)

    def _by_other_name(self, key: str) -> Any:
        if key in NEW_NAME and NEW_NAME[key] in self.__dict__:
            return self.__dict__[NEW_NAME[key]]
        source = self._source
        if source and isinstance(key, str):
            prefix = source.prefix
            if prefix and key.startswith(prefix) and key[len(prefix):].lower() in self.__dict__:
                return self.__dict__[key[len(prefix):].lower()]
            # What an extension's own code looks for: it is in the source, though no setting of ours.
            for name in (prefix + (key.upper() if prefix.isupper() else key), key):
                if name in source.values:
                    return source.values[name]
        raise KeyError(f"no setting is called {key!r}{suggest(str(key))}")

    def get(self, key: str, default: Any = None) -> Any:
        """Return the setting, or *default* if there is none of that name."""
        self.read()  # apart: a KeyError of the configuration module itself is no missing setting
        try:
            return self[key]
        except KeyError:
            return default

    def first(self, *keys: str) -> Any:
        """Return the first of *keys* that is not None."""
        return next((value for value in map(self.get, keys) if value is not None), None)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.read().__dict__))

    def __len__(self) -> int:
        return len(self.read().__dict__)

    def __repr__(self) -> str:
        if self._state != _READ:
            return f"<Settings of {self._preset}, not read yet>"
        return f"<Settings of {self._preset}, {len(self.without_defaults())} set>"

    # --- loading ---

    @property
    def is_read(self) -> bool:
        """Whether the configuration source was read."""
        return self._state == _READ

    def read(self) -> Settings:
        """Read the configuration source, unless that was done; import what it imports, and nothing else.

        Raises ConfigError, and whatever the source's own code raises.
        """
        if self._state == _READ:
            return self
        with self._lock:
            if self._state == _READ:
                return self
            if self._state == _READING:
                raise ConfigError("the configuration source reads the app's settings while it is being read itself")
            self._set("_state", _READING)
            try:
                self._read_source()
            except BaseException:
                self._set("_state", _UNREAD)
                raise
        if self.on_read is not None:
            self.on_read(self)
        return self

    finalize = read

    def _read_source(self) -> None:
        try:
            source = self._reader() if self._reader else None
            layer = self._translate(source, may_mix=False) if source else Layer()
        except (AttributeError, LookupError) as exc:
            # Let through, it would read as "no such setting" to hasattr() and to conf.get().
            raise ConfigError(f"the configuration source failed: {type(exc).__name__}: {exc}") from exc
        environment = from_environment(os.environ)
        self._judge(environment.problems)
        self._set("_source", source)
        self._set("_source_layer", layer)
        self._set("_environment", environment)
        for defaults in self._lazy:
            self._lay(self._added, Source("add_defaults()", defaults()))
        self._lazy.clear()
        self._fold()
        self._set("_state", _READ)
        self._tell_change()

    def read_from(self, reader: Reader | None, *, force: bool = False) -> None:
        """Take the configuration source from *reader*, instead of an earlier one; what code set stays.

        It is called when a setting is next read; at once with *force*, or if settings were read before.
        """
        with self._lock:
            again = force or self._state == _READ
            self._set("_reader", reader)
            self._set("_state", _UNREAD)
            self.__dict__.clear()  # or attributes would be the old ones, if the new source fails
        if again:
            self.read()

    def _fold(self) -> None:
        values = dict(self._builtin)
        for layer in (self._added, self._source_layer, self._code, self._environment, self._last_word):
            values.update(layer.values)
        for name, other in FOLLOWS:
            if not values[name]:
                values[name] = values[other]
        # Updated in place, so that no thread ever sees a moment without settings.
        self.__dict__.update(values)
        for name in self.__dict__.keys() - values.keys():
            del self.__dict__[name]

    # --- changing ---

    def update(self, settings: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, *,
               origin: str = "conf.update()", **named: Any) -> None:
        """Set many; under old or new names. Raises ConfigError, and then none of them is set."""
        self._lay(self._code, Source(origin, dict(settings, **named)))

    def __setitem__(self, key: str, value: Any) -> None:
        self._lay(self._code, Source("an assignment", {key: value}))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("on_read", "on_change"):
            self._set(name, value)
        else:
            self[name] = value

    def __delitem__(self, key: str) -> None:
        with self._lock:
            self._code.drop(NEW_NAME.get(key, key))
            self._refold()

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"{name!r} is not set in code") from None

    def setdefault(self, key: str, value: Any) -> Any:
        """Set *key* unless somebody has set it, and return what it is then."""
        if not self.value_set_for(key):
            self[key] = value
        return self[key]

    def override(self, settings: Mapping[str, Any], origin: str = "the command line") -> None:
        """Set many with the last word, over code and the environment."""
        self._lay(self._last_word, Source(origin, settings))

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Put *defaults* over the preset's and under everything else; a callable is called when settings are read."""
        if not callable(defaults):
            self._lay(self._added, Source("add_defaults()", defaults))
        elif self._state == _READ:
            self._lay(self._added, Source("add_defaults()", defaults()))
        else:
            self._lazy.append(defaults)

    def allow(self, *names: str) -> None:
        """Let *names* be set although fastq does not know them: the settings of an extension."""
        self._set("_allowed", self._allowed.union(names))

    def _lay(self, layer: Layer, source: Source) -> None:
        news = self._translate(source)
        with self._lock:
            layer.absorb(news)
            self._refold()

    def _translate(self, source: Source, may_mix: bool = True) -> Layer:
        # Code names each setting on its own, and the app adds broker_url for broker=; a file has one style.
        layer = translate(source, self._allowed, may_mix=may_mix)
        self._judge(layer.problems)
        for name in layer.values.keys() & RESERVED:  # kept, it would hide a method
            layer.drop(name)
        return layer

    def _refold(self) -> None:
        if self._state == _READ:
            self._fold()
            self._tell_change()

    def _tell_change(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def _judge(self, problems: list[str]) -> None:
        """Raise what is wrong, or in the Celery preset warn of it once, as Celery would not have looked."""
        if problems and self._preset == "Fastq":
            raise ConfigError("\n".join(problems))
        for problem in problems:
            if problem not in self._warned:
                self._warned.add(problem)
                warnings.warn(problem, CeleryWarning, stacklevel=4)

    def _set(self, slot: str, value: Any) -> None:
        object.__setattr__(self, slot, value)

    # --- telling ---

    @property
    def preset(self) -> Preset:
        """Whose defaults these are."""
        return self._preset

    @property
    def changes(self) -> dict[str, Any]:
        """What code has set, by new name (a copy)."""
        return dict(self._code.values)

    @property
    def defaults(self) -> dict[str, Any]:
        """The preset's defaults with those added, by new name (a copy)."""
        return {**self._builtin, **self._added.values}

    @property
    def deprecated_settings(self) -> frozenset[str]:
        """The old names that the configuration source uses, for a warning when a worker starts."""
        self.read()
        if self._source is None or self._source.namespace:
            return frozenset()
        return frozenset(name for name in self._source_layer.spellings.values() if name in NEW_NAME)

    def without_defaults(self) -> dict[str, Any]:
        """Return what anybody has set, by new name."""
        self.read()
        layers = (self._source_layer, self._code, self._environment, self._last_word)
        return {name: value for layer in layers for name, value in layer.values.items()}

    def value_set_for(self, key: str) -> bool:
        """Tell whether somebody has set *key*, to whatever value."""
        return NEW_NAME.get(key, key) in self.without_defaults()

    def origin(self, key: str) -> str:
        """Tell who set *key*: "the default", or words such as "module 'proj.conf'"."""
        name = NEW_NAME.get(key, key)
        if name not in self.read().__dict__:
            raise KeyError(f"no setting is called {key!r}{suggest(key)}")
        layers = (self._last_word, self._environment, self._code, self._source_layer, self._added)
        return next((layer.origins[name] for layer in layers if name in layer.origins), "the default")

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return what is set, or with *with_defaults* everything; passwords masked unless *censored* is false."""
        settings = dict(self) if with_defaults else self.without_defaults()
        return censor(settings) if censored else settings

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """Return ``table()`` as text, a line for each setting."""
        return "\n".join(f"{name}: {value!r}" for name, value in sorted(self.table(with_defaults, censored).items()))

    def copy(self) -> Settings:
        """Return settings of their own that start as these are, and have read the same source."""
        self.read()
        twin = Settings(preset=self._preset, reader=self._reader)
        for slot in ("_added", "_code", "_source_layer", "_environment", "_last_word"):
            getattr(twin, slot).absorb(getattr(self, slot))
        twin._set("_builtin", {name: copy.copy(value) for name, value in self._builtin.items()})
        twin._set("_allowed", self._allowed)
        twin._set("_source", self._source)
        twin._fold()
        twin._set("_state", _READ)
        return twin

    __copy__ = copy


RESERVED = frozenset(dir(Settings))
