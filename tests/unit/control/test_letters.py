"""Requests and answers of remote control, held against those that Celery's client and workers sent."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fastq._ext import envelope, kombu
from fastq.control.letters import Request, pack_answer, pack_request, read_answer, read_request
from fastq.exceptions import ContentDisallowed, DecodeError
from tests.reference.recorded import load

CASES = ["control_amqp_revoke", "control_amqp_revoke_by_stamped_headers"]


def packed(message: dict[str, Any]) -> bytes:
    return envelope.pack(message["properties"], message["headers"], base64.b64decode(message["body_b64"]))


@pytest.mark.parametrize("case", CASES)
def test_a_request_of_celerys_is_read_and_packed_again_as_it_was(case: str):
    [sent] = load(case)["request"]
    request = read_request(packed(sent), ["json"])
    assert (request.method, request.arguments) == (sent["body"]["method"], sent["body"]["arguments"])
    properties, headers, body = envelope.unpack(pack_request(request, timeout_s=1.0))
    assert body == base64.b64decode(sent["body_b64"])
    assert properties == sent["properties"]
    assert {name: type(value) for name, value in headers.items()} == \
        {name: type(value) for name, value in sent["headers"].items()}


@pytest.mark.parametrize("case", CASES)
def test_an_answer_of_celerys_is_read_and_packed_again_as_it_was(case: str):
    answers = load(case)["replies"]
    assert answers
    for sent in answers:
        ticket, answer = read_answer(packed(sent), ["json"])
        assert (ticket, answer) == (sent["headers"]["ticket"], sent["body"])
        [(node, value)] = answer.items()
        properties, _, body = envelope.unpack(pack_answer(node, value, ticket))
        assert (properties, body) == (sent["properties"], base64.b64decode(sent["body_b64"]))


def test_what_celery_publishes_on_redis_is_read():
    [sent] = load("control_redis_ping")["request"]
    request = read_request(kombu.parse(base64.b64decode(sent["raw_b64"])), ["json"])
    assert (request.method, request.ticket) == ("ping", sent["body"]["ticket"])
    assert request.reply_to == ("reply.celery.pidbox", sent["body"]["reply_to"]["routing_key"])


@pytest.mark.parametrize(("words", "node", "is_asked"), [
    ({}, "w@host", True),
    ({"destination": ["w@host"]}, "w@host", True), ({"destination": ["v@host"]}, "w@host", False),
    ({"pattern": "w@*", "matcher": "glob"}, "w@host", True), ({"pattern": "v@*", "matcher": "glob"}, "w@host", False),
    ({"pattern": "w@h.st$", "matcher": "pcre"}, "w@host", True), ({"pattern": "h", "matcher": "pcre"}, "w@host", False),
])
def test_who_is_asked(words: dict[str, Any], node: str, is_asked: bool):
    assert Request("ping", {}, **words).is_for(node) is is_asked


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"method": 1}', b'"ping"'])
def test_what_is_no_request_is_refused(body: bytes):
    with pytest.raises(DecodeError, match="no request of remote control"):
        read_request(envelope.pack({"content_type": "application/json"}, {}, body), ["json"])


def test_a_pickled_request_is_not_opened():
    content = envelope.pack({"content_type": "application/x-python-serialize", "content_encoding": "binary"}, {}, b"x")
    with pytest.raises(ContentDisallowed):
        read_request(content, ["json"])
