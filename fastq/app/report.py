"""What a bug report needs: versions, the platform, and how an app differs from the defaults."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastq.proc import cpus

PACKAGES = ("click", "rich", "msgspec", "msgpack", "psutil")


def machine() -> Iterator[tuple[str, str]]:
    """Tell the versions of fastq and of what it stands on."""
    yield "fastq", f"{_version('fastq')}, {os.path.dirname(os.path.dirname(__file__))}"
    yield from ((name, _version(name)) for name in PACKAGES)
    yield "python", f"{platform.python_version()} {platform.python_implementation()}, {sys.executable}"
    yield "sqlite", sqlite3.sqlite_version
    yield "platform", f"{platform.platform()}, {platform.libc_ver()[0] or 'libc unknown'} {platform.libc_ver()[1]}"
    yield "cpus", f"{cpus()} of {os.cpu_count()}"


def bugreport(app: Any = None) -> str:
    """Return all of it as text: of *app* the settings that differ from the defaults, with passwords masked."""
    told = "\n".join(f"{name:<12} {value}" for name, value in machine())
    return told if app is None else f"{told}\n\n{app.conf.humanize(with_defaults=False, censored=True)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
