"""The user's object, and what it is made of.

A program that is imported defines tasks; most never do more. So the parts below, which sending,
running and results take, are loaded when they are first used: ``parts.send.send(...)`` after
``from fastq import app as parts``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastq.app import amqp as amqp
    from fastq.app import annotate as annotate
    from fastq.app import arguments as arguments
    from fastq.app import builtins as builtins
    from fastq.app import bulk as bulk
    from fastq.app import confirm as confirm
    from fastq.app import connection as connection
    from fastq.app import control as control
    from fastq.app import eager as eager
    from fastq.app import express as express
    from fastq.app import launch as launch
    from fastq.app import models as models
    from fastq.app import parts_of_celery as parts_of_celery
    from fastq.app import queues as queues
    from fastq.app import replacing as replacing
    from fastq.app import results as results
    from fastq.app import retry as retry
    from fastq.app import routes as routes
    from fastq.app import send as send
    from fastq.app import steps as steps
    from fastq.app import traits as traits
    from fastq.app import waiter as waiter
    from fastq.app import wires as wires
    from fastq.app import workflow as workflow

_PARTS = frozenset((
    "amqp", "annotate", "arguments", "builtins", "bulk", "confirm", "connection", "control", "eager", "express",
    "launch", "models", "parts_of_celery", "queues", "replacing", "report", "results", "retry", "routes", "send",
    "steps", "traits", "waiter", "wires", "workflow",
))


_NAMES = {"Celery": "app", "bugreport": "report", "default_app": "shared", "shared_task": "shared",
          "app_or_default": "shared"}
"""What Celery's programs import from here, and in which part it is."""


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
