"""Projects for faults that need no round of thousands."""

from tests.project import make_project

__all__ = ("make_project",)
