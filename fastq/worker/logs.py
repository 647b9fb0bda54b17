"""The log of a worker, and of its children that are not forked: as the settings say."""

from __future__ import annotations

from typing import Any

from fastq import log, proc


def set_up(app: Any, hostname: str, level: int | str | None, file: str | None, *, as_json: bool = False) -> None:
    """Set up logging for the node *hostname*; node names in *file* are filled in."""
    conf = app.conf
    ours = log.setup(
        level, proc.expand_node(file, hostname) if file else None, format=conf.worker_log_format,
        task_format=conf.worker_task_log_format, datefmt=conf.worker_log_datefmt,
        task_datefmt=conf.worker_task_log_datefmt, colorize=conf.worker_log_color,
        hijack_root=bool(conf.worker_hijack_root_logger), as_json=as_json)
    if ours and conf.worker_redirect_stdouts:
        log.redirect_stdouts(conf.worker_redirect_stdouts_level)
