"""VRFY and EXPN: who has a mailbox here, and who is on a list.

They answer only where a setting allows it (RFC 5321 s7.3). Both count as commands that move no
mail.

Who controls the input: the peer.
"""

from collections.abc import Sequence
from typing import Final

from postroom.interfaces import IInquiries
from postroom.later import chain
from postroom.server.authentication import Login
from postroom.server.session import Session
from postroom.wire.commands import Expn, Vrfy
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply

CANNOT_VERIFY: Final = reply(252, "2.0.0", "Cannot verify, send RCPT to try delivery")
NO_SUCH_LIST: Final = reply(550, "5.1.1", "No such list here")
NEEDS_SMTPUTF8: Final = reply(
    553, "5.6.7", "SMTPUTF8 is required to show addresses that are not ASCII"
)


def vrfy(session: Session, command: Vrfy) -> object:
    """Answer VRFY: 250 only if the mailbox was really looked up. RFC 5321 s3.5.3, s4.1.1.6."""
    session.count_idle_command()
    if not session.listener.settings.vrfy:
        return CANNOT_VERIFY
    return chain(_inquiries(session), _verify, command)


def _verify(inquiries: IInquiries | None, command: Vrfy) -> object:
    if inquiries is None:
        return CANNOT_VERIFY
    return chain(inquiries.verify(command.text), _verified, command)


def _verified(found: object, command: Vrfy) -> Reply:
    if isinstance(found, Reply):
        return found
    return _listed([found], command.utf8) if isinstance(found, Mailbox) else CANNOT_VERIFY


def expn(session: Session, command: Expn) -> object:
    """Answer EXPN with the members of a list. RFC 5321 s3.5.2, s4.1.1.7."""
    session.count_idle_command()
    return chain(_inquiries(session), _expand, command)


def _expand(inquiries: IInquiries | None, command: Expn) -> object:
    if inquiries is None:
        return NO_SUCH_LIST
    return chain(inquiries.expand(command.text), _expanded, command)


def _expanded(members: Sequence[Mailbox] | None, command: Expn) -> Reply:
    return _listed(members, command.utf8) if members else NO_SUCH_LIST


def _listed(mailboxes: Sequence[Mailbox], utf8: bool) -> Reply:
    """Return a reply with a mailbox in each line. RFC 6531 s3.7.4.2."""
    if not utf8 and not all(each.is_ascii for each in mailboxes):
        return NEEDS_SMTPUTF8
    return Reply(250, tuple(f"<{each}>" for each in mailboxes), "2.1.5", utf8)


def _inquiries(session: Session) -> object:
    """Return what answers the question; a session without a delivery logs in anonymously."""
    if session.delivery is not None:
        return IInquiries(session.delivery, None)
    login = session.listener.authentication.anonymous(session.facts)
    return chain(login, _anonymous_inquiries, session)


def _anonymous_inquiries(login: Login, session: Session) -> object:
    return IInquiries(session.use_delivery(login), None)
