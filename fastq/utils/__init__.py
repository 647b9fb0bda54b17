"""Import paths that Celery's users type; what they name lives elsewhere."""

from fastq.ids import uuid

__all__ = ("uuid",)
