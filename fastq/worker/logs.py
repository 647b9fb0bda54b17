"""The log of a worker, and of its children that are not forked: as the settings say."""

from __future__ import annotations

from typing import Any

from fastq import proc


def set_up(app: Any, hostname: str, level: int | str | None, file: str | None, *, as_json: bool = False,
           child: int | None = None) -> None:
    """Set up logging for the node *hostname*, of its *child*, counted from 0, or of its supervisor.

    In *file* the node's name is filled in, and the child's number, counted from 1.
    """
    path = _path(file, hostname, child) if file else None
    if app.log.setup_logging_subsystem(level, path, as_json=as_json) and app.conf.worker_redirect_stdouts:
        app.log.redirect_stdouts(app.conf.worker_redirect_stdouts_level)


def split_off(app: Any, hostname: str, level: int | str | None, file: str | None, as_json: bool, child: int) -> None:
    """In a *child* that was forked: open a log file of its own, where the name *file* counts them. Else it inherits."""
    if file and _path(file, hostname, child) != _path(file, hostname, None):
        set_up(app, hostname, level, file, as_json=as_json, child=child)


def _path(file: str, hostname: str, child: int | None) -> str:
    return proc.expand_node(file, hostname, None if child is None else child + 1)
