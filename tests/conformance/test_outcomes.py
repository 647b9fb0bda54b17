"""Every row of the table of outcomes, on every engine: what `fastq.worker.outcome` says is what happens.

One worker an engine runs all of it; then it stops, and each row is looked at.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fastq._ext.envelope import pack, unpack
from fastq.types import Message
from fastq.worker.outcome import FATES, OVER, AckRules, Ending, Keep, Outcome, Send, ending_of
from tests.project import Project, project

SOURCE = """
class Loud(app.Task):
    def before_start(self, task_id, args, kwargs): note(task_id, "before_start")
    def on_success(self, retval, task_id, args, kwargs): note(task_id, "on_success", self.request.id)
    def on_retry(self, exc, task_id, args, kwargs, einfo): note(task_id, "on_retry", self.request.id)
    def on_failure(self, exc, task_id, args, kwargs, einfo): note(task_id, "on_failure", self.request.id)
    def after_return(self, status, retval, task_id, args, kwargs, einfo): note(task_id, "after_return", status)

def tell(heard, **told):
    of = told.get("request") or told.get("message")
    found = told.get("task_id") or (getattr(of, "id", None) or of.headers["id"] if of else current_task.request.id)
    note(found, heard, told.get("state", ""))

from fastq import current_task
for name in ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry", "task_revoked",
             "task_internal_error", "task_rejected", "task_unknown"):
    def listen(sender, heard=name, **told): tell(heard, **told)
    getattr(signals, name).connect(listen, weak=False)

class Sealed(Exception):
    def __init__(self, lock): super().__init__(lock)
    def __str__(self): raise RuntimeError("no text")
    def __repr__(self): raise RuntimeError("no text either")
    def __reduce__(self): raise RuntimeError("nor a pickle")

def act(self, kind):
    note(self.request.id, "ran")
    first = self.request.id not in seen()
    mark(self.request.id)
    if kind == "raise": raise ValueError("too bad")
    if kind == "expected": raise KeyError("as usual")
    if kind == "sealed": raise Sealed(open(os.devnull))
    if kind == "exit": sys.exit(3)
    if kind == "interrupt": raise KeyboardInterrupt
    if kind == "memory": raise MemoryError
    if kind == "unstorable": return object()
    if kind == "retry" and first: raise self.retry(countdown=0)
    if kind == "ignore": raise Ignore()
    if kind == "reject": raise Reject("not mine")
    if kind == "requeue" and first: raise Reject("not now", requeue=True)
    if kind in ("soft", "hard", "terminated"): return STAY
    if kind == "kill" or (kind == "kill once" and first): os.kill(os.getpid(), signal.SIGKILL)
    if kind == "fault": raise Fault

STAY = object()

def act_here(self, kind):
    value = act(self, kind)
    if value is STAY: wait_for("never")
    return value

async def act_in_loop(self, kind):
    value = act(self, kind)
    while value is STAY: await asyncio.sleep(0.001)
    return value

import asyncio
marks = os.path.join(os.path.dirname(__file__), "marks")
def seen(): return open(marks).read().split() if os.path.exists(marks) else []
def mark(task_id):
    with open(marks, "a") as file: file.write(task_id + chr(10))

class Fault(Exception): pass
from fastq.worker.trace import Trace
plain = Trace.raised
def faulty(self, run, row, error, wanted):
    if isinstance(error, Fault): raise LookupError("not the task's fault")
    return plain(self, run, row, error, wanted)
if os.environ.get("FAULTY"):    # in the worker, and not in the test, which imports this too
    Trace.raised = faulty

for variant, options in VARIANTS.items():
    app.task(bind=True, base=Loud, name="proj." + variant, throws=(KeyError,), default_retry_delay=0, **options)(
        act_in_loop if os.environ.get("LOOPS") else act_here)

@app.task(ignore_result=True)
def got(value, key): note(key + "-sent", "callback")

