"""Answers that are available now or come later.

An extension point may answer at once or later, as a value, a `Deferred` or a coroutine, and it may
raise. Here all of these become one of two: a value now, or a Deferred. An answer that is already
known costs neither a turn of the reactor nor a Deferred.
"""

from collections.abc import Callable
from types import CoroutineType
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def now_or_later(answer: object) -> object:
    """Return the value of an answer, or a Deferred if there is none yet.

    Raises:
        Exception: what the answer failed with, if it has failed already.
    """
    if answer is None:  # the most frequent answer; each question asked costs as much as the last
        return answer
    if not isinstance(answer, Deferred):
        if not isinstance(answer, CoroutineType):
            return answer
        answer = Deferred.fromCoroutine(answer)
    if not answer.called or answer.paused:
        return answer
    outcome: list[Any] = []
    answer.addBoth(outcome.append)
    if not outcome:  # it waits for another Deferred
        return answer.addCallback(lambda _: _value_of(outcome[0]))
    return _value_of(outcome[0])


def chain(
    answer: object, step: "Callable[..., T | Deferred[T]]", *args: object
) -> "T | Deferred[T]":
    """Call a function with an answer and further arguments, now or when the answer comes.

    Args:
        answer: what an extension point returned.
        step: the function.
        args: its arguments after the answer.

    Returns:
        What the function returns, or a Deferred of it.

    Raises:
        Exception: what the answer has failed with already, or the function raises now.
    """
    known = now_or_later(answer)
    # `isinstance` asks the abstract base class of `Deferred`, in Python: not for each answer.
    if known is not None and isinstance(known, Deferred):
        return known.addCallback(step, *args)
    return step(known, *args)


async def result_of(answer: "T | Deferred[T]") -> T:
    """Return the value of an answer, once there is one; for coroutines.

    Raises:
        Exception: what the answer failed with.
    """
    known = now_or_later(answer)
    return cast(T, await known if isinstance(known, Deferred) else known)


def _value_of(outcome: object) -> object:
    if isinstance(outcome, Failure):
        outcome.raiseException()
    return outcome
