"""The public account: one line for each round, and the sum of all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.bench.servers.redis import Redis
from tests.fault.rounds import ROUNDS, Outcome, Round, play

COLUMNS = ("tasks", "confirmed", "finished", "dead", "queued", "lost", "early", "duplicates", "explained", "deaths",
           "cuts", "seconds")
WIDTH = 148
"""Of the whole table: no figure may be cut."""
SYNCED = "appendfsync always"
"""With the usual "everysec" Redis answers before it has written, while its disk is busy: a crash may lose that."""
CAPTION = """\
confirmed = finished + dead + queued + lost + early. confirmed: publishes, and the retries and links that follow.
early: acked before they ran, and gone with a process. explained: beside a death, a lost lease, a cold
shutdown or an outage."""


def table_of(outcomes: Iterable[Outcome], now: str = "") -> Table:
    """Draw what is over, and under it what goes on."""
    table = Table(title="What was lost and what ran twice", caption=CAPTION, box=SIMPLE_HEAD, padding=0)
    table.add_column("nemesis", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    total = [0] * (len(COLUMNS) - 1)
    seconds = 0.0
    for outcome in outcomes:
        row = figures(outcome)
        total = [sum(pair) for pair in zip(total, row, strict=True)]
        seconds += outcome.seconds
        table.add_row(outcome.round.name, *map(str, row), f"{outcome.seconds:.1f}",
                      style="bold red" if outcome.faults else "")
    if now:
        table.add_row(now)
    table.add_section()
    table.add_row("all rounds", *map(str, total), f"{seconds:.1f}", style="bold")
    return table


def figures(outcome: Outcome) -> list[int]:
    """The numbers of one round, in the order of `COLUMNS`."""
    verdict = outcome.verdict
    return [verdict.tasks, verdict.confirmed, verdict.finished, verdict.dead, verdict.queued, len(verdict.lost),
            verdict.early_lost, verdict.duplicates, verdict.explained, verdict.deaths,
            verdict.cuts]


def run(rounds: Sequence[Round] = ROUNDS, seed: int | None = None, console: Console | None = None) -> int:
    """Play *rounds* and print the account; returns 0 when nothing was lost and nothing ran twice without a reason."""
    seed = int.from_bytes(os.urandom(3), "big") if seed is None else seed
    console = console or Console()
    console.width = max(console.width, WIDTH)
    outcomes: list[Outcome] = []
    strained = [round_ for round_ in rounds if not round_.spares_servers]
    spared = [round_ for round_ in rounds if round_.spares_servers]
    with rabbitmq_for(rounds) as rabbitmq, redis_for(strained, SYNCED) as synced, redis_for(spared) as quick, Live(
            table_of(outcomes), console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        for round_ in rounds:
            def tell(text: str, name: str = round_.name) -> None:
                live.update(table_of(outcomes, f"{name}: {text}"))

            outcomes.append(_play(round_, seed, tell, rabbitmq, quick if round_.spares_servers else synced))
            if not console.is_terminal:
                verdict = outcomes[-1].verdict
                console.print(f"{round_.name}: {len(verdict.lost)} lost, {verdict.duplicates} duplicates,"
                              f" {verdict.explained} of them explained, {verdict.dead} dead", soft_wrap=True)
            live.update(table_of(outcomes))
    if not console.is_terminal:
        console.print(table_of(outcomes))
    for outcome in outcomes:
        for fault in outcome.faults:
            console.print(f"[bold red]{outcome.round.name}[/]: {escape(fault)}", soft_wrap=True)
    console.print(f"seed {seed}; python -m tests.fault --seed {seed} strikes at the same moments again")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


@contextmanager
def rabbitmq_for(rounds: Sequence[Round]) -> Iterator[RabbitMQ | None]:
    """Run a server for those rounds that need one, if any does."""
    if not any(round_.queue_type for round_ in rounds):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fastq-rabbitmq-") as folder, RabbitMQ(Path(folder)) as server:
        yield server


@contextmanager
def redis_for(rounds: Sequence[Round], *config: str) -> Iterator[Redis | None]:
    """Run a server that writes down what it is told, by *config* before it answers, if any round needs one."""
    if not any(round_.on_redis for round_ in rounds):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fastq-redis-") as folder, \
            Redis(Path(folder), aof=True, config=config) as server:
        yield server


def _play(round_: Round, seed: int, tell: Callable[[str], None], rabbitmq: RabbitMQ | None,
          redis: Redis | None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fastq-fault-") as folder:
        return play(round_, Path(folder), seed, tell, rabbitmq, redis)
