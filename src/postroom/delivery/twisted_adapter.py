"""Runs deliveries that were written for `twisted.mail.smtp`, unchanged.

`TwistedDelivery` calls an `IMessageDelivery` the way that `twisted.mail.smtp.SMTP` does: the same
methods in the same order with the same kinds of arguments. It accepts more in five ways. Every
method may return a Deferred, also those whose result Twisted uses at once (`receivedHeader`, the
callable that makes the message, `lineReceived`). ``resp`` of an `SMTPServerError` may be text or
octets anywhere. Each recipient has its own outcome. A failure that is not an `SMTPServerError` is
ours and temporary, 451, where Twisted replies 550. And `Address.dequote`, which fails on Python 3,
works.

Lines are cut from the content here and nowhere else, once for all recipients.

Known limit: an `IMessage` that has stored its copy cannot withdraw it, so
when one recipient's message fails at the end and another's does not, the peer's next attempt makes
a copy more.

Who controls the input: the peer, addresses and lines; the delivery, everything else.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from postroom.delivery.mailbox_lines import MailboxLines
from postroom.envelope import Envelope, SessionFacts
from postroom.errors import LOCAL_ERROR, Refusal, reply_for
from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.later import chain
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply

DELIVERED: Final = reply(250, "2.0.0", "Delivery in progress")
_log = Logger()

MakeMessage = Callable[[], Any]
"""What `IMessageDelivery.validateTo` returns: a callable that makes an `IMessage`."""


class TwistedAddress(smtp.Address):
    """An `Address` made from a mailbox that was parsed already.

    Twisted's own parser knows no address literals, and would add the name of this machine to a
    recipient without a domain. The local part keeps its quotes, as there.
    """

    def __init__(self, path: Mailbox | None, host: bytes) -> None:
        """Create it from a path; None for the null sender, whose parts are empty."""
        self.local, self.domain = b"", b""
        if path is not None:
            octets = bytes(path)
            self.domain = path.domain or host
            self.local = octets[: -len(path.domain) - 1] if path.domain else octets
        self.addrstr = b"<" + bytes(self) + b">"

    def dequote(self, addr: object) -> bytes:
        """Remove the quoting from an address, as `Address.dequote` promises."""
        octets = addr if isinstance(addr, bytes) else str(addr).encode("ascii")
        tokens = [token for token in self.tstring.split(octets) if token]
        return b"".join(_dequoted(token) for token in tokens)


def _dequoted(token: bytes) -> bytes:
    if len(token) > 1 and token[:1] == b'"' and token[-1:] == b'"':
        return token[1:-1]
    return smtp.Address.dequotebs.sub(rb"\1", token)


class TwistedProtocol:
    """What deliveries read from the ``protocol`` of a `User`.

    Attributes:
        host: our name, octets.
        transport: has `getPeer`; the connection itself is not theirs to touch.
        delivery: the `IMessageDelivery`.
        mode: always "COMMAND", as when Twisted asks.
    """

    mode = smtp.COMMAND

    def __init__(self, facts: SessionFacts, host: bytes, delivery: object) -> None:
        """Describe a session."""
        self.host = host
        self.delivery = delivery
        self.transport = _Peer(facts)
        self.facts = facts


class _Peer:
    def __init__(self, facts: SessionFacts) -> None:
        self._facts = facts

    def getPeer(self) -> object:
        if self._facts.client == "unix":
            return UNIXAddress(None)
        kind = IPv6Address if ":" in self._facts.client else IPv4Address
        return kind("TCP", self._facts.client, self._facts.client_port)


@implementer(ITransactionDelivery)
class TwistedDelivery:
    """Adapts an `IMessageDelivery`."""

    def __init__(self, get_delivery: Callable[[], Any], host: bytes = smtp.DNSNAME) -> None:
        """Create it with the source of the delivery, which is asked once for each message.

        Args:
            get_delivery: `IMessageDeliveryFactory.getMessageDelivery`, or what always returns the
                same delivery; may return a Deferred.
            host: our name.
        """
        self._get_delivery = get_delivery
        self._host = host
        self._delivery: Any = None
        self._origin: Any = None

    def validate_sender(self, envelope: Envelope) -> "Deferred[Reply | None]":
        """Ask `validateFrom`."""
        return Deferred.fromCoroutine(self._validate_sender(envelope))

    def validate_recipient(self, envelope: Envelope, rcpt: Rcpt) -> "Deferred[Reply | MakeMessage]":
        """Ask `validateTo`."""
        return Deferred.fromCoroutine(self._validate_recipient(envelope, rcpt))

    def begin(self, envelope: Envelope) -> "Deferred[IDeliveryTransaction]":
        """Make a message for each recipient, and pass each its Received field."""
        return Deferred.fromCoroutine(self._begin(envelope))

    async def _validate_sender(self, envelope: Envelope) -> Reply | None:
        sender = TwistedAddress(envelope.mail.reverse_path, self._host)
        try:
            self._delivery = await maybeDeferred(self._get_delivery)
            helo = _helo(envelope.session)
            origin = await maybeDeferred(self._delivery.validateFrom, helo, sender)
        except Exception as error:
            return _refusal(error)
        self._origin = sender if origin is None else origin
        return None

    async def _validate_recipient(self, envelope: Envelope, rcpt: Rcpt) -> Reply | MakeMessage:
        user = self._user(envelope, rcpt.forward_path)
        try:
            made = await maybeDeferred(self._delivery.validateTo, user)
        except Exception as error:
            return _refusal(error)
        if not callable(made):
            _log.error(
                "validateTo returned {made}, which is not a callable that makes a message",
                made=made,
            )
            return LOCAL_ERROR
        make: MakeMessage = made
        return make

    def _user(self, envelope: Envelope, path: Mailbox) -> smtp.User:
        protocol = TwistedProtocol(envelope.session, self._host, self._delivery)
        address = TwistedAddress(path, self._host)
        user = smtp.User(address, _helo(envelope.session), protocol, self._origin)
        # User makes a plain Address of it, with the faults of that.
        user.dest = address
        return user

    async def _begin(self, envelope: Envelope) -> IDeliveryTransaction:
        copies: list[_Copy] = []
        try:
            for recipient in envelope.recipients:
                make: Any = recipient.route
                message = await maybeDeferred(make)
                copies.append(_Copy(message))
                user = self._user(envelope, recipient.rcpt.forward_path)
                header = await maybeDeferred(
                    self._delivery.receivedHeader, _helo(envelope.session), self._origin, [user]
                )
                if header:
                    await maybeDeferred(message.lineReceived, _octets(header))
        except Exception as error:
            for copy in copies:
                copy.lose()
            raise Refusal(_refusal(error)) from None
        return TwistedTransaction(copies)


class _Copy:
    """One recipient's `IMessage`, and its failure if it has failed."""

    def __init__(self, message: Any) -> None:
        self.message = message
        self.failed: Reply | None = None

    def fail(self, error: Exception) -> None:
        """Note that this recipient failed; the others go on."""
        self.failed = _refusal(error)
        self.lose()

    def lose(self) -> None:
        """Call the message's `connectionLost`, once at most: the rest of it is not coming."""
        message, self.message = self.message, None
        if message is None:
            return
        lost = maybeDeferred(message.connectionLost)
        lost.addErrback(lambda failure: _log.failure("connectionLost of a message failed", failure))


