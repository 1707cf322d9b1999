"""The options of a message that are decided on arrival, by parameters of MAIL and RCPT.

- *Hold* (FUTURERELEASE): no copy is delivered before that time, so every one goes into the queue.
- *Priority* (MT-PRIORITY): from a session that may not relay, a positive value counts as 0, so that
  not everybody's mail is urgent.
- *Reports of success*: of a mailbox when the message is in it, of an alias with several targets
  when it has been sent on. The targets of the latter report no success then, or the sender would
  learn who is behind the alias; one target reports in the alias's place (RFC 3461 s5.2.7).

Who controls the input: the sender; the parameters passed their parser.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from postroom.delivery.expansion import Route
from postroom.delivery.headers import HeaderScan
from postroom.envelope import Action, Envelope, Notice, Recipient, Trait
from postroom.wire.commands import Rcpt
from postroom.wire.parameters import BODY, HOLDFOR, HOLDUNTIL, MT_PRIORITY, NOTIFY
from postroom.wire.replies import Reply, reply

Parameters = Mapping[str, str | None]

DELIVERED: Final = reply(250, "2.1.5", "Delivered to the mailbox")
EXPANDED: Final = reply(250, "2.0.0", "Sent on to several recipients")


def held_until(parameters: Parameters, received_at: float) -> float | None:
    """Return the POSIX time until which a message is held; None for no hold.

    RFC 4865 s4
    """
    if not parameters:
        return None
    seconds = HOLDFOR.of(parameters)
    return received_at + seconds if seconds is not None else HOLDUNTIL.of(parameters)


def is_binary(parameters: Parameters) -> bool:
    """Return whether a message's octets mean something beyond its lines. RFC 3030 s3."""
    return bool(parameters) and BODY.of(parameters) == "BINARYMIME"


def priority_of(parameters: Parameters, trusted: bool) -> int:
    """Return a message's priority. RFC 6710 s4.1."""
    priority = (MT_PRIORITY.of(parameters) if parameters else None) or 0
    return priority if trusted else min(priority, 0)


def traits_of(scan: HeaderScan, trusted: bool) -> Trait:
    """Return what is known of a message whose header was read."""
    traits = Trait.TRUSTED if trusted else Trait(0)
    if scan.tls_optional:
        traits |= Trait.TLS_OPTIONAL
    if scan.eight_bit:
        traits |= Trait.UTF8_HEADER
    return traits


def wants_success(rcpt: Rcpt) -> bool:
    """Return whether the sender wants a report of a recipient's success. RFC 3461 s4.1."""
    if not rcpt.parameters:
        return False
    notify = NOTIFY.of(rcpt.parameters)
    return notify is not None and "SUCCESS" in notify


def passed_on(recipient: Recipient, route: Route) -> Parameters:
    """Return the parameters that go on to the targets of a recipient.

    RFC 3461 s5.2.7.2, s5.2.7.3
    """
    parameters = recipient.rcpt.parameters
    if not is_expanded(route) or not wants_success(recipient.rcpt):
        return parameters
    others = (NOTIFY.of(parameters) or frozenset()) - {"SUCCESS"}
    return {**parameters, "NOTIFY": ",".join(sorted(others)) or "NEVER"}


def is_expanded(route: Route) -> bool:
    """Return whether an address leads to several others."""
    return len(route.accounts) + len(route.queued) + len(route.forwarded) > 1


def notices_of_success(envelope: Envelope, stored: Iterable[str]) -> Mapping[Action, list[Notice]]:
    """Return the notices of success for the sender, once all copies are stored.

    Args:
        envelope: complete, and of a session that may relay; others get no such reports.
        stored: the addresses of the accounts that have their copy now.

    RFC 3461 s5.2.3, s5.2.7.3
    """
    notices: dict[Action, list[Notice]] = {}
    have = frozenset(stored)
    for recipient in envelope.recipients:
        route = recipient.route
        if not isinstance(route, Route) or not wants_success(recipient.rcpt):
            continue
        action, answer = _end_of(route, have)
        if action is not None:
            notices.setdefault(action, []).append(Notice(recipient.rcpt, action, answer))
    return notices


def _end_of(route: Route, stored: frozenset[str]) -> tuple[Action | None, Reply]:
    if is_expanded(route):
        return Action.EXPANDED, EXPANDED
    if route.accounts and route.accounts[0].address in stored:
        return Action.DELIVERED, DELIVERED
    return None, DELIVERED  # the queue will see
