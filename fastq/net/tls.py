"""TLS options as they are written in settings and addresses, turned into a context. Loads ssl only when it is used.

Certificates are checked, against the system's authorities or ``ca_certs``; only ``cert_reqs`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Union

from fastq.exceptions import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext

TlsOption = Union[bool, Mapping[str, object], "SSLContext", None]
"""True, a mapping as Celery's ``broker_use_ssl``, a ready context, or nothing."""

NAMES = ("ca_certs", "cert_reqs", "certfile", "check_hostname", "ciphers", "context", "keyfile", "keyfile_password",
         "server_hostname", "ssl_version")


class Tls(NamedTuple):
    """A context, and the name that the server's certificate must bear."""

    context: SSLContext
    server_hostname: str


def build(option: TlsOption, host: str) -> Tls:
    """Make the context for a connection to *host*. Raises ConfigError: an unknown option, a file that is not usable."""
    import ssl  # noqa: PLC0415  15 ms that only TLS pays for
    if isinstance(option, ssl.SSLContext):
        return Tls(option, host)
    options = {name.removeprefix("ssl_") if name != "ssl_version" else name: value
               for name, value in (option.items() if isinstance(option, Mapping) else ())}
    if unknown := sorted(set(options) - set(NAMES)):
        raise ConfigError(f"unknown TLS option {unknown[0]!r}; known: {', '.join(NAMES)}")
    context = options.get("context")
    if context is None:
        context = _context(options)
    if not isinstance(context, ssl.SSLContext):
        raise ConfigError(f"TLS option 'context' must be an ssl.SSLContext, not {context!r}")
    return Tls(context, _text(options, "server_hostname") or host)


def _context(options: Mapping[str, object]) -> SSLContext:
    import ssl  # noqa: PLC0415  see above
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _set_checks(context, options)
    try:
        if ca_certs := _text(options, "ca_certs"):
            context.load_verify_locations(ca_certs)
        elif context.verify_mode != ssl.CERT_NONE:
            context.load_default_certs()
        if certfile := _text(options, "certfile"):
            context.load_cert_chain(certfile, _text(options, "keyfile"), _text(options, "keyfile_password"))
        if ciphers := _text(options, "ciphers"):
            context.set_ciphers(ciphers)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f"{name}={options[name]!r}" for name in ("ca_certs", "certfile", "keyfile", "ciphers")
                          if options.get(name))
        raise ConfigError(f"TLS options {files} are not usable: {error}") from error
    return context


def _set_checks(context: SSLContext, options: Mapping[str, object]) -> None:
    import ssl  # noqa: PLC0415  see above
    known = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    wanted = options.get("cert_reqs", ssl.CERT_REQUIRED)
    mode = known.get(str(getattr(wanted, "name", wanted)).lower().removeprefix("cert_"))
    if mode is None:
        raise ConfigError(f"TLS option 'cert_reqs' cannot be {wanted!r}; known: required, optional, none")
    named = str(options.get("check_hostname", True)).lower()
    context.check_hostname = named in ("1", "true", "yes") and mode != ssl.CERT_NONE
    context.verify_mode = mode


def _text(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    return None if value is None else str(value)
