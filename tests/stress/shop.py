"""The app whose workers start and stop: importable, for children that are not forked."""

from __future__ import annotations

from typing import Any

from fastq import Fastq


def open_app(broker: str, **settings: Any) -> Fastq:
    """Make a new app, the one of this module from now on."""
    global app
    app = Fastq("shop", broker=broker, **settings)
    app.task(name="add")(add)
    return app


def add(x: int, y: int) -> int:
    return x + y


app = open_app("memory://shop")