@app.task(ignore_result=True)
def sorry(key): note(key + "-sent", "errback")
"""

VARIANTS: dict[str, dict[str, Any]] = {
    "late": {},
    "early": {"acks_late": False},
    "strict": {"acks_on_failure": False, "acks_on_timeout": False},
    "once": {"reject_on_worker_lost": False},
    "ignored": {"ignore_result": True},
    "kept": {"ignore_result": True, "store_errors_even_if_ignored": True},
    "retried": {"retry_on_worker_lost": True, "max_retries": 1},
}
ENGINES = ("sqlite", "sqlite-solo", "sqlite-threads", "sqlite-asyncio", "redis", "rabbitmq")
FROM_INSIDE = ("sqlite-threads", "sqlite-asyncio")
"""Where a task that is over its limit, or terminated, ends without its child."""
RAISED = ("raise", "sealed", "exit", "interrupt", "memory", "unstorable")
KINDS = {
    **dict.fromkeys(RAISED, Outcome.RAISED), "return": Outcome.RETURNED, "expected": Outcome.EXPECTED,
    "retry": Outcome.RETRIED, "ignore": Outcome.IGNORED, "reject": Outcome.REJECTED, "requeue": Outcome.REQUEUED,
    "soft": Outcome.SOFT_LIMIT, "hard": Outcome.HARD_LIMIT, "kill": Outcome.LOST, "fault": Outcome.INTERNAL_ERROR,
    "revoked": Outcome.REVOKED, "terminated": Outcome.REVOKED, "expired": Outcome.EXPIRED,
    "undecodable": Outcome.UNDECODABLE,
    "refused": Outcome.REFUSED,
    "unknown": Outcome.UNKNOWN, "header": Outcome.BAD_HEADER,
}
NOT_RUN = ("revoked", "expired", "undecodable", "refused", "unknown", "header")


@dataclass(frozen=True)
class Case:
    """One row of the table in one variant of the settings."""

    kind: str
    variant: str

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.variant}".replace(" ", "-")

    @property
    def rules(self) -> AckRules:
        options = VARIANTS[self.variant]
        return AckRules(*(options.get(name, True) for name in AckRules._fields))._replace(
            reject_on_worker_lost=options.get("reject_on_worker_lost", self.variant != "retried"))

    def outcomes(self) -> list[tuple[Outcome, Ending]]:
        """How its runs end, one after the other."""
        outcome = KINDS[self.kind]
        ending = ending_of(outcome, self.rules)
        if self.variant == "retried" and self.kind == "kill":
            return [(Outcome.RETRIED, Ending.ACK), (outcome, ending)]
        if outcome in (Outcome.RETRIED, Outcome.REQUEUED):
            return [(outcome, ending), (Outcome.RETURNED, Ending.ACK)]
        if ending is Ending.LOSE:
            return [(outcome, ending), (Outcome.POISONED, ending_of(Outcome.POISONED, self.rules))]
        return [(outcome, ending)]

    def told(self, engine: str) -> list[str]:
        """What hooks, signals and the task itself note."""
        lines: list[str] = []
        for outcome, ending in self.outcomes():
            is_over = (outcome in OVER or self.kind in NOT_RUN or self.kind == "terminated"
                       or (outcome, self.kind) == (Outcome.RETRIED, "kill"))
            if engine in FROM_INSIDE and self.kind in ("hard", "terminated"):
                is_over = False
            if self.kind not in NOT_RUN:
                lines += ["task_prerun", "before_start", "ran"]
            if not is_over and outcome is Outcome.POISONED:
                lines += ["task_postrun"]       # of that run; what follows it is told afterwards
            tells = FATES[outcome].tells if ending is not Ending.LOSE else ("task_postrun",)
            lines += [name for name in tells if not (is_over and name == "task_postrun")]
        return lines

    def sent(self) -> list[str]:
        """What its callbacks note."""
        last, _ = self.outcomes()[-1]
        return {Send.CALLBACKS: ["callback"], Send.ERRBACKS: ["errback"]}.get(FATES[last].send, [])

    def state(self) -> str:
        """What whoever asks for its result is told."""
        last, _ = self.outcomes()[-1]
        # Nobody can know of an unknown task that its result is ignored.
        fate, options = FATES[last], {} if last is Outcome.UNKNOWN else VARIANTS[self.variant]
        if options.get("ignore_result") and not (
                fate.keep is Keep.ERROR and options.get("store_errors_even_if_ignored")):
            return "PENDING"
        return fate.stored or "PENDING"

    def send(self, app: Any, tasks: Any) -> None:
        """Send it."""
        headers = {"task": f"proj.{self.variant}", "id": self.id}
        properties, body = {"content_type": "application/json", "content_encoding": "utf-8"}, b'[["x"], {}, {}]'
        if self.kind == "undecodable":
            body = b"[1, 2"
        elif self.kind == "refused":
            properties, body = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}, \
                pickle.dumps([["x"], {}, {}])
        elif self.kind == "unknown":
            headers["task"] = "proj.unheard-of"
        elif self.kind == "header":
            headers["timelimit"] = "soon"
        elif self.kind == "expired":
            # By its header alone: what has a time to live RabbitMQ itself lets go of, and tells nobody.
            headers["expires"] = "2001-01-01T00:00:00+00:00"
        else:
            limits = {"soft": {"soft_time_limit": 0.2}, "hard": {"time_limit": 0.2}}
            app.tasks[f"proj.{self.variant}"].apply_async(
                (self.kind,), task_id=self.id, link=tasks.got.s(self.id), link_error=tasks.sorry.s(),
                **limits.get(self.kind, {}))
            return
        app.transport.publish([Message("celery", pack(properties, headers, body))])


CASES = [
    *(Case(kind, variant) for kind in KINDS for variant in ("late", "early", "ignored", "kept")
      if kind not in RAISED[1:]),
    *(Case(kind, "late") for kind in RAISED[1:]),
    *(Case(kind, "strict") for kind in ("raise", "expected", "soft", "hard", "return")),
    Case("kill", "once"), Case("kill", "retried"), Case("hard", "once"),
]
DEADLY = ("hard", "kill", "soft", "terminated")


def cases_of(engine: str) -> list[Case]:
    """The rows that a pool can have: one without children has no limits, and dies with its tasks."""
    return [case for case in CASES if not (engine.endswith("solo") and case.kind in DEADLY)]


class Shop:
    """A worker that has done all rows, and what it left."""

    def __init__(self, made: Project) -> None:
        self.project = made
        self.notes = notes_of(made)
        self.dead = {unpack(letter.content)[1]["id"]: letter.reason for letter in made.app.transport.dead_letters()}

    def noted(self, key: str) -> list[str]:
        return self.notes.get(key, [])


def notes_of(made: Project) -> dict[str, list[str]]:
    """What was noted of each task."""
    notes: dict[str, list[str]] = {}
    for line in made.notes:
        key, *words = line.split()
        notes.setdefault(key, []).append(words[0])
    return notes


def missing(made: Project, engine: str) -> list[str]:
    """The rows of which not all is noted that is to be."""
    notes = notes_of(made)
    return [case.id for case in cases_of(engine) if len(notes.get(case.id, ())) < len(case.told(engine))
            or len(notes.get(f"{case.id}-sent", ())) < len(case.sent())]


class Executioner:
    """Terminates each task that is to be, when it runs."""

    def __init__(self, made: Project, cases: list[Case]) -> None:
        self.made = made
        self.left = {case.id for case in cases if case.kind == "terminated"}

    def look(self) -> None:
        for task_id in [each for each in self.left if "ran" in notes_of(self.made).get(each, ())]:
            self.made.app.control.terminate(task_id)
            self.left.discard(task_id)


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder, kind, pool = tmp_path_factory.mktemp("outcomes"), *request.param.partition("-")[::2]
    settings: dict[str, Any] = {"result_backend": f"sqlite:///{folder}/tasks.db", "task_max_deaths": 2}
    server = None if kind == "sqlite" else request.getfixturevalue(kind)
    if server is not None:
        settings["broker_url"] = server.vhost() if kind == "rabbitmq" else server.place()
    cases = cases_of(request.param)
    with project(folder, f"VARIANTS = {VARIANTS!r}\n" + SOURCE, **settings) as made:
        made.app.control.revoke([case.id for case in cases if case.kind == "revoked"])
        worker = made.start(concurrency=1 if pool else 2, pool=pool or "prefork",
                            environment={"FAULTY": "1", "LOOPS": "1" if pool == "asyncio" else ""})
        for case in cases:
            case.send(made.app, made.tasks)
        executioner = Executioner(made, cases)
        made.wait_for(lambda: executioner.look() or not missing(made, request.param), 60)
        assert worker.stop(timeout=30) == 0, worker.said()
        yield Shop(made)
    if server is not None:
        server.reclaim(settings["broker_url"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_run_ends_as_the_table_says(shop: Shop, case: Case, request: pytest.FixtureRequest) -> None:
    engine = request.node.callspec.params["shop"]
    if case not in cases_of(engine):
        assert engine == "sqlite-solo"      # it cannot have this row
        return
    assert shop.noted(case.id) == case.told(engine)
    assert shop.noted(f"{case.id}-sent") == case.sent()
    assert shop.project.app.AsyncResult(case.id).state == case.state()
    assert (case.id in shop.dead) == (case.outcomes()[-1][1] is Ending.DEAD), shop.dead.get(case.id)


