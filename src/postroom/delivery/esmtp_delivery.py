"""Lets `twisted.mail.smtp.ESMTP` deliver through an `ITransactionDelivery`.

An `ESMTPDelivery` is what ESMTP knows as a delivery. It is the adapter from `ITransactionDelivery`
to `IMessageDelivery`, and the avatar that `postroom.delivery.avatars.MailRealm` returns for that
interface. How the content is stored is in `postroom.delivery.esmtp_message`.

State: what belongs to one MAIL is found by the sender's `Address`, which ESMTP hands back with each
recipient. ESMTP does not wait for answers, so "the current transaction" would be a guess. For the
same reason a lock passes questions and commits to the delivery one after the other: a peer that
does not wait either must not mistake the answer to one command for that to another.

What ESMTP does not pass on is lost: the parameters of MAIL and RCPT, and whether the client said
HELO or EHLO (it counts as EHLO).

Who controls the input: the peer, addresses and greeting, as far as ESMTP's patterns let them.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import implementer

from postroom.delivery.esmtp_message import RecipientMessage, SharedMessage, reply_of, text_of
from postroom.envelope import Envelope, Recipient, SessionFacts, new_queue_id
from postroom.interfaces import ITransactionDelivery
from postroom.tls import tls_facts
from postroom.wire.commands import Mail, Rcpt
from postroom.wire.paths import POSTMASTER, Mailbox, PathError, parse_mailbox
from postroom.wire.replies import Reply, reply

_T = TypeVar("_T")
MakeDelivery = Callable[[SessionFacts], ITransactionDelivery]


@implementer(IMessageDelivery)
class ESMTPDelivery:
    """The delivery of one session of ESMTP."""

    def __init__(self, make_delivery: MakeDelivery, user: str | None = None) -> None:
        """Create it, before the first message.

        Args:
            make_delivery: returns the delivery for a message, by what is known of the session then.
            user: who has logged in; None without a login.
        """
        self._make_delivery = make_delivery
        self._user = user
        self._lock = DeferredLock()
        self._transactions: WeakKeyDictionary[smtp.Address, _Transaction] = WeakKeyDictionary()

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        """Return nothing: the delivery writes its trace fields itself, with the final queue id."""
        return b""

    def validateFrom(
        self, helo: tuple[bytes | None, bytes | str], origin: smtp.Address
    ) -> "Deferred[smtp.Address]":
        """Ask whether a sender may send; see `IMessageDelivery`.

        Returns:
            Fires with ``origin``; fails with `SMTPBadSender`.
        """
        return self._in_turn(self._validate_from(helo, origin))

    def validateTo(self, user: smtp.User) -> "Deferred[Callable[[], RecipientMessage]]":
        """Ask whether a recipient is accepted; see `IMessageDelivery`.

        Returns:
            Fires with what makes the recipient's message; fails with `SMTPBadRcpt`.
        """
        return self._in_turn(self._validate_to(user))

    def _in_turn(self, question: Coroutine[Any, Any, _T]) -> "Deferred[_T]":
        """Ask once all earlier questions are answered, and their answers were sent.

        The lock is released after the answer, not by the question itself: else the next answer
        could be sent first.
        """
        answer: Deferred[_T] = Deferred()

        async def ask() -> None:
            async with self._lock:
                try:
                    found = await question
                except Exception:
                    answer.errback()
                else:
                    answer.callback(found)

        Deferred.fromCoroutine(ask())
        return answer

    async def _validate_from(
        self, helo: tuple[bytes | None, bytes | str], origin: smtp.Address
    ) -> smtp.Address:
        await self._open(helo, origin)
        return origin

    async def _open(
        self, helo: tuple[bytes | None, bytes | str], origin: smtp.Address
    ) -> "_Transaction":
        facts = _facts_of(helo, self._user)
        try:
            envelope = Envelope(new_queue_id(), facts, Mail(_reverse_path(origin)))
            delivery = self._make_delivery(facts)
            verdict = await maybeDeferred(delivery.validate_sender, envelope)
        except PathError as error:
            verdict = reply(553, "5.1.7", str(error))
        except Exception as error:
            verdict = reply_of(error)
        if isinstance(verdict, Reply):
            raise smtp.SMTPBadSender(origin, verdict.code, text_of(verdict))
        transaction = _Transaction(delivery, envelope, self._lock)
        self._transactions[origin] = transaction
        return transaction

    async def _validate_to(self, user: smtp.User) -> Callable[[], RecipientMessage]:
        transaction = self._transactions.get(user.orig)
        if transaction is None:  # a delivery around this one has put another sender in
            transaction = await self._open(user.helo, user.orig)
        return await transaction.validate_recipient(user)


class _Transaction:
    """What belongs to one MAIL that was accepted.

    It must not refer to the sender's `Address`, which keeps it alive.
    """

    def __init__(
        self, delivery: ITransactionDelivery, envelope: Envelope, lock: DeferredLock
    ) -> None:
        self._delivery = delivery
        self._envelope = envelope
        self._lock = lock
        self._message: SharedMessage | None = None

    async def validate_recipient(self, user: smtp.User) -> Callable[[], RecipientMessage]:
        """Ask the delivery.

        Returns:
            What makes the recipient's message.

        Raises:
            SMTPBadRcpt: the recipient is refused.
        """
        protocol, envelope = user.protocol, self._envelope
        envelope.session = _with_connection(envelope.session, protocol)
        try:
            rcpt = Rcpt(_forward_path(user))
            verdict = await maybeDeferred(self._delivery.validate_recipient, envelope, rcpt)
        except PathError as error:
            verdict = reply(553, "5.1.3", str(error))
        except Exception as error:
            verdict = reply_of(error)
        if isinstance(verdict, Reply):
            raise smtp.SMTPBadRcpt(user.dest, verdict.code, text_of(verdict))
        recipient = Recipient(rcpt, verdict)
        envelope.recipients.append(recipient)
        return lambda: self._make_message(recipient, protocol)

    def _make_message(self, recipient: Recipient, protocol: Any) -> RecipientMessage:
        """Make a recipient's message, which shares its content with the others.

        What is made after the content has begun is a message of its own: it gets all lines too.
        """
        shared = self._message
        if shared is None or shared.has_begun:
            queue_id = self._envelope.id if shared is None else new_queue_id()
            envelope = replace(self._envelope, id=queue_id, recipients=[])
            shared = SharedMessage(self._delivery, envelope, protocol, self._lock)
            self._message = shared
        return shared.add(recipient)


def _facts_of(helo: tuple[bytes | None, bytes | str], user: str | None) -> SessionFacts:
    """Return what ESMTP knows of a session when MAIL comes.

    Mail of those who have logged in counts as submitted, whatever port it came in by.
    """
    name, peer = helo
    host = peer.decode("ascii", "replace") if isinstance(peer, bytes) else peer
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # a local socket has no address
        client = "unix"
    else:
        client = str(getattr(address, "ipv4_mapped", None) or host)
    role = "mx" if user is None else "submission"
    return SessionFacts(role, client, 0, name or b"", identity=user)


def _with_connection(facts: SessionFacts, protocol: Any) -> SessionFacts:
    """Add what is known of the connection, which ESMTP shows with the first recipient."""
    transport = getattr(protocol, "transport", None)
    port = getattr(transport.getPeer(), "port", 0) if transport is not None else 0
    handle = getattr(transport, "getHandle", lambda: None)()
    tls = tls_facts(handle) if isinstance(handle, SSL.Connection) else None
    return replace(facts, client_port=port, extended=isinstance(protocol, smtp.ESMTP), tls=tls)


def _reverse_path(origin: smtp.Address) -> Mailbox | None:
    """Return the sender; None for the null sender.

    Raises:
        PathError: Twisted accepts more as an address than is one.
    """
    octets = bytes(origin)
    return parse_mailbox(octets) if octets else None


def _forward_path(user: smtp.User) -> Mailbox:
    """Return a recipient. Twisted adds this host's name to a bare ``<postmaster>``.

    Raises:
        PathError: Twisted accepts more as an address than is one.

    RFC 5321 s4.5.1
    """
    dest = user.dest
    bare = b"@" not in dest.addrstr and dest.domain == getattr(user.protocol, "host", None)
    if bare and dest.local.lower() == POSTMASTER:
        return Mailbox(POSTMASTER, b"")
    return parse_mailbox(bytes(dest))