@implementer(IDeliveryTransaction)
class TwistedTransaction:
    """Feeds the lines of one message to an `IMessage` for each recipient."""

    def __init__(self, copies: Sequence[_Copy]) -> None:
        """Create it, before the first line."""
        self._copies = copies
        self._partial: list[bytes] = []
        self._mailbox_lines = MailboxLines()
        self._begun = False

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """Split the content into lines for all messages; wait if one returns a Deferred."""
        chunk = self._mailbox_lines.feed(chunk)
        self._partial.append(chunk)
        if b"\n" not in chunk:
            return None
        lines = b"".join(self._partial).split(b"\r\n")
        self._partial = [lines.pop()]
        return self._feed(lines)

    def commit(self) -> "Deferred[Sequence[Reply]]":
        """End all messages, and wait for them."""
        return Deferred.fromCoroutine(self._commit())

    def abort(self) -> None:
        """Break all messages off."""
        for copy in self._copies:
            copy.lose()

    async def _commit(self) -> Sequence[Reply]:
        rest = b"".join((*self._partial, self._mailbox_lines.end()))
        if rest:
            waiting = self._feed(rest.split(b"\r\n"))
            if waiting is not None:
                await waiting
        endings = [
            None if copy.message is None else maybeDeferred(copy.message.eomReceived)
            for copy in self._copies
        ]
        for copy, ending in zip(self._copies, endings, strict=True):
            if ending is not None:
                try:
                    await ending
                except Exception as error:
                    copy.failed = _refusal(error)
        return [copy.failed or DELIVERED for copy in self._copies]

    def _feed(self, lines: list[bytes]) -> "Deferred[None] | None":
        if not lines:
            return None
        if not self._begun:
            self._begun = True
            # As Twisted: a body without a header gets an empty line before it, for our Received.
            if lines[0] and b":" not in lines[0]:
                lines.insert(0, b"")
        waiting = []
        for copy in self._copies:
            for line in lines:
                answer = self._give(copy, line)
                if answer is not None:
                    waiting.append((copy, answer))
        return Deferred.fromCoroutine(self._wait(waiting)) if waiting else None

    def _give(self, copy: _Copy, line: bytes) -> "Deferred[None] | None":
        """Pass a line to one message; return what it waits for, if anything."""
        if copy.message is None:
            return None
        try:
            answer = copy.message.lineReceived(line)
            return None if answer is None else chain(answer, _nothing)
        except Exception as error:
            copy.fail(error)
            return None

    async def _wait(self, waiting: "Sequence[tuple[_Copy, Deferred[None]]]") -> None:
        for copy, answer in waiting:
            try:
                await answer
            except Exception as error:
                copy.fail(error)


