"""Projects for tests that need a whole worker."""

from tests.project import make_project

__all__ = ("make_project",)
