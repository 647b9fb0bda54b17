"""The worker: composition root, boot order, main loop, shutdown order. All of it can be read here.

Boot: tasks, shared memory, children, broker, loop. Shutdown: fetch nothing, hand back what has not
started, let tasks finish while acks and heartbeats go on, stop the children, leave the broker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from fastq import proc, signals
from fastq._ext.execute import Executor
from fastq.app.results import Expiry
from fastq.exceptions import (
    BrokerGone,
    BrokerRefused,
    ConnectionLost,
    LeaseLost,
    NotHeld,
    PoolError,
    TransportError,
)
from fastq.net.meanwhile import meanwhile
from fastq.transport.base import Transport
from fastq.worker import child, logs, options
from fastq.worker.attempts import Attempts
from fastq.worker.consumer import Consumer
from fastq.worker.decide import Decider, again
from fastq.worker.holding import Holding
from fastq.worker.join import Joiner
from fastq.worker.loop import Sleeper
from fastq.worker.panel import Panel
from fastq.worker.prefetch import Prefetch
from fastq.worker.rate import Rates
from fastq.worker.remote import Remote
from fastq.worker.revocation import Revocations
from fastq.worker.room import Room
from fastq.worker.rounds import Rounds
from fastq.worker.settle import Settler
from fastq.worker.shutdown import Grace, Notice, Stop, StopWish
from fastq.worker.staff import Staff, starter
from fastq.worker.steps import Steps
from fastq.worker.tell import logs_tasks
from fastq.worker.timer import Timer
from fastq.worker.verdict import Verdicts

logger = logging.getLogger("celery.worker")

IDLE_S = 5.0
PARTING_S = 5.0
"""A worker that stops while its broker is away waits so long for it, if it has something to leave there."""
SOLO_LEASE_S = 86_400.0


class Worker:
    """Runs an app's tasks until it is told to stop.

    ``run()`` works in the main thread, with signal handlers, and in any other without them; then
    ``stop()`` ends it::

        worker = Worker(app, concurrency=2)
        sys.exit(worker.run())
    """

    def __init__(
        self, app: Any, *, hostname: str | None = None, queues: Sequence[str] | None = None,
        concurrency: int | str | None = None, pool: str | None = None, loglevel: int | str | None = None,
        logfile: str | None = None, pidfile: str | None = None, time_limit: float | None = None,
        soft_time_limit: float | None = None, max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None, processes: int | None = None, start_method: str | None = None,
        autoscale: tuple[int, int] | None = None, quiet: bool = False, log_format: str | None = None,
        user_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.app = app
        signals.celeryd_init.send(sender=proc.node_name(hostname), instance=self, conf=app.conf, options={
            "concurrency": concurrency, "pool": pool, "queues": queues, "loglevel": loglevel, "logfile": logfile})
        self.options = options.complete(
            app, hostname=hostname, queues=queues, concurrency=concurrency, pool=pool, time_limit=time_limit,
            soft_time_limit=soft_time_limit, max_tasks_per_child=max_tasks_per_child,
            max_memory_per_child=max_memory_per_child, processes=processes, start_method=start_method,
            autoscale=autoscale)
        self._queues = self.options.queues
        self.timer = Timer()
        self._own = {"loglevel": loglevel, "logfile": logfile, "pidfile": pidfile, **(user_options or {})}
        self.quiet = quiet
        self._loglevel, self._logfile, self._pidfile, self._log_format = loglevel, logfile, pidfile, log_format
        self.wish = StopWish(has_grace=self.options.soft_stop_s > 0)
        self._grace = Grace(self.wish, self.options.soft_stop_s)
        self._notice = Notice(self.wish, self.hostname)
        self._shutdown: list[Callable[[], object]] = []
        signals.celeryd_after_setup.send(sender=self.hostname, instance=self, conf=app.conf)

    @property
    def hostname(self) -> str:
        """The node name."""
        return self.options.hostname

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues it consumes: those it was started with, until remote control says otherwise."""
        return self._queues

    @property
    def concurrency(self) -> int:
        """How many tasks it runs at a time; with autoscale, at the start."""
        return self.options.concurrency * self.options.children

    @property
    def pool(self) -> str:
        """The kind of its pool."""
        return self.options.kind.name

    def stop(self, how: Stop = Stop.WARM) -> None:
        """Ask the worker to stop; safe from any thread."""
        self.wish.ask(how)

    # -- boot and shutdown, in order ---------------------------------------------------------------

    def run(self) -> int:
        """Boot, work, shut down; returns the exit code: 0 after a warm shutdown."""
        is_main = threading.current_thread() is threading.main_thread()
        with proc.Pidfile(proc.expand_node(self._pidfile, self.hostname)) if self._pidfile else nullcontext():
            self.wish.is_silent = self._log_format == "json"
            logs.set_up(self.app, self.hostname, self._loglevel, self._logfile, as_json=self.wish.is_silent)
            with self.wish.signals() if is_main else nullcontext():
                try:
                    self._boot()
                    self._work()
                except (PoolError, BrokerRefused) as error:
                    logger.critical("%s", error)
                    self.wish.ask(Stop.FAILED)
                finally:
                    self._shut_down()
        return self.wish.now.exit_code

    def _boot(self) -> None:
        signals.worker_init.send(sender=self)
        self._load_tasks()
        for start, stop in (
            (self._make_ring, self._free_ring),
            (self._start_children, self._stop_children),
            (self._open_broker, self._leave_broker),
            (self._open_mailbox, self._leave_mailbox),
            (self._start_steps, lambda: self._steps.stop(at_once=self.wish.now >= Stop.COLD)),
        ):
            start()
            self._shutdown.append(stop)
        # The children end before the broker is left: what they report is still settled.
        self._shutdown[1:] = reversed(self._shutdown[1:])
        self._reach_broker()
        if self.wish.now is not Stop.NOT:
            return
        logger.info("%s ready.", self.hostname)
        signals.worker_ready.send(sender=self)

    def _shut_down(self) -> None:
        self._notice.tell()
        for step in reversed(self._shutdown):
            try:
                step()
            except Exception:
                # The steps after it free what others wait for.
                logger.exception("Shutdown: %s failed", step)
                self.wish.ask(Stop.FAILED)
        signals.worker_shutdown.send(sender=self)

    # -- boot ----------------------------------------------------------------------------------

    def _load_tasks(self) -> None:
        self.app.import_tasks()
        self._tasks = [self.app.tasks[name] for name in sorted(self.app.tasks)]
        self._traits = {task.name: task.traits for task in self._tasks}
        self._codec = self.app.result_codec if self.app.result_url else None
        for warning in options.warnings(self.options, list(self._traits.values()), self.app):
            logger.warning("%s", warning)

    def _make_ring(self) -> None:
        told = self.options
        self._room = Room(told, self._traits)
        self._ring = self._room.ring
        self._verdicts = Verdicts(self._codec, self._traits, self.hostname, told.result_expiry, self.app.tasks)
        self._settler = Settler(self._ring, self._room.rows, self._verdicts, max_deaths=told.max_deaths,
                                expiry=told.result_expiry)
        self._revocations = Revocations(self._ring)
        self._rates = Rates(self._ring, list(self._traits), is_off=bool(self.app.conf.worker_disable_rate_limits))
        for name, traits in self._traits.items():
            self._rates.set(name, traits.rate_limit)
        self._decider = Decider(self._ring, self._verdicts, told.max_deaths, self._settler.orphans, self._revocations,
                                self._rates)
        self._prefetch = Prefetch(self.concurrency, self._room.slots, told.prefetch_multiplier)
        self._sleeper = Sleeper(self._ring, self._room.wake_in)
        self.wish.on_wish(self._sleeper.wake)
        self.timer.wake = self._sleeper.wake

    def _start_children(self) -> None:
        told, room = self.options, self._room
        spec = child.spec_of(self.app, self._tasks, told, room, self._codec)
        self._staff: Staff | None = None
        self._rounds = Rounds(self.timer)
        self._solo: Executor | None = None
        if told.kind.live is None:
            self._solo = child.make_executor(spec, 0)
            child.be_current(self._solo)
            signals.worker_process_init.send(sender=self.hostname)
            return
        begin = starter(told, spec, room.memory_fd, loglevel=self._loglevel, logfile=self._logfile,
                        logs_json=self.wish.is_silent)
        self._staff = Staff(told, begin, self._ring, self._settler, self._sleeper, self._traits,
                            lambda children: self._prefetch.resize(children * told.concurrency))
        self._rounds.staff = self._staff
        self._staff.start()

    def _open_broker(self) -> None:
        self._transport: Transport = self.app.open_transport(
            for_worker=True, death_limit=self.options.max_deaths, children=self.concurrency,
            reconnects=self.options.reconnects, kept_lease_s=self.options.lease_s)
        store = self.app.store_beside(self._transport)
        joiner = Joiner(lambda: self.app.backend, Expiry.of_chords(self.app.conf)) if self._codec else None
        self._consumer = Consumer(self._transport, self._ring, self._settler, self._decider, self._prefetch, store,
                                  joiner)
        self._verdicts.sender = self._consumer.sender = self
        self._consumer.hostname = self.hostname
        self._consumer.logs_received = logs_tasks(self.app, "celery.worker.strategy")
        self._decider.soon.grain_s = self._transport.caps.future_grain_s
        self._settler.tells_content = not self._transport.caps.is_atomic
        self._holding = Holding(self._ring, self._settler, self._transport.caps.hold_s)
        self._attempts, self._troubles = Attempts(self.options.max_attempts), Attempts()

    def _open_mailbox(self) -> None:
        self._remote: Remote | None = None
        if self.app.conf.worker_enable_remote_control and self.app.can_be_controlled:
            panel = Panel(self.app, self.options, self._tasks, self._ring, self._settler, self._decider, self._staff,
                          self._revocations, self._rates, self.wish, lambda: self.queues, self._consume)
            self._remote = Remote(partial(self.app.open_mailbox, for_worker=True), panel, self._sleeper.poller,
                                  accept=self.app.conf.accept_content, serializer=self.app.conf.task_serializer)

    def _start_steps(self) -> None:
        self._steps = Steps(self, self._consume, self._own,
                            lambda: not (self._is_cut_off or self._transport.is_doubtful)).started()

    def _leave_mailbox(self) -> None:
        if self._remote is not None:
            self._remote.close()

    def _reach_broker(self) -> None:
        """Wait for the broker for as long as it takes. Raises BrokerRefused when it does not want us."""
        with meanwhile(self._watch_over):
            while not self._try_attach(is_boot=True) and self.wish.now is Stop.NOT:
                due_s = self._rounds.go()
                self._sleeper.pause(self._attempts.wait_s if due_s is None else min(due_s, self._attempts.wait_s))

    def _try_attach(self, *, is_boot: bool = False) -> bool:
        """Attach if the next attempt is due; returns whether the broker is there."""
        if self._attempts.wait_s:
            return False
        try:
            self._attach()
        except BrokerGone:
            raise
        except TransportError as error:
            if self._has_to_go:
                logger.info("%s", error)
                return False
            if is_boot and (isinstance(error, BrokerRefused) or not self.options.waits_at_boot):
                raise
            if not self._attempts.go_on(error):
                self.wish.ask(Stop.FAILED)
            return False
        self._attempts.succeeded()
        return True

    def _attach(self) -> None:
        # A solo worker cannot renew while its task runs; its death still shows at once.
        lease_s = SOLO_LEASE_S if self._solo else self.options.lease_s
        self._is_attaching = True
        try:
            self._transport.attach(self.hostname, self.queues, lease_s)
        finally:
            self._is_attaching = False
        self._is_cut_off, self._parting_at = False, None
        if self._lost_at is not None:
            logger.info("connected again after %.2f s", time.monotonic() - self._lost_at)
            self._lost_at = None
        self._sleeper.hear(self._transport.fileno())
        self._keep_at = time.monotonic() + min(lease_s / 3, self._holding.look_s)
        self._lease_s = lease_s
        if self._remote is not None:
            self._remote.attach()
        self._steps.connected()
        self._consumer.wake()

    # -- work ----------------------------------------------------------------------------------

    def _watch_over(self, is_opening: bool) -> None:
        """Do what cannot wait for a broker that does not answer. Raises TransportError when that is not worth it."""
        self._rounds.go()
        if self.wish.now is Stop.SOFT:
            self._grace.look()
        # What stands is not given up in the middle of a word: all that is held there would come twice.
        if (is_opening or self._is_attaching) and self._has_to_go:
            raise TransportError("the broker did not answer yet, and is not waited for: the worker stops")

    _is_attaching = False

    @property
    def _has_to_go(self) -> bool:
        """Whether there is something to do about a wish to stop."""
        return self.wish.now is not Stop.NOT and (not self._consumer.closing or self._is_done())

    def _work(self) -> None:
        with meanwhile(self._watch_over):
            self._loop()

    def _loop(self) -> None:
        """Wait and go on when the broker fails: what is in hand stays in hand."""
        while not self._is_done():
            try:
                self._step()
                self._troubles.succeeded()
            except (LeaseLost, NotHeld) as error:
                logger.error("%s", error)
                self._start_over()
            except ConnectionLost as error:
                self._cut_off(error)
            except BrokerGone as error:
                logger.critical("%s", error)
                self.wish.ask(Stop.FAILED)
            except TransportError as error:
                self._troubles.go_on(error)
                self._sleeper.pause(self._troubles.wait_s)

    def _step(self) -> None:
        """Once around: children, limits, lease, one turn of the consumer; and a sleep when nothing moved."""
        if self.wish.now is not Stop.NOT:
            self._begin_stop()
            if self._is_done():
                return
        now = time.monotonic()
        due = self._rounds.go() if self._is_cut_off else self._rounds.pass_by(now)
        if self._is_cut_off and (self._is_done() or not self._try_attach()):
            self._bide(due)
            return
        if now >= self._keep_at or (self._remote is not None and now >= self._remote.look_at):
            # Before the turn, which may fail again and again while the store of results is away.
            self._keep(now)
            if self._is_cut_off:
                return      # found by what was asked by remote control
        if self._decider.soon.waiting:
            self._consumer.start(self._decider.soon.take())
        moved = self._consumer.turn()
        if self._solo:
            moved = self._solo.run_ready() > 0 or moved
        if moved:
            self._rounds.moved()
        elif not self._consumer.hand_back():
            self._rest(due)

    def _is_done(self) -> bool:
        if self.wish.now is Stop.NOT:
            return False
        if self.wish.now >= Stop.COLD:
            return True
        if not self._consumer.closing or self._ring.in_hand:
            return False
        if self.wish.now is Stop.SOFT and self.options.soft_stop_on_idle:
            return False
        return not self._settler.endings or (self._parting_at is not None and time.monotonic() >= self._parting_at)

    def _begin_stop(self) -> None:
        """Once, at the wish for a warm or soft stop: fetch nothing more, and hand back what has not started."""
        if self.wish.now is Stop.SOFT:
            self._grace.look()
        if self.wish.now in (Stop.WARM, Stop.SOFT) and not self._consumer.closing:
            self._notice.tell()
            self._consumer.closing = True
            self._decider.soon.give_back(self._settler.endings)
            self._consumer.hand_back(now=True)
            # A turn, even if nothing goes back: a broker that waits to push would do so until it hears otherwise.
            self._consumer.wake()

    def _bide(self, due: float | None) -> None:
        """Go on without a broker until it is time to look for it again: runs end, limits hold, children come and go."""
        self._settler.collect()
        if self.wish.now in (Stop.WARM, Stop.SOFT) and self._parting_at is None and self._ring.in_hand == 0:
            self._parting_at = time.monotonic() + PARTING_S
        self._rounds.call()
        if not self._is_done():
            parting_s = None if self._parting_at is None else max(0.0, self._parting_at - time.monotonic())
            waits = (due, parting_s, self._grace.left_s, self._attempts.wait_s)
            self._sleeper.sleep(min(wait for wait in waits if wait is not None))
            self._hear()

    def _rest(self, due: float | None) -> None:
        if self._is_done() or (self.wish.now is not Stop.NOT and not self._consumer.closing):
            return
        if self._consumer.linger():
            return
        waits = [IDLE_S, self._keep_at - time.monotonic()]
        armed = self._consumer.arm()
        waits += [wait for wait in (due, armed, self._grace.left_s, self._decider.soon.due_in) if wait is not None]
        if self._ring.waiting or self._consumer.is_ahead:
            waits.append(0.05)      # un-started work may have to go back
        waits.append(self._rounds.rest_s())
        if min(waits) > 0:
            if self._sleeper.sleep(min(waits)):
                self._consumer.wake()
            if self._sleeper.is_called:
                self._rounds.call()
        self._hear()

    def _hear(self) -> None:
        """Do what was asked by remote control, if that is what ended the sleep: it would end the next one too."""
        if self._remote is not None and self._remote.is_heard(self._sleeper.woken):
            self._remote.look()

    def _consume(self, queues: Sequence[str]) -> None:
        """Consume exactly *queues* from now on, also after a reconnect. Raises TransportError for those refused."""
        try:
            if not self._is_cut_off:
                self._transport.consume(queues)
        except LeaseLost as error:
            logger.error("%s", error)
            self._start_over()
        except ConnectionLost as error:
            self._cut_off(error)
        self._queues = tuple(queues)
        self._consumer.wake()

    def _keep(self, now: float) -> None:
        if self._remote is not None and now >= self._remote.look_at:
            self._remote.look()
        if now >= self._keep_at:
            self._keep_at = now + min(self._lease_s / 3, self._holding.look())
            if self._transport.keep():
                self._consumer.wake()

    _is_cut_off = True
    """The broker has given our deliveries to others, or never knew us; attach before anything else."""
    _lost_at: float | None = None
    """Since when there has been no connection; None when there is one, or never was."""
    _parting_at: float | None = None
    """When a worker that stops waits no longer for a broker that is away."""

    def _cut_off(self, error: ConnectionLost) -> None:
        """The connection broke and this worker did not: what runs goes on, and is known again when it comes back."""
        self._is_cut_off, self._lost_at = True, time.monotonic()
        self._sleeper.hear(-1)
        self._settler.cut_off(error.unread)
        self._decider.soon.forget()
        if self.options.cancels_when_cut and self._staff is not None:
            self._staff.kill_late("the connection to the broker was lost", spares_early=True)
        if self.options.reconnects:
            logger.error("%s; connecting again", error)
        else:
            logger.critical("%s; not connecting again (broker_connection_retry)", error)
            self.wish.ask(Stop.FAILED)

    def _start_over(self) -> None:
        """Our deliveries are others' now: let go of them, running or not, and begin anew.

        What was acked early is nobody else's: it goes on, or back to its queue.
        """
        self._is_cut_off = True
        self._sleeper.hear(-1)
        _, early = self._ring.take_back()
        self._decider.soon.forget()
        if self._staff is not None:
            self._staff.kill_late("the lease of its worker was lost")
        self._settler.collect()
        self._settler.take()
        self._settler.conclude(early=True)
        self._settler.endings.publish += [again(queue, content) for queue, content in early]

    # -- shutdown ------------------------------------------------------------------------------

    def _stop_children(self) -> None:
        self._ring.stop()
        if self._staff is None:
            return
        self._staff.see_off(lambda: self.wish.now < Stop.COLD)
        if self._staff.end("the worker was stopped while it ran"):
            self._settler.take_back()
        self._settler.conclude()

    def _leave_broker(self) -> None:
        try:
            if not self._consumer.leave(is_cut_off=self._is_cut_off):
                self.wish.ask(Stop.FAILED)
        finally:
            self._transport.close()

    def _free_ring(self) -> None:
        self._sleeper.close()
        self._room.free()
