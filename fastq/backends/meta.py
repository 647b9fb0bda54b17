"""The result document: how a task's end is written, and how it is read again.

1. `MetaCodec` writes and reads documents in one serializer.
2. `exception_to_meta` and `exception_from_meta` write exceptions as data and rebuild them. Only
   classes that are loaded already, and are exceptions, are ever called: a document cannot import.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from fastq import exceptions, states
from fastq._ext.envelope import dumps
from fastq.exceptions import DecodeError, EncodeError, FastqError, SecurityError, WireError
from fastq.request import Request
from fastq.wire import compression, serializers

# Where Celery's readers look for the exceptions that have the same name here.
_MODULE_ON_WIRE = {
    **dict.fromkeys(("SoftTimeLimitExceeded", "TimeLimitExceeded", "Terminated", "WorkerLostError"),
                    "billiard.exceptions"),
    **dict.fromkeys(("ContentDisallowed", "DecodeError", "EncodeError", "OperationalError"), "kombu.exceptions"),
}
_OURS = frozenset(("celery.exceptions", "billiard.exceptions", "kombu.exceptions"))
COMPRESSED = b"\x00celery-compressed\x00"
"""How a compressed document begins; the name of the compression follows, and a NUL."""
_TYPED = b"\x00fastq-content\x00"
_STATUS = re.compile(rb'\{"(?:task_id": "[^"\\]*", ")?status": "([^"\\]+)"')

_this_second = 0, ""
_made: dict[tuple[str, str], type[BaseException]] = {}


class MetaCodec:
    """Writes and reads result documents with the serializer *serializer*.

    *accept* lists what it reads. With *is_extended* the document tells the task's name, arguments,
    worker, retries and queue too. *compressed* names how documents are compressed (compressed ones are
    read in any case). Raises ConfigError for a name that is unknown.
    """

    def __init__(self, serializer: str = "json", accept: Iterable[str] = ("json",), *,
                 is_extended: bool = False, compressed: str | None = None) -> None:
        self.serializer = serializer
        self.is_extended = is_extended
        self.compressed = compression.header_value(compressed) if compressed else None
        self._accept = serializers.content_types(accept)
        (self._content_type,) = serializers.content_types((serializer,))

    def encode_success(self, task_id: str, value: Any, request: Any = None) -> bytes:
        """Return the document of a run that returned *value*. Raises EncodeError.

        Without a *request* it is that of a run that sent nothing and has no parent and no group.
        """
        if self.serializer == "json" and not (self.is_extended or self.compressed) and _is_plain(request):
            result = dumps(value)
            quoted_id = dumps(task_id)
            if result is not None and quoted_id is not None:
                return (
                    b'{"status": "SUCCESS", "result": %b, "traceback": null, "children": [], "date_done": "%b", '
                    b'"task_id": %b}' % (result, _now().encode(), quoted_id)
                )
        return self.encode(task_id, states.SUCCESS, value, request=Request() if request is None else request)

    def encode(
        self, task_id: str, state: str, value: Any, traceback: str | None = None, request: Any = None,
    ) -> bytes:
        """Return the document of a task in *state*. Raises EncodeError.

        *value* is what was returned or raised, or any meta. An exception that cannot be written is
        written in parts and by name; so only what tasks return or pass can fail here.
        """
        value = self._value(value)
        meta: dict[str, Any] = {
            "status": state,
            "result": value,
            "traceback": traceback,
            "children": None if request is None else [child.as_tuple() for child in request._children or ()],
            "date_done": _now() if state in states.READY_STATES else None,
        }
        if request is not None:
            meta.update(self._from_request(request))
        meta["task_id"] = task_id
        body = dumps(meta) if self.serializer == "json" else None
        if body is None:
            body = serializers.dumps(meta, self.serializer)[2]
        return self._compressed(body)

    def _compressed(self, body: bytes) -> bytes:
        if self.compressed is None:
            return body
        packed, header = compression.compress(body, self.compressed)
        return b"%b%b\0%b" % (COMPRESSED, header.encode(), packed)

    def encode_part(self, task_id: str, state: str, value: Any) -> bytes:
        """Return what a member of a chord leaves for its body, in Celery's form. Raises EncodeError."""
        return self.dump([1, task_id, state, self._value(value)])

    def decode_part(self, raw: bytes) -> tuple[str, str, Any]:
        """Return (task id, state, value) of what `encode_part` wrote, with the exception rebuilt.

        Raises DecodeError, ContentDisallowed; SecurityError when it names what is no exception.
        """
        return self._read_part(self.load(raw))

    def decode_parts(self, raws: Sequence[bytes]) -> list[tuple[str, str, Any]]:
        """Return what `decode_part` does of each of *raws*, at once where that is possible."""
        if self.serializer != "json" or any(raw[:1] != b"[" for raw in raws):
            return list(map(self.decode_part, raws))
        return list(map(self._read_part, self.load(b"[%b]" % b",".join(raws))))

    @staticmethod
    def _read_part(part: Any) -> tuple[str, str, Any]:
        if not isinstance(part, (list, tuple)) or len(part) != 4:
            raise DecodeError(f"a member of a chord leaves four things; this is {str(part)[:80]!r}")
        _, task_id, state, value = part
        if state in states.EXCEPTION_STATES and isinstance(value, dict):
            value = exception_from_meta(value)
        return task_id, state, value

    def decode(self, raw: bytes) -> dict[str, Any]:
        """Return the document in *raw*, with its exception rebuilt.

        Raises DecodeError, ContentDisallowed; SecurityError when it names what is no exception.
        """
        meta = self._open(raw)
        meta.setdefault("result", None)
        if meta["status"] in states.EXCEPTION_STATES and isinstance(meta["result"], dict):
            meta["result"] = exception_from_meta(meta["result"])
        return meta

    def state_of(self, raw: bytes) -> str:
        """Return the state that the document in *raw* tells. Raises DecodeError, ContentDisallowed."""
        match = _STATUS.match(raw)
        return match[1].decode("utf-8", "replace") if match is not None else str(self._open(raw)["status"])

    def is_final(self, raw: bytes) -> bool:
        """Return whether the task of the document in *raw* has ended; true also where it cannot be read.

        So whoever waits for that document gets the error, and not a silence.
        """
        try:
            return self.state_of(raw) in states.READY_STATES
        except WireError:
            return True

    def dump(self, value: Any) -> bytes:
        """Return *value* as it is stored where it is no document of a task. Raises EncodeError."""
        body = dumps(value) if self.serializer == "json" else None
        return self._compressed(serializers.dumps(value, self.serializer)[2] if body is None else body)

    def load(self, raw: bytes) -> Any:
        """Return what `dump` made *raw* of. Raises DecodeError, ContentDisallowed."""
        if raw.startswith(COMPRESSED):
            method, _, packed = raw[len(COMPRESSED):].partition(b"\0")
            raw = compression.decompress(packed, method.decode("ascii", "replace"))
        content_type, content_encoding = self._content_type, "utf-8"
        if raw.startswith(_TYPED):
            named, _, rest = raw[len(_TYPED):].partition(b"\0")
            charset, _, raw = rest.partition(b"\0")
            content_type, content_encoding = named.decode("ascii", "replace"), charset.decode("ascii", "replace")
        return serializers.loads(raw, content_type, content_encoding, self._accept)

    def _open(self, raw: bytes) -> dict[str, Any]:
        meta = self.load(raw)
        if not isinstance(meta, dict) or not isinstance(meta.get("status"), str):
            raise DecodeError(f"a result document is a mapping with a status; this begins with {raw[:80]!r}")
        return meta

    def _value(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            return self._exception(value)
        return value.as_tuple() if hasattr(value, "as_tuple") else value

    def _exception(self, exc: BaseException) -> Any:
        if self.serializer == "pickle":
            try:
                serializers.dumps(exc, "pickle")
            except EncodeError:
                pass  # it goes as data, below
            else:
                return exc
        return exception_to_meta(exc, self.serializer)

    def _from_request(self, request: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if request.group:
            found["group_id"] = request.group
        if request.parent_id:
            found["parent_id"] = request.parent_id
        if self.is_extended:
            delivery = request.delivery_info or {}
            found.update(
                name=request.task, args=request.args, kwargs=request.kwargs, worker=request.hostname,
                retries=request.retries, queue=delivery.get("routing_key"),
            )
            if request.stamped_headers:
                found.update(request.stamps or {}, stamped_headers=request.stamped_headers)
        return found


def typed(content_type: str, content_encoding: str, body: bytes) -> bytes:
    """Return a document that has a content type of its own in a form that `MetaCodec.decode` tells from others."""
    return b"%b%b\0%b\0%b" % (_TYPED, content_type.encode(), content_encoding.encode(), body)


def exception_to_meta(exc: BaseException, serializer: str = "json") -> dict[str, Any]:
    """Return *exc* as data; of its arguments, those that *serializer* does not take become their repr."""
    kind = type(exc)
    module = kind.__module__
    if module == exceptions.__name__:
        own = module if issubclass(kind, FastqError) else "celery.exceptions"
        module = _MODULE_ON_WIRE.get(kind.__name__, own)
    return {"exc_type": kind.__qualname__, "exc_message": [_storable(arg, serializer) for arg in exc.args],
            "exc_module": module}


def exception_from_meta(meta: Mapping[str, Any]) -> BaseException:
    """Rebuild an exception from data.

    Its class is taken from the modules that are loaded; when it is not there, a class of that name
    is made. Raises SecurityError when the name is there and is no exception.
    """
    name, module = meta.get("exc_type"), meta.get("exc_module")
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        raise SecurityError(f"a result document names {name!r} of {module!r} as its exception, which are no names")
    cls = _find_class(name, module or exceptions.__name__)
    message = meta.get("exc_message", ())
    args = tuple(message) if isinstance(message, (list, tuple)) else (message,)
    try:
        return cls(*args)
    except Exception:
        return _without_constructor(cls, args)


def _without_constructor(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    # Many constructors take other arguments than they keep in args. The class is what callers catch.
    try:
        exc = cls.__new__(cls, *args)
        exc.args = args
    except Exception:
        return Exception(f"{cls.__qualname__}{args!r}")
    return exc


def _find_class(name: str, module: str) -> type[BaseException]:
    found: Any = None
    path = name.split(".")
    if module in _OURS and isinstance(getattr(exceptions, name, None), type):
        found = getattr(exceptions, name)
    elif module in sys.modules:
        # vars(), not getattr(): a name from outside must not run a module's __getattr__ or a property.
        found = vars(sys.modules[module]).get(path[0])
        for part in path[1:]:
            found = vars(found).get(part) if isinstance(found, type) else None
    if found is None:
        return _make_class(name, module)
    if not isinstance(found, type) or not issubclass(found, BaseException):
        raise SecurityError(f"a result document names {module}.{name} as its exception, which is none")
    return found


def _make_class(name: str, module: str) -> type[BaseException]:
    # Kept, so that two results of one kind are caught by one except clause; bounded, as names come from outside.
    key = module, name
    if key not in _made:
        if len(_made) >= 1000:
            _made.clear()
        _made[key] = type(name.rpartition(".")[2], (Exception,), {"__module__": module, "__qualname__": name})
    return _made[key]


def _storable(value: Any, serializer: str) -> Any:
    try:
        serializers.dumps(value, serializer)
    except EncodeError:
        return repr(value)
    return value


def _is_plain(request: Any) -> bool:
    return request is None or not (request._children or request.group or request.parent_id)


def _now() -> str:
    """Return the time as ``datetime.now(timezone.utc).isoformat()`` does, at half its price: every result has one."""
    global _this_second
    second, nanos = divmod(time.time_ns(), 1_000_000_000)
    known, text = _this_second
    if known != second:
        text = datetime.fromtimestamp(second, timezone.utc).isoformat()[:19]
        _this_second = second, text
    micros = nanos // 1000
    return f"{text}.{micros:06d}+00:00" if micros else f"{text}+00:00"
