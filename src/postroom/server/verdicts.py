"""What an extension point answered, made ready for the session.

An answer may come at once or later, as a value, a `Deferred` or a coroutine; it may be raised. Here
all of these become one of two: a value now, or a Deferred. An answer that is known already never
costs a turn of the reactor.
"""

from collections.abc import Callable, Sequence
from types import CoroutineType
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from postroom.wire.replies import Reply, reply

OK: Final = reply(250, "2.0.0", "Ok")
SENDER_OK: Final = reply(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = reply(250, "2.1.5", "Ok")
RESPONSES_FOLLOW: Final = reply(353, None, "Responses for recipients follow")
PARTLY_FAILED: Final = reply(451, "4.3.0", "Some recipients failed for now, try again later")


Spread = Callable[[Reply | Sequence[Reply]], Sequence[Reply]]
"""Makes the replies to a message of the verdict on it: one for all recipients, or one for each."""


def settled(answer: object) -> object:
    """Give the value of an answer, or a Deferred if there is none yet.

    Raises:
        Exception: what the answer failed with, if it has failed already.
    """
    if answer is None or isinstance(answer, Reply):  # for asking the next costs ten times more
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
        return answer.addCallback(lambda _: _raise_or_give(outcome[0]))
    return _raise_or_give(outcome[0])


def then(answer: object, step: Callable[..., object], *args: object) -> object:
    """Take one more step with an answer, now or when it comes."""
    if answer is not None and isinstance(answer, Deferred):
        return answer.addCallback(step, *args)
    return step(answer, *args)


def _raise_or_give(outcome: object) -> object:
    if isinstance(outcome, Failure):
        outcome.raiseException()
    return outcome


def one_for_all(results: Sequence[Reply]) -> Reply:
    """Fold the results of the recipients into the one reply that SMTP has for them.

    The peer's next step follows from it, so the rule is: nothing may be lost, a copy too many may
    arise. All alike: that result. Any temporary failure: 451, and the peer sends again. Else the
    permanent failure, so that the sender hears of it.

    RFC 5321 s4.2.5, s6.1
    """
    failures = [result for result in results if not result.positive]
    if not failures:
        return results[0]
    if len(failures) < len(results) and any(failure.temporary for failure in failures):
        return PARTLY_FAILED
    return next((failure for failure in failures if failure.temporary), failures[0])


def for_lmtp(recipients: int, verdict: Reply | Sequence[Reply]) -> Sequence[Reply]:
    """Give one reply for each recipient, in the order of RCPT.

    RFC 2033 s4.2
    """
    return [verdict] * recipients if isinstance(verdict, Reply) else verdict


def for_prdr(recipients: int, verdict: Reply | Sequence[Reply]) -> Sequence[Reply]:
    """Give 353, a reply for each recipient, and one for the message: taken if anybody got it.

    It is described in draft-hall-prdr, and Exim has it.
    """
    each = for_lmtp(recipients, verdict)
    taken = next((one for one in each if one.positive), None)
    return [RESPONSES_FOLLOW, *each, taken or one_for_all(each)]
