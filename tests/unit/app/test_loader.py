"""Names that become modules, settings, tasks and apps."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastq.app import loader
from fastq.app.loader import LoadError, autodiscover_tasks, find_app, import_module, import_object
from fastq.app.settings import Settings
from fastq.exceptions import ConfigError

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files into an empty project that is the current directory and on sys.path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def files(**texts: str) -> None:
        for name, text in texts.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in path.relative_to(tmp_path).parents[:-1]:
                (tmp_path / folder / "__init__.py").touch()
            path.write_text(text)
        importlib.invalidate_caches()

    yield files
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# --- names ---

def test_a_module_an_attribute_and_a_nested_attribute_are_found_by_name(write: Write) -> None:
    write(proj__conf="class Prod:\n    class Inner:\n        x = 5\n")
    assert import_object("proj.conf").__name__ == "proj.conf"
    assert import_object("proj.conf:Prod").__name__ == "Prod"
    assert import_object("proj.conf:Prod.Inner.x") == 5
    assert import_object("proj.conf.Prod").__name__ == "Prod"


@pytest.mark.parametrize(("path", "said"), [
    ("prj.conf", "'prj.conf': there is no module 'prj' in the current directory (.*) or sys.path; did you mean proj?"),
    ("proj.cnf", "there is no module 'proj.cnf' in package 'proj'; did you mean proj.conf?"),
    ("proj.conf.deep.er", "'proj.conf' is a module and no package, so there is no 'proj.conf.deep'"),
    ("proj.conf:Prd", "'proj.conf:Prd': module 'proj.conf' has no attribute 'Prd'; did you mean 'Prod'?"),
    ("proj.conf:Prod.y", "'proj.conf:Prod.y': 'Prod' has no attribute 'y'"),
    ("proj/conf.py", "'proj/conf.py' is no module name; it looks like a file, say 'proj.conf'"),
    ("proj.conf.py", "it looks like a file, say 'proj.conf'"),
    ("proj conf", "'proj conf' is no module name; wanted 'package.module' or 'package.module:attribute'"),
    ("", "'' is no module name"),
    (":app", "'' is no module name"),
])
def test_a_name_of_nothing_tells_which_part_failed_in_one_line(write: Write, path: str, said: str) -> None:
    write(proj__conf="class Prod: pass\n")
    with pytest.raises(LoadError) as caught:
        import_object(path)
    message = str(caught.value)
    before, _, after = said.partition("(.*)")
    assert before in message
    assert after in message
    assert "\n" not in message
    assert isinstance(caught.value, (ConfigError, ImportError))


@pytest.mark.parametrize("text", ["import nothing_of_this_name", "from os import nothing_of_this_name", "1 / 0",
                                  "import proj.nothing"])
def test_what_a_module_raises_itself_comes_through_as_it_is(write: Write, text: str) -> None:
    write(proj__conf=text)
    with pytest.raises((ImportError, ZeroDivisionError)) as caught:
        import_object("proj.conf")
    assert not isinstance(caught.value, LoadError)
    assert any("conf.py" in str(entry.path) for entry in caught.traceback)


# --- configuration ---

def test_a_module_by_name_is_read_when_a_setting_is(write: Write) -> None:
    write(proj__conf="import os\nworker_concurrency = 3\n_private = 1\ndef helper(): pass\n")
    conf = Settings()
    loader.config_from_object(conf, "proj.conf")
    assert "proj.conf" not in sys.modules
    assert conf.worker_concurrency == 3
    assert conf.origin("worker_concurrency") == "module 'proj.conf'"


def test_force_reads_at_once(write: Write) -> None:
    write(proj__conf="worker_concurrency = 3\n")
    conf = Settings()
    loader.config_from_object(conf, "proj.conf", force=True)
    assert "proj.conf" in sys.modules


class Config:
    worker_concurrency = 3


class Child(Config):
    task_time_limit = 5

    def name(self) -> str:
        return type(self).__name__


@pytest.mark.parametrize(("source", "origin"), [
    ({"worker_concurrency": 3}, "mapping"), (Config, f"class {__name__}.Config"), (Child, f"class {__name__}.Child"),
    (Child(), "object Child"), (SimpleNamespace(worker_concurrency=3, other=1), "object SimpleNamespace"),
    ("proj.conf:settings", "mapping 'proj.conf:settings'"), ("proj.conf:Prod", "class proj.conf.Prod"),
    ("proj.conf:prod", "object 'proj.conf:prod'"),
], ids=str)
def test_settings_come_from_a_mapping_class_object_or_the_name_of_one(write: Write, source: Any, origin: str) -> None:
    write(proj__conf="class Prod:\n    worker_concurrency = 3\nprod, settings = Prod(), {'worker_concurrency': 3}\n")
    conf = Settings()
    loader.config_from_object(conf, source)
    assert conf.worker_concurrency == 3
    assert conf.origin("worker_concurrency") == origin


def test_a_wrong_setting_in_a_module_names_the_module(write: Write) -> None:
    write(proj__conf="worker_concurency = 3\ntask_acks_late = 'yes'\n")
    conf = Settings()
    loader.config_from_object(conf, "proj.conf")
    with pytest.raises(ConfigError) as caught:
        conf.read()
    message = str(caught.value)
    assert "'worker_concurency', from module 'proj.conf'; did you mean 'worker_concurrency'?" in message
    assert "task_acks_late = 'yes' (str), from module 'proj.conf': wanted True or False" in message
    assert len(message.splitlines()) == 2


def test_a_missing_module_is_an_error_unless_silent() -> None:
    conf = Settings()
    loader.config_from_object(conf, "nothing_of_this_name")
    with pytest.raises(LoadError, match="there is no module 'nothing_of_this_name'"):
        conf.read()
    loader.config_from_object(conf, "nothing_of_this_name", silent=True)
    assert conf.task_serializer == "json"


def test_silent_does_not_hide_an_error_inside_the_module(write: Write) -> None:
    write(proj__conf="import nothing_of_this_name\n")
    conf = Settings()
    loader.config_from_object(conf, "proj.conf", silent=True)
    with pytest.raises(ModuleNotFoundError, match="No module named 'nothing_of_this_name'"):
        conf.read()


def test_a_namespace_reads_only_its_names(write: Write) -> None:
    write(proj__settings="DEBUG = True\nCELERY_WORKER_CONCURRENCY = 3\nWORKER_CONCURRENCY = 4\nTIME_ZONE = 'UTC'\n")
    conf = Settings()
    loader.config_from_object(conf, "proj.settings", namespace="CELERY")
    assert (conf.worker_concurrency, conf.timezone, conf["CELERY_WORKER_CONCURRENCY"]) == (3, "UTC", 3)
    assert conf.deprecated_settings == frozenset()


def test_a_variable_names_the_module(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(proj__conf="worker_concurrency = 3\n")
    conf = Settings()
    with pytest.raises(ConfigError, match="'MY_CONFIG' is not set; it should name a configuration module, for example "
                                          r"MY_CONFIG=proj\.config"):
        loader.config_from_envvar(conf, "MY_CONFIG")
    assert loader.config_from_envvar(conf, "MY_CONFIG", silent=True) is False
    monkeypatch.setenv("MY_CONFIG", "proj.conf")
    assert loader.config_from_envvar(conf, "MY_CONFIG") is True
    assert conf.worker_concurrency == 3


@pytest.mark.parametrize("variables", [{"CELERY_CONFIG_MODULE": "proj.conf"},
                                       {"FASTQ_CONFIG_MODULE": "proj.conf", "CELERY_CONFIG_MODULE": "proj.other"}])
def test_without_a_source_the_environment_names_one(write: Write, monkeypatch: pytest.MonkeyPatch,
                                                    variables: dict[str, str]) -> None:
    write(proj__conf="worker_concurrency = 3\n", proj__other="worker_concurrency = 4\n")
    assert Settings(reader=loader.default_source).worker_concurrency is None
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings(reader=loader.default_source).worker_concurrency == 3


def test_the_command_line_overrides_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTQ_WORKER_CONCURRENCY", "5")
    conf = Settings({"worker_concurrency": 4})
    loader.config_from_cmdline(conf, [".concurrency=6"], namespace="worker")
    assert (conf.worker_concurrency, conf.origin("worker_concurrency")) == (6, "the command line")


# --- tasks ---

def test_imports_and_include_are_imported_in_that_order(write: Write) -> None:
    write(proj__a="", proj__b="", proj__c="")
    conf = Settings({"include": ["proj.c"], "imports": ("proj.b", "proj.a")})
    assert [module.__name__ for module in loader.import_task_modules(conf)] == ["proj.b", "proj.a", "proj.c"]
    assert [module.__name__ for module in loader.import_task_modules(Settings({"imports": "proj.a"}))] == ["proj.a"]
    with pytest.raises(LoadError, match=r"no module 'proj\.x' in package 'proj'.* \(named by the setting 'include'\)"):
        loader.import_task_modules(Settings({"include": ["proj.x"]}))


def test_task_modules_are_discovered_where_there_are_any(write: Write) -> None:
    write(shop__tasks="", shop__apps="class ShopConfig: pass\n", mail____init__="", alone="")
    names = ["shop", "mail", "alone", "shop.apps.ShopConfig"]
    assert [module.__name__ for module in autodiscover_tasks(names)] == ["shop.tasks", "shop.tasks"]
    assert [module.__name__ for module in autodiscover_tasks(lambda: ["shop"], "apps")] == ["shop.apps"]
    assert [module.__name__ for module in autodiscover_tasks(["mail"], None)] == ["mail"]


def test_a_package_that_is_not_there_and_an_error_in_tasks_are_not_overlooked(write: Write) -> None:
    write(shop__tasks="import nothing_of_this_name\n")
    with pytest.raises(LoadError, match=r"there is no module 'shp'.*did you mean shop"):
        autodiscover_tasks(["shp"])
    with pytest.raises(ModuleNotFoundError, match="No module named 'nothing_of_this_name'"):
        autodiscover_tasks(["shop"])


# --- the app ---

APP = "class App:\n    pass\n"


def _is_app(value: object) -> bool:
    return type(value).__name__ == "App"


@pytest.mark.parametrize(("files", "path", "found"), [
    ({"proj": APP + "app = App()\nother = App()\n"}, "proj", "proj:app"),
    ({"proj": APP + "celery = App()\nother = App()\n"}, "proj", "proj:celery"),
    ({"proj": APP + "app = object()\ncelery = App()\n"}, "proj", "proj:celery"),
    ({"proj": APP + "one = App()\n"}, "proj", "proj:one"),
    ({"proj": APP + "one = App()\ntwo = App()\n"}, "proj:two", "proj:two"),
    ({"proj": APP + "one = App()\n"}, "proj.one", "proj:one"),
    ({"proj__celery": APP + "one = App()\n"}, "proj", "proj.celery:one"),
    ({"proj__celery": APP + "app = App()\n"}, "proj.celery", "proj.celery:app"),
    ({"proj____init__": "from proj import app\n", "proj__app": APP + "app = App()\n"}, "proj.app", "proj.app:app"),
    ({"proj": APP + "class Holder:\n    inner = App()\n"}, "proj:Holder.inner", "proj:Holder.inner"),
], ids=lambda each: str(each)[:30])
def test_an_app_is_found_where_celery_looks(write: Write, files: dict[str, str], path: str, found: str) -> None:
    write(**files)
    assert find_app(path, _is_app) is import_object(found)


@pytest.mark.parametrize(("path", "said"), [
    ("proj", "'proj': there is no app in module 'proj' (*proj.py); looked at proj.app, proj.celery and every other"),
    ("pack", "no app in module 'pack' (*__init__.py); looked at pack.app, pack.celery, module pack.celery and"),
    ("proj:make", "'proj:make' is the function 'make', and no app; if it makes the app, call it in its module"),
    ("proj.thing", "'proj.thing' is the int 5, and no app; name it as 'module:attribute'"),
    ("proj:thin", "'proj:thin': module 'proj' has no attribute 'thin'; did you mean 'thing'?"),
    ("prj", "there is no module 'prj' in the current directory"),
])
def test_where_no_app_is_one_line_says_where_was_looked(write: Write, path: str, said: str) -> None:
    write(proj="def make(): pass\nthing = 5\n", pack____init__="")
    with pytest.raises(LoadError) as caught:
        find_app(path, _is_app)
    message = str(caught.value)
    assert "\n" not in message
    for part in said.split("*"):
        assert part in message


def test_the_current_directory_is_searched_and_stays_on_the_path(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proj_in_cwd.py").write_text(APP + "app = App()\n")
    assert _is_app(find_app("proj_in_cwd", _is_app))
    assert sys.path[0] == str(tmp_path)
    del sys.modules["proj_in_cwd"]


def test_import_module_is_the_plain_one_for_what_exists() -> None:
    assert import_module("json.decoder") is sys.modules["json.decoder"]
