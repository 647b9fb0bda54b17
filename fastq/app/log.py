"""``from fastq.app.log import TaskFormatter``, as in Celery."""

from fastq.log import TaskFormatter

__all__ = ("TaskFormatter",)
