"""``from fastq.utils.log import get_task_logger`` and what else Celery has there."""

import logging

from fastq.log import ColorFormatter, LoggingProxy, get_logger, get_task_logger, level_number

__all__ = ("ColorFormatter", "LoggingProxy", "base_logger", "get_logger", "get_task_logger", "mlevel", "task_logger",
           "worker_logger")

base_logger = logging.getLogger("celery")
task_logger = logging.getLogger("celery.task")
worker_logger = logging.getLogger("celery.worker")
mlevel = level_number
