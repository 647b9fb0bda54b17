from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq import Fastq, Signature, current, maybe_signature, signature
from fastq.exceptions import InvalidTaskError, NotRegistered


def test_a_signature_is_the_dict_that_travels(app, add):
    assert json.loads(json.dumps(add.s(2, y=3))) == {
        "task": add.name, "args": [2], "kwargs": {"y": 3}, "options": {}, "subtask_type": None, "immutable": False}
    assert add.si(1).immutable is True
    assert add.signature((1,), {"y": 2}, {"queue": "q"}, priority=3).options == {"queue": "q", "priority": 3}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5)


mappings = st.dictionaries(st.text(max_size=3), json_values, max_size=3)


@given(st.text(min_size=1, max_size=5), st.lists(json_values, max_size=3), mappings, mappings, st.booleans())
def test_a_signature_comes_back_from_json_as_it_was(name, args, kwargs, options, immutable):
    sig = Signature(name, args, kwargs, options, immutable=immutable)
    again = Signature.from_dict(json.loads(json.dumps(sig)))
    assert {**again, "args": list(again.args)} == {**sig, "args": list(sig.args)}


def test_what_is_known_of_it_can_be_read(app, add):
    sig = add.s(1, y=2).set(task_id="t", root_id="r", parent_id="p", queue="q")
    assert (sig.task, sig.name, sig.args, sig.kwargs, sig.id, sig.root_id, sig.parent_id, sig.subtask_type) == (
        add.name, add.name, (1,), {"y": 2}, "t", "r", "p", None)
    assert sig.app is app
    assert sig.type is add


def test_arguments_that_come_later_stand_in_front(app, add, sent):
    add.s(10).delay(1)
    add.s(10, y=1).apply_async(kwargs={"y": 2})
    assert [content.body.partition(b"}")[0] for content in sent()] == [b"[[1, 10], {", b'[[10], {"y": 2']


def test_an_immutable_signature_takes_options_but_no_arguments(app, add, sent):
    add.si(10).apply_async((1,), {"y": 2}, queue="other")
    (content,) = sent("other")
    assert content.body.startswith(b"[[10], {},")


def test_options_that_come_later_lie_over_but_not_over_group_and_stamps(app, add):
    sig = add.s(1).set(group_id="g", stamped_headers=["trace"], trace="x", queue="a")
    options = sig.clone(queue="b", group_id="other", trace="y", stamped_headers=["none"]).options
    assert options == {"group_id": "g", "stamped_headers": ["trace"], "trace": "x", "queue": "b"}


def test_a_name_that_is_not_registered_is_sent_all_the_same(app, sent):
    signature("elsewhere.task", (1,), app=app).delay(2)
    (content,) = sent()
    assert (content.headers["task"], content.body[:7]) == ("elsewhere.task", b"[[2, 1]")
    with pytest.raises(NotRegistered):
        signature("elsewhere.task", app=app).apply()


def test_a_signature_can_be_called_and_applied_in_place(app, add):
    assert add.s(1)(2) == 3
    assert add.s(1).apply((2,)).get() == 3


def test_a_tilde_sends_and_waits(app, add):
    app.conf.task_always_eager = True
    assert ~add.s(1, 2) == 3


def test_clone_adds_and_replace_replaces(app, add):
    sig = add.s(1, y=2).set(queue="q", link=[add.s()])
    clone = sig.clone((0,), {"y": 3}, priority=4)
    assert (clone.args, clone.kwargs) == ((0, 1), {"y": 3})
    assert clone.options == {"queue": "q", "priority": 4, "link": [add.s()]}
    assert clone.options["link"] is not sig.options["link"]
    replaced = sig.replace(args=(9,), options={})
    assert (replaced.args, replaced.kwargs, replaced.options) == ((9,), {"y": 2}, {})
    assert (sig.args, sig.kwargs) == ((1,), {"y": 2})
    assert sig.partial((5,)).args == (5, 1)


