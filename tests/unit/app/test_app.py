from __future__ import annotations

import os
import pickle
import sqlite3
import sys
import warnings
from contextlib import closing
from datetime import timezone
from types import ModuleType

import pytest

import fastq
import fastq.canvas
import fastq.utils.log
from fastq import Celery, Fastq, Task, current, current_app, current_task, shared_task, signals
from fastq.exceptions import ConfigError, DuplicateTaskNameWarning, ImproperlyConfigured, NotRegistered
from fastq.types import Endings


def test_every_public_name_can_be_imported():
    for name in fastq.__all__:
        assert getattr(fastq, name) is not None
    assert "Fastq" in dir(fastq)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = fastq.nothing


def test_the_presets_are_two_columns_of_one_class():
    safe, celery = Fastq("a"), Celery("b")
    assert type(safe).__mro__[1] is type(celery).__mro__[1]
    assert safe.conf.task_acks_late is True
    assert celery.conf.task_acks_late is False


def test_fastq_keeps_messages_and_results_in_a_file_beside_the_program():
    with Fastq("shop") as app:
        assert app.broker_url == app.result_url == "sqlite:///shop.fastq.db"
        app.send_task("any")
        assert os.path.exists("shop.fastq.db")


def test_celery_has_no_result_store_unless_one_is_named():
    app = Celery("proj", broker="memory://x")
    assert app.result_url is None
    with pytest.raises(ImproperlyConfigured, match="result_backend"):
        _ = app.backend


def test_keywords_are_settings_and_a_wrong_one_is_refused():
    assert Fastq("shop", task_default_queue="jobs").conf.task_default_queue == "jobs"
    with pytest.raises(ConfigError, match="task_default_queue"):
        Fastq("shop", task_default_quueue="jobs")


def test_settings_come_from_objects_mappings_and_the_environment(monkeypatch):
    app = Fastq("shop")
    app.config_from_object({"task_default_queue": "jobs"})
    assert app.conf.task_default_queue == "jobs"
    module = ModuleType("shop_settings")
    module.task_default_queue = "other"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_settings", module)
    monkeypatch.setenv("SHOP_SETTINGS", "shop_settings")
    app.config_from_envvar("SHOP_SETTINGS")
    assert app.conf.task_default_queue == "other"
    assert Fastq("shop", config_source={"task_default_queue": "third"}).conf.task_default_queue == "third"


def test_a_task_is_named_after_its_module_and_function(app, add):
    assert add.name == f"{__name__.rpartition('.')[0]}.conftest.add"
    assert app.tasks[add.name] is add
    assert add.__doc__ == "Add up."


def test_a_task_of_main_is_named_after_the_app(app):
    def add(x):
        return x

    add.__module__ = "__main__"
    assert app.task(add).name == "shop.add"


def test_a_task_of_main_without_a_named_app_is_named_after_its_file(monkeypatch):
    main = ModuleType("__main__")
    main.__file__ = "/srv/proj/jobs.py"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert Fastq().gen_task_name("add", "__main__") == "jobs.add"


def test_an_option_nobody_knows_becomes_an_attribute(app):
    @app.task(name="t", rate_limit="5/s", colour="red")
    def task():
        pass

    assert (task.name, task.rate_limit, task.colour) == ("t", "5/s", "red")


def test_the_decorator_takes_options_by_keyword_only(app):
    with pytest.raises(TypeError, match="keyword options"):
        app.task("name")


def test_two_functions_of_one_name_are_warned_of_once_and_the_first_stays(app):
    @app.task(name="same")
    def one():
        return 1

    def two():
        return 2

    with pytest.warns(DuplicateTaskNameWarning, match="'same'"):
        assert app.task(name="same")(two) is one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app.task(name="same")(two)
    assert app.tasks["same"]() == 1


def test_a_newer_definition_of_the_same_function_takes_its_place(app):
    def define(value):
        @app.task(name="same")
        def task():
            return value

        return task

    define(1)
    define(2)
    assert app.tasks["same"]() == 2


def test_an_unknown_task_is_not_registered(app):
    with pytest.raises(NotRegistered, match="nowhere"):
        app.tasks["nowhere"]
    assert app.tasks.get("nowhere") is None


def test_builtin_tasks_are_there_once_the_app_is_finalized(app):
    assert {"celery.backend_cleanup", "celery.map", "celery.starmap", "celery.accumulate"} <= set(app.tasks)


def test_an_app_made_without_autofinalize_says_so():
    app = Fastq("shop", autofinalize=False)
    with pytest.raises(RuntimeError, match="finalize"):
        _ = app.tasks
    app.finalize()
    assert app.tasks


def test_receivers_hear_that_the_app_is_configured_and_finalized(app):
    heard = []
    hear_configured = app.on_after_configure.connect(lambda sender, **_: heard.append("configured"), weak=False)
    hear_finalized = app.on_after_finalize.connect(lambda sender, **_: heard.append("finalized"), weak=False)
    assert hear_configured is not hear_finalized
    app.finalize()
    _ = app.conf.task_acks_late
    assert sorted(heard) == ["configured", "finalized"]


def test_a_class_becomes_a_task(app):
    class Resize(Task):
        name = "img.resize"

        def run(self, size):
            return size * 2

    task = app.register_task(Resize)
    assert app.tasks["img.resize"] is task
    assert task(4) == 8
    assert app.register_task(Task(), name="x").name == "x"


def test_a_base_class_shares_what_it_has(app):
    class Base(Task):
        max_retries = 7

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            pass

    @app.task(base=Base)
    def task():
        pass

    assert isinstance(task, Base)
    assert task.max_retries == 7
    assert task.traits.hooks == {"on_failure"}


