"""Settings and URLs fit to be shown, with their secrets masked: for reports, banners and logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "********"
# Patterns are compiled on use: no program needs them to start. SECRET is Celery's; a routing key is no secret.
SECRET = "(?i)API|TOKEN|(?<!ROUTING_)KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI"
NEXT_URL = r"(?i);(?=\s*[a-z][\w+.-]*://)"
QUERY = r"(?i)([?&][^=&;#]*(?:pass|secret|token|key)[^=&;#]*=)[^&;#]*"
AZURE = r"(?i)((?:accountkey|sharedaccesssignature)=)[^;]*|([?&]sig=)[^&;#]*"


def censor_url(url: str) -> str:
    """Return *url*, or each of several joined by ';', with its password masked.

    What cannot be told apart from a password is masked with it: a password may hold any sign unescaped.

    >>> censor_url("amqp://me:secret@host//")
    'amqp://me:********@host//'
    """
    return ";".join(_censor_one(part) for part in re.split(NEXT_URL, url))


def _censor_one(url: str) -> str:
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    if scheme.lower() == "azureblockblob":  # AccountName=...;AccountKey=..., no URL at all
        return f"{scheme}://" + re.sub(AZURE, lambda match: f"{match[1] or match[2]}{MASK}", rest)
    credentials, at, hosts = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    shown = f"{user}:{MASK}" if colon else user
    return f"{scheme}://{shown}{at}" + re.sub(QUERY, lambda match: match[1] + MASK, hosts)


def censor(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return *settings* with texts masked where the name tells a secret, and passwords in URLs, at any depth."""
    return {name: _censor_value(name, value) for name, value in settings.items()}


def _censor_value(name: object, value: Any) -> Any:
    if isinstance(value, Mapping):
        return censor(value)
    if type(value) in (list, tuple):
        return type(value)(_censor_value(name, item) for item in value)
    if isinstance(value, (str, bytes)) and value and isinstance(name, str) and re.search(SECRET, name):
        return MASK
    return censor_url(value) if isinstance(value, str) and "://" in value else value
