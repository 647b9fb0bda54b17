"""Import paths that Celery's users type; what they name lives elsewhere."""

from functools import cached_property
from functools import lru_cache as memoize

from fastq.ids import uuid
from fastq.utils.imports import import_from_cwd, instantiate
from fastq.utils.imports import qualname as get_full_cls_name
from fastq.utils.imports import symbol_by_name as get_cls_by_name
from fastq.utils.nodenames import nodename, nodesplit, worker_direct

__all__ = ("cached_property", "gen_unique_id", "get_cls_by_name", "get_full_cls_name", "import_from_cwd", "instantiate",
           "memoize", "nodename", "nodesplit", "noop", "uuid", "worker_direct")

gen_unique_id = uuid


def noop(*args: object, **kwargs: object) -> None:
    """Do nothing, whatever it is given."""
