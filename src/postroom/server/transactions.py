"""MAIL and RCPT: the commands that open a transaction, and ask the delivery.

`wire` has parsed the parameters; here their values are checked against what this listener can do
(`_CHECKS`). A check returns the reply that refuses a command, or None.

Who controls the input: the peer.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from postroom.envelope import Envelope, Recipient, new_queue_id
from postroom.interfaces import ITransactionDelivery
from postroom.later import chain
from postroom.server.authentication import Login
from postroom.server.incoming import TOO_BIG
from postroom.server.session import TOO_MANY_RECIPIENTS, Session
from postroom.server.verdicts import RECIPIENT_OK, SENDER_OK
from postroom.wire.commands import Mail, Rcpt
from postroom.wire.parameters import BY, HOLDFOR, HOLDUNTIL, MT_PRIORITY, SOLICIT
from postroom.wire.paths import POSTMASTER, Mailbox
from postroom.wire.replies import Reply, reply

_ROUTING: Final = re.compile(rb"[%!@]")
NO_ROOM: Final = reply(452, "4.3.1", "Insufficient system storage, try again later")
UNSOLICITED: Final = reply(550, "5.7.1", "This kind of solicitation is not accepted")
HELD_TOO_LONG: Final = reply(501, "5.5.4", "A message cannot be held for so long")
HELD_FOR_NOTHING: Final = reply(501, "5.5.4", "The release time has passed")
HELD_PAST_DELIVERY: Final = reply(501, "5.5.4", "The release time is after the delivery deadline")
NO_SENDER_DOMAIN: Final = reply(501, "5.1.7", "Bad sender address: no @ in the address")
NO_DOMAIN: Final = reply(501, "5.1.3", "Bad recipient address: no @ in the address")
PRIORITY_CHANGED: Final = reply(250, "2.3.6", "Ok, but the priority is 0")


def mail(session: Session, command: Mail) -> object:
    """Answer MAIL: check its parameters, log in anonymously if need be, ask the delivery.

    RFC 5321 s4.1.1.2
    """
    sender = command.reverse_path
    if sender is not None and not sender.domain:
        completed = _completed(sender, session)
        if completed is None or not session.listener.completes_sender(session.facts):
            return NO_SENDER_DOMAIN
        command = replace(command, reverse_path=completed)
    for keyword in command.parameters:
        check = _CHECKS.get(keyword)
        refusal = check(session, command) if check is not None else None
        if refusal is not None:
            return refusal
    if not session.listener.environment.has_room(command.size_octets):
        return NO_ROOM
    if session.delivery is None:
        login = session.listener.authentication.anonymous(session.facts)
        return chain(login, _anonymous_mail, session, command)
    return _mail_with(session.delivery, session, command)


def _anonymous_mail(login: Login, session: Session, command: Mail) -> object:
    return _mail_with(session.use_delivery(login), session, command)


def _mail_with(delivery: ITransactionDelivery, session: Session, command: Mail) -> object:
    trusted = _without_privileges(session, command) if command.parameters else command
    accepted = (
        SENDER_OK if trusted.parameters is command.parameters else _accepted(trusted, command)
    )
    envelope = Envelope(new_queue_id(), session.facts, trusted)
    verdict = delivery.validate_sender(envelope)
    return chain(verdict, _sender_judged, session, envelope, accepted)


def _sender_judged(
    refusal: Reply | None, session: Session, envelope: Envelope, accepted: Reply
) -> Reply:
    if refusal is not None and not refusal.positive:
        return refusal
    session.begin_transaction(envelope)
    return accepted


def _without_privileges(session: Session, command: Mail) -> Mail:
    """Return MAIL without the parameters that need a login, unless there is one.

    RFC 4954 s5; RFC 6710 s4.1
    """
    if session.facts.identity is not None:
        return command
    parameters = dict(command.parameters)
    if parameters.get("AUTH", "<>") != "<>":
        parameters["AUTH"] = "<>"
    if (MT_PRIORITY.of(parameters) or 0) > 0:
        parameters["MT-PRIORITY"] = "0"
    return command if parameters == command.parameters else replace(command, parameters=parameters)


def _accepted(trusted: Mail, sent: Mail) -> Reply:
    changed = MT_PRIORITY.of(trusted.parameters) != MT_PRIORITY.of(sent.parameters)
    return PRIORITY_CHANGED if changed else SENDER_OK


def rcpt(session: Session, command: Rcpt) -> object:
    """Answer RCPT: ask the delivery where the mail would go. RFC 5321 s4.1.1.3."""
    envelope, delivery = session.transaction()
    if len(envelope.recipients) >= session.listener.settings.limits.recipients:
        return TOO_MANY_RECIPIENTS
    address = command.forward_path
    if not address.domain:
        if address.local_part != POSTMASTER:
            completed = _completed(address, session)
            if completed is None:
                return NO_DOMAIN
            command = replace(command, forward_path=completed)
    elif address.is_literal and _is_own_literal(address, session):
        completed = _completed(address, session) or address
        command = replace(command, forward_path=completed)
    route = delivery.validate_recipient(envelope, command)
    return chain(route, _recipient_judged, envelope, command)


def _is_own_literal(address: Mailbox, session: Session) -> bool:
    """Return whether an address literal means this host, and the local part names no other host.

    ``ann%elsewhere.example@[192.0.2.25]`` is the oldest way to make a host relay.

    RFC 5321 s4.1.3
    """
    if _ROUTING.search(address.local_part) is not None:
        return False
    return session.is_own_address(address.literal_address)


def _completed(address: Mailbox, session: Session) -> Mailbox | None:
    """Return an address with the site's own domain; None if that is not known."""
    origin = session.listener.settings.origin
    return Mailbox(address.local_part, origin.encode("ascii")) if origin else None


def _recipient_judged(route: object, envelope: Envelope, command: Rcpt) -> Reply:
    if isinstance(route, Reply) and not route.positive:
        return route
    envelope.recipients.append(Recipient(command, route))
    return RECIPIENT_OK


def _check_size(session: Session, command: Mail) -> Reply | None:
    """Refuse a message over the size limit. RFC 1870 s6.1."""
    return (
        TOO_BIG if command.size_octets > session.listener.settings.limits.message_octets else None
    )


def _check_hold(session: Session, command: Mail) -> Reply | None:
    """Refuse a hold that is too long, has passed, or ends after BY. RFC 4865 s4, s5.2."""
    until = HOLDUNTIL.of(command.parameters)
    now = session.listener.environment.now()
    seconds = HOLDFOR.of(command.parameters) if until is None else until - now
    assert seconds is not None  # one of the two is why this is called
    if seconds > session.listener.settings.hold_seconds:
        return HELD_TOO_LONG
    if seconds <= 0:
        return HELD_FOR_NOTHING
    by = BY.of(command.parameters)
    return HELD_PAST_DELIVERY if by is not None and by.seconds < seconds else None


def _check_solicitation(session: Session, command: Mail) -> Reply | None:
    """Refuse a solicitation class that the settings refuse. RFC 3865 s2."""
    unwanted = session.listener.unwanted_solicitations
    asked = SOLICIT.of(command.parameters) or ()
    return UNSOLICITED if any(word.lower() in unwanted for word in asked) else None


_CHECKS: Final[dict[str, Callable[[Session, Mail], Reply | None]]] = {
    "SIZE": _check_size,
    "HOLDFOR": _check_hold,
    "HOLDUNTIL": _check_hold,
    "SOLICIT": _check_solicitation,
}