def _nothing(_: object) -> None:
    """Drop what a message answered to a line: it means nothing."""


def _helo(facts: SessionFacts) -> tuple[bytes, bytes]:
    """Return what Twisted calls helo: the client's name, and its address.

    A name that is no domain and no address literal is kept from deliveries, which put it in headers
    as it is. They get the address as a literal in its place.
    """
    name = facts.helo_name or facts.client_literal.encode("ascii", "replace")
    return name, facts.client.encode("ascii", "replace")


def _octets(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _refusal(error: Exception) -> Reply:
    """Return the reply for what a delivery raised.

    `SMTPBadSender` and `SMTPBadRcpt` are `SMTPServerError` too. What is none of these, and no
    `Refusal`, is a fault and goes to the log.

    RFC 5321 s4.2.1
    """
    if isinstance(error, smtp.AddressError):
        return reply(553, "5.1.3", str(error))
    if not isinstance(error, smtp.SMTPServerError):
        if not isinstance(error, Refusal):
            _log.failure("a twisted.mail delivery failed", Failure(error))
        return reply_for(error)
    text = error.resp.decode("ascii", "replace") if isinstance(error.resp, bytes) else error.resp
    code = int(error.code)
    if not 400 <= code < 600:
        _log.error(
            "a delivery raised SMTPServerError with code {code}; only 4yz and 5yz are refusals",
            code=code,
        )
        return LOCAL_ERROR
    return reply(code, _enhanced(error, code), *str(text).splitlines())


def _enhanced(error: Exception, code: int) -> str:
    """Return the enhanced code that an exception's class implies; Twisted's have none."""
    subject = "0.0"
    if isinstance(error, smtp.SMTPBadRcpt):
        subject = "1.1"
    elif isinstance(error, smtp.SMTPBadSender):
        subject = "1.8"
    return f"{code // 100}.{subject}"
