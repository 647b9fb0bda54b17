"""Workflows as values, under the name that Celery's users import."""

from fastq.canvas.signature import Signature, maybe_signature, signature

maybe_subtask = maybe_signature
subtask = signature

__all__ = ("Signature", "maybe_signature", "maybe_subtask", "signature", "subtask")
