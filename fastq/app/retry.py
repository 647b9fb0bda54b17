"""Retries: what ``task.retry()`` raises, and the wrapper that retries by itself (``autoretry_for``).

A retry is a value, `Retry` with the signature to send. Who runs the task sends it: a worker stores
it in the same step as the ack, so that the task is never both gone and not yet there.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastq.backoff import retry_delay_s
from fastq.canvas.signature import Signature
from fastq.exceptions import Ignore, Reject, Retry
from fastq.request import Request


def retry(
    task: Any, args: Any, kwargs: Any, exc: Any, throw: bool, eta: Any, countdown: float | None,
    max_retries: int | None, options: dict[str, Any],
) -> Retry:
    """Ask for another run of *task*; see `Task.retry`."""
    request: Request = task.request
    if request.called_directly:
        # There is nobody to run it again: the caller gets the reason.
        raise exc if exc is not None else Retry("a task that was called directly cannot be retried")
    if max_retries is None:
        max_retries = task.max_retries
    else:
        # The wrapper below may come to see the same exception, and must not fall back to the default.
        request.__dict__["override_max_retries"] = max_retries
    if not eta and countdown is None:
        countdown = task.default_retry_delay
    retries = request.retries + 1
    sig = signature_of(task, request, args, kwargs, eta=eta, countdown=countdown, retries=retries, **options)
    if max_retries is not None and retries > max_retries:
        if exc is not None:
            raise exc
        raise task.MaxRetriesExceededError(
            f"can't retry {task.name}[{request.id}] args: {sig.args} kwargs: {sig.kwargs}",
            task_args=sig.args, task_kwargs=sig.kwargs,
        )
    again = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=sig)
    if throw:
        raise again
    # The task goes on and may end in any way, so the next run cannot wait for that.
    _send_now(sig, in_place=request.is_eager)
    again.sig = None
    return again


def signature_of(
    task: Any, request: Request, args: Any = None, kwargs: Any = None, **options: Any,
) -> Signature[Any]:
    """Return the signature that sends the task of *request* again, to where it came from."""
    merged = request.as_execution_options()
    delivery = request.delivery_info or {}
    if "queue" not in options and not delivery.get("exchange") and delivery.get("routing_key"):
        merged["queue"] = delivery["routing_key"]
    merged["priority"] = delivery.get("priority")
    if request.headers:
        # What a broker wrote about a former death is not the sender's to repeat.
        merged["headers"] = {name: value for name, value in request.headers.items() if not name.startswith("x-death")}
    if request.stamped_headers:
        merged.update(request.stamps or {}, stamped_headers=request.stamped_headers)
    merged["ignore_result"] = request.ignore_result
    merged["parent_id"] = request.id
    merged.update(options)
    return Signature(
        task, request.args if args is None else args, request.kwargs if kwargs is None else kwargs,
        {name: value for name, value in merged.items() if value is not None}, type=task, app=task.app,
    )


def autoretry(task: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap *run* so that the exceptions in ``task.autoretry_for`` retry the task."""
    wanted, unwanted = tuple(task.autoretry_for), (Ignore, Reject, Retry, *(task.dont_autoretry_for or ()))

    @functools.wraps(run)
    def run_with_retries(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except unwanted:
            raise
        except wanted as exc:
            _retry_for(task, exc)

    @functools.wraps(run)
    async def await_with_retries(*args: Any, **kwargs: Any) -> Any:
        try:
            return await run(*args, **kwargs)
        except unwanted:
            raise
        except wanted as exc:
            _retry_for(task, exc)

    return await_with_retries if inspect.iscoroutinefunction(run) else run_with_retries


def _retry_for(task: Any, exc: BaseException) -> None:
    options = dict(task.retry_kwargs)
    request: Request = task.request
    countdown = retry_delay_s(task.retry_backoff, request.retries, task.retry_backoff_max, task.retry_jitter)
    if countdown is not None:
        options["countdown"] = countdown
    override = request.get("override_max_retries")
    if override is not None:
        options["max_retries"] = override
    raise task.retry(exc=exc, **options)


def _send_now(sig: Signature[Any], *, in_place: bool) -> None:
    if in_place:
        sig.apply(throw=True)
        return
    try:
        sig.apply_async()
    except Exception as exc:
        # The message at hand is all that is left of the task: set it aside, do not ack it.
        raise Reject(exc, requeue=False) from exc