def test_copies_share_arguments_but_not_options(app, add):
    sig = add.s([1]).set(headers={"a": 1})
    for other in (copy.deepcopy(sig), copy.copy(sig).clone()):
        other.options["headers"]["a"] = 2
        assert sig.options["headers"] == {"a": 1}
        assert other.args[0] is sig.args[0]
        assert other.type is add


def test_links_are_added_once_and_found_again(app, add):
    sig, callback, errback = add.s(1), add.s(2), add.s(3)
    assert sig.link(callback) is callback
    assert sig.link(callback) is callback
    assert sig.link_error(errback) is errback
    assert sig.on_error(errback) is sig
    callback.link(add.s(4))
    assert sig.options == {"link": [callback], "link_error": [errback]}
    assert [one.args for one in sig.flatten_links()] == [(1,), (2,), (4,)]


def test_a_link_given_as_one_value_becomes_a_list(app, add):
    sig = add.s(1).set(link=add.s(2))
    sig.link(add.s(3))
    sig.extend_list_option("link_error", add.s(4))
    assert [len(sig.options[key]) for key in ("link", "link_error")] == [2, 1]


def test_linked_signatures_travel_in_the_body_as_plain_dicts(app, add, sent):
    deep = add.s(2)
    deep.link(add.si(3))
    add.apply_async((1,), link=deep)
    (content,) = sent()
    embed = json.loads(content.body)[2]
    assert embed["callbacks"][0]["options"]["link"][0]["immutable"] is True


def test_freezing_chooses_an_id_once(app, add):
    sig = add.s(1)
    result = sig.freeze(root_id="r", parent_id="p")
    assert sig.id == result.id == sig.freeze("other").id
    assert sig.options == {"task_id": result.id, "root_id": "r", "parent_id": "p"}
    assert sig.delay().id == result.id


def test_a_signature_is_made_from_a_signature_a_dict_a_task_or_a_name(app, add):
    sig = add.s(1)
    assert signature(sig) == sig
    assert signature(sig) is not sig
    assert signature(dict(sig), app=app) == sig
    assert signature(add, (1,)) == sig
    assert signature("name", (1,), immutable=True).immutable
    assert maybe_signature(None) is None
    assert maybe_signature(dict(sig), app).app is app
    assert maybe_signature(sig) is sig
    assert maybe_signature(sig, clone=True) is not sig
    assert app.signature("name").app is app


def test_a_signature_of_an_unknown_type_is_refused(app):
    with pytest.raises(InvalidTaskError, match="'unheard'"):
        signature({"task": "t", "args": (), "kwargs": {}, "options": {}, "subtask_type": "unheard"})


def test_a_type_that_is_registered_is_built(app, monkeypatch):
    monkeypatch.setattr(Signature, "TYPES", {})

    @Signature.register_type("twice")
    class Twice(Signature):
        @classmethod
        def from_dict(cls, mapping, app=None):
            return cls("made", app=app)

    assert type(signature({"task": "t", "subtask_type": "twice"}, app=app)) is Twice


def test_a_pipe_is_refused_instead_of_merging_dicts(app, add):
    sig = add.s(1)
    for join in (lambda: sig | {"a": 1}, lambda: {} | sig, lambda: dict(sig) | sig):
        with pytest.raises(TypeError, match="a signature goes on with a signature"):
            join()
    with pytest.raises(TypeError):
        sig |= {}


def test_a_signature_pickles_without_its_app(app, add):
    again = pickle.loads(pickle.dumps(add.s(1)))
    assert again == add.s(1)
    assert again._app is None
    assert again.app is app


def test_a_signature_without_an_app_is_sent_by_the_current_one(app, add, sent):
    other = Fastq("other", broker="memory://elsewhere")
    assert current.app() is other
    app.set_current()
    Signature(add.name, (1,)).delay()
    assert len(sent()) == 1


def test_a_signature_shows_as_the_call_it_is(app, add):
    assert repr(add.s(1, y="a")) == f"{add.name}(1, y='a')"
    assert add.s(2).reprcall(1) == f"{add.name}(1, 2)"
    assert add.s(2).__json__() == dict(add.s(2))
