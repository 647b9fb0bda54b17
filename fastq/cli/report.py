"""``fastq report``: what a bug report needs, with no secret in it."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import click

import fastq
from fastq import __version__
from fastq.cli.command import Chosen, Command, pass_chosen
from fastq.cli.target import app_path, find_app, is_broker_chosen
from fastq.proc import cpus

PACKAGES = ("click", "rich", "msgspec", "msgpack", "psutil")


@click.command(cls=Command, examples="""
    fastq report
    fastq -A proj report
""")
@pass_chosen
def command(chosen: Chosen) -> None:
    """Print what a bug report needs.

    Versions and platform, and of an app the settings that differ from the defaults. Passwords are masked.
    """
    for name, value in machine():
        click.echo(f"{name:<12} {value}")
    if chosen.app or chosen.instance or is_broker_chosen(chosen):
        app = find_app(chosen)
        click.echo(f"\n{'app':<12} {app_path(chosen, app)}\n{app.conf.humanize(with_defaults=False, censored=True)}")


def machine() -> Iterator[tuple[str, str]]:
    """Tell the versions of fastq and of what it stands on."""
    yield "fastq", f"{__version__}, {os.path.dirname(fastq.__file__)}"
    yield from ((name, _version(name)) for name in PACKAGES)
    yield "python", f"{platform.python_version()} {platform.python_implementation()}, {sys.executable}"
    yield "sqlite", sqlite3.sqlite_version
    yield "platform", f"{platform.platform()}, {platform.libc_ver()[0] or 'libc unknown'} {platform.libc_ver()[1]}"
    yield "cpus", f"{cpus()} of {os.cpu_count()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
