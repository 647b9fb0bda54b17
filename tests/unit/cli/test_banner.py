"""The worker's first words, as text."""

from __future__ import annotations

from fastq.cli.banner import Banner, render
from fastq.cli.target import shown_url

BANNER = Banner(
    version="1.2.3", hostname="celery@host", app="proj", broker="sqlite:////srv/proj.db", results="none", concurrency=4,
    pool="prefork", queues=["celery", "mail"], tasks=["proj.add", "proj.mail"],
)


def test_the_banner_tells_broker_results_children_queues_and_tasks():
    assert [line.strip() for line in render(BANNER).splitlines() if line] == [
        "fastq 1.2.3  celery@host",
        "app          proj",
        "broker       sqlite:////srv/proj.db",
        "results      none",
        "concurrency  4 (prefork)",
        "queues       celery, mail",
        "tasks        proj.add",
        "proj.mail",
    ]


def test_a_worker_without_tasks_is_told_so():
    assert "none: nothing to run" in render(BANNER._replace(tasks=[]))


def test_there_is_colour_only_when_it_is_asked_for():
    assert "\x1b" not in render(BANNER)
    assert "\x1b[1m" in render(BANNER, color=True)


def test_addresses_are_shown_with_the_whole_path_and_without_passwords(tmp_path):
    assert shown_url("sqlite:///tasks.db?synchronous=full") == f"sqlite:///{tmp_path}/tasks.db"
    assert shown_url("sqlite:////srv/tasks.db") == "sqlite:////srv/tasks.db"
    assert shown_url("memory://x") == "memory://x"
    assert "secret" not in shown_url("amqp://me:secret@host//")
