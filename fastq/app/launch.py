"""An app that starts its own worker or command line: the one place in fastq that imports upwards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastq.worker.worker import Worker


def start(app: Any, argv: Sequence[str] | None = None) -> int:
    """Run a command line for *app*, ``sys.argv`` by default, and return its exit code."""
    from fastq.cli.main import main

    return main(sys.argv[1:] if argv is None else argv, app=app)


def worker_main(app: Any, argv: Sequence[str] | None = None) -> int:
    """Run a worker's command line for *app*. Raises ValueError when it is not one."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if "worker" not in argv:
        raise ValueError(f"worker_main takes a worker's command line, such as ['worker', '-c', '2'], not {argv!r}")
    return start(app, argv)


def worker(app: Any, **options: Any) -> Worker:
    """Make a worker for *app*; the options are those of `Worker`."""
    from fastq.worker.worker import Worker

    return Worker(app, **options)
