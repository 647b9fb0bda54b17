"""Times that callers give, as the texts and numbers that messages carry.

A time without an offset is UTC, as it is to every reader of the message.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

_INT_MIN = -(2**31)


def eta_of(countdown: float | None, eta: Any, zone: tzinfo) -> tuple[str | None, float | None]:
    """Return when to run as ISO text and Unix seconds; both None for now.

    A *countdown* (seconds) wins over *eta* (datetime or ISO text). Raises ValueError and TypeError.
    """
    if countdown:
        moment = _after(countdown, "countdown", zone)
        return moment.isoformat(), moment.timestamp()
    if eta is None or eta == "":
        return None, None
    run_at = unix(eta, "eta")
    return _text(eta), run_at


def expiry_of(expires: Any, zone: tzinfo) -> tuple[str | None, float | None]:
    """Return until when to run as ISO text and Unix seconds; both None for ever.

    *expires* is seconds from now, a datetime or ISO text. Raises ValueError and TypeError.
    """
    if expires is None or expires == "":
        return None, None
    if isinstance(expires, (int, float)):
        moment = _after(expires, "expires", zone)
        return moment.isoformat(), moment.timestamp()
    expires_at = unix(expires, "expires")
    return _text(expires), expires_at


def unix(moment: Any, what: str) -> float:
    """Return a datetime or ISO text as Unix seconds. Raises ValueError and TypeError, naming *what*."""
    if isinstance(moment, str):
        moment = parse(moment, what)
    if not isinstance(moment, datetime):
        raise TypeError(f"{what} is a datetime or ISO 8601 text, not {type(moment).__name__}")
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)).timestamp()


def parse(text: str, what: str) -> datetime:
    """Read ISO 8601 text. Raises ValueError, naming *what*."""
    try:
        # Python 3.10 does not read the Z that other languages write.
        return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        raise ValueError(f"{what} is no ISO 8601 text: {text!r}") from None


def _after(seconds: float, what: str, zone: tzinfo) -> datetime:
    try:
        if seconds < _INT_MIN:
            raise OverflowError
        return datetime.now(zone) + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise ValueError(f"{what} is out of range: {seconds!r} seconds") from None


def _text(moment: Any) -> str:
    return moment if isinstance(moment, str) else str(moment.isoformat())
