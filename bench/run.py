"""Asks the questions: what `fastq bench` calls.

In every round each system has its turn, the first of them another one each time, so that what the machine does
meanwhile hits all alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from rich.console import Console

from fastq.bench import (
    behind,
    chord,
    core,
    drain,
    enqueue,
    future,
    idle,
    imports,
    latency,
    leak,
    length,
    live,
    memory,
    result,
    sleepers,
    startup,
    wire,
    workflow,
)
from fastq.bench.broker import BROKERS, EMBEDDED
from fastq.bench.plot import draw
from fastq.bench.question import NotOffered, Plan, Question, TrialFailed
from fastq.bench.record import Ledger
from fastq.bench.roster import SYSTEMS
from fastq.bench.system import BARE, FASTQ, System
from fastq.bench.table import show

QUESTIONS: dict[str, Question] = {
    module.QUESTION.name: module.QUESTION
    for module in (enqueue, drain, live, result, latency, chord, workflow, wire, future, memory, leak, idle, startup,
                   imports, length, sleepers, behind, core)
}


ROUNDS = 5
WIDTH = 140
"""Of a table that no terminal bounds: nothing in it is cut."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks as the words of a command line tell; returns the exit status, 1 if a trial of fastq failed.

    A peer that breaks is named in the table, but its faults are not ours.

    Example: ``main(["drain", "--rounds", "3", "--plot", "plots"])``
    """
    words = parser().parse_args(argv)
    with ExitStack() as stack:
        lines = open_lines(words.json, stack)
        to_stderr = lines is sys.stdout
        watched = (sys.stderr if to_stderr else sys.stdout).isatty()
        console = Console(stderr=to_stderr, width=None if watched else WIDTH)
        if words.list:
            for question in QUESTIONS.values():
                console.print(f"[bold]{question.name:9}[/bold] {question.title}")
            return 0
        broker = BROKERS[words.broker]
        stack.callback(broker.close)
        offered = [system for system in SYSTEMS if system.broker is broker]
        chosen = [system for system in offered if not words.only or system.name.startswith(tuple(words.only))]
        if not chosen:
            console.print(f"--only: no such system; there are: {', '.join(system.name for system in offered)}")
            return 2
        missing = {system.name: why for system in chosen if (why := system.missing())}
        present = tuple(system for system in chosen if system.name not in missing)
        failed = False
        for name in words.question or QUESTIONS:
            if broker is not EMBEDDED and not QUESTIONS[name].stores:
                console.print(f"{name}: no broker takes part; ask it without --broker", style="yellow")
                continue
            rounds = 1 if words.quick else words.rounds or QUESTIONS[name].rounds or ROUNDS
            asked = tuple(system for system in present if not system.only or name in system.only)
            plan = Plan(asked, rounds, quick=words.quick, long=words.long, load=words.tasks)
            ledger = ask(QUESTIONS[name], plan, rounds, console, lines)
            ledger.broker = broker
            ledger.absent.update(missing)
            show(ledger, console)
            if words.plot and ledger.readings:
                words.plot.mkdir(parents=True, exist_ok=True)
                console.print(f"  plot: {draw(ledger, words.plot)}\n")
            failed = failed or any(label.startswith((FASTQ, BARE)) for label in ledger.failed)
    return int(failed)


def ask(question: Question, plan: Plan, rounds: int, console: Console, lines: IO[str] | None) -> Ledger:
    """Run every trial of *question* in each of the *rounds*; a trial that breaks is named and not tried again."""
    ledger = Ledger(question, lines)
    systems: dict[str, System] = {system.name: system for system in plan.systems}
    trials = question.trials(plan)
    out: set[int] = set()
    with console.status("") as status:
        for repetition in range(rounds):
            for index in [(step + repetition) % len(trials) for step in range(len(trials))]:
                trial = trials[index]
                if index in out:
                    continue
                status.update(f"{question.name}, round {repetition + 1} of {rounds}: {trial.system}, {trial.case}")
                label = f"{trial.system} ({trial.case})"
                try:
                    readings = trial.run()
                except NotOffered as why:
                    ledger.absent[label] = str(why)
                    out.add(index)
                except TrialFailed as why:
                    ledger.failed[label] = str(why)
                    out.add(index)
                else:
                    for reading in readings:
                        ledger.add(systems[trial.system], reading, repetition)
    return ledger


def open_lines(path: str | None, stack: ExitStack) -> IO[str] | None:
    """Where the JSON lines go: a file, stdout ("-", or when it is no terminal), or nowhere."""
    if path and path != "-":
        return stack.enter_context(open(path, "a", encoding="utf-8"))
    return sys.stdout if path == "-" or not sys.stdout.isatty() else None


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser("fastq bench", description="Measure fastq, side by side with what is installed.")
    words.add_argument("question", nargs="*", choices=[[], *QUESTIONS], metavar="QUESTION", help=" ".join(QUESTIONS))
    words.add_argument("--list", action="store_true", help="tell what each question asks, and stop")
    words.add_argument("--broker", choices=BROKERS, default=EMBEDDED.name, help="where the messages are (%(default)s)")
    words.add_argument("--only", nargs="+", action="extend", metavar="SYSTEM", help="systems whose name begins so")
    words.add_argument("--rounds", type=int, metavar="N", help="rounds of each question (5; import 15, some 3)")
    words.add_argument("--tasks", type=int, metavar="N", help="a load of N for every system (2 seconds of its pace)")
    words.add_argument("--quick", action="store_true", help="one tiny round: shows that it runs, measures nothing")
    words.add_argument("--long", action="store_true", help="also what takes minutes: a queue of 1,000,000")
    words.add_argument("--json", metavar="FILE", help="append JSON lines to FILE; - is stdout, the default in a pipe")
    words.add_argument("--plot", type=Path, metavar="DIR", help="draw an SVG for each question into DIR")
    return words


if __name__ == "__main__":
    sys.exit(main())