def test_a_shared_task_belongs_to_every_app_and_uses_go_to_the_current_one(app):
    @shared_task(name="shared.double")
    def double(x):
        return 2 * x

    other = Fastq("other", broker="memory://other", set_as_current=False)
    assert "shared.double" in app.tasks
    assert "shared.double" in other.tasks
    assert double.app is app
    other.set_current()
    assert double.app is other
    assert double(4) == 8
    assert double.__wrapped__(4) == 8


def test_a_shared_task_defined_late_reaches_apps_that_are_finalized_already(app):
    app.finalize()

    @shared_task
    def late():
        pass

    assert late.name in app.tasks


def test_shared_task_applied_twice_is_a_type_error():
    with pytest.raises(TypeError, match="twice"):
        shared_task(shared_task(lambda: None))


def test_there_is_no_current_app_until_one_is_made():
    current.set_app(None)
    with pytest.raises(ImproperlyConfigured, match="no app"):
        current.app()


def test_current_app_stands_for_the_current_app(app, add):
    assert current_app.main == "shop"
    assert current_app == app
    assert isinstance(current_app, Fastq)

    @app.task
    def who():
        return current_task.name

    assert who() == who.name


def test_closing_an_app_that_is_closed_is_fine_and_it_opens_again_when_used(app, add, sent):
    app.close()
    app.close()
    assert add.delay(1).id


def test_annotations_lie_over_what_tasks_say_themselves(app):
    @app.task(rate_limit="1/s")
    def task():
        return 1

    own = {"rate_limit": "7/s", "@run": lambda run: lambda: 5}
    app.conf.task_annotations = {"*": {"time_limit": 9}, task.name: own}
    app.finalize()
    assert (task.rate_limit, task.time_limit, task()) == ("7/s", 9, 5)

    @app.task
    def late():
        pass

    assert late.time_limit == 9


def test_annotations_may_be_objects(app, add):
    class Annotate:
        def annotate(self, task):
            return {"priority": 3} if task.name == add.name else None

        def annotate_any(self):
            return {"colour": "blue"}

    app.conf.task_annotations = (Annotate,)
    app.finalize()
    assert (add.priority, add.colour) == (3, "blue")


def test_discovery_waits_for_the_worker_and_then_imports(app, tmp_path, monkeypatch):
    package = tmp_path / "found_by_discovery"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text("import fastq\n@fastq.shared_task\ndef found(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    app.autodiscover_tasks(["found_by_discovery"])
    assert "found_by_discovery.tasks" not in sys.modules
    app.import_tasks()
    assert "found_by_discovery.tasks.found" in app.tasks


def test_a_package_that_does_not_exist_is_an_error_when_tasks_are_imported(app):
    app.autodiscover_tasks(["there_is_no_such_package"])
    with pytest.raises(ConfigError, match="there_is_no_such_package"):
        app.import_tasks()


def test_the_time_is_in_the_apps_zone(app):
    assert app.now().tzinfo is timezone.utc
    app.conf.timezone = "Europe/Berlin"
    assert str(app.now().tzinfo) == "Europe/Berlin"


def test_an_app_pickles_with_its_settings(app):
    twin = pickle.loads(pickle.dumps(app))
    assert (twin.main, twin.conf.broker_url) == ("shop", app.conf.broker_url)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_through_a_connection_of_its_own():
    with Fastq("shop", broker="sqlite:///jobs.db") as app:
        @app.task
        def add(x):
            return x

        add.delay(1)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                add.delay(2)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        add.delay(3)
        assert app.transport.queues()["celery"].ready == 3
        with closing(sqlite3.connect("jobs.db")) as file:
            assert file.execute("pragma integrity_check").fetchone() == ("ok",)


def test_signals_of_modules_are_sent_by_the_app(app):
    heard = []

    def hear(sender, **_):
        heard.append(sender)

    signals.import_modules.connect(hear, sender=app)
    app.import_tasks()
    assert heard == [app]


def test_the_queues_of_a_worker_are_those_configured(app):
    assert list(app.select_queues()) == ["celery"]
    assert list(app.select_queues(["video", "audio"])) == ["video", "audio"]


def test_celery_map_and_accumulate_do_their_work(app, add):
    assert app.tasks["celery.map"](add.s(), [1, 2]) == [1, 2]
    assert app.tasks["celery.starmap"](add.s(), [(1, 2), (3, 4)]) == [3, 7]
    assert app.tasks["celery.accumulate"](1, 2, index=0) == 1
    app.store_result("a", 1, "SUCCESS")
    assert app.tasks["celery.backend_cleanup"]() == 0


def test_messages_go_to_the_transport_the_settings_name(app, add):
    add.delay(1, 2)
    app.transport.attach("w", ["celery"])
    assert app.transport.turn(Endings(), 1)


def test_what_stands_for_the_current_app_can_be_looked_at_before_there_is_one():
    current.set_app(None)
    assert not isinstance(current_app, Fastq)
    assert not hasattr(current_app, "__file__")
    assert "no app" in repr(current_app)
    with pytest.raises(ImproperlyConfigured):
        _ = current_app.conf


def test_defining_tasks_reads_no_settings_and_opens_nothing(tmp_path):
    app = Fastq("shop", set_as_current=False)

    @app.task(bind=True, autoretry_for=(OSError,))
    def task(self):
        pass

    shared_task(name="defined.shared")(lambda: None)
    assert "not read yet" in repr(app.conf)
    assert list(tmp_path.iterdir()) == []


def test_names_that_celerys_users_import_are_there():
    assert fastq.utils.log.get_task_logger("shop.tasks").name == "shop.tasks"
    assert fastq.canvas.signature is fastq.signature
    assert fastq.utils.uuid() != fastq.uuid()
