"""The replies to a message, made of the results of its recipients.

SMTP has one reply for a message, LMTP one for each of its recipients, and PRDR both.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from postroom.envelope import Envelope
from postroom.wire.parameters import PRDR
from postroom.wire.replies import Reply, reply

OK: Final = reply(250, "2.0.0", "Ok")
SENDER_OK: Final = reply(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = reply(250, "2.1.5", "Ok")
RESPONSES_FOLLOW: Final = reply(353, None, "Responses for recipients follow")
PARTLY_FAILED: Final = reply(451, "4.3.0", "Some recipients failed for now, try again later")

Verdict = Reply | Sequence[Reply]
"""One reply, or the result of each recipient of a message."""

PerRecipientReplies = Callable[[Verdict], Sequence[Reply]]
"""Turns the verdict on a message into the replies to it."""


def per_recipient_replies(role: str, envelope: Envelope) -> PerRecipientReplies | None:
    """Return the function that turns a verdict into several replies; None for a single reply.

    RFC 2033 s4.2
    """
    if role == "lmtp":
        return partial(for_lmtp, len(envelope.recipients))
    if PRDR.keyword in envelope.mail.parameters:
        return partial(for_prdr, len(envelope.recipients))
    return None


def one_for_all(results: Sequence[Reply]) -> Reply:
    """Return the one reply that SMTP has for the results of all recipients.

    The peer's next step follows from it, so the rule is: nothing may be lost, an extra copy may
    arise. If all results are alike, that is the reply. If some have failed for now, it is 451, and
    the peer sends the message again. Else it is the permanent failure, so that the sender gets to
    know.

    RFC 5321 s4.2.5, s6.1
    """
    failures = [result for result in results if not result.positive]
    if not failures:
        return results[0]
    if len(failures) < len(results) and any(failure.temporary for failure in failures):
        return PARTLY_FAILED
    return next((failure for failure in failures if failure.temporary), failures[0])


def for_lmtp(recipients: int, verdict: Verdict) -> Sequence[Reply]:
    """Return one reply for each recipient, in the order of RCPT.

    RFC 2033 s4.2
    """
    return [verdict] * recipients if isinstance(verdict, Reply) else verdict


def for_prdr(recipients: int, verdict: Verdict) -> Sequence[Reply]:
    """Return 353, a reply for each recipient, and one for the message.

    The last is positive if any recipient has got the message. PRDR is described in draft-hall-prdr;
    Exim has it, too.
    """
    each = for_lmtp(recipients, verdict)
    accepted = next((one for one in each if one.positive), None)
    return [RESPONSES_FOLLOW, *each, accepted or one_for_all(each)]
