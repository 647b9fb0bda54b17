"""Signals: who hears what, for how long, and what becomes of errors."""

from __future__ import annotations

import functools
import gc
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from fastq import signals
from fastq.signals import Signal

NAMES = json.loads((Path(__file__).parents[1] / "vectors/celery_names.json").read_text())
CELERY: dict[str, list[str]] = NAMES["signals"]
LATER = {"shutter_signal", "cleanup_signal", "test_worker_starting", "test_worker_started", "test_worker_stopped"}
# What Celery's own table of arguments leaves out, although they are sent.
SENT_TOO = {"after_task_publish": {"headers"}, "task_postrun": {"state"},
            "worker_process_shutdown": {"pid", "exitcode"}, "worker_shutting_down": {"sig", "how", "exitcode"}}


class Listener:
    """One whose method hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def hear(self, sender: Any, **named: Any) -> int:
        self.heard.append(sender)
        return len(self.heard)


def _hears_all(**named: Any) -> dict[str, Any]:
    return named


def test_every_signal_of_celery_is_here_with_its_name_and_arguments() -> None:
    ours = {name: signal for name, signal in vars(signals).items() if isinstance(signal, Signal)}
    assert set(ours) == set(CELERY) | LATER
    for name, signal in ours.items():
        assert signal.name == name
        if name in CELERY:
            assert signal.providing_args == set(CELERY[name]) | SENT_TOO.get(name, set())
    assert set(signals.__all__) == {name for name in ours if not name.startswith("test_")} | {"Signal"}


def test_a_receiver_gets_signal_sender_and_what_was_sent() -> None:
    signal = Signal(name="done", providing_args={"result"})
    signal.connect(_hears_all)
    assert signal.send("add", result=5) == [(_hears_all, {"signal": signal, "sender": "add", "result": 5})]
    assert signal.send_robust("add") == [(_hears_all, {"signal": signal, "sender": "add"})]


def test_receivers_are_called_in_the_order_in_which_they_were_connected() -> None:
    signal, order = Signal(), []
    functions = [lambda n=n, **_: order.append(n) for n in range(5)]
    for function in functions:
        signal.connect(function)
    signal.send(None)
    assert order == [0, 1, 2, 3, 4]


def test_connect_is_a_decorator_bare_with_options_and_with_a_senders_name() -> None:
    signal = Signal()

    @signal.connect
    def bare(**named: Any) -> str:
        return "bare"

    @signal.connect(sender="add")
    def named(**named: Any) -> str:
        return "named"

    @signal.connect("add")
    def placed(**named: Any) -> str:
        return "placed"

    assert [answer for _, answer in signal.send("add")] == ["bare", "named", "placed"]
    assert [answer for _, answer in signal.send("sub")] == ["bare"]


def test_a_sender_is_the_same_object_or_an_equal_text() -> None:
    signal, one, other = Signal(), [1], [1]
    listener = Listener()
    signal.connect(listener.hear, sender=one)
    signal.connect(_hears_all, sender="proj." + "add")
    assert signal.has_listeners(one)
    assert not signal.has_listeners(other)
    assert len(signal.send("".join(["proj", ".add"]))) == 1
    assert len(signal.send(one)) == 1
    assert signal.send(other) == []


def test_a_function_that_is_gone_is_no_longer_a_receiver() -> None:
    signal = Signal()

    def function(**named: Any) -> None:
        raise AssertionError("it is gone")

    signal.connect(function)
    assert signal.receivers
    del function
    gc.collect()
    assert signal.receivers == ()
    assert signal.send(None) == []


def test_a_method_is_heard_as_long_as_its_object_lives() -> None:
    signal, listener, other = Signal(), Listener(), Listener()
    signal.connect(listener.hear)
    signal.connect(other.hear)
    assert [answer for _, answer in signal.send("x")] == [1, 1]
    del listener
    gc.collect()
    assert len(signal.receivers) == 1
    assert [answer for _, answer in signal.send("x")] == [2]


def test_a_receiver_that_is_held_strongly_stays() -> None:
    signal = Signal()
    signal.connect(lambda **_: "here", weak=False)
    gc.collect()
    assert [answer for _, answer in signal.send(None)] == ["here"]


def test_a_receiver_whose_sender_is_gone_hears_no_successor_at_its_address() -> None:
    signal, listener = Signal(), Listener()
    signal.connect(listener.hear, sender=Listener())
    gc.collect()
    assert signal.receivers == ()
    assert signal.send(Listener()) == []


def test_connecting_twice_or_under_one_uid_changes_nothing() -> None:
    signal, listener = Signal(), Listener()
    for _ in range(2):
        signal.connect(listener.hear)
        signal.connect(_hears_all, dispatch_uid="one")
    signal.connect(listener.hear, dispatch_uid="one")
    assert len(signal.receivers) == 2
    signal.connect(listener.hear, sender="add")
    assert len(signal.receivers) == 3


def test_disconnecting_takes_the_function_or_the_uid_and_the_sender() -> None:
    signal, listener = Signal(), Listener()
    signal.connect(listener.hear)
    signal.connect(_hears_all, sender="add", dispatch_uid="one")
    assert not signal.disconnect(_hears_all)
    assert not signal.disconnect(dispatch_uid="one")
    assert signal.disconnect(dispatch_uid="one", sender="add")
    assert signal.disconnect(listener.hear)
    assert not signal.disconnect(listener.hear)
    assert signal.receivers == ()


def test_what_a_receiver_raises_is_logged_and_returned_and_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    signal = Signal(name="done")

    @signal.connect
    def bad(**named: Any) -> None:
        raise ValueError("no")

    signal.connect(_hears_all)
    (first, error), (second, _) = signal.send(None)
    assert (first, second) == (bad, _hears_all)
    assert isinstance(error, ValueError)
    assert error.__traceback__ is not None
    record, = caplog.records
    assert (record.name, record.levelno) == ("fastq.signals", logging.ERROR)
    assert "of signal done failed: ValueError('no')" in record.getMessage()


def test_a_receiver_with_retry_is_called_until_it_succeeds(monkeypatch: pytest.MonkeyPatch,
                                                           caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    monkeypatch.setattr(signals, "_pause", waits.append)
    signal, tries = Signal(), []

    def connects(**named: Any) -> str:
        tries.append(1)
        if len(tries) < 18:
            raise ConnectionError("not yet")
        return "done"

    signal.connect(connects, retry=True)
    assert [answer for _, answer in signal.send(None)] == ["done"]
    assert waits == [float(min(2 * n, 30)) for n in range(1, 18)]
    assert "failed: ConnectionError('not yet'); again in 2 s" in caplog.text
    assert signal.disconnect(connects)


def test_what_cannot_be_a_receiver_is_refused() -> None:
    signal = Signal()
    with pytest.raises(TypeError, match="5 cannot be called"):
        signal.connect(5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"does not take \*\*kwargs"):
        signal.connect(lambda sender: None)
    with pytest.raises(ValueError, match=r"does not take \*\*kwargs"):
        signal.connect(type("Callable", (), {"__call__": lambda self, sender: None})())
    with pytest.raises(TypeError, match="cannot be held weakly; connect it with weak=False"):
        signal.connect(type("Slotted", (), {"__slots__": (), "__call__": _hears_all})())
    assert signal.receivers == ()


def test_partials_and_callable_objects_may_receive() -> None:
    signal = Signal()
    partial = functools.partial(_hears_all, extra=1)
    called = type("Callable", (), {"__call__": lambda self, **named: named["sender"]})()
    signal.connect(partial)
    signal.connect(called)
    assert [answer for _, answer in signal.send("add")] == [{"signal": signal, "sender": "add", "extra": 1}, "add"]


def test_connecting_and_sending_in_many_threads_loses_nobody() -> None:
    signal = Signal()
    failures: list[Any] = []
    barrier = threading.Barrier(9)
    functions = [[lambda **_: None for _ in range(200)] for _ in range(8)]

    def connect(mine: list[Any]) -> None:
        barrier.wait()
        for function in mine:
            signal.connect(function)

    def send() -> None:
        barrier.wait()
        for _ in range(200):
            failures.extend(answer for _, answer in signal.send(None) if answer is not None)

    threads = [threading.Thread(target=connect, args=(mine,)) for mine in functions]
    threads.append(threading.Thread(target=send))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signal.receivers) == 1600
    assert failures == []


def test_a_receiver_may_connect_and_disconnect_while_the_signal_is_sent() -> None:
    signal = Signal()

    def once(**named: Any) -> str:
        signal.disconnect(once)
        signal.connect(_hears_all)
        return "once"

    signal.connect(once)
    assert [answer for _, answer in signal.send(None)] == ["once"]
    assert [function for function, _ in signal.send(None)] == [_hears_all]


def test_a_receiver_that_dies_while_the_lock_is_held_is_dropped_later() -> None:
    signal = Signal()
    functions = [lambda **_: None]
    signal.connect(functions[0])
    with signal._lock:
        functions.clear()
        gc.collect()
        assert signal.send(None) == []
    signal.connect(_hears_all)
    assert len(signal.receivers) == 1
