"""``from fastq.utils.log import get_task_logger``, as in Celery."""

from fastq.log import get_logger, get_task_logger

__all__ = ("get_logger", "get_task_logger")
