"""What ``|`` makes of two signatures, and how the steps of a chain fall together. One table of rules.

| left, last step of a chain | right | becomes |
| --- | --- | --- |
| group | anything | a chord: the group is its header |
| chord whose body ends in a group | anything | the body goes on |
| chord | task or chord | the chord goes on in its body, in a chain it is a step of its own |
| anything else | task, chord or group | a chain |
| anything | chain | its steps, one by one |

An empty group or chain is nothing, and a group of one is its member.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from fastq.canvas.signature import Signature, maybe_signature

Sig = Signature[Any]


def kind(sig: Any) -> str | None:
    """Return the kind of workflow that *sig* is; None for a task."""
    return cast("str | None", sig.get("subtask_type"))


def joined(left: Sig, right: Sig) -> Sig:
    """Return the workflow that runs *left* and then *right*."""
    right = unrolled(right)
    if is_empty(right):
        return left
    if kind(left) == "group":
        return _chord(left, right) if left["kwargs"]["tasks"] else right
    if kind(left) == "chord" and kind(right) not in ("group", "chain"):
        return _with_body(left, right)
    if kind(left) == "chain":
        if not left["kwargs"]["tasks"]:
            return right
        # What it holds is looked at again when it is sent: a long chain grows step by step without a look at all of it.
        return _chain(left, _folded_onto(left.unchain_tasks(copies=False), [right]))  # type: ignore[attr-defined]
    return _chain(left, folded([left, right]))


def folded(sigs: Iterable[Any], app: Any = None) -> list[Sig]:
    """Return the steps of a chain of *sigs*, by the rules; the signatures themselves are not changed."""
    return _folded_onto([], list(sigs)[::-1], app)


def _folded_onto(steps: list[Sig], left: list[Any], app: Any = None) -> list[Sig]:
    # The last step, if it is a chord of our own making, and the innermost of the chords in it, which is to go on: so a
    # long row of groups is not looked through again for each of them.
    ours: Sig | None = None
    innermost: Any = None
    while left:
        sig = unrolled(maybe_signature(left.pop(), app=app))
        if not isinstance(sig, Signature):
            raise TypeError(f"a step of a chain is a signature, such as task.s(), not {type(sig).__name__}")
        if is_empty(sig):
            continue
        last = steps[-1] if steps else None
        if kind(sig) == "chain":
            left += reversed(sig.unchain_tasks(copies=False))  # type: ignore[attr-defined]
        elif last is not None and kind(last) == "group":
            steps[-1] = ours = innermost = _chord(last, sig)
        elif last is not None and kind(last) == "chord" and _ends_in_group(innermost if last is ours else last):
            if last is not ours:
                steps[-1] = ours = innermost = last.clone()
            elif kind(innermost["kwargs"]["body"]) in ("chord", "chain"):
                innermost["kwargs"]["body"] = innermost["kwargs"]["body"].clone()
            innermost = _go_on(innermost, sig)
        else:
            steps.append(sig)
    return steps


def unrolled(sig: Any) -> Any:
    """Return the one member of a group of one, else *sig*."""
    while isinstance(sig, Signature) and kind(sig) == "group" and len(sig["kwargs"]["tasks"]) == 1:
        sig = maybe_signature(sig["kwargs"]["tasks"][0], app=sig._app)
    return sig


def is_empty(sig: Sig) -> bool:
    """Whether *sig* is a group or chain without a member."""
    return kind(sig) in ("group", "chain") and not sig["kwargs"]["tasks"]


def _ends_in_group(sig: Any) -> bool:
    while sig is not None:
        if kind(sig) == "group":
            return True
        if kind(sig) == "chord":
            sig = sig["kwargs"]["body"]
        elif kind(sig) == "chain" and sig["kwargs"]["tasks"]:
            sig = sig["kwargs"]["tasks"][-1]
        else:
            return False
    return False


def _with_body(chord: Sig, following: Sig) -> Sig:
    sig = chord.clone()
    _go_on(sig, following)
    return sig


def _go_on(chord: Any, following: Sig) -> Any:
    """Let the body of *chord*, all of which is ours to change, go on with *following*; return whose body changed."""
    is_joined = _ends_in_group(chord)
    while True:
        inner = chord["kwargs"]
        body = inner["body"] = maybe_signature(inner["body"], app=chord._app)
        if body is None or is_empty(body):
            inner["body"] = following
            return chord
        place: Any = inner
        at: Any = "body"
        if kind(body) == "chain":
            place, at = body.unchain_tasks(copies=False), -1
            inner["body"] = _chain(body, place)
        last = place[at]
        if kind(last) == "group":
            place[at] = chord = _chord(last, following)
            return chord
        if kind(last) == "chord" and (is_joined or (place is inner and kind(following) != "group")):
            chord = last
        elif place is inner:
            inner["body"] = _chain(body, [body, following])
            return chord
        else:
            place.append(following)
            return chord


def _chord(header: Sig, body: Sig) -> Sig:
    return Signature.part("chords").chord(header, body=body, app=header._app)  # type: ignore[no-any-return]


def _chain(first: Sig, steps: list[Sig]) -> Sig:
    make: Any = type(first) if kind(first) == "chain" else Signature.part("chains")._chain
    made = make.of(steps, app=first._app)
    return cast(Sig, made)
